"""The runner: many stories under way on one client, in one thread.

A *story* is a generator that tells what is done for one file, from top to bottom. It yields what it asks
of its client, and is sent the answer; what went wrong is raised where it asked. Besides the client's own
requests a story may yield :class:`All`, :class:`Wait`, :class:`Pause`, :class:`Spawn` and :class:`Last`.

How a batch ends early (its generator is closed, its client is closed by another thread, the link breaks):

* A story is told to stop by an error (``Cancelled``, or what broke the link) that is raised at *every*
  request that it makes from then on, so that swallowing it once changes nothing. A request that was sent
  is answered first: an answer thrown away makes a story undo a rename that worked.
* ``Last`` requests are of the clean-up: they go out all the same. Where the client is closed or broken,
  they go to a client that ``renew`` opens, for a few seconds.
* Every story is run to its end; nothing is left half-done because a generator was dropped.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, Protocol, TypeVar

from pegasus_toolkit.transfer.errors import Cancelled, Defect, TransferError, from_oserror

T = TypeVar("T")

Steps = Generator[Any, Any, T]
"""A story: yields requests, is sent their answers, returns what it found."""

PATIENCE = 1.0  # seconds that the client may wait for something to come, at a time
WIND_DOWN = 10.0  # seconds that requests under way get when a batch is given up
CLEAN_UP = 5.0  # seconds for what is left to be removed over a new client
FORK = 64  # stories of one ``All`` side by side, where it does not say how many


class Client(Protocol):
    """One wire, used by one thread at a time; ``close`` (which the runner never calls) by any."""

    @property
    def room(self) -> int:
        """How many more requests may be started now."""

    def use(self) -> AbstractContextManager[object]:
        """Entered for the time of a batch. Raises ``Cancelled`` where it was closed."""

    def start(self, request: Any, task: Task) -> None:
        """Sends a request; ``task.answer``, ``pair`` or ``fail`` is called for it in a later ``step``."""

    def step(self, patience: float) -> None:
        """Moves what can be moved and answers what is over; waits at most so many seconds for something.

        Raises ``TransferError`` once closed, or when the wire is broken.
        """

    def hurry(self, request: Any) -> None:
        """The story of that request was told to stop: no more of its payload needs to be moved."""


class Pause:
    """A request: some seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class All(Generic[T]):
    """A request: several stories, ``width`` of them side by side, begun in their order.

    The answer: what each returned, or its error (a ``TransferError``), in the same order. Once the asking
    story was told to stop, no further one is begun; nor, with ``together``, after one failed. What
    ``stories`` itself raises when it is asked for the next counts as the error of that one, the last.
    """

    __slots__ = ("stories", "together", "width")

    def __init__(self, stories: Iterable[Steps[T]], width: int = FORK, together: bool = False) -> None:
        self.stories = iter(stories)
        self.width = width
        self.together = together


class Spawn:
    """A request, answered at once: a story that runs beside, and takes no place in the batch.

    The batch is not over before it is. Nobody is told what became of it.
    """

    __slots__ = ("steps",)

    def __init__(self, steps: Steps[Any]) -> None:
        self.steps = steps


class Last:
    """A request that goes out although its story was told to stop."""

    __slots__ = ("request",)

    def __init__(self, request: Any) -> None:
        self.request = request


class Wait:
    """A request: until another story of the same runner has called ``settle``."""

    __slots__ = ("_waiting", "error", "over")

    def __init__(self) -> None:
        self.over = False
        self.error: TransferError | None = None
        self._waiting: list[Task] = []

    def settle(self, error: TransferError | None = None) -> None:
        """All who wait go on, or get the error."""
        self.over, self.error = True, error
        for task in self._waiting:
            task.runner.resume(task, None, error)
        self._waiting.clear()


def to_the_end(steps: Steps[T]) -> Steps[T]:
    """The story with nothing but ``Last`` requests: for what must be undone or tidied up."""
    try:
        request = next(steps)
        while True:
            try:
                answer = yield Last(request)
            except TransferError as error:
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class Task:
    """A story under way. ``item``: whom it is for. When ``over``: ``value``, or the ``error``."""

    __slots__ = (
        "_fork", "_place", "error", "item", "over", "plain", "request", "runner", "steps", "stopped",
        "tidies", "value",
    )  # fmt: skip

    def __init__(self, runner: Runner, item: Any, steps: Steps[Any]) -> None:
        self.runner = runner
        self.item = item
        self.steps = steps
        self.request: Any = None  # what it waits for
        self.value: Any = None
        self.error: TransferError | None = None
        self.over = False
        self.stopped: TransferError | None = None  # raised at each of its requests
        self.tidies = False  # its request, or that of the story which forked it, is a ``Last``
        self.plain = True  # it was never told to stop, never tidied up, and no other story forked it
        self._fork: _Fork | None = None
        self._place = 0

    def answer(self, value: Any = None) -> None:
        """By the client: the request is over, and this is its answer."""
        self.runner._advance(self, value, None)

    def pair(self, first: Any, second: Any) -> None:
        """By the client: the same, for answers of two parts."""
        self.runner._advance(self, (first, second), None)

    def fail(self, error: TransferError) -> None:
        """By the client: the request failed."""
        self.runner._advance(self, None, error)


class _Fork:
    """The stories of one ``All``."""

    def __init__(self, runner: Runner, parent: Task, request: All[Any]) -> None:
        self.runner = runner
        self.parent = parent
        self.stories = request.stories
        self.width = request.width
        self.together = request.together
        self.results: list[Any] = []
        self.open = 0
        self.ended = self.beginning = False

    def begin(self) -> None:
        """As many as there is room for; the parent goes on when all are over."""
        if self.beginning:  # a story that asks for nothing is over before the next begins
            return
        self.beginning = True
        while self.open < self.width and not self.ended:
            steps = None if self.stopped() else self._next()
            if steps is None:
                self.ended = True
                break
            child = Task(self.runner, None, steps)
            child._fork, child._place = self, len(self.results)
            child.stopped, child.tidies = self.parent.stopped, self.parent.tidies
            child.plain = False
            self.results.append(None)
            self.open += 1
            self.runner.begin(child)
        self.beginning = False
        if self.ended and not self.open:
            self.runner.resume(self.parent, self.results)

    def _next(self) -> Steps[Any] | None:
        try:
            return next(self.stories, None)
        except TransferError as error:
            self.results.append(error)
        except OSError as error:
            self.results.append(from_oserror(error))
        return None

    def stopped(self) -> bool:
        """Whether no further story is to begin."""
        return self.parent.stopped is not None and not self.parent.tidies

    def over(self, task: Task) -> None:
        """One of them is over."""
        self.results[task._place] = task.value if task.error is None else task.error
        self.ended = self.ended or (self.together and task.error is not None)
        self.open -= 1
        self.begin()


class Runner:
    """Carries stories out. ``renew`` opens another client for the clean-up, ``None`` where that cannot be."""

    def __init__(
        self,
        client: Client,
        renew: Callable[[], Client | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self._renew = renew
        self._clock = clock
        self.tasks: dict[Task, None] = {}
        self._done: deque[Task] = deque()
        self._ready: deque[tuple[Task, Any, TransferError | None]] = deque()
        self._queue: deque[Task] = deque()  # their requests wait for room
        self._timers: list[tuple[float, int, Task]] = []
        self._count = 0  # tells timers of one moment apart
        self._dead: TransferError | None = None  # no client is left

    # -- batches -----------------------------------------------------------------------------------

    def run(
        self,
        stories: Iterator[tuple[Any, Steps[Any]]],
        width: int,
        room: Callable[[int], bool] = lambda under_way: True,
    ) -> Generator[Task, None, None]:
        """Keeps ``width`` stories under way; yields each task when it is over, well or with its ``error``.

        ``stories`` is asked for another one whenever there is room: fewer than ``width`` under way, and
        ``room``, told how many there are, says so too (it must when there are none).
        """
        under_way, more = 0, True
        with self.client.use():
            try:
                while True:
                    while more and under_way < width and room(under_way):
                        item = next(stories, None)
                        if item is None:
                            more = False
                            break
                        under_way += 1
                        self.begin(Task(self, *item))
                    if self._done:
                        under_way -= 1
                        yield self._done.popleft()
                    elif self.tasks:
                        self.turn()
                    else:
                        return
            except TransferError as error:
                self._give_up(error)
                raise
            finally:
                if self.tasks:
                    self._give_up(Cancelled("the batch was given up"))

    def results(self, stories: Iterable[Steps[T]], width: int = FORK) -> Iterator[T]:
        """What each story returned, in the order in which they end. Raises the first error."""
        for task in self.run(((None, steps) for steps in stories), width):
            if task.error is not None:
                raise task.error
            yield task.value

    def one(self, steps: Steps[T]) -> T:
        """One story to its end. Raises what it raised."""
        (value,) = list(self.results([steps], 1))
        return value

    def emitted(self, story: Callable[[Callable[[T], None]], Steps[None]]) -> Iterator[T]:
        """What a story hands out while it goes on, no faster than it is taken."""
        found: deque[T] = deque()
        with self.client.use():
            try:
                task = Task(self, None, story(found.append))
                self.begin(task)
                while found or not task.over:
                    if found:
                        yield found.popleft()
                    else:
                        self.turn()
            except TransferError as error:
                self._give_up(error)
                raise
            finally:
                if self.tasks:
                    self._give_up(Cancelled("the listing was given up"))
                self._done.clear()
        if task.error is not None:
            raise task.error

    # -- steps -------------------------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """Starts a story."""
        self.tasks[task] = None
        self._advance(task, None, None)

    def resume(self, task: Task, value: Any, error: TransferError | None = None) -> None:
        """Has the task go on at the next turn."""
        self._ready.append((task, value, error))

    def turn(self, patience: float = PATIENCE) -> None:
        """Has those go on that can; waits where there is none."""
        ready, queue, client = self._ready, self._queue, self.client
        if ready:
            for _ in range(len(ready)):
                self._advance(*ready.popleft())
            return
        while queue and client.room > 0:
            self._start(queue.popleft())
        if self._timers:
            left = self._timers[0][0] - self._clock()
            if left <= 0:
                self._advance(heapq.heappop(self._timers)[2], None, None)
                return
            patience = min(patience, left)
        client.step(patience)

    def _advance(  # noqa: PLR0911  a call more costs each file of a batch four times
        self, task: Task, value: Any, error: TransferError | None
    ) -> None:
        """Has the story go on to its next request. What is usual is quick: a small file asks thrice."""
        while not task.over:
            try:
                request = task.steps.send(value) if error is None else task.steps.throw(error)
            except StopIteration as end:
                return self._over(task, end.value, None)
            except TransferError as raised:
                return self._over(task, None, raised)
            except OSError as raised:
                return self._over(task, None, from_oserror(raised))
            except Exception as raised:  # noqa: BLE001  a defect fails its own file, no other
                return self._over(task, None, Defect.wrap(raised))
            kind = type(request)
            if kind is Last or not task.plain:
                request, refused = self._judged(task, request)
                if refused is not None:
                    value, error = None, refused
                    continue
                kind = type(request)
            task.request = request
            if kind in _OURS or self._queue or self.client.room <= 0:
                return self._ask(task, request)
            try:
                return self.client.start(request, task)
            except TransferError as raised:  # it could not even be sent
                return self.resume(task, None, raised)
        return None

    def _judged(self, task: Task, request: Any) -> tuple[Any, TransferError | None]:
        """What a story asks that tidies up, was told to stop, or belongs to another; or why it may not."""
        task.plain = False
        if type(request) is Last:
            task.tidies = True
            while type(request) is Last:
                request = request.request
        else:
            task.tidies = task._fork is not None and task._fork.parent.tidies
            if task.stopped is not None and not task.tidies:
                return request, task.stopped
        return request, self._dead  # with no client left, all stories have been told to stop

    def _ask(self, task: Task, request: Any) -> None:
        kind = type(request)
        if kind is All:
            _Fork(self, task, request).begin()
        elif kind is Wait:
            if request.over:
                self.resume(task, None, request.error)
            else:
                request._waiting.append(task)
        elif kind is Spawn:
            beside = Task(self, _NOBODY, request.steps)
            beside.stopped, beside.tidies, beside.plain = task.stopped, task.tidies, task.plain
            self.begin(beside)
            self.resume(task, None)
        elif kind is Pause:
            self._count += 1
            heapq.heappush(self._timers, (self._clock() + request.seconds, self._count, task))
        else:
            self._queue.append(task)

    def _start(self, task: Task) -> None:
        if task.over:
            return
        try:
            self.client.start(task.request, task)
        except TransferError as error:  # it could not even be sent
            self.resume(task, None, error)

    def _over(self, task: Task, value: Any, error: TransferError | None) -> None:
        task.over, task.value, task.error, task.request = True, value, error, None
        self.tasks.pop(task, None)
        if task._fork is not None:
            task._fork.over(task)
        elif task.item is not _NOBODY:
            self._done.append(task)

    # -- the end -----------------------------------------------------------------------------------

    def _give_up(self, reason: TransferError) -> None:
        """Tells every story to stop, and lets each undo what it began: not for long."""
        first = self.client
        try:
            self._tell(reason)
            try:
                self._until(WIND_DOWN)
                lost: TransferError = Cancelled("the batch was given up")
            except TransferError as error:  # closed, or broken
                lost = error
            if self.tasks:
                self._start_again(lost)
        finally:
            self._dead = self._dead or reason
            while self.tasks or self._ready:  # what they ask from now on is answered by an error
                self._ready.clear()
                for task in list(self.tasks):
                    if type(task.request) is not All:
                        self._advance(task, None, self._dead)
            self._done.clear()
            self._queue.clear()
            self._timers.clear()
            self.client, self._dead = first, None

    def _tell(self, reason: TransferError) -> None:
        waiting = {task for _, _, task in self._timers} | set(self._queue)
        for task in list(self.tasks):
            task.plain = False
            if task.stopped is None:
                task.stopped = reason
            if task.tidies or task.request is None:
                continue
            if type(task.request) is Wait or task in waiting:
                self._forget(task)
                self.resume(task, None, reason)
            elif type(task.request) not in (All, Spawn, Pause):
                self.client.hurry(task.request)

    def _forget(self, task: Task) -> None:
        """It waits for nothing any more."""
        if type(task.request) is Wait and task in task.request._waiting:
            task.request._waiting.remove(task)
        if task in self._queue:
            self._queue.remove(task)
        self._timers = [one for one in self._timers if one[2] is not task]
        heapq.heapify(self._timers)
        task.request = None

    def _until(self, seconds: float) -> None:
        end = self._clock() + seconds
        while self.tasks and (left := end - self._clock()) > 0:
            self.turn(min(left, 0.1))

    def _start_again(self, lost: TransferError) -> None:
        """What was asked of the old client gets no answer any more; clean-up goes to a new one.

        That is opened only where something asks for it.
        """
        again = (
            set(self._queue) | {task for _, _, task in self._timers} | {task for task, _, _ in self._ready}
        )
        self.client = _NoClient()
        for task in list(self.tasks):
            if type(task.request) not in (All, Wait) and task not in again:
                self.resume(task, None, lost)
        while self._ready:
            self.turn()
        if not self.tasks:
            return
        try:
            client = self._renew()
        except TransferError as error:
            client, lost = None, error
        if client is None:
            self._dead = lost
            return
        self.client = client
        with client.use():
            try:
                self._until(CLEAN_UP)
            except TransferError as error:
                self._dead = error


class _NoClient:
    """Between two: requests wait."""

    room = 0

    def use(self) -> AbstractContextManager[object]:
        return nullcontext()

    def start(self, request: Any, task: Task) -> None:
        """Never called, as there is no room."""

    def step(self, patience: float) -> None:
        """Nothing moves."""

    def hurry(self, request: Any) -> None:
        """Nothing moves."""


_OURS = frozenset((All, Wait, Spawn, Pause))  # requests that the runner answers itself
_NOBODY = object()  # the item of a story that runs beside
