"""A DAG given to DAGMan: begun, waited for, removed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.credentials import proxies
from pegasus_toolkit.dag import events, rescue
from pegasus_toolkit.dag.dagman import RESTART
from pegasus_toolkit.engines.htcondor.schedd import Job, NoPool, Schedd, Submission, text
from pegasus_toolkit.engines.local.lock import Lock, Running

FAILED, REMOVED = 1, 2  # exit codes, as DAGMan's
_LOG = ".dagman.log"  # beside the DAG, of DAGMan's own job
_BY_HAND = 1  # HTCondor's number for a job that somebody holds on purpose
_LOOK = 1.0  # seconds between two looks at the log of DAGMan's job
_ASK = 30  # looks between two questions to the queue: whether DAGMan's job is there
_GONE = 2  # questions in a row that found nothing
STUCK = 600  # seconds in which all that is left is held, and nobody releases it
SILENCE = 20  # questions in a row without an answer
# Paths of credentials: a sub-workflow is planned by DAGMan, with what the whole was planned with.
_INHERITED = (
    "X509_*",
    "SSH_PRIVATE_KEY*",
    "SSH_AUTH_SOCK",
    "IRODS_ENVIRONMENT_FILE*",
    "BOTO_CONFIG*",
    "GOOGLE_PKCS12*",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "TMPDIR",
)


# What DAGMan gets in any case, and so its scripts.
_ENVIRONMENT = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "PYTHONPATH",
    "PEGASUS_*",
    "CONDOR_CONFIG",
    "_CONDOR_*",
)


class Given(NamedTuple):
    """DAGMan's job: its number, where its events begin in the log, the rescue file it goes on from, or ""."""

    cluster: int
    offset: int
    rescue: str


class Ended(NamedTuple):
    """``code``: 0 all is done, 1 something failed, 2 it was removed. ``why``: "" where DAGMan says it."""

    code: int
    why: str = ""


def submit(schedd: Schedd, dag: str, environ: Mapping[str, str]) -> Given:
    """Gives ``dag`` to DAGMan, which goes on from the newest rescue file. ``environ``: of who submits.

    Raises :class:`Running` if it is being run, and ``NoPool``.
    """
    now = running(schedd, dag)
    if now:
        raise Running(f"is being run already, by DAGMan, job {now[0].cluster}")
    _not_local(dag)
    newest = rescue.newest(dag)
    log = Path(dag + _LOG)
    offset = log.stat().st_size if log.exists() else 0
    cluster = schedd.submit(
        Submission(dag, _attributes(dag), (*_INHERITED, *proxies.without_passwords(environ)))
    )
    return Given(cluster, offset, str(newest or ""))


def attended(schedd: Schedd, dag: str, words: Sequence[str]) -> int:
    """Has the queue run a command of ours on this machine, once, beside the DAG; gives the job's number.

    Raises ``NoPool``.
    """
    known = {
        **_attributes(dag),
        "pegasus_wf_xformation": "pegasus::remake",
        "pegasus_wf_dag_job_id": "remake",
    }
    lines = [
        "universe = local",
        f"executable = {words[0]}",
        f"arguments = {' '.join(words[1:])}",  # paths of a DAG have no spaces
        f"initialdir = {Path(dag).parent}",
        f"output = {dag}.remake.out",
        f"error = {dag}.remake.out",
        f"log = {dag}.remake.log",
        f"getenv = {', '.join(_ENVIRONMENT + _INHERITED)}",
        "notification = never",
        *(f"MY.{key} = {text(value)}" for key, value in known.items()),
        "queue",
    ]
    return schedd.start("\n".join((*lines, "")))


def running(schedd: Schedd, dag: str) -> list[Job]:
    """The jobs in the queue that are DAGMan with ``dag``."""
    return schedd.jobs(f"UserLog == {text(dag + _LOG)}")


def dag_of(schedd: Schedd, cluster: int) -> str:
    """The DAG file that DAGMan's job ``cluster`` runs; "" if that is no such job, or not in the queue."""
    for job in schedd.jobs(f"ClusterId == {cluster}"):
        if job.log.endswith(_LOG):
            return job.log.removesuffix(_LOG)
    return ""


def local(dag: str) -> bool:
    """Whether the local engine has a hold on ``dag``: it runs it, or was killed in the middle."""
    try:
        lines = Path(f"{dag}.lock").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    return any(line.startswith("started ") for line in lines[1:])


def _not_local(dag: str) -> None:
    """DAGMan would wait for jobs that the local engine had started. Raises :class:`Running`."""
    if local(dag):
        lock = Lock(dag)
        lock.take()
        lock.release(keep=True)
        raise Running(
            "was begun on this machine alone, by an engine that was killed; only it can go on from there"
        )


def wait(schedd: Schedd, dag: str, given: Given, meanwhile: Callable[[], str]) -> Ended:
    """Waits for the end of DAGMan, and calls ``meanwhile`` every second or so.

    It gives what nothing goes on for, "" where something does. After :data:`STUCK` seconds of that it is not
    waited for any longer; the run stays.

    A queue that does not answer may be starting again, and its jobs go on meanwhile. Raises ``NoPool`` where
    it is silent for :data:`SILENCE` questions.
    """
    log = events.EventLog(dag + _LOG, given.offset)
    looks = gone = silent = stuck = 0
    while True:
        for event in log:
            if event.cluster == given.cluster and (ended := _ended(event)) is not None:
                return ended
        if gone >= _GONE:
            return Ended(FAILED, "DAGMan's job left the queue and its log does not say how it ended")
        held = meanwhile()
        stuck = stuck + 1 if held else 0
        if stuck > STUCK / max(_LOOK, 1.0):
            return Ended(FAILED, f"{held}; not waited for any longer, condor_release lets it go on")
        time.sleep(_LOOK)
        looks += 1
        if looks % _ASK:
            continue
        try:
            gone = 0 if schedd.jobs(f"ClusterId == {given.cluster}") else gone + 1
            silent = 0
        except NoPool:
            silent += 1
            if silent >= SILENCE:
                raise


def _ended(event: events.Event) -> Ended | None:
    if event.kind == events.TERMINATED:
        if event.returned is None:
            return Ended(FAILED, f"DAGMan was ended by signal {event.signal}")
        if event.returned == RESTART:
            return None  # it waits in the queue to be started again
        return Ended(event.returned)
    if event.kind == events.ABORTED:
        return Ended(REMOVED, f"DAGMan was removed: {event.reason or 'by its user'}")
    if event.kind == events.HELD and event.code != _BY_HAND:
        return Ended(FAILED, f"DAGMan is held: {event.reason}; condor_release {event.cluster} lets it go on")
    return None


def remove(schedd: Schedd, dag: str, meanwhile: Callable[[int], bool]) -> bool:
    """Ends DAGMan and its jobs, and waits until they have left the queue.

    ``meanwhile`` is told how many are still there, every second or so; it says false to wait no longer, and
    then this gives false. Raises ``NoPool``.
    """
    clusters = [one.cluster for one in running(schedd, dag)]
    for cluster in clusters:
        schedd.remove(cluster)
    theirs = [f"ClusterId == {one} || DAGManJobId == {one}" for one in clusters]
    known = _attributes(dag)
    for key in ("pegasus_root_wf_uuid", "pegasus_wf_uuid"):
        if known.get(key) == known.get("pegasus_wf_uuid", ""):
            theirs.append(f"{key} == {text(known[key])}")
    while left := schedd.jobs(" || ".join(theirs)):
        if not meanwhile(len(left)):
            return False
        time.sleep(_LOOK)
    return True


def part_of_another(dag: str) -> bool:
    """Whether it is a sub-workflow."""
    known = _attributes(dag)
    return known.get("pegasus_root_wf_uuid") != known.get("pegasus_wf_uuid")


def _attributes(dag: str) -> dict[str, str]:
    """What Pegasus' own tools look for in the ad of DAGMan's job; nothing for what is no plan of ours."""
    try:
        known = json.loads(Path(dag).with_name("braindump.yml").read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, Mapping) or known.get("dag") != Path(dag).name:
        return {}
    return {
        "pegasus_wf_uuid": str(known["wf_uuid"]),
        "pegasus_root_wf_uuid": str(known["root_wf_uuid"]),
        "pegasus_wf_name": str(known["pegasus_wf_name"]),
        "pegasus_wf_xformation": "pegasus::dagman",
        "pegasus_wf_dag_job_id": "dagman",
        "pegasus_site": "local",
    }
