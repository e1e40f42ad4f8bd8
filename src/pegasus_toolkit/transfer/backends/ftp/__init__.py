"""FTP and FTPS, on HTTP's loop."""
