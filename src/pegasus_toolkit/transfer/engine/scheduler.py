"""Who moves what when: lanes, slots, failover and back-off.

Workers call ``next``, ``settle`` and ``failed``; the engine's main thread calls ``tick``.
``lock`` guards lanes, slots, heap and parents; ``feeding`` the stream of operations. A lane's queue
is a deque, whose single operations are atomic, so the hot path takes no lock.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from msgspec.structs import replace

from pegasus_toolkit.transfer.engine.hosts import Host as Remote
from pegasus_toolkit.transfer.engine.hosts import Verdict
from pegasus_toolkit.transfer.engine.lanes import Key, Lane
from pegasus_toolkit.transfer.engine.planning import Planner
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.retry import Retry
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.slots import Slots
from pegasus_toolkit.transfer.engine.tasks import Parent, Task, blame
from pegasus_toolkit.transfer.engine.worker import Host, Worker
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Denied,
    IsDirectory,
    Throttled,
    TransferError,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Control
from pegasus_toolkit.transfer.model import Operation, Outcome, Transfer

WINDOW = 8192  # tasks that wait in memory; beyond it only their indices do
PORTION = 256  # operations planned at a time
BORNE = 50  # failures of one file that use up no attempt, at most
LONG = 10.0  # times the first delay: for so long a pause nobody waits who can go elsewhere


class Scheduler:
    """Everything between the stream of operations and the settled outcomes."""

    def __init__(
        self,
        *,
        planner: Planner,
        pool: Pool,
        retry: Retry,
        slots: Slots,
        move: Callable[[Worker], None],
        control: Callable[[], Control],
        runtime: Runtime,
    ) -> None:
        self.planner = planner
        self.pool = pool
        self.retry = retry
        self.slots = slots
        self.move = move
        self.control = control
        self.runtime = runtime
        self.lock = runtime.lock()
        self.feeding = runtime.lock()
        self.lanes: dict[Key, Lane] = {}
        self.at_work: list[Worker] = []
        self.later: list[tuple[float, int, Task]] = []
        self.sequence = count()
        self.settled: deque[Outcome] = deque()
        self.wake = runtime.event()
        self.contended = False
        self.cancelled: TransferError | None = None
        self.operations: Sequence[Operation] = ()
        self.stream: Iterator[int] = iter(())
        self.fed = 0  # tasks that entered
        self.told = 0  # outcomes that the engine has taken
        self.exhausted = True

    # -- the stream of operations ------------------------------------------------------------

    def begin(self, operations: Sequence[Operation], indices: Iterator[int]) -> None:
        """Starts on one phase."""
        self.operations, self.stream, self.exhausted = operations, indices, False

    @property
    def over(self) -> bool:
        """Whether every task that entered has been told of, and none will come."""
        return self.exhausted and self.told == self.fed

    @property
    def open(self) -> int:
        """Tasks that entered and have not been settled."""
        return self.fed - self.told - len(self.settled)

    def feed(self, lane: Lane | None = None) -> bool:
        """Plans a portion of what comes; with a lane, until that has some. Whether anything came."""
        with self.feeding:
            if lane is not None and lane.queue:
                return True
            before, taken, ended = self.fed, 0, self.exhausted
            while taken < PORTION and self.cancelled is None:
                index = next(self.stream, None)
                if index is None:
                    self.exhausted = True
                    break
                self._enter(index)
                taken += lane is None or bool(lane.queue)
            if self.fed > before or self.exhausted != ended:
                self.wake.set()  # other lanes may have got some; not else, as the main loop feeds, too
            return bool(lane.queue) if lane is not None else self.fed > before

    def _enter(self, index: int) -> None:
        operation = self.operations[index]
        self.fed += 1
        skip = self.planner.skip(operation)
        if skip is not None:
            self.settled.append(skip)
            return
        task = self.planner.task(operation)
        if isinstance(task, Outcome):
            self.settled.append(task)
            return
        lane = self._lane_or_fail(task)
        if lane is not None:
            lane.queue.append(task if self.open < WINDOW else index)

    def next(self, lane: Lane) -> Task | None:
        """The next task of a lane; ``None`` when nothing is ready now."""
        while True:
            try:
                item = lane.queue.popleft()
            except IndexError:
                if self.cancelled is not None or not self.feed(lane):
                    return None
                continue
            if isinstance(item, Task):
                return item
            return self._task(item)

    def add_member(self, operation: Operation, parent: Parent, control: Control) -> None:
        """Takes one member of a directory; waits while too many are waiting."""
        while self.open >= WINDOW and control.stop is None:
            self.wake.set()
            self.runtime.sleep(0.02)
        with self.lock:
            parent.open += 1
        with self.feeding:
            self.fed += 1
        over = self.planner.skip(operation)
        task = over or self.planner.task(operation)
        if isinstance(task, Outcome):
            self._of_member(replace(task, member=True), parent)
            return
        task.parent = parent
        self.place(task)
        self.dispatch()

    def _of_member(self, outcome: Outcome, parent: Parent) -> None:
        self.settled.append(outcome)
        with self.lock:
            parent.settle(outcome)
            if parent.over:
                self.settle(parent.task, parent.outcome())

    def listed(self, parent: Parent, error: TransferError | None) -> None:
        """The directory was listed to its end, or failed to be."""
        with self.lock:
            parent.listed = True
            if error is not None and not parent.open and not parent.files:
                parent.task.tried("directory", 0, error)
                self._again(parent.task, error)
                return
            if error is not None:
                parent.failures += 1
                parent.errors.append(error)
            if parent.over:
                self.settle(parent.task, parent.outcome())

    # -- lanes ---------------------------------------------------------------------------------

    def _lane_or_fail(self, task: Task) -> Lane | None:
        try:
            key = self.planner.key(task)
            lane = self.lanes.get(key) or self._add_lane(self.planner.lane(key, task))
        except TransferError as error:
            task.tried("none", 0, error)
            self.failed(None, task, error)
            return None
        refused = self._refused(lane, task)
        if refused is None:
            return lane
        known, verdict = refused
        task.tried(lane.route.kind, 0, known)
        self._again(task, known, verdict)
        return None

    def _add_lane(self, lane: Lane) -> Lane:
        with self.lock:
            lane.hosts = self.slots.hosts(lane.host_names)
            return self.lanes.setdefault(lane.key, lane)

    def _refused(self, lane: Lane, task: Task) -> tuple[TransferError, Verdict] | None:
        """Why a task need not wait in this lane: what is known of it says that it will fail, or it can go
        elsewhere and need not wait for a host that is not there."""
        now = self.runtime.monotonic()
        if lane.down is not None and now < lane.down_until:
            return lane.down, "counts"
        for host in lane.hosts:
            if host.error is not None and host.away_until > now:
                return host.error, "away"
            if host.error is not None and self._shunned(host, now) and task.has_next:
                return host.error, "borne"
        return None

    def _shunned(self, host: Remote, now: float) -> bool:
        long = host.paused_until - now > LONG * self.retry.first
        return host.paused(now) and (long or isinstance(host.error, Unreachable))

    def place(self, task: Task, first: bool = False) -> None:
        """Puts a task into its lane, before all others where it was there already."""
        lane = self._lane_or_fail(task)
        if lane is not None and first:
            lane.queue.appendleft(task)
        elif lane is not None:
            lane.queue.append(task)

    def reroute_large(self, task: Task) -> None:
        """The file was too large for a spool in memory."""
        task.large = True
        self.place(task)
        self.dispatch()

    def reroute_copy(self, task: Task) -> None:
        """The storage will not copy this one by itself."""
        task.cannot_copy()
        self.place(task)
        self.dispatch()

    def dispatch(self) -> None:
        """Starts workers where something waits and slots are free."""
        with self.lock:
            if self.cancelled is not None:
                return
            now = self.runtime.monotonic()
            waiting = [lane for lane in self.lanes.values() if lane.queue and not lane.paused(now)]
            hungry = sorted(waiting, key=lambda lane: len(lane.workers))
            starved = False
            while hungry:  # one worker each in turn, so that none takes all slots
                served = [lane for lane in hungry if self._staff(lane, len(waiting))]
                starved = starved or any(not lane.workers for lane in hungry)
                hungry = served
            self.contended = starved

    def _staff(self, lane: Lane, lanes: int) -> bool:
        """One more worker for a lane, if that helps and slots are free."""
        slots = self.slots.grant(lane, lanes) if lane.queue and lane.wants_another_worker() else 0
        if slots:
            worker = Worker(self, lane, slots, control=self.control(), move=self.move, runtime=self.runtime)
            lane.workers.append(worker)
            self.at_work.append(worker)
            worker.thread.start()
        return bool(slots)

    def ended(self, worker: Worker) -> None:
        """A worker's thread is over."""
        with self.lock:
            lane = worker.lane
            if worker in self.at_work:
                self.at_work.remove(worker)
                lane.workers.remove(worker)
                lane.bytes += worker.control.bytes
                self.slots.release(lane, worker.slots, worker.silent)
        self.dispatch()
        self.wake.set()

    # -- what became of a task -------------------------------------------------------------------

    def settle(self, task: Task, outcome: Outcome) -> None:
        """The task is over."""
        if task.parent is not None:
            self._of_member(outcome, task.parent)
        else:
            self.settled.append(outcome)

    def failed(self, lane: Lane | None, task: Task, error: TransferError, began: float = 0.0) -> None:
        """An attempt failed: a directory to list, another pair, later again, or the end."""
        verb = lane.route.verb if lane is not None else ""
        error = blame(error, verb)
        if isinstance(error, IsDirectory) and error.side == "source" and self.planner.expandable(task, verb):
            task.attempts = task.attempts[:-1]
            self._add_lane(self.planner.tree(task)).queue.append(task)
            self.dispatch()
            return
        verdict: Verdict = "counts"
        if lane is not None and isinstance(error, (Throttled, Unreachable)):
            verdict = self._trouble(lane, error, began)
            verdict = "counts" if verdict == "borne" and task.borne >= BORNE else verdict
        self._again(task, error, verdict)

    def _again(self, task: Task, error: TransferError, verdict: Verdict = "counts") -> None:
        step = task.advance(self.cancelled or error, self.retry.rounds, verdict)
        if step in {"next", "wait"}:
            self.place(task, first=step == "wait")
            self.wake.set()
        elif step == "later":
            moved = task.attempts[-1].bytes
            due = self.runtime.monotonic() + self.retry.delay(task.round - 1, error, moved)
            with self.lock:
                heapq.heappush(self.later, (due, next(self.sequence), task))
        else:
            self.planner.note_failure(task)
            self.settle(task, task.failed())

    def fail_waiting(self, lane: Lane, error: TransferError) -> None:
        """The endpoint can't be reached or opened: an attempt of all that wait for it."""
        if isinstance(error, (Throttled, Unreachable)) and lane.hosts:
            self._trouble(lane, blame(error, lane.route.verb), self.runtime.monotonic())
            return
        if isinstance(error, (Denied, Unsupported)):
            with self.lock:
                lane.down, lane.down_until = error, self.runtime.monotonic() + self.retry.first / 2
        self._fail_queue(lane, error, "counts")

    def _fail_queue(self, lane: Lane, error: TransferError, verdict: Verdict) -> None:
        """All that wait in a lane fail with ``error``; what is "borne" only where it can go elsewhere."""
        with self.lock:
            queue, lane.queue = lane.queue, deque()
        stay: list[Task | int] = []
        for item in queue:
            if verdict == "borne" and not self._can_go_on(item):
                stay.append(item)
                continue
            task = self._task(item)
            task.tried(lane.route.kind, 0, error)
            self._again(task, blame(error, lane.route.verb), verdict)
        lane.queue.extendleft(reversed(stay))

    def _can_go_on(self, item: Task | int) -> bool:
        if isinstance(item, Task):
            return item.has_next
        operation = self.operations[item]
        return isinstance(operation, Transfer) and len(operation.sources) + len(operation.destinations) > 2

    def _task(self, item: Task | int) -> Task:
        if isinstance(item, Task):
            return item
        task = self.planner.task(self.operations[item])
        assert isinstance(task, Task)  # it was one when it was fed
        return task

    # -- hosts -------------------------------------------------------------------------------------

    def _trouble(self, lane: Lane, error: TransferError, began: float) -> Verdict:
        """A host of the lane throttles or is not there: a pause for all that goes there."""
        host = self._host_of(lane, error)
        if host is None:
            return "counts"
        now = self.runtime.monotonic()
        with self.lock:
            crowded = any(w.taken and not w.silent and host in w.lane.hosts for w in self.at_work)
            verdict = host.troubled(error, began or now, now, crowded)
            lanes = [other for other in self.lanes.values() if host in other.hosts]
            shunned = verdict == "borne" and self._shunned(host, now)
        self.pool.close(host.name)  # what is idle there uses up connections, too
        if verdict == "away" or shunned:
            for other in lanes:
                self._fail_queue(other, error, verdict)
        return verdict

    @staticmethod
    def _host_of(lane: Lane, error: TransferError) -> Remote | None:
        """Whose trouble it is: by name, else by side."""
        for host in lane.hosts:
            if host.name == error.host or len(lane.hosts) == 1:
                return host
        side = lane.key.source if error.side == "source" else lane.key.destination
        names = [side.host] if side is not None else []
        return next((host for host in lane.hosts if host.name in names), None)

    def succeeded(self, lane: Lane) -> None:
        """A job of the lane went well: its hosts are there, and may be given more again."""
        now = self.runtime.monotonic()
        for host in lane.hosts:
            if host.succeeded(now):
                with self.lock:
                    for worker in self.at_work:  # one with few slots makes room for one with more
                        larger = min(worker.lane.slots, worker.slots + host.limit - host.used)
                        if host in worker.lane.hosts and larger >= 2 * worker.slots:
                            worker.halted = True

    # -- the clock ---------------------------------------------------------------------------------

    def due(self) -> float | None:
        """Moves what may run again to its lane; seconds until the next may."""
        while self.later and self.cancelled is None:
            with self.lock:
                if not self.later or self.later[0][0] > self.runtime.monotonic():
                    break
                task = heapq.heappop(self.later)[2]
            self.place(task)
        return self.later[0][0] - self.runtime.monotonic() if self.later else None

    def workers(self) -> list[Worker]:
        """All that are at work."""
        with self.lock:
            return list(self.at_work)

    def cancel(self, error: Cancelled) -> None:
        """Nothing new begins; what is under way stops at its next byte."""
        self.cancelled = error
        for worker in self.workers():
            worker.stop(error)

    def drop(self) -> Iterator[Task]:
        """After ``cancel``: all that never came to an end, each once."""
        with self.lock:
            for lane in self.lanes.values():
                while lane.queue:
                    item = lane.queue.popleft()
                    task = item if isinstance(item, Task) else self.planner.task(self.operations[item])
                    if isinstance(task, Task):
                        yield task
            while self.later:
                yield heapq.heappop(self.later)[2]


_: type[Host] = Scheduler
