"""FTP servers."""
