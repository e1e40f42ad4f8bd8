"""The specification: read, checked as a whole, and written."""
