"""Moves scientific data between sites and proves that it arrived."""

__version__ = "0.1.0"
