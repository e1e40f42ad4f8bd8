"""libcurl: many requests at once in one thread, for HTTP, WebDAV, FTP and S3."""
