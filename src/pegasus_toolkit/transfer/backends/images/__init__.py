"""Container images of registries, as files."""
