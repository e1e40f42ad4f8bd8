"""GridFTP: a client of our own, and globus-url-copy where it is asked for."""
