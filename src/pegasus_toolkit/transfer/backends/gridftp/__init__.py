"""GridFTP: a client of our own."""
