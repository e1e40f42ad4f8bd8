"""Where bytes go and come from: counting, hashing, files beside their final names, pipes."""
