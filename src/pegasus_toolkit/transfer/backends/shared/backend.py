"""A backend out of a protocol's primitives: the verbs of ``interface.Backend``, written once.

A protocol whose library blocks gives primitives that yield plain callables, which the threads of
:class:`Calls` run, a few at a time::

    class RedisFiles(PlainFiles):
        def stat(self, path):
            size = yield lambda: self.redis.strlen(path)
            ...
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.transfer.backends.shared import trees
from pegasus_toolkit.transfer.backends.shared.files import Files, Found
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps, Task
from pegasus_toolkit.transfer.backends.shared.upload import upload
from pegasus_toolkit.transfer.errors import Cancelled, IsDirectory, TransferError
from pegasus_toolkit.transfer.interface import Abilities, Entry, Job, Sink, Source

_Came = tuple[Task, Any, Exception | None]


class FilesBackend:
    """Verbs over ``files``. A subclass sets ``abilities`` and ``files``, gives ``runner``, and overrides
    the verbs for which its protocol has a faster way."""

    abilities: Abilities
    files: Files
    links: LinkRule = "follow"  # what ``list`` does about symbolic links at the server
    width = 0  # files under way in one batch; 0: as the abilities say

    def runner(self, side: bool = False) -> Runner:
        """What carries out the stories of one verb; ``side``: beside a batch that is under way."""
        raise NotImplementedError

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``abilities.in_flight`` files under way."""
        return self._batch(jobs, self._download)

    def _download(self, job: Job[Sink]) -> Steps[None]:
        plain, _ = self.files.split(job.path)
        if plain.endswith("/"):
            raise IsDirectory("names a directory", url=self.files.url(job.path), side="source")
        self.files.check(job.path)
        yield from self.files.read(job.path, job.end)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Keeps ``abilities.in_flight`` files under way; each is visible only when whole."""
        return self._batch(jobs, self._upload)

    def _upload(self, job: Job[Source]) -> Steps[None]:
        return upload(self.files, job)  # ``files`` as they are when its turn comes: a login may replace them

    def _batch(
        self, jobs: Iterator[Job[Any]], story: Callable[[Job[Any]], Steps[None]]
    ) -> Iterator[Job[Any]]:
        stories = ((job, story(job)) for job in jobs)
        with closing(self.runner().run(stories, self.width or self.abilities.in_flight, self.room)) as tasks:
            for task in tasks:
                task.item.error = task.error
                yield task.item

    def room(self, under_way: int) -> bool:
        """Whether a batch may take one more job, with so many under way; below ``abilities.in_flight``."""
        return True

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Several at once. A directory, even an empty one, only where ``recursive``."""
        stories = ((path, trees.remove(self.files, path, recursive)) for path in paths)
        with closing(self.runner().run(stories, self.width or self.abilities.in_flight)) as tasks:
            for task in tasks:
                yield task.item, task.error

    def mkdir(self, path: str) -> None:
        """Makes it and its parents. Raises ``Permanent`` where a file is in the way."""
        self.runner(side=True).one(trees.make(self.files, path))

    def stat(self, path: str) -> Entry:
        """Raises ``NotFound``."""
        self.files.check(path)
        found = self.runner(side=True).one(self.files.stat(path))
        return entry(path, found)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, and empty directories. Raises ``NotFound``."""
        return self.runner(side=True).emitted(lambda emit: trees.walk(self.files, prefix, emit, self.links))

    def scan(self, path: str) -> Iterator[Entry]:
        """What is in one directory."""
        plain, tail = self.files.split(path)
        place = trees.Place(plain.rstrip("/"), "", 0)
        seen = self.runner(side=True).one(trees.look(self.files, place, tail))
        if seen.wrong is not None:
            raise seen.wrong
        for one, _ in seen.found:
            yield entry(f"{place.path}/{one.name}{tail}", one)

    def inspect_many(
        self, paths: Iterable[str], algorithms: Sequence[str]
    ) -> Iterator[tuple[str, Entry | TransferError]]:
        """Several at once. What the server tells of a link is of what it leads to."""
        found: dict[str, Entry] = {}

        def inspected(path: str) -> Steps[None]:
            self.files.check(path)
            found[path] = yield from self._inspection(path, algorithms)

        stories = ((path, inspected(path)) for path in paths)
        with closing(self.runner().run(stories, self.width or self.abilities.in_flight)) as tasks:
            for task in tasks:
                yield task.item, task.error or found.pop(task.item)

    def _inspection(self, path: str, algorithms: Sequence[str]) -> Steps[Entry]:
        told = entry(path, (yield from self.files.stat(path)))
        for algorithm in () if told.directory or told.digest else algorithms:
            digest = yield from self.files.digest(path, algorithm)
            if digest:
                return told._replace(digest=(algorithm, digest))
        return told


def entry(path: str, found: Found) -> Entry:
    """What a backend tells of it."""
    size = None if found.directory else found.size
    return Entry(path, size, bool(found.directory), found.digest, found.modified, found.special)


class Calls:
    """A client whose requests are plain callables, which ``threads`` threads run.

    A call that blocks for ever holds only its thread; ``close`` does not wait for it. With 0 threads the
    caller's own runs one call after the other: that is quicker where a call takes microseconds.
    """

    def __init__(
        self,
        threads: int = 1,
        wrong: Callable[[Exception], TransferError] | None = None,
        once: bool = False,
    ) -> None:
        """``wrong``: which error of ours an exception of the library stands for; ``once``: for one batch."""
        self._free = max(threads, 1)
        self._once = once
        self._wrong = wrong
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
            self._fail(task, error)

    def _fail(self, task: Task, error: Exception) -> None:
        if isinstance(error, TransferError):
            task.fail(error)
        elif self._wrong is not None:
            task.fail(self._wrong(error))
        else:
            raise error

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
        except Exception as error:  # noqa: BLE001  raised again in the thread that asked
            return task, None, error
