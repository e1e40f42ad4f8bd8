"""Lanes: what waits for one route between two endpoints, and whether one more worker would help."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer.engine.hosts import Host
from pegasus_toolkit.transfer.engine.routes import Route
from pegasus_toolkit.transfer.engine.tasks import Task
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Control, Endpoint

SMALL = 64 * 1024  # bytes: below this mean size Python, not the bytes, is the limit
WORTH = 1 << 20  # the same where many files share a connection, and one more of them is dear
SPOOL = 8 << 20  # bytes of one relayed file in memory; larger ones go through a pipe
THROUGH = frozenset({"relay", "pipe", "staged"})  # read from one and written to the other at once
SILENT = 2.0  # seconds without a byte, after which a worker's slots are lent to others


class Key(NamedTuple):
    """What makes two operations fit for one batch."""

    verb: str
    source: Endpoint | None
    destination: Endpoint
    flags: tuple[bool, ...] = ()


class AtWork(Protocol):
    """A worker, as its lane sees it."""

    control: Control
    silent: bool

    @property
    def busy(self) -> int:
        """How many jobs it has under way."""


class Lane:
    """Tasks that wait for one route; ``queue`` holds tasks, or indices of operations to be read again."""

    def __init__(
        self,
        key: Key,
        route: Route,
        in_flight: int,
        threads: int,
        *,
        pipelined: bool = False,
        waits: bool = False,
    ) -> None:
        self.key = key
        self.route = route
        self.in_flight = in_flight
        self.slots = 1 if pipelined else in_flight  # that one worker can use
        self.small = WORTH if pipelined else SMALL
        self.threads = threads  # 0: as many as the limits allow
        self.waits = waits  # at a server whose silence means nothing
        self.queue: deque[Task | int] = deque()
        self.workers: list[AtWork] = []
        self.finished = 0
        self.bytes = 0  # payload of workers that ended
        self.down: TransferError | None = None  # it cannot be opened ...
        self.down_until = 0.0  # ... and until then nobody else need try
        remote = [e for e in (key.source, key.destination) if e is not None and e.scheme not in LOCAL]
        self.host_names = tuple(dict.fromkeys(e.host for e in remote))
        within = len(remote) > len(self.host_names) and route.verb in THROUGH
        self.connections = 2 if within else 1  # that one file takes at its host
        self.hosts: tuple[Host, ...] = ()  # of those names, once it has its place among the others

    @property
    def exempt_from_limits(self) -> bool:
        """Listing directories feeds the others, so it must never wait for them."""
        return self.route.verb == "list"

    def paused(self, now: float) -> bool:
        """Whether one of its hosts may not be asked now."""
        return any(host.paused_until > now for host in self.hosts)

    def host_of(self, error: TransferError) -> Host | None:
        """Which of its hosts an error tells of: by name, else by side; ``None`` where nobody knows."""
        if len(self.hosts) == 1:
            return self.hosts[0]
        end = {"source": self.key.source, "destination": self.key.destination}.get(error.side)
        names = (error.host, end.host if end is not None else None)
        return next((host for name in names for host in self.hosts if host.name == name), None)

    def wants_another_worker(self) -> bool:
        """Whether one more worker would make it faster.

        One thread keeps many small files in flight; more of them only fight for the interpreter.
        They help where a thread serves one file at a time, or where the time goes into bytes.
        """
        if not self.workers:
            return True
        if self.threads and len(self.workers) >= self.threads:
            return False
        if any(worker.silent for worker in self.workers):
            return False  # its host hangs
        if self.in_flight == 1 and self.host_names:
            return True
        moved = self.bytes + sum(w.control.bytes for w in self.workers)
        begun = self.finished + sum(w.busy for w in self.workers)
        return moved >= self.small * max(1, begun)
