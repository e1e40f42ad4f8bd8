"""Who moves what when: lanes, slots, failover and back-off.

Workers call ``next``, ``settle`` and ``failed``; the engine's main thread calls ``tick``.
``lock`` guards lanes, slots, heap and parents; ``feeding`` the stream of operations. A lane's queue
is a deque, whose single operations are atomic, so the hot path takes no lock.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from time import monotonic

from msgspec.structs import replace

from pegasus_toolkit.transfer.engine.lanes import Key, Lane
from pegasus_toolkit.transfer.engine.planning import Planner
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.retry import Retry
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
from pegasus_toolkit.transfer.model import Operation, Outcome

WINDOW = 8192  # tasks that wait in memory; beyond it only their indices do
PORTION = 256  # operations planned at a time


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
    ) -> None:
        self.planner = planner
        self.pool = pool
        self.retry = retry
        self.slots = slots
        self.move = move
        self.control = control
        self.lock = threading.RLock()
        self.feeding = threading.Lock()
        self.lanes: dict[Key, Lane] = {}
        self.at_work: list[Worker] = []
        self.later: list[tuple[float, int, Task]] = []
        self.sequence = count()
        self.settled: deque[Outcome] = deque()
        self.wake = threading.Event()
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
            task = self.planner.task(self.operations[item])
            assert isinstance(task, Task)  # it was one when it was fed
            return task

    def add_member(self, operation: Operation, parent: Parent, control: Control) -> None:
        """Takes one member of a directory; waits while too many are waiting."""
        while self.open >= WINDOW and control.stop is None:
            self.wake.set()
            threading.Event().wait(0.02)
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
            lane = self.lanes.get(key)
            if lane is None:
                lane = self.planner.lane(key, task)
                with self.lock:
                    lane = self.lanes.setdefault(key, lane)
        except TransferError as error:
            task.tried("none", 0, error)
            self.failed(None, task, error)
            return None
        if lane.down is not None and monotonic() < lane.down_until:
            task.tried(lane.route.kind, 0, lane.down)
            self.failed(lane, task, lane.down)
            return None
        return lane

    def place(self, task: Task) -> None:
        """Puts a task into its lane."""
        lane = self._lane_or_fail(task)
        if lane is not None:
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
            waiting = [lane for lane in self.lanes.values() if lane.queue and not self._paused(lane)]
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
            worker = Worker(self, lane, slots, self.control(), self.move)
            lane.workers.append(worker)
            self.at_work.append(worker)
            worker.thread.start()
        return bool(slots)

    @staticmethod
    def _paused(lane: Lane) -> bool:
        return lane.paused_until > 0 and monotonic() < lane.paused_until

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

    def failed(self, lane: Lane | None, task: Task, error: TransferError) -> None:
        """An attempt is over, badly: a directory to list, another pair, later again, or the end."""
        verb = lane.route.verb if lane is not None else ""
        error = blame(error, verb)
        if isinstance(error, IsDirectory) and error.side == "source" and self.planner.expandable(task, verb):
            task.attempts = task.attempts[:-1]
            tree = self.planner.tree(task)
            with self.lock:
                self.lanes.setdefault(tree.key, tree).queue.append(task)
            self.dispatch()
            return
        if isinstance(error, Throttled) and lane is not None and error.retry_after:
            lane.paused_until = max(lane.paused_until, monotonic() + error.retry_after)
        self._again(task, error)

    def _again(self, task: Task, error: TransferError) -> None:
        step = task.advance(self.cancelled or error, self.retry.rounds)
        if step == "next":
            self.place(task)
            self.wake.set()
        elif step == "later":
            due = monotonic() + self.retry.delay(task.round - 1, error)
            with self.lock:
                heapq.heappush(self.later, (due, next(self.sequence), task))
        else:
            self.planner.note_failure(task)
            self.settle(task, task.failed())

    def fail_waiting(self, lane: Lane, error: TransferError) -> None:
        """The endpoint can't be reached or opened: an attempt of all that wait for it."""
        with self.lock:
            if isinstance(error, (Unreachable, Denied, Unsupported)):
                lane.down, lane.down_until = error, monotonic() + self.retry.first / 2
            queue, lane.queue = lane.queue, deque()
        for item in queue:
            task = item if isinstance(item, Task) else self.planner.task(self.operations[item])
            assert isinstance(task, Task)
            task.tried(lane.route.kind, 0, error)
            self.failed(lane, task, error)

    # -- the clock ---------------------------------------------------------------------------------

    def due(self) -> float | None:
        """Moves what may run again to its lane; seconds until the next may."""
        while self.later and self.cancelled is None:
            with self.lock:
                if not self.later or self.later[0][0] > monotonic():
                    break
                task = heapq.heappop(self.later)[2]
            self.place(task)
        return self.later[0][0] - monotonic() if self.later else None

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
