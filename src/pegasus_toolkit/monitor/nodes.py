"""Nodes and their attempts while a log is gone through: what each event makes of them.

A node is ``waiting`` (for others, or to be tried again), ``pre``, ``idle``, ``running``, ``held``, ``post``,
``done`` or ``failed``, which is for good: no retry is left, or its exit code forbids one.
"""

from __future__ import annotations

import sqlite3

from msgspec import Struct
from msgspec.structs import astuple

_NODE = "id, name, post, marked, retries, never, aborts, state, since, failures"
_ATTEMPT = (
    "id, node, job, submitted, started, ended, checked, status, signal, verdict, host, held, reason,"
    " removed, failed"
)


class _Node(Struct):
    id: int
    name: str
    post: int
    marked: int
    retries: int
    never: int | None
    aborts: int | None
    state: str
    since: float
    failures: int
    changed: bool = False


class _Attempt(Struct):
    id: int
    node: int
    job: str
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    checked: float | None = None
    status: int | None = None
    signal: int | None = None
    verdict: int | None = None
    host: str = ""
    held: float | None = None
    reason: str = ""
    removed: int = 0
    failed: int | None = None


def address(text: str) -> str:
    """The host in HTCondor's way to write an address: ``<host:port?more>``."""
    return text.strip().removeprefix("<").partition("?")[0].rstrip(">").rpartition(":")[0] or text


class Nodes:
    """Keeps what it touches in memory until :meth:`write`. Nodes that the DAG does not name are left out."""

    def __init__(self, connection: sqlite3.Connection, all: bool) -> None:
        self.connection = connection
        self.by_name: dict[str, _Node | None] = {}
        self.by_id: dict[int, _Node] = {}
        self.jobs: dict[str, _Attempt | None] = {}
        self.attempts: dict[int, _Attempt] = {}
        self.run = connection.execute("SELECT max(started) FROM runs").fetchone()[0] or 0.0
        self.next = 1 + (connection.execute("SELECT max(id) FROM attempts").fetchone()[0] or 0)
        if all:
            self._load()

    def _load(self) -> None:
        for row in self.connection.execute(f"SELECT {_NODE} FROM nodes ORDER BY id"):
            if row[1] not in self.by_name:
                self._known(_Node(*row))

    def _known(self, node: _Node) -> _Node:
        self.by_name[node.name] = self.by_id[node.id] = node
        return node

    def _node(self, name: str) -> _Node | None:
        if name not in self.by_name:
            found = self.connection.execute(f"SELECT {_NODE} FROM nodes WHERE name = ?", (name,)).fetchone()
            if found is None:
                self.by_name[name] = None
            else:
                self._known(_Node(*found))
        return self.by_name[name]

    def _of(self, attempt: _Attempt) -> _Node:
        if attempt.node not in self.by_id:
            where = f"SELECT {_NODE} FROM nodes WHERE id = ?"
            self._known(_Node(*self.connection.execute(where, (attempt.node,)).fetchone()))
        return self.by_id[attempt.node]

    def _job(self, job: str) -> _Attempt | None:
        """The last attempt under this id; jobs that are no node's are None."""
        if job not in self.jobs:
            where = f"SELECT {_ATTEMPT} FROM attempts WHERE job = ? ORDER BY id DESC LIMIT 1"
            found = self.connection.execute(where, (job,)).fetchone()
            self.jobs[job] = self._kept(_Attempt(*found)) if found else None
        return self.jobs[job]

    def _new(self, node: _Node, job: str) -> _Attempt:
        attempt = self.jobs[job] = self._kept(_Attempt(self.next, node.id, job))
        self.next += 1
        return attempt

    def _kept(self, attempt: _Attempt) -> _Attempt:
        self.attempts[attempt.id] = attempt
        return attempt

    def _state(self, node: _Node, state: str, at: float) -> None:
        node.state, node.since, node.changed = state, at, True

    def _finish(self, node: _Node, attempt: _Attempt | None, code: int, at: float) -> None:
        """An attempt is over; ``code`` as the last of its job and scripts ended."""
        if attempt is not None:
            attempt.failed = int(code != 0)
        if not code:
            self._state(node, "done", at)
            return
        node.failures += 1
        final = node.failures > node.retries or code in (node.never, node.aborts)
        self._state(node, "failed" if final else "waiting", at)

    # --- events of jobs

    def submitted(self, name: str, job: str, at: float) -> None:
        """A node's job is in the queue."""
        node = self._node(name)
        if node is not None:
            known = self._job(job) if self.next > 1 else None
            if known is None or known.submitted != at:
                self._new(node, job).submitted = at
            self._state(node, "idle", at)

    def started(self, job: str, at: float, host: str) -> None:
        """It runs."""
        attempt = self._job(job)
        if attempt is not None:
            attempt.started, attempt.host, attempt.held = at, address(host), None
            self._state(self._of(attempt), "running", at)

    def idle(self, job: str, at: float, released: bool) -> None:
        """It waits again: evicted, or ``released`` from hold."""
        attempt = self._job(job)
        if attempt is not None:
            attempt.held = None if released else attempt.held
            self._state(self._of(attempt), "idle", at)

    def held(self, job: str, at: float, reason: str) -> None:
        """It waits for somebody."""
        attempt = self._job(job)
        if attempt is not None:
            attempt.held, attempt.reason = at, reason
            self._state(self._of(attempt), "held", at)

    def ended(self, job: str, at: float, status: int | None, signal: int | None) -> None:
        """Its program ended by itself."""
        attempt = self._job(job)
        if attempt is not None:
            attempt.ended, attempt.status, attempt.signal = at, status, signal
            self._after(attempt, at, -signal if signal is not None else status or 0)

    def removed(self, job: str, at: float, reason: str) -> None:
        """It was removed. Why it was held before tells more than that it was removed for it."""
        attempt = self._job(job)
        if attempt is not None:
            attempt.ended, attempt.removed, attempt.failed = at, 1, 1
            attempt.reason = attempt.reason or reason
            if (attempt.submitted or 0.0) < self.run:  # what ran it then is gone, nobody waits for it
                self._state(self._of(attempt), "waiting", at)
            else:
                self._after(attempt, at, -1)

    def _after(self, attempt: _Attempt, at: float, code: int) -> None:
        node = self._of(attempt)
        if node.post:
            self._state(node, "post", at)
        else:
            self._finish(node, attempt, code, at)

    # --- events of scripts

    def preparing(self, name: str, at: float) -> None:
        """The PRE script runs."""
        node = self._node(name)
        if node is not None:
            self._state(node, "pre", at)

    def prepared(self, name: str, at: float, code: int) -> None:
        """The PRE script ended; with it the attempt, if it failed: DAGMan runs no POST script then."""
        node = self._node(name)
        if node is None or node.state != "pre":
            return
        if not code:
            self._state(node, "waiting", at)
            return
        attempt = self._new(node, f"pre.{self.next}")
        ended = f"ended with exit code {code}" if code > 0 else "was ended by a signal"
        attempt.ended, attempt.reason = at, f"its PRE script {ended}"
        self._finish(node, attempt, code, at)

    def checked(self, name: str, job: str, at: float, code: int) -> None:
        """The POST script ended, and with it the attempt. There may have been no job before it."""
        node = self._node(name)
        if node is None:
            return
        attempt = self._job(job)
        if attempt is None or attempt.node != node.id or attempt.checked is not None:
            attempt = self._new(node, job)
        attempt.checked, attempt.verdict = at, code
        self._finish(node, attempt, code, at)

    def skipped(self, name: str, at: float) -> None:
        """The PRE script said that the node need not run."""
        node = self._node(name)
        if node is not None:
            self._state(node, "done", at)

    # --- runs

    def done(self) -> set[str]:
        """The nodes that are done."""
        self._load()
        return {node.name for node in self.by_id.values() if node.state == "done"}

    def begin(self, done: set[str], at: float) -> None:
        """A new run, in which these nodes are done and no other has been tried."""
        self._load()
        for node in self.by_id.values():
            state = "done" if node.marked or node.name in done else "waiting"
            if node.state != state or node.failures:
                node.failures = 0
                self._state(node, state, at)

    def write(self) -> None:
        """All that changed, to the tables."""
        attempts = map(astuple, self.attempts.values())
        marks = ", ".join("?" * 15)
        self.connection.executemany(f"INSERT OR REPLACE INTO attempts VALUES ({marks})", attempts)
        changed = [(one.state, one.since, one.failures, one.id) for one in self.by_id.values() if one.changed]
        update = "UPDATE nodes SET state = ?, since = ?, failures = ? WHERE id = ?"
        self.connection.executemany(update, changed)
