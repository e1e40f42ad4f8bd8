"""Digests, `.meta` files, kickstart records and manifests; imports nothing else of ours."""
