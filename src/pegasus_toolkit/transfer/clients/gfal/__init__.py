"""gfal2 in a process of its own: whole files, names and checksums of grid storage."""
