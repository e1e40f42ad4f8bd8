"""The files that a run leaves beside its DAG: DAGMan's log, the event log, metrics."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.dag import dagman, events

_PACE = 1.0  # seconds between two tables of the counts in DAGMan's log


class Recovered(NamedTuple):
    """What the event log tells of a run that was killed: nodes that are done; for nodes whose job is over but
    not their POST script, what it returned; jobs that never ended, with their nodes; the highest number."""

    done: frozenset[str]
    ended: Mapping[str, int]
    lost: Mapping[int, str]
    last: int


def recover(file: str, offset: int, posts: frozenset[str]) -> Recovered:
    """Reads the event log; what was before ``offset`` counts for job numbers alone. ``posts``: the nodes that
    have POST scripts."""
    node_of: dict[int, str] = {}
    done: set[str] = set()
    ended: dict[str, int] = {}
    last = 0
    log = events.EventLog(file)
    for event in log:
        last = max(last, event.cluster)
        if log.offset <= offset:
            continue
        node = event.node or node_of.get(event.cluster, "")
        if event.kind == events.SUBMIT:
            node_of[event.cluster] = node
        elif event.kind in (events.TERMINATED, events.ABORTED):
            node_of.pop(event.cluster, None)
            status = _status(event)
            if node in posts and event.kind == events.TERMINATED:
                ended[node] = status
            elif event.kind == events.TERMINATED and not status:
                done.add(node)
        elif event.kind == events.POST_SCRIPT:
            ended.pop(node, None)
            if not _status(event):
                done.add(node)
        elif event.kind == events.PRE_SKIP:
            done.add(node)
    return Recovered(frozenset(done), ended, node_of, last)


def _status(event: events.Event) -> int:
    return event.returned if event.returned is not None else -(event.signal or 1)


class Records:
    """Writes them. What is written is in the files after :meth:`flush`, also if this process is killed."""

    def __init__(self, dag: str) -> None:
        self.dag = dag
        self.nodes_log = f"{dag}.nodes.log"
        self._host = f"{socket.gethostname()}:0"
        self._began = time.time()
        self._events: list[str] = []
        self._lines: list[str] = []
        self._counts: Mapping[str, int] = {}  # as the last table has them
        self._due = self._closed = False
        self._log = os.open(f"{dag}.nodes.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._out = os.open(f"{dag}.dagman.out", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._mend()

    def _mend(self) -> None:
        """Cuts off an event that was being written when an engine was killed."""
        size = os.fstat(self._log).st_size
        with Path(self.nodes_log).open("rb") as stream:
            at = max(size - (1 << 16), 0)
            stream.seek(at)
            tail = stream.read()
        end = tail.rfind(b"...\n")
        whole = at + end + 4 if end >= 0 else at
        if whole < size:
            os.ftruncate(self._log, whole)

    @property
    def offset(self) -> int:
        """The length of the event log."""
        return os.fstat(self._log).st_size

    def say(self, *lines: str) -> None:
        now = time.time()
        self._lines += [dagman.line(line, now) for line in lines]

    def submitted(self, cluster: int, node: str) -> None:
        self._events.append(events.submitted(cluster, time.time(), node, self._host))

    def executing(self, cluster: int) -> None:
        self._events.append(events.executing(cluster, time.time(), self._host))

    def event(self, text: str) -> None:
        self._events.append(text)

    def flush(self) -> None:
        if self._events:
            _write(self._log, "".join(self._events))
            self._events = []
        if self._lines:
            _write(self._out, "".join(self._lines))
            self._lines = []

    def begin(self) -> None:
        pid = os.getpid()
        self.say(
            "******************************************************",
            "** pegasus-run (LOCAL_ENGINE) STARTING UP",
            f"** PID = {pid}",
            "******************************************************",
            f"DAG file: {self.dag}",
        )

    def progress(self, counts: Mapping[str, int], later: Callable[[float, Callable[[], None]], None]) -> None:
        """Tables of ``counts`` in the log, as Pegasus' Python API reads them: one now, then one whenever they
        have changed, but not too often; ``later`` calls a function after so many seconds."""
        if not self._counts:
            self.say(f"DAG status: {dagman.OK} ({dagman.STATUSES[dagman.OK]})")
            self._table(counts)
        elif counts != self._counts and not self._due:
            self._due = True
            later(_PACE, lambda: self._table(counts))

    def _table(self, counts: Mapping[str, int]) -> None:
        self._due = False
        if not self._closed:
            self._counts = dict(counts)
            self.say(*dagman.table(counts))
            self.flush()

    def end(self, code: int, status: int, counts: Mapping[str, int], subdags: Mapping[str, int]) -> None:
        """The last line of the log, and the metrics. ``subdags``: how many nodes are, failed, succeeded."""
        self.say(
            f"DAG status: {status} ({dagman.STATUSES[status]})",
            *dagman.table(counts),
            f"Wrote metrics file {self.dag}.metrics.",
            f"**** pegasus-run (LOCAL_ENGINE) pid {os.getpid()} EXITING WITH STATUS {code}",
        )
        self.flush()
        self._metrics(code, status, counts, subdags)

    def close(self) -> None:
        self.flush()
        self._closed = True
        os.close(self._log)
        os.close(self._out)

    def _metrics(self, code: int, status: int, counts: Mapping[str, int], subdags: Mapping[str, int]) -> None:
        now, total = time.time(), sum(counts.values())
        known = {
            "client": "pegasus-run",
            "type": "metrics",
            "start_time": round(self._began, 3),
            "end_time": round(now, 3),
            "duration": round(now - self._began, 3),
            "exitcode": code,
            "jobs": total - subdags["all"],
            "jobs_failed": counts["failed"] - subdags["failed"],
            "jobs_succeeded": counts["done"] - subdags["done"],
            "dag_jobs": subdags["all"],
            "dag_jobs_failed": subdags["failed"],
            "dag_jobs_succeeded": subdags["done"],
            "total_jobs": total,
            "total_jobs_run": counts["failed"] + counts["done"],
            "DagStatus": status,
        }
        path = Path(f"{self.dag}.metrics")
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(json.dumps(known, indent=4) + "\n")
        aside.replace(path)


def finished(dag: str) -> bool:
    """Whether the last run of ``dag``, by DAGMan or here, ended with everything done."""
    try:
        known = json.loads(Path(f"{dag}.metrics").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(known, dict) and known.get("exitcode") == 0 and not known.get("DagStatus")


def _write(fd: int, text: str) -> None:
    content = memoryview(text.encode("utf-8", "surrogateescape"))
    while content:
        content = content[os.write(fd, content) :]
