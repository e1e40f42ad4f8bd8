"""A backend out of a protocol's primitives: the verbs of ``interface.Backend``, written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.transfer.backends.shared import trees
from pegasus_toolkit.transfer.backends.shared.files import Files, Found
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.backends.shared.upload import upload
from pegasus_toolkit.transfer.errors import IsDirectory, TransferError
from pegasus_toolkit.transfer.interface import Abilities, Entry, Job, Sink, Source


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
