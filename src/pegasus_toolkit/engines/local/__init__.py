"""The engine that runs a DAG on this machine alone."""
