"""The executable workflow as files: the DAG, submit files, specifications, and what the worker is told."""
