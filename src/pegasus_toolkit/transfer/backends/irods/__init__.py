"""iRODS: data objects are files, collections directories."""
