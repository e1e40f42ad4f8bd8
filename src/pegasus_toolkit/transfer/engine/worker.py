"""Workers: one thread with its backends, serving one lane.

It hands the backend a live iterator over its lane, so that the connection stays full, and settles
each job that comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from pegasus_toolkit.transfer.engine.lanes import Lane
from pegasus_toolkit.transfer.engine.planning import Planner
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.tasks import Parent, Task
from pegasus_toolkit.transfer.errors import CannotCopy, Defect, TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Backend, Control, Endpoint, Job
from pegasus_toolkit.transfer.model import Operation, Outcome

TURN = 0.25  # seconds that a worker keeps its slots while other lanes wait for some


class Host(Protocol):
    """What a worker needs of the scheduler."""

    pool: Pool
    planner: Planner
    contended: bool

    def next(self, lane: Lane) -> Task | None: ...
    def settle(self, task: Task, outcome: Outcome) -> None: ...
    def succeeded(self, lane: Lane) -> None: ...
    def failed(self, lane: Lane | None, task: Task, error: TransferError, began: float) -> None: ...
    def fail_waiting(self, lane: Lane, error: TransferError) -> None: ...
    def reroute_large(self, task: Task) -> None: ...
    def reroute_copy(self, task: Task) -> None: ...
    def add_member(self, operation: Operation, parent: Parent, control: Control) -> None: ...
    def listed(self, parent: Parent, error: TransferError | None) -> None: ...
    def ended(self, worker: Worker) -> None: ...


class Worker:
    """One thread's batch on one lane; ``move`` runs it, by the lane's verb."""

    def __init__(
        self,
        scheduler: Host,
        lane: Lane,
        slots: int,
        *,
        control: Control,
        move: Callable[[Worker], None],
        runtime: Runtime,
    ) -> None:
        self.scheduler = scheduler
        self.move = move
        self.runtime = runtime
        self.lane = lane
        self.slots = slots
        self.control = control
        self.taken: dict[Job[Any], None] = {}
        self.backends: list[tuple[Endpoint, int, Backend]] = []
        self.began = runtime.monotonic()
        self.progress_mark = (-1, -1)  # bytes and jobs when last looked at
        self.moved_at = self.began
        self.finished = 0
        self.silent = False
        self.abandoned = False
        self.halted = False  # one half of a relay failed, or more slots can be had: take nothing more
        self.thread = runtime.thread(self._run, lane.route.verb)

    def lend(self, endpoint: Endpoint, connections: int | None = None) -> Backend:
        """A backend for this batch; given back, or closed after a failure, when the batch is over."""
        n = connections or max(1, min(self.slots, self.lane.in_flight))
        backend = self.scheduler.pool.lend(endpoint, n)
        self.backends.append((endpoint, n, backend))
        return backend

    def jobs(self, prepare: Callable[[Task], Job[Any]]) -> Iterator[Job[Any]]:
        """The live iterator: ends when nothing is ready now, or when the slots are wanted elsewhere."""
        while not self.ending:
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

    @property
    def ending(self) -> bool:
        """Whether to take nothing more: told to stop, a host wants a pause, or others want the slots."""
        if self.control.stop is not None or self.abandoned or self.halted:
            return True
        for host in self.lane.hosts:
            if host.paused_until and host.paused(self.runtime.monotonic()):
                return True
        return self.scheduler.contended and self.runtime.monotonic() - self.began > TURN

    def over(self, job: Job[Any], size: int, digest: str, remote: bool = False) -> None:
        """Settles a job that is over, well or not."""
        if self.abandoned or self.taken.pop(job, self) is self:
            return
        task: Task = job.task
        self.finished += 1
        if isinstance(job.error, CannotCopy) and self.lane.route.verb == "copy":
            self.scheduler.reroute_copy(task)
            return
        if job.error is not None:
            self.failed(task, job.error, size)
            return
        lane = self.lane
        lane.finished += 1
        if lane.hosts:
            self.scheduler.succeeded(lane)
        route = "relay" if job.through else lane.route.kind
        task.tried(route, size, None)
        self.scheduler.settle(task, task.done(route, size, digest, remote))

    def failed(self, task: Task, error: TransferError, size: int = 0) -> None:
        """One attempt failed."""
        began = task.began
        task.tried(self.lane.route.kind, size, error)
        self.scheduler.failed(self.lane, task, error, began)

    def broken(self, error: TransferError) -> None:
        """The batch as a whole failed: so did all that was taken; if nothing was, all that waits."""
        jobs, self.taken = list(self.taken), {}
        for job in jobs:
            if job.end is not None:
                close = getattr(job.end, "abort", None) or job.end.close
                close()
            self.failed(job.task, error)
        if not jobs and self.control.stop is None:
            self.scheduler.fail_waiting(self.lane, error)

    def _run(self) -> None:
        error: TransferError | None = None
        try:
            self.move(self)
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
