"""SRM, by gfal2 in a process of its own."""
