"""The part of ``pegasus-run`` that has damaged files of a run made again."""

from __future__ import annotations

from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.dag.problems import DagError
from pegasus_toolkit.engines import remake
from pegasus_toolkit.engines.htcondor.schedd import NoPool, Schedd
from pegasus_toolkit.engines.local.lock import Lock, Running
from pegasus_toolkit.integrity.meta import MetaError


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


def _busy(dag: str, schedd: Schedd | None) -> str:
    if schedd is not None:
        from pegasus_toolkit.engines.htcondor import dagman

        for job in dagman.running(schedd, dag):
            return f"is being run already, by DAGMan, job {job.cluster}"
    lock = Lock(dag)
    try:
        left = lock.take()
    except Running as running:
        return str(running)
    lock.release(keep=bool(left))
    return "was ended in the middle: pegasus-run goes on from there first" if left else ""
