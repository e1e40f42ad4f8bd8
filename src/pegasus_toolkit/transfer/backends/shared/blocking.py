"""A protocol whose library blocks: its calls run in a few threads, its exceptions become errors of ours.

The primitives yield plain callables, which the threads of :class:`Calls` run, a few at a time::

    class RedisFiles(BlockingFiles):
        meanings = ((redis.ConnectionError, Unreachable), (redis.RedisError, ServerFault))

        def unlink(self, path):
            if not (yield self.call(path, partial(self.redis.unlink, path))):
                raise NotFound("no such key", url=self.url(path))
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend
from pegasus_toolkit.transfer.backends.shared.files import Files, PlainFiles, Traits, perhaps, temporary_names
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Task
from pegasus_toolkit.transfer.errors import Cancelled, TransferError, from_oserror, translate
from pegasus_toolkit.transfer.interface import Endpoint, Settings

_Came = tuple[Task, Any, Exception | None]


class BlockingFiles(PlainFiles):
    """Primitives over a library that blocks: each yields what :meth:`call` gives.

    ``meanings``: exceptions of the library, the special before the general, and the error of ours that each
    stands for. An ``OSError`` is judged by its number; what nobody expected is a defect.
    """

    meanings: ClassVar[tuple[tuple[type[Exception], type[TransferError]], ...]] = ()

    def __init__(self, endpoint: Endpoint, settings: Settings, traits: Traits) -> None:
        """Raises ``BadSpecification`` where the endpoint's section asks for names aside of no known kind."""
        super().__init__(traits)
        self.endpoint = endpoint
        self.noted = partial(settings.notes.aside, endpoint)
        self.warn = settings.warn
        self.traits.choose(temporary_names(endpoint, settings))

    def url(self, path: str) -> str:
        """As it was given, without a password."""
        return redact.url(f"{self.endpoint.scheme}://{self.endpoint.authority}{path}")

    def call(self, path: str, action: Callable[[], Any], *why: str) -> Callable[[], Any]:
        """A request. ``path``: what an error is about; ``why``: what may be behind it (see ``perhaps``)."""

        def call() -> Any:
            try:
                return action()
            except TransferError as error:
                perhaps(error, *(why or error.perhaps))
                raise
            except Exception as error:
                ours = self.translated(error, path)
                if ours is None:
                    raise
                raise perhaps(ours, *why) from error

        return call

    def translated(self, error: Exception, path: str) -> TransferError | None:
        """The error of ours that an exception stands for; ``None`` for a defect."""
        for theirs, ours in self.meanings:
            if isinstance(error, theirs):
                text = redact.message(str(error)) or type(error).__name__
                return ours(text, url=self.url(path), host=self.endpoint.host)
        if isinstance(error, OSError):
            return from_oserror(error, url=self.url(path), host=self.endpoint.host)
        return None


class BlockingBackend(FilesBackend):
    """Verbs over ``files``, with ``calls`` of them at a time (0: in the caller's own thread)."""

    def __init__(self, files: Files, calls: int) -> None:
        self.files = files
        self.calls = Calls(calls)
        self._clean_up = min(calls, 1)

    def runner(self, side: bool = False) -> Runner:
        """What is to be cleaned up after ``close`` gets a thread of its own."""
        return Runner(self.calls, lambda: Calls(self._clean_up, once=True))

    def close(self) -> None:
        """From any thread; what is under way ends when its call does."""
        self.calls.close()


class Calls:
    """A client whose requests are plain callables, which ``threads`` threads run.

    A call that blocks for ever holds only its thread; ``close`` does not wait for it. With 0 threads the
    caller's own runs one call after the other: that is quicker where a call takes microseconds.
    """

    def __init__(self, threads: int = 1, once: bool = False) -> None:
        """``once``: for one batch."""
        self._free = max(threads, 1)
        self._once = once
        self._threads = threads
        self._started = 0
        self._work: SimpleQueue[tuple[Task | None, Callable[[], Any]]] = SimpleQueue()
        self._over: SimpleQueue[_Came | None] = SimpleQueue()
        self._closed = threading.Event()

    @property
    def room(self) -> int:
        """Calls that can be carried out at once."""
        return self._free

    @contextmanager
    def use(self) -> Iterator[None]:
        """Threads are kept between batches."""
        if self._closed.is_set():
            raise Cancelled("the connection was closed")
        try:
            yield
        finally:
            if self._once:
                self.close()

    def start(self, request: Callable[[], Any], task: Task) -> None:
        """Hands the call to a thread, or keeps it for ``step``."""
        self._free -= 1
        if self._started < self._threads:
            self._started += 1
            threading.Thread(target=self._serve, name="calls", daemon=True).start()
        self._work.put((task, request))

    def step(self, patience: float) -> None:
        """Answers the calls that are over."""
        if self._closed.is_set():
            raise Cancelled("the connection was closed")
        if not self._threads and not self._work.empty():
            self._settle(self._carry_out(*self._work.get()))
            return
        try:
            came = self._over.get(timeout=patience)
        except Empty:
            return
        while came is not None:
            self._settle(came)
            try:
                came = self._over.get_nowait()
            except Empty:
                return

    def _settle(self, came: _Came) -> None:
        task, value, error = came
        self._free += 1
        if error is None:
            task.answer(value)
        else:
            task.fail(translate(error))

    def hurry(self, request: Any) -> None:
        """A call is not broken off."""

    def close(self) -> None:
        """From any thread: who waits gets ``Cancelled``."""
        self._closed.set()
        for _ in range(self._started):
            self._work.put((None, bool))
        self._over.put(None)

    def _serve(self) -> None:
        while (work := self._work.get())[0] is not None:
            self._over.put(self._carry_out(*work))

    def _carry_out(self, task: Task | None, call: Callable[[], Any]) -> _Came:
        assert task is not None
        try:
            return task, call(), None
        except Exception as error:  # noqa: BLE001  fails what asked for it, in its own thread
            return task, None, error
