"""Workers: one thread with its backends, serving one lane.

It hands the backend a live iterator over its lane, so that the connection stays full, and settles
each job that comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from pegasus_toolkit.transfer.engine.lanes import Lane
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.tasks import Parent, Task
from pegasus_toolkit.transfer.errors import CannotCopy, Defect, Permanent, TransferError, translate
from pegasus_toolkit.transfer.interface import Backend, Control, Endpoint, Job, Measured
from pegasus_toolkit.transfer.model import Operation, Outcome
from pegasus_toolkit.transfer.observer import UnderWay

TURN = 0.25  # seconds that a worker keeps its slots while other lanes wait for some


class Dispatcher(Protocol):
    """What a worker needs of the scheduler; may be called from any thread."""

    pool: Pool
    runtime: Runtime
    contended: bool  # others wait for slots
    paused: bool  # this machine needs a rest
    strained: bool  # success is to be told also where no host is concerned

    def next(self, lane: Lane) -> Task | None: ...
    def settle(self, task: Task, outcome: Outcome) -> None: ...
    def succeeded(self, lane: Lane) -> None: ...
    def failed(self, lane: Lane | None, task: Task, error: TransferError, began: float) -> None: ...
    def trouble(self, lane: Lane | None, error: TransferError, began: float) -> object: ...
    def fail_waiting(self, lane: Lane, error: TransferError) -> None: ...
    def reroute(self, task: Task) -> None: ...
    def reroute_large(self, task: Task) -> None: ...
    def reroute_copy(self, task: Task) -> None: ...
    def add_member(self, operation: Operation, parent: Parent, control: Control) -> None: ...
    def add_failure(self, operation: Operation, parent: Parent, error: TransferError) -> None: ...
    def listed(self, parent: Parent, error: TransferError | None) -> None: ...
    def ended(self, worker: Worker) -> None: ...


class Worker:
    """One thread's batch on one lane; ``move`` runs it, by the lane's verb.

    ``silent`` is the scheduler's: whether its slots are lent to others.
    """

    def __init__(
        self,
        scheduler: Dispatcher,
        lane: Lane,
        slots: int,
        *,
        control: Control,
        move: Callable[[Worker], None],
    ) -> None:
        self.scheduler = scheduler
        self.runtime = scheduler.runtime
        self.lane = lane
        self.slots = slots
        self.control = control
        self.silent = False
        self._move = move
        self._lock = self.runtime.lock()  # against being left behind between two steps
        self._taken: dict[Job[Any], None] = {}
        self._preparing: Task | None = None
        self._backends: list[tuple[Endpoint, int, Backend]] = []
        self._began = self.runtime.monotonic()
        self._mark = (-1, -1)  # bytes and jobs when last looked at
        self._moved_at = self._began
        self._finished = 0
        self._measured = (self._began, 0, 0)  # when, bytes and jobs by then
        self._abandoned = False
        self._halted = False  # take nothing more
        self._thread = self.runtime.thread(self._run, lane.route.verb)

    def start(self) -> None:
        """Begins. Raises ``RuntimeError`` where this machine has no thread left."""
        self._thread.start()

    # -- for the movers ------------------------------------------------------------------------------

    def lend(self, endpoint: Endpoint, connections: int | None = None) -> Backend:
        """A backend for this batch; given back, or closed after a failure, when the batch is over."""
        n = connections or max(1, min(self.slots, self.lane.in_flight))
        backend = self.scheduler.pool.lend(endpoint, n)
        self._backends.append((endpoint, n, backend))
        return backend

    def jobs(self, prepare: Callable[[Task], Job[Any]]) -> Iterator[Job[Any]]:
        """The live iterator: ends when nothing is ready now, or when the slots are wanted elsewhere."""
        while not self.ending:
            task = self.scheduler.next(self.lane)
            if task is None:
                return
            task.begin()
            self._preparing = task
            try:
                job = prepare(task)
            except Exception as raised:  # noqa: BLE001  fails this one alone, whatever it was
                with self._lock:
                    self._preparing = None
                if not self._abandoned:
                    self._failed(task, translate(raised, side="destination"))
                continue
            with self._lock:
                self._preparing = None
                if not self._abandoned:
                    self._taken[job] = None
            if self._abandoned and job not in self._taken:  # the task was settled meanwhile
                if job.end is not None:
                    _close(job.end)
                return
            yield job

    @property
    def ending(self) -> bool:
        """Whether to take nothing more: told to stop, a host wants a pause, or others want the slots."""
        if self.control.stop is not None or self._abandoned or self._halted or self.scheduler.paused:
            return True
        for host in self.lane.hosts:  # not by ``paused``: this is asked for every file
            if host.paused_until and host.paused(self.runtime.monotonic()):
                return True
        return self.scheduler.contended and self.runtime.monotonic() - self._began > TURN

    @property
    def paused(self) -> bool:
        """Whether a host of its lane needs a rest."""
        hosts = self.lane.hosts
        return bool(hosts) and self.lane.paused(self.runtime.monotonic())

    @property
    def stopped(self) -> bool:
        """Whether what is under way should be given up: told to stop, or one half of a relay failed."""
        return self._halted or self.control.stop is not None

    def halt(self) -> None:
        """Takes nothing more."""
        self._halted = True

    def over(self, job: Job[Any], size: int, digest: str) -> None:
        """Settles a job that is over, well or not."""
        if not self.release(job):
            return
        task: Task = job.task
        self._finished += 1
        if job.error is not None:
            error = job.error
            if isinstance(error, CannotCopy) and self.lane.route.verb == "copy":
                self.scheduler.reroute_copy(task)
                return
            if self.control.stop is not None and not isinstance(error, Permanent):
                error = self.control.stop  # what a connection says that we cut is our own doing
            self._failed(task, error, size)
            return
        lane = self.lane
        lane.finished += 1
        route = "relay" if job.through else lane.route.kind
        now = task.tried(route, size, None)
        strained = self.scheduler.strained
        for host in lane.hosts:
            host.good_at = now
            strained = strained or host.strained
        if strained:
            self.scheduler.succeeded(lane)
        done = task.done(route, size, digest, proven=job.proven, stored=job.stored, compared=job.compared)
        self.scheduler.settle(task, done)

    def release(self, job: Job[Any]) -> bool:
        """Takes a job off this worker, to be settled otherwise. ``False``: it has been already."""
        return not self._abandoned and self._taken.pop(job, self) is None

    def trouble(self, error: TransferError, began: float) -> None:
        """One end of a job failed with an error that may not be the one which the job ends with."""
        self.scheduler.trouble(self.lane, error, began)

    def put_back(self, job: Job[Any]) -> None:
        """The other half of the job may not begin now: it waits in its lane, from the beginning."""
        if self.release(job):
            self.scheduler.reroute(job.task)

    def too_large(self, job: Job[Any]) -> None:
        """The job's file does not fit into a spool."""
        if self.release(job):
            self.scheduler.reroute_large(job.task)

    def hand_on(self, job: Job[Any], follows: Job[Any]) -> None:
        """The job is half done; ``follows`` is its other half."""
        with self._lock:
            if self.release(job):
                self._taken[follows] = None

    def _failed(self, task: Task, error: TransferError, size: int = 0) -> None:
        began = task.began
        task.tried(self.lane.route.kind, size, error)
        self.scheduler.failed(self.lane, task, error, began)

    # -- for those who watch -------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """Jobs under way."""
        return len(self._taken)

    def under_way(self, most: int, now: float) -> list[UnderWay]:
        """Some of its files, those that were begun first."""
        return [self._under_way(job, now) for job in list(self._taken)[:most]]

    def _under_way(self, job: Job[Any], now: float) -> UnderWay:
        task: Task = job.task
        measured = job.end or self.control.single
        moved, size = measured.extent() if isinstance(measured, Measured) else (None, task.required.size)
        return UnderWay(task.destination.url, now - (task.began or now), moved, size, task.parent is not None)

    def idle(self, now: float) -> float:
        """Seconds for which nothing has moved."""
        mark = (self.control.bytes, self._finished)
        nothing = not self._taken and self._preparing is None
        if mark != self._mark or self.control.limited or nothing:
            self._mark, self._moved_at = mark, now
        return now - self._moved_at

    def rate(self, now: float, over: float) -> float | None:
        """Bytes a second over the last ``over`` seconds; ``None`` where they are not over yet, or a file was
        finished in them, bandwidth was waited for, or nothing was under way."""
        since, moved, finished = self._measured
        if self.control.limited or finished != self._finished or not self._taken:
            self._measured = (now, self.control.bytes, self._finished)
            return None
        if now - since < over:
            return None
        self._measured = (now, self.control.bytes, self._finished)
        return (self.control.bytes - moved) / (now - since)

    def make_room(self, free: int) -> None:
        """So many more slots can be had: ends soon if another worker would have twice as many."""
        if min(self.lane.slots, self.slots + free) >= 2 * self.slots:
            self._halted = True

    def stop(self, error: TransferError) -> None:
        """From another thread: every end raises ``error`` at its next byte."""
        if self.control.stop is None:
            self.control.stop = error

    def cut(self) -> None:
        """From another thread: closes the connections, so that blocking calls return."""
        for _, _, backend in list(self._backends):
            backend.close()

    def abandon(self, error: TransferError) -> None:
        """From another thread: its thread does not come back. Its files fail, and it is left behind."""
        with self._lock:
            self._abandoned = True
            task, self._preparing = self._preparing, None
        if task is not None:
            self._failed(task, error)
        self._broken(error)
        self.scheduler.ended(self)

    # -- its own thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        error: TransferError | None = None
        try:
            self._move(self)
        except BaseException as raised:  # noqa: BLE001  whatever it was must fail its files, not hang the run
            error = translate(raised)
        if error is not None and self.control.stop is not None:
            error = self.control.stop  # closing the backend was our own doing
        try:
            if not self._abandoned:
                if error is not None or self._taken:
                    self._broken(error or Defect("the backend lost track of it"))
                self._give_back(bool(error) or self.control.stop is not None)
        finally:
            self.scheduler.ended(self)

    def _broken(self, error: TransferError) -> None:
        """The batch as a whole failed: so did all that was taken; if nothing was, all that waits."""
        alone = not self._taken
        while self._taken:
            job, _ = self._taken.popitem()
            if job.end is not None:
                _close(job.end)
            self._failed(job.task, error)
        if alone and self.control.stop is None:
            self.scheduler.fail_waiting(self.lane, error)

    def _give_back(self, failed: bool) -> None:
        for endpoint, connections, backend in self._backends:
            if failed:
                _close(backend)
            else:
                self.scheduler.pool.give_back(endpoint, connections, backend)


def _close(end: Any) -> None:
    """Drops what failed; that it cannot even be closed adds nothing to the error that is told."""
    with suppress(Exception):
        (getattr(end, "abort", None) or end.close)()
