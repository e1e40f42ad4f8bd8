"""What failed in a run, and all that is known of it."""

# pathlib would cost start-up time
# ruff: noqa: PTH113, PTH118, PTH120, PTH123

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from pegasus_toolkit.dag import dagman
from pegasus_toolkit.monitor import fill_records
from pegasus_toolkit.monitor.hints import NEVER, NO_RECORD, NOT_SUBMITTED, PRE_SCRIPT, REMOVED, Cause, hints
from pegasus_toolkit.monitor.locate import Run
from pegasus_toolkit.records import Record, TaskRecord, TransferRecord

_TAIL = 16 * 1024  # bytes of an output file that are read
_COLUMNS = (
    "nodes.id, nodes.name, nodes.kind, nodes.state, nodes.submit, nodes.bundle, nodes.dag, attempts.id,"
    " attempts.job, attempts.status, attempts.signal, attempts.verdict, attempts.host, attempts.reason,"
    " attempts.removed, attempts.started, attempts.ended"
)


class Failure(NamedTuple):
    """A node that ``failed`` or is ``held``, and its last attempt.

    ``failure``: why, by kind, as records have it, or of an attempt without one. ``status``: of the job,
    negative for a signal, None where it did not end by itself. ``why``: what the check of its record said;
    ``reason``: why it was held or removed. ``tasks``: programs that were run or were to be. ``files``: what
    to look at, by what it is. ``output``: ends of what was said, by whom. ``subworkflow``: the submit
    directory of the DAG that the node is.
    """

    node: str
    state: str
    kind: str
    attempts: int
    job: str
    site: str
    host: str
    seconds: float | None
    status: int | None
    phase: str
    failure: str
    error: str
    why: str
    reason: str
    tasks: list[TaskRecord]
    transfers: list[TransferRecord]
    files: dict[str, str]
    output: dict[str, str]
    hints: list[str]
    subworkflow: str


class Totals(NamedTuple):
    """Nodes; ``unsubmitted`` were never tried, ``unfinished`` are in progress or to be tried again."""

    total: int
    succeeded: int
    failed: int
    held: int
    unsubmitted: int
    unfinished: int


def totals(connection: sqlite3.Connection) -> Totals:
    """Of one DAG."""
    found: dict[str, int] = dict(connection.execute("SELECT state, count(*) FROM nodes GROUP BY state"))
    tried = "EXISTS (SELECT 1 FROM attempts WHERE node = nodes.id)"
    waiting = f"SELECT count(*) FROM nodes WHERE state = 'waiting' AND NOT {tried}"
    unsubmitted = connection.execute(waiting).fetchone()[0]
    all_of, done, failed, held = (
        sum(found.values()),
        *(found.get(state, 0) for state in ("done", "failed", "held")),
    )
    return Totals(all_of, done, failed, held, unsubmitted, all_of - done - failed - held - unsubmitted)


def failures(connection: sqlite3.Connection, run: Run) -> Iterator[Failure]:
    """Nodes that failed for good or are held, in the DAG's order.

    The final node, which fails with the run, is told only if nothing else failed.
    """
    last = "(SELECT max(id) FROM attempts WHERE node = nodes.id)"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM nodes LEFT JOIN attempts ON attempts.id = {last}"
        " WHERE nodes.state IN ('failed', 'held') ORDER BY nodes.kind = 'final', nodes.id"
    ).fetchall()
    for at, row in enumerate(rows):
        if row[2] != "final" or at == 0:
            yield _failure(connection, run, row)


def _failure(connection: sqlite3.Connection, run: Run, row: tuple[object, ...]) -> Failure:
    id, name, kind, state, submit, bundle, dag, attempt, job = row[:9]
    status, signal, verdict, host, reason, removed, started, ended = row[9:]
    told = _told(connection, int(str(id)), attempt)
    found = fill_records.read(run, told[1], told[2]) if told else None
    record = found or Record(node=str(name))
    code = -int(str(signal)) if signal is not None else _whole(status)
    if code is None and told:
        code = told[3]
    files = _files(run, str(name), str(submit))
    tasks = record.tasks or _planned(run, str(bundle), str(name))
    wrong = [one for one in record.transfers if one.error]
    output = _output(record, files)
    before = str(job).startswith("pre.")  # its PRE script ended the attempt
    if not before:
        output.pop("PRE script", None)
    count = connection.execute("SELECT count(*) FROM attempts WHERE node = ?", (id,)).fetchone()[0]
    failure = Failure(
        node=str(name),
        state=str(state),
        kind=record.kind or str(kind),
        attempts=max(count, told[4] if told else 0),
        job=str(job or ""),
        site=record.site,
        host=record.host or str(host or ""),
        seconds=_span(started, ended),
        status=code,
        phase=record.phase,
        failure=record.failure if found else _without(code, before, bool(removed), str(job or "")),
        error=record.error if found else "",
        why=told[0] if told else _verdict(verdict),
        reason=str(reason or ""),
        tasks=tasks,
        transfers=wrong,
        files=files,
        output=output,
        hints=[],
        subworkflow=os.path.dirname(str(dag)),
    )
    return failure._replace(hints=_hints(failure, run))


def _without(code: int | None, before: bool, removed: bool, job: str) -> str:
    """The kind of a failure that left no record, by DAGMan's numbers."""
    if before or code == dagman.JOB_SKIPPED:
        return PRE_SCRIPT
    if code == dagman.SUBMIT_FAILED:
        return NOT_SUBMITTED
    if removed or code == dagman.JOB_ABORTED:
        return REMOVED
    return NO_RECORD if job else NEVER


def _told(
    connection: sqlite3.Connection, node: int, attempt: object
) -> tuple[str, int, int, int | None, int] | None:
    """Of the attempt's record: why, its place, how the job ended, the attempt's number."""
    found: tuple[str, int, int, int | None, int] | None = connection.execute(
        "SELECT why, offset, length, status, number FROM records WHERE node = ? AND (attempt IS NULL OR"
        " attempt = ? OR ? IS NULL) ORDER BY id DESC LIMIT 1",
        (node, attempt, attempt),
    ).fetchone()
    return found


def _whole(value: object) -> int | None:
    return int(str(value)) if value is not None else None


def _span(started: object, ended: object) -> float | None:
    return ended - started if isinstance(started, float) and isinstance(ended, float) else None


def _verdict(verdict: object) -> str:
    return f"the POST script ended with {verdict}" if verdict not in (None, 0) else ""


def _planned(run: Run, bundle: str, node: str) -> list[TaskRecord]:
    """What the node was to run; nothing where another program planned it."""
    return [
        TaskRecord(
            id=one["id"],
            transformation=one["transformation"],
            program=one["program"],
            arguments=tuple(one.get("arguments", ())),
        )
        for one in run.planned(bundle, node).get("tasks", ())
    ]


def _files(run: Run, node: str, submit: str) -> dict[str, str]:
    """Those that are there."""
    logs = f"{run.directory}/logs"
    places = {
        "stdout": (f"{logs}/{node}.out", f"{run.directory}/{node}.out.000", f"{run.directory}/{node}.out"),
        "stderr": (f"{logs}/{node}.err", f"{run.directory}/{node}.err.000", f"{run.directory}/{node}.err"),
        "PRE script": (f"{logs}/{node}.pre.log",),
        "record": (f"{run.directory}/records/{node}.json",),
        "operations": (f"{run.directory}/jobs/{node}.spec.json",),
        "submit file": (os.path.join(run.directory, submit),),
        "event log": (run.file(".nodes.log"),),
    }
    found = {}
    for what, paths in places.items():
        path = next((one for one in paths if os.path.isfile(one)), "")
        if path:
            found[what] = path
    return found


def _output(record: Record, files: dict[str, str]) -> dict[str, str]:
    """Of the program that failed; of the job itself, which repeats it, where there is none."""
    found = {}
    if record.tasks:
        last = record.tasks[-1]
        found[f"{last.id or 'program'} stdout"], found[f"{last.id or 'program'} stderr"] = (
            last.stdout,
            last.stderr,
        )
    if not any(text.strip() for text in found.values()):
        found = {f"job's {what}": _tail(files.get(what, "")) for what in ("stdout", "stderr")}
        found["PRE script"] = _tail(files.get("PRE script", ""))
    return {who: text for who, text in found.items() if text.strip()}


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - _TAIL))
            return stream.read(_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""


def _hints(failure: Failure, run: Run) -> list[str]:
    if failure.kind == "subworkflow" and failure.failure == PRE_SCRIPT:
        again = "pegasus-run plans it anew" if "PRE script" in failure.output else "run the script by hand"
        return [f"it could not be planned: mend what its PRE script says; then {again}"]
    if failure.kind == "subworkflow":
        return [f"see what failed in it: pegasus-analyzer {failure.subworkflow}"]
    if failure.kind == "final":
        return ["the run as a whole is not what it should be: its record tells which outputs are missing"]
    if failure.state == "held":
        return [
            "mend what the reason names, then: condor_release " + failure.job.partition(".")[0],
            *hints(_cause(failure._replace(failure=REMOVED), run)),
        ]
    return hints(_cause(failure, run))


def _cause(failure: Failure, run: Run) -> Cause:
    ours = bool(failure.tasks) or failure.kind != "job"
    program = failure.tasks[-1] if failure.tasks and failure.phase == "run" else None
    status = failure.status
    if program is not None:
        status = -program.signal if program.signal is not None else program.exit
    of_files = failure.phase not in ("", "run")  # then no program has anything to say of it
    return Cause(
        kind="job" if failure.failure == NO_RECORD and not ours else failure.failure,
        said="\n".join((failure.reason, *(() if of_files else failure.output.values()))),
        status=status,
        memory=max((one.max_rss for one in failure.tasks), default=0),
        job_file=failure.files.get("operations", ""),
        directory=run.directory,
    )
