"""Lanes: what waits for one route between two endpoints, and the workers that serve it.

A worker is one thread with its backends. It hands the backend a live iterator over its lane, so
that the connection stays full, and settles each job that comes out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from pegasus_toolkit.transfer.errors import Defect, TransferError, Unreachable, from_oserror
from pegasus_toolkit.transfer.interface import Backend, Control, Endpoint, Job
from pegasus_toolkit.transfer.routes import LOCAL, Route
from pegasus_toolkit.transfer.tasks import Task

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.scheduler import Scheduler

TURN = 0.25  # seconds that a worker keeps its slots while other lanes wait for some
SMALL = 64 * 1024  # bytes: below this mean size Python, not the bytes, is the limit
WORTH = 1 << 20  # the same where many files share a connection, and one more of them is dear
SPOOL = 8 << 20  # bytes of one relayed file in memory; larger ones go through a pipe
SILENT = 2.0  # seconds without a byte, after which a worker's slots are lent to others


class Key(NamedTuple):
    """What makes two operations fit for one batch."""

    verb: str
    source: Endpoint | None
    destination: Endpoint
    flags: tuple[bool, ...] = ()


class Lane:
    """Tasks that wait for one route; ``queue`` holds tasks, or indices of operations to be read again."""

    def __init__(self, key: Key, route: Route, in_flight: int, threads: int, pipelined: bool = False) -> None:
        self.key = key
        self.route = route
        self.in_flight = in_flight
        self.slots = 1 if pipelined else in_flight  # that one worker can use
        self.small = WORTH if pipelined else SMALL
        self.threads = threads  # 0: as many as the limits allow
        self.queue: deque[Task | int] = deque()
        self.workers: list[Worker] = []
        self.finished = 0
        self.bytes = 0  # payload of workers that ended
        self.good_at = 0.0  # when a job last succeeded
        self.paused_until = 0.0  # a server asked for a pause
        self.down: TransferError | None = None  # the host does not answer ...
        self.down_until = 0.0  # ... and until then nobody else need try
        ends = [e for e in (key.source, key.destination) if e is not None and e.scheme not in LOCAL]
        self.hosts = tuple({e.host for e in ends})

    @property
    def free_of_slots(self) -> bool:
        """Listing directories feeds the others, so it must never wait for them."""
        return self.route.verb == "list"

    def helps(self) -> bool:
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
        if self.in_flight == 1 and self.hosts:
            return True
        moved = self.bytes + sum(w.control.bytes for w in self.workers)
        begun = self.finished + sum(len(w.taken) for w in self.workers)
        return moved >= self.small * max(1, begun)


class Worker:
    """One thread's batch on one lane."""

    def __init__(self, scheduler: Scheduler, lane: Lane, slots: int, control: Control) -> None:
        self.scheduler = scheduler
        self.lane = lane
        self.slots = slots
        self.control = control
        self.taken: dict[Job[Any], None] = {}
        self.backends: list[tuple[Endpoint, int, Backend]] = []
        self.began = monotonic()
        self.sign = (-1, -1)  # bytes and jobs when last looked at
        self.moved_at = self.began
        self.finished = 0
        self.silent = False
        self.abandoned = False
        self.halted = False  # one half of a relay failed: take nothing more
        self.thread = threading.Thread(target=self._run, name=f"{lane.route.verb}", daemon=True)

    def lend(self, endpoint: Endpoint, connections: int | None = None) -> Backend:
        """A backend for this batch; given back, or closed after a failure, when the batch is over."""
        n = connections or max(1, min(self.slots, self.lane.in_flight))
        backend = self.scheduler.pool.lend(endpoint, n)
        self.backends.append((endpoint, n, backend))
        return backend

    def jobs(self, prepare: Callable[[Task], Job[Any]]) -> Iterator[Job[Any]]:
        """The live iterator: ends when nothing is ready now, or when the slots are wanted elsewhere."""
        while not self._ending():
            task = self.scheduler.next(self.lane)
            if task is None:
                return
            task.begin()
            try:
                job = prepare(task)
            except TransferError as error:
                self.failed(task, error)
                continue
            except OSError as error:
                self.failed(task, from_oserror(error, side="destination"))
                continue
            self.taken[job] = None
            yield job

    def _ending(self) -> bool:
        if self.control.stop is not None or self.abandoned or self.halted:
            return True
        if self.lane.paused_until and monotonic() < self.lane.paused_until:
            return True
        return self.scheduler.contended and monotonic() - self.began > TURN

    def over(self, job: Job[Any], size: int, digest: str, remote: bool = False) -> None:
        """Settles a job that is over, well or not."""
        if self.abandoned or self.taken.pop(job, self) is self:
            return
        task: Task = job.task
        self.finished += 1
        if job.error is not None:
            self.failed(task, job.error, size)
            return
        lane = self.lane
        lane.finished += 1
        lane.good_at = monotonic()
        task.tried(lane.route.kind, size, None)
        self.scheduler.settle(task, task.done(lane.route.kind, size, digest, remote))

    def failed(self, task: Task, error: TransferError, size: int = 0) -> None:
        """One attempt failed."""
        lane = self.lane
        began = task.started
        task.tried(lane.route.kind, size, error)
        self.scheduler.failed(lane, task, error)
        if isinstance(error, Unreachable) and began and not lane.good_at:
            self.scheduler.share(lane, error)

    def broken(self, error: TransferError) -> None:
        """The batch as a whole failed: so did all that was taken; if nothing was, all that waits."""
        jobs, self.taken = list(self.taken), {}
        for job in jobs:
            if job.end is not None:
                close = getattr(job.end, "abort", None) or job.end.close
                close()
            self.failed(job.task, error)
        if not jobs and self.control.stop is None:
            self.scheduler.share(self.lane, error)

    def _run(self) -> None:
        error: TransferError | None = None
        try:
            self.scheduler.move(self)
        except TransferError as raised:
            error = raised
        except OSError as raised:
            error = from_oserror(raised)
        except Exception as raised:  # noqa: BLE001  a defect must fail its files, not hang the run
            error = Defect.wrap(raised)
        if error is not None and self.control.stop is not None:
            error = self.control.stop  # closing the backend was our own doing
        if not self.abandoned:
            if error is not None or self.taken:
                self.broken(error or Defect("the backend lost track of it"))
            self._give_back(bool(error) or self.control.stop is not None)
        self.scheduler.ended(self)

    def _give_back(self, failed: bool) -> None:
        for endpoint, connections, backend in self.backends:
            if failed:
                backend.close()
            else:
                self.scheduler.pool.give_back(endpoint, connections, backend)

    def stop(self, error: TransferError) -> None:
        """From another thread: every end raises ``error`` at its next byte."""
        if self.control.stop is None:
            self.control.stop = error

    def cut(self) -> None:
        """From another thread: closes the connections, so that blocking calls return."""
        for _, _, backend in list(self.backends):
            backend.close()
