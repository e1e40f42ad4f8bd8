"""How far a run is: counts by state, the state of the whole, and what is in progress."""

# pathlib would cost start-up time
# ruff: noqa: PTH123

from __future__ import annotations

import os
import sqlite3
import time
from typing import NamedTuple

from pegasus_toolkit.dag import dagman, process
from pegasus_toolkit.monitor.locate import Run

_STARTED = ("pre", "idle", "running", "held", "post")


class Counts(NamedTuple):
    """Nodes by what they are at, as DAGMan counts them; their sum is all nodes."""

    unready: int = 0
    ready: int = 0
    pre: int = 0
    queued: int = 0
    post: int = 0
    done: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All nodes."""
        return sum(self)

    @property
    def percent(self) -> float:
        """Of all nodes, those that are done; 100.0 only when all are."""
        return int(1000 * self.done / self.total) / 10 if self.total else 0.0

    def plus(self, other: Counts) -> Counts:
        """Of two DAGs together."""
        return Counts(*(one + two for one, two in zip(self, other, strict=True)))


class Job(NamedTuple):
    """A node in progress: in ``state`` for ``seconds``; ``reason``: why it is held."""

    node: str
    job: str
    state: str
    seconds: float
    host: str
    attempt: int
    reason: str


class Status(NamedTuple):
    """``state``: Running, Success, Failure, Held or Unknown; ``note``: what is to be known beside it.

    ``seconds``: since the last run of it began, until now or its end; None before the first.
    """

    counts: Counts
    state: str
    note: str
    seconds: float | None


def status(connection: sqlite3.Connection, run: Run, now: float = 0.0) -> Status:
    """Of one DAG; its sub-workflows count as the nodes that they are in it."""
    found: dict[str, int] = dict(connection.execute("SELECT state, count(*) FROM nodes GROUP BY state"))
    last = connection.execute(
        "SELECT started, ended, pid, status FROM runs ORDER BY id DESC LIMIT 1"
    ).fetchone()
    over = last is not None and last[1] is not None
    ready = _ready(connection)
    in_progress = sum(found.get(state, 0) for state in _STARTED)
    if over:  # what was removed with the engine, or went on without it, is to be tried again
        ready += in_progress
        found = {state: count for state, count in found.items() if state not in _STARTED}
    counts = Counts(
        unready=found.get("waiting", 0) - ready + (in_progress if over else 0),
        ready=ready,
        pre=found.get("pre", 0),
        queued=sum(found.get(state, 0) for state in ("idle", "running", "held")),
        post=found.get("post", 0),
        done=found.get("done", 0),
        failed=found.get("failed", 0),
    )
    state, note = _state(run, last, counts, found.get("held", 0))
    started = None if last is None else (last[1] or now or time.time()) - last[0]
    return Status(counts, state, note, started)


def _ready(connection: sqlite3.Connection) -> int:
    """Nodes that wait for no other; the final one waits for all."""
    undone = (
        "SELECT 1 FROM edges JOIN nodes AS parents ON parents.id = edges.parent"
        " WHERE edges.child = nodes.id AND parents.state != 'done'"
    )
    query = (
        f"SELECT count(*) FROM nodes WHERE state = 'waiting' AND kind != 'final' AND NOT EXISTS ({undone})"
    )
    return int(connection.execute(query).fetchone()[0])


def _state(
    run: Run, last: tuple[float, float | None, int | None, int | None] | None, counts: Counts, held: int
) -> tuple[str, str]:
    if last is None:
        begun = counts.total - counts.unready - counts.ready
        return "Unknown", "what runs it left no log" if begun else "it was not started yet"
    _, ended, pid, code = last
    if ended is not None:
        return _over(run, code, counts)
    if pid is not None and not alive(run, pid):
        text = f"what ran it (process {pid}) is gone from this machine and did not say why"
        return "Unknown", f"{text}; start it again to go on from here"
    if held and held == counts.queued and not counts.pre and not counts.post:
        return "Held", f"{held} held, and nothing else in progress"
    return "Running", f"{held} held" if held else ""


def _over(run: Run, code: int | None, counts: Counts) -> tuple[str, str]:
    if code == 0 and counts.failed:  # a final node that does well makes it so
        return "Failure", f"it ended with exit code 0, but {counts.failed} failed"
    if code and not counts.failed and (words := dagman.last_words(run.dag)):
        return "Failure", f"DAGMan gave up: {words}"
    return ("Failure", "") if code else ("Success", "")


def alive(run: Run, pid: int) -> bool:
    """Whether the process runs; one on another machine, as the local engine's lock tells, is believed to."""
    try:
        with open(run.file(".lock"), encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        lines = []
    known = dict(line.partition(" ")[::2] for line in lines[1:])
    if known.get("host", "") not in ("", os.uname().nodename):
        return True
    began = process.started(pid)
    if lines and lines[0].strip() == str(pid) and "started" in known:
        return began == known["started"]  # else its number is another's by now
    return bool(began)


def jobs(connection: sqlite3.Connection, now: float = 0.0) -> list[Job]:
    """What is in progress, the longest first."""
    rows = connection.execute(
        "SELECT nodes.name, nodes.state, nodes.since, attempts.job, attempts.host, attempts.reason,"
        " (SELECT count(*) FROM attempts AS all_of WHERE all_of.node = nodes.id)"
        " FROM nodes LEFT JOIN attempts ON attempts.id ="
        " (SELECT max(id) FROM attempts AS its WHERE its.node = nodes.id)"
        f" WHERE nodes.state IN ({', '.join('?' * len(_STARTED))}) ORDER BY nodes.since, nodes.id",
        _STARTED,
    )
    moment = now or time.time()
    return [
        Job(name, job or "", state, max(0.0, moment - since), host or "", tries, reason or "")
        for name, state, since, job, host, reason, tries in rows
    ]
