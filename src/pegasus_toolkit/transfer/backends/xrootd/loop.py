"""Many files in flight on the XRootD client library, one thread of ours.

The library calls back from threads of its own. A callback does nothing but to queue what came; the
thread that runs the batch hands it to the file it is for. What is done for one file is a generator
that yields whenever it waits for an answer::

    def save(self, task):
        task.call(file.open, url, ...)
        status, response = yield
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import get_ident
from typing import Any, TypeVar

from pegasus_toolkit.transfer.errors import Cancelled, ServerFault, TransferError, from_oserror

Steps = Generator[None, tuple[Any, Any, Any], None]
"""Yields to wait for an answer, and is sent (tag, status, response)."""

TIDY = 2.0  # seconds that a batch which was given up may take to remove what it left

T = TypeVar("T")


class Task:
    """One file under way, and the answers that it waits for."""

    def __init__(self, loop: Loop, item: Any) -> None:
        self.loop = loop
        self.item = item
        self.steps: Steps | None = None
        self.waiting = 0  # answers that will come
        self.error: TransferError | None = None

    def call(self, method: Callable[..., Any], *arguments: Any, tag: Any = None) -> None:
        """Sends a request; its answer is sent into ``steps``, with the tag.

        Raises ``ServerFault`` for a file that the library has closed, as its connection is gone.
        """
        loop = self.loop

        def callback(status: Any, response: Any, hosts: Any) -> None:
            if get_ident() not in loop.kept:
                loop.keep()
            loop.arrived.put((self, tag, status, response))

        with broken_off():
            status = method(*arguments, timeout=loop.patience, callback=callback)
        self.waiting += 1
        if not status.ok:  # it was not even sent: then nobody calls back
            loop.arrived.put((self, tag, status, None))


@contextmanager
def broken_off() -> Iterator[None]:
    """What the library raises for a file that is not open any more, as an error of ours."""
    try:
        yield
    except ValueError as error:
        raise ServerFault("the connection broke off") from error


class Loop:
    """The answers of one backend. All but ``interrupt`` belong to one thread."""

    def __init__(self, patience: int) -> None:
        self.patience = patience  # seconds for an answer
        self.arrived: SimpleQueue[tuple[Task, Any, Any, Any] | None] = SimpleQueue()
        self.closed = False
        self.over: list[Task] = []
        self.kept: set[int] = set()  # threads of the library that Python remembers
        self._active: set[Task] = set()

    def keep(self) -> None:
        """Has Python remember the library's thread that called back.

        Else it makes and forgets all that belongs to a thread with every answer, which takes as much
        processor time as what is done for a small file.
        """
        ctypes.pythonapi.PyGILState_Ensure()  # never released
        self.kept.add(get_ident())

    def interrupt(self) -> None:
        """From any thread: who waits gets ``Cancelled``, from now on."""
        self.closed = True
        self.arrived.put(None)

    def run(self, items: Iterator[T], steps: Callable[[Task], Steps], width: int) -> Iterator[Task]:
        """Runs up to ``width`` items at a time; each task when it is over, well or with its ``error``."""
        mine: set[Task] = set()
        more = True
        try:
            while True:
                while more and len(mine) < width:
                    item = next(items, self)
                    if item is self:
                        more = False
                        break
                    mine.add(self.begin(item, steps))
                done = [task for task in self.over if task in mine]
                if done:
                    self.over = [task for task in self.over if task not in mine]
                    for task in done:
                        mine.discard(task)
                        yield task
                elif mine:
                    self.turn()
                else:
                    return
        finally:
            self._give_up(mine)

    def begin(self, item: Any, steps: Callable[[Task], Steps]) -> Task:
        """Sends the first request for that item."""
        task = Task(self, item)
        self._active.add(task)
        task.steps = steps(task)
        self._step(task, None)
        return task

    def wait(self, steps: Callable[[Task], Steps]) -> None:
        """Runs one task to its end. Raises its error."""
        for task in self.run(iter([None]), steps, 1):
            if task.error is not None:
                raise task.error

    def turn(self, timeout: float | None = None) -> None:
        """Waits for an answer and deals with it."""
        if self.closed and timeout is None:
            raise Cancelled("the connection was closed")
        try:
            came = self.arrived.get(timeout=timeout)
        except Empty:
            return
        if came is not None:
            task, tag, status, response = came
            task.waiting -= 1
            if task in self._active:
                self._step(task, (tag, status, response))

    def _step(self, task: Task, answer: Any) -> None:
        assert task.steps is not None
        try:
            task.steps.send(answer)
        except StopIteration:
            self._finish(task)
        except TransferError as error:
            self._finish(task, error)
        except OSError as error:
            self._finish(task, from_oserror(error))

    def _finish(self, task: Task, error: TransferError | None = None) -> None:
        task.error = error
        self._active.discard(task)
        self.over.append(task)

    def _give_up(self, mine: set[Task]) -> None:
        """Lets what is still under way undo what it began, not for long."""
        for task in mine & self._active:
            assert task.steps is not None
            try:
                task.steps.throw(Cancelled("the batch was given up"))
            except StopIteration:
                self._finish(task)
            except TransferError as error:
                self._finish(task, error)
        deadline = time.monotonic() + TIDY
        while mine & self._active and time.monotonic() < deadline:
            self.turn(timeout=0.1)
        self._active -= mine
        self.over = [task for task in self.over if task not in mine]
