"""Abstract workflow and catalogs in, executable workflow out; nothing here runs a job."""
