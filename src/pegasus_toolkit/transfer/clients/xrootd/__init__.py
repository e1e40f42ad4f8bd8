"""The XRootD client library: requests whose answers come from its own threads, and pumps of content."""
