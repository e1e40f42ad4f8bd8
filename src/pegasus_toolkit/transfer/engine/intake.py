"""The stream of operations: planned a portion at a time, as there is room, and counted until all are told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from pegasus_toolkit.transfer.engine.lanes import Lane
from pegasus_toolkit.transfer.engine.planning import Planner
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.tasks import Task
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.model import Operation, Outcome

WINDOW = 8192  # tasks that wait in memory; beyond it only their indices do
PORTION = 256  # operations planned at a time


class Intake:
    """What came in, and what of it was told. ``queue_of`` says in which lane a new task waits, if it does.

    One thread at a time plans; the others wait for it. Outcomes may be added from any thread.
    """

    def __init__(self, planner: Planner, runtime: Runtime, queue_of: Callable[[Task], Lane | None]) -> None:
        self.wake = runtime.event()  # set when the main thread has something to do
        self.exhausted = True  # nothing more will come of this phase
        self.stopped = False  # plan nothing more, though there is more
        self._planner = planner
        self._queue_of = queue_of
        self._turn = runtime.lock()
        self._operations: Sequence[Operation] = ()
        self._stream: Iterator[int] = iter(())
        self._settled: deque[Outcome] = deque()
        self._fed = 0  # tasks that entered
        self._told = 0  # outcomes that were taken

    def begin(self, operations: Sequence[Operation], indices: Iterator[int]) -> None:
        """Starts on one phase."""
        self._operations, self._stream, self.exhausted = operations, indices, False

    @property
    def over(self) -> bool:
        """Whether every task that entered has been told of, and none will come."""
        return self.exhausted and self._told == self._fed

    @property
    def open(self) -> int:
        """Tasks that entered and have not been settled."""
        return self._fed - self._told - len(self._settled)

    @property
    def full(self) -> bool:
        """Whether as many tasks wait as memory should hold."""
        return self.open >= WINDOW

    def settle(self, outcome: Outcome) -> None:
        """One task is over."""
        self._settled.append(outcome)

    def take(self, most: int = 500) -> list[Outcome]:
        """Outcomes that were not told yet, some of them; none when there are none."""
        settled = self._settled
        batch = [settled.popleft() for _ in range(min(len(settled), most))]
        self._told += len(batch)
        return batch

    def feed(self, lane: Lane | None = None) -> bool:
        """Plans a portion of what comes; with a lane, until that has some. Whether anything came."""
        with self._turn:
            if lane is not None and lane.queue:
                return True
            before, taken, ended = self._fed, 0, self.exhausted
            while taken < PORTION and not self.stopped:
                index = next(self._stream, None)
                if index is None:
                    self.exhausted = True
                    break
                self._enter(index)
                taken += lane is None or bool(lane.queue)
            if self._fed > before or self.exhausted != ended:
                self.wake.set()  # other lanes may have got some; not else, as the main loop feeds, too
            return bool(lane.queue) if lane is not None else self._fed > before

    def _enter(self, index: int) -> None:
        operation = self._operations[index]
        self._fed += 1
        task = self._plan(operation)
        if isinstance(task, Outcome):
            self.settle(task)
            return
        lane = self._queue_of(task)
        if lane is not None:
            lane.queue.append(index if self.full else task)

    def admit(self, operation: Operation) -> Task | Outcome:
        """Counts one more task; its outcome where there is nothing to be done, or it cannot even be tried."""
        with self._turn:
            self._fed += 1
        return self._plan(operation)

    def _plan(self, operation: Operation) -> Task | Outcome:
        try:
            return self._planner.skip(operation) or self._planner.task(operation)
        except Exception as raised:  # noqa: BLE001  who asked for it must be told, whatever it was
            return self._planner.unplanned(operation, raised)

    def refuse(self, operation: Operation, error: TransferError) -> Outcome:
        """Counts one more member of a directory, which is over before it began."""
        with self._turn:
            self._fed += 1
        return replace(self._planner.unplanned(operation, error), member=True)

    def operation(self, item: Task | int) -> Operation:
        """What waits in a lane, as it was asked for."""
        return item.operation if isinstance(item, Task) else self._operations[item]

    def task(self, item: Task | int) -> Task:
        """What waits in a lane, as a task."""
        if isinstance(item, Task):
            return item
        task = self._planner.task(self._operations[item])
        assert isinstance(task, Task)  # it was one when it was fed
        return task

    def cancel_rest(self, error: TransferError, most: int = 1000) -> None:
        """Some of what has not entered yet is over before it began."""
        with self._turn:
            for _ in range(most):
                index = next(self._stream, None)
                if index is None:
                    self.exhausted = True
                    return
                self._fed += 1
                outcome = Outcome(operation=self._operations[index], status="cancelled", error=error)
                self.settle(outcome)
