"""Rucio: files by their data identifiers, wherever there are replicas of them."""
