"""The part of ``pegasus-run`` that has damaged files of a run made again."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.dag.problems import DagError
from pegasus_toolkit.engines import remake
from pegasus_toolkit.engines.htcondor import dagman
from pegasus_toolkit.engines.htcondor.schedd import NoPool, Schedd, find
from pegasus_toolkit.engines.local.lock import Lock, Running
from pegasus_toolkit.integrity.meta import MetaError

_PATIENCE = 600  # seconds, for DAGMan to leave the queue after its last node
ATTENDED = "PEGASUS_RUN_ATTENDED"  # in the environment of a DAGMan that pegasus-run waits for


def asked(dag: str, why: remake.Why, schedd: Schedd | None, console: Console) -> str:
    """Because the user says so. What keeps it from being done; "" where the next run will do it."""
    try:
        if problem := _busy(dag, schedd):
            return problem
        what = remake.due(dag, why)
        if what is None:
            known = "to have changed" if why == "restage" else "to be damaged, missing or changed"
            return f"no file of this run is known {known}; pegasus-analyzer tells what failed"
        remake.prepare(dag, what, why)
    except (OSError, DagError, NoPool, MetaError) as error:
        return str(error)
    console.info(remake.told(what))
    return ""


def warn(dag: str, directory: str, console: Console) -> None:
    """What was mended since it was staged in would not be used: says so, and what to do."""
    try:
        files = remake.changed(dag)
    except (OSError, DagError, MetaError) as error:
        console.debug(f"whether sources have changed cannot be told: {error}")
        return
    if files:
        console.warning(
            f"{', '.join(map(repr, files))}: changed after it was staged in, and the run goes on with what"
            f" was staged. pegasus-run --restage {directory} stages it anew for what is not done yet;"
            " --remake also runs again what was done with it"
        )


def itself(dag: str, console: Console) -> bool:
    """After a run that failed: whether another one shall begin at once, since it makes anew what was damaged.

    Each file only once in the life of a run.
    """
    try:
        what = remake.due(dag, "itself")
        if what is None:
            return False
        remake.prepare(dag, what, "itself")
    except (OSError, DagError, MetaError) as error:
        console.warning(f"what is damaged cannot be made again: {error}")
        return False
    console.warning(remake.told(what))
    return True


def later(directory: str, dag: str, cluster: int) -> str:
    """At the end of a DAGMan that nobody waits for, job ``cluster``: has the queue call :func:`after`, if
    anything is to be made again. What went wrong, or ""."""
    try:
        if dagman.part_of_another(dag) or not remake.wanted(dag):
            return ""  # a sub-workflow is tried again by the whole
        schedd = find(os.environ)
        program = f"{Path(sys.argv[0]).parent}/pegasus-run"
        number = dagman.attended(schedd, dag, (program, "--after", str(cluster), directory))
    except (OSError, NoPool) as error:
        return str(error)
    print(f"job {number} goes on when DAGMan has ended, and has files made again", flush=True)
    return ""


def after(dag: str, cluster: int, console: Console) -> int:
    """Waits until DAGMan, job ``cluster``, has left the queue, and submits the run once more, if
    :func:`itself` says so. Gives the exit code."""
    from pegasus_toolkit.cli import workflow_submit
    from pegasus_toolkit.cli.workflow_progress import Progress

    try:
        schedd = find(os.environ)
        for _ in range(_PATIENCE):
            if not schedd.jobs(f"ClusterId == {cluster}"):
                break
            time.sleep(1)
        else:
            console.error(f"DAGMan, job {cluster}, is still there")
            return 1
        if dagman.running(schedd, dag) or not itself(dag, console):
            return 0
    except NoPool as error:
        console.error(str(error))
        return 1
    progress = Progress(console, str(Path(dag).parent))
    return workflow_submit.submit(schedd, dag, progress, out="nothing", wait=False)


def _busy(dag: str, schedd: Schedd | None) -> str:
    if schedd is not None:
        for job in dagman.running(schedd, dag):
            return f"is being run already, by DAGMan, job {job.cluster}"
    lock = Lock(dag)
    try:
        left = lock.take()
    except Running as running:
        return str(running)
    lock.release(keep=bool(left))
    return "was ended in the middle: pegasus-run goes on from there first" if left else ""
