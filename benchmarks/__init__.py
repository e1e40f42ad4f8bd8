"""Our command beside the tools that people use today: `make bench`."""
