"""The verbs that a protocol lacks, each refused by one line of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pegasus_toolkit.transfer.errors import TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Entry, Job, Source


class Refusing:
    """A backend says by ``cannot`` why it has none of them, and overrides those that it has."""

    def cannot(self, what: str, path: str) -> Unsupported:
        """``what``: "write", "remove", "make a directory", "look at what is there", "list a directory"."""
        raise NotImplementedError

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """``Unsupported`` for each."""
        for job in jobs:
            job.error = self.cannot("write", job.path)
            job.error.side = "destination"
            yield job

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """``Unsupported`` for each."""
        for path in paths:
            yield path, self.cannot("remove", path)

    def mkdir(self, path: str) -> None:
        """Raises ``Unsupported``."""
        raise self.cannot("make a directory", path)

    def stat(self, path: str) -> Entry:
        """Raises ``Unsupported``."""
        raise self.cannot("look at what is there", path)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Raises ``Unsupported``."""
        raise self.cannot("list a directory", prefix)
