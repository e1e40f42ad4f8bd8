"""Google Storage."""
