"""Pegasus 5 files to the planner's types; one module a kind of file. All that is wrong is collected."""
