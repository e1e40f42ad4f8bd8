"""Globus: collections, by way of its Transfer service."""
