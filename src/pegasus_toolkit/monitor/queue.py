"""A run of the local engine as HTCondor's queue would show it: one ad for the engine, one for each job."""

# pathlib would cost start-up time
# ruff: noqa: PTH120, PTH123

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator

from pegasus_toolkit.monitor.locate import NotARun, Run, find
from pegasus_toolkit.monitor.status import jobs
from pegasus_toolkit.monitor.tree import Branch, walk

Ad = dict[str, str | int]
_STATES = {"idle": 1, "running": 2, "held": 5}  # JobStatus


def ads(dag: str, pid: int) -> Iterator[Ad]:
    """Of the run that process ``pid`` is at, with its sub-workflows; none where it has just ended.

    Attributes are those that Pegasus' Python API reads.
    """
    try:
        for branch, connection in walk(find(dag)):
            if not branch.path:
                yield {**_engine(branch.run, connection), "ClusterId": pid}
            yield from _jobs(branch, connection)
    except (NotARun, OSError):
        return


def _engine(run: Run, connection: sqlite3.Connection) -> Ad:
    """Of what stands for DAGMan's own job."""
    row = connection.execute("SELECT max(started) FROM runs").fetchone()
    return {
        **_workflow(run),
        "JobStatus": 2,
        "EnteredCurrentStatus": int(row[0] or time.time()),
        "pegasus_wf_xformation": "pegasus::dagman",
        "pegasus_wf_dag_job_id": "dagman",
        "pegasus_site": "local",
        "Cmd": "pegasus-run",
        "UserLog": run.file(".dagman.log"),
    }


def _jobs(branch: Branch, connection: sqlite3.Connection) -> Iterator[Ad]:
    run = branch.run
    common, now = _workflow(run), time.time()
    bundles = dict(connection.execute("SELECT name, bundle FROM nodes"))
    below = dict(connection.execute("SELECT name, dag FROM nodes WHERE dag != ''"))
    for job in jobs(connection, now):
        cluster = job.job.partition(".")[0]
        if job.state not in _STATES or not cluster.isdecimal():
            continue
        ad = {
            **common,
            **_planned(run, bundles[job.node], job.node),
            "ClusterId": int(cluster),
            "JobStatus": _STATES[job.state],
            "EnteredCurrentStatus": int(now - job.seconds),
            "pegasus_wf_dag_job_id": job.node,
            "pegasus_wf_dax_job_id": job.node,
        }
        if job.node in below:
            ad |= {"Iwd": os.path.dirname(below[job.node]), "pegasus_wf_xformation": "condor::dagman"}
        if job.state == "held":
            ad["HoldReason"] = job.reason
        yield ad


def _workflow(run: Run) -> Ad:
    known = {}
    try:
        with open(f"{run.directory}/braindump.yml", encoding="utf-8") as stream:
            known = json.load(stream)
    except (OSError, ValueError):  # planned by another program
        known = {}
    return {
        "pegasus_wf_uuid": str(known.get("wf_uuid", "")),
        "pegasus_root_wf_uuid": str(known.get("root_wf_uuid", "")),
        "pegasus_wf_name": str(known.get("pegasus_wf_name", run.name.removesuffix(".dag"))),
        "Iwd": run.directory,
        "UserLog": run.file(".nodes.log"),
        "JobPrio": 0,
        "ProcId": 0,
    }


def _planned(run: Run, bundle: str, node: str) -> Ad:
    """What the planner wrote of the node: where it runs, and what."""
    told = run.planned(bundle, node)
    first: dict[str, object] = next(iter(told.get("tasks", ())), {})
    return {
        "pegasus_site": str(told.get("site", "local")),
        "pegasus_wf_xformation": str(first.get("transformation", f"pegasus::{told.get('kind', 'job')}")),
        "Cmd": str(first.get("program", "pegasus-worker")),
    }
