"""HTCondor's files as data: DAGs, submit files, rescue files, event logs. Imports nothing else of ours."""
