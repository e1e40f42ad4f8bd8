"""XRootD, by its client library."""
