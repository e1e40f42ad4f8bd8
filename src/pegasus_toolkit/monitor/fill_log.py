"""What became of nodes and runs, from HTCondor's event log and DAGMan's own; the local engine writes both.

The event log is read first. Whatever stands in it then, DAGMan's log tells of already: the beginning of
the run that it is of, the PRE scripts before it.
"""

# pathlib would cost start-up time
# ruff: noqa: PTH118, PTH123

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from heapq import merge

from pegasus_toolkit.dag import events, rescue
from pegasus_toolkit.dag.dagman import RESTART, Sentence, sentence
from pegasus_toolkit.dag.events import Event, EventLog
from pegasus_toolkit.dag.problems import DagError
from pegasus_toolkit.monitor import sources
from pegasus_toolkit.monitor.locate import Run
from pegasus_toolkit.monitor.nodes import Nodes

_BLOCK = 1 << 20
_MANY = 2000  # events for which all nodes are loaded at once
_SURE, _LIKELY = 1, 2  # that a run recovers
# What is of interest in DAGMan's log; the lines that hold none of these are most of it.
_MARKS = (
    b" STARTING UP",
    b"** PID = ",
    b"Lock file ",
    b"-DoRecovery",
    b"Running in RECOVERY",
    b"USING RESCUE DAG ",
    b"Running rescue DAG ",
    b"Bootstrapping",
    b"PRE script of Node ",
    b"PRE Script of ",
    b"EXITING WITH STATUS ",
)


def fill(connection: sqlite3.Connection, run: Run) -> None:
    """Takes in what the two logs have that is new."""
    log, said = run.file(".nodes.log"), run.file(".dagman.out")
    at = sources.position(connection, "events", log)
    found, reader = [], EventLog(log, at.offset)
    if at.size > at.offset:
        found = list(reader)
    at_said = sources.position(connection, "dagman", said)
    lines, offset = _sentences(said, at_said.offset, at_said.size)
    if not found and not lines:
        return
    filling = _Filling(connection, run, len(found) > _MANY)
    # Each log is in its own order, whatever the clock did; at the same second DAGMan's goes first.
    both: Iterator[Event | Sentence] = merge(lines, found, key=lambda one: one.at)
    for one in both:
        if isinstance(one, Event):
            filling.event(one)
        else:
            filling.sentence(one)
    filling.nodes.write()
    sources.reached(connection, "events", reader.offset, at.head)
    sources.reached(connection, "dagman", offset, at_said.head)


def _sentences(path: str, offset: int, size: int) -> tuple[list[Sentence], int]:
    """Those that matter, and how far whole lines go."""
    found: list[Sentence] = []
    if size <= offset:
        return found, offset
    with open(path, "rb") as stream:
        stream.seek(offset)
        rest = b""
        while block := stream.read(_BLOCK):
            # What follows the last line's end is being written, or goes on in the next block.
            whole, end, rest = (rest + block).rpartition(b"\n")
            offset += len(whole) + len(end)
            for line in _of_interest(whole):
                one = sentence(line.decode("utf-8", "replace"))
                if one is not None:
                    found.append(one)
    return found, offset


def _of_interest(text: bytes) -> Iterator[bytes]:
    """Lines that hold a mark. Looking for each mark in all of the text is much faster than line by line."""
    begins = set()
    for mark in _MARKS:
        at = text.find(mark)
        while at >= 0:
            begins.add(text.rfind(b"\n", 0, at) + 1)
            at = text.find(mark, at + 1)
    for begin in sorted(begins):
        end = text.find(b"\n", begin)
        yield text[begin : end if end >= 0 else len(text)]


class _Filling:
    def __init__(self, connection: sqlite3.Connection, run: Run, many: bool) -> None:
        self.connection, self.run = connection, run
        self.nodes = Nodes(connection, many)

    # --- the event log

    def event(self, event: Event) -> None:
        """One event; what no node is known for is passed over."""
        job = f"{event.cluster}.{event.proc}.{event.subproc}"
        if event.kind == events.POST_SCRIPT:
            self.nodes.checked(event.node, job, event.at, _status(event))
        elif event.kind == events.PRE_SKIP:
            self.nodes.skipped(event.node, event.at)
        elif event.kind == events.SUBMIT and event.node:
            self.nodes.submitted(event.node, job, event.at)
        else:
            self._job(event, job)

    def _job(self, event: Event, job: str) -> None:
        match event.kind:
            case events.EXECUTE:
                self.nodes.started(job, event.at, event.text.partition(": ")[2])
            case events.TERMINATED:
                self.nodes.ended(job, event.at, event.returned, event.signal)
            case events.ABORTED:
                self.nodes.removed(job, event.at, event.reason)
            case events.HELD:
                self.nodes.held(job, event.at, f"{event.reason} (code {event.code})")
            case events.RELEASED:
                self.nodes.idle(job, event.at, released=True)
            case 4 | 7:  # evicted, or its shadow failed
                self.nodes.idle(job, event.at, released=False)

    # --- DAGMan's log

    def sentence(self, one: Sentence) -> None:
        """One line of DAGMan's."""
        text = one.text
        if text.startswith("Running PRE script of Node "):
            self.nodes.preparing(one.node, one.at)
        elif text.startswith("PRE Script of "):
            self.nodes.prepared(one.node, one.at, _script(text))
        elif " STARTING UP" in text:
            self._starting(one.at)
        elif text.startswith("** PID = "):
            self._run("pid", text.split()[3])
        elif text.startswith(("Lock file ", "Running in")):
            self._run("recovery", _SURE)
        elif text.startswith(("USING RESCUE DAG ", "Running rescue DAG ")):
            self._rescue(text.split(" ", 3)[3], one.at)
        elif text.startswith("Bootstrapping"):
            self._bootstrapping(one.at)
        elif "EXITING WITH STATUS " in text:
            self._exiting(one.at, int(text.rpartition(" ")[2]), "pegasus-run" not in text)

    def _exiting(self, at: float, status: int, condor: bool) -> None:
        if condor and status == RESTART:  # HTCondor starts it again; nobody runs it until then
            self._run("pid", None)
            return
        self._run("ended", at)
        self._run("status", status)

    def _run(self, column: str, value: object) -> None:
        """Of the last run."""
        last = "(SELECT max(id) FROM runs)"
        self.connection.execute(f"UPDATE runs SET {column} = ? WHERE id = {last}", (value,))

    def _last(self) -> tuple[int, str, float | None]:
        last = "SELECT recovery, rescue, ended FROM runs ORDER BY id DESC LIMIT 1"
        return self.connection.execute(last).fetchone() or (0, "", 0.0)

    def _starting(self, at: float) -> None:
        """After one that did not come to its end, it goes on where that was. Else what is done stays so."""
        recovery = _LIKELY if self._last()[2] is None else 0
        self.connection.execute("INSERT INTO runs (started, recovery) VALUES (?, ?)", (at, recovery))
        self.nodes.run = at
        if not recovery:
            self.nodes.begin(self.nodes.done(), at)

    def _rescue(self, file: str, at: float) -> None:
        """What is done is known exactly now."""
        self._run("rescue", file)
        if not self._last()[0]:
            self.nodes.begin(self._done(file), at)

    def _bootstrapping(self, at: float) -> None:
        """DAGMan has said by now whether it recovers; the local engine has no such word."""
        recovery, file, _ = self._last()
        if recovery != _SURE:
            self._run("recovery", 0)
            self.nodes.begin(self._done(file), at)

    def _done(self, file: str) -> set[str]:
        if not file:
            return set()
        try:
            return rescue.read(os.path.join(self.run.directory, file))
        except (OSError, DagError):
            return self.nodes.done()  # gone since: what was done before it still is


def _script(text: str) -> int:
    """How a PRE script ended, from DAGMan's sentence of it; -1 for a signal."""
    if text.endswith("completed successfully."):
        return 0
    status = text.rpartition("failed with status ")[2]
    return int(status) if status.isdecimal() else -1


def _status(event: Event) -> int:
    """As a shell tells it, but for signals, which are negative."""
    if event.signal is not None:
        return -event.signal
    return event.returned if event.returned is not None else -1
