"""WebDAV, on HTTP's loop."""
