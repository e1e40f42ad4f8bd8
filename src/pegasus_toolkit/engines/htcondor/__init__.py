"""The engine that gives a DAG to HTCondor's DAGMan."""
