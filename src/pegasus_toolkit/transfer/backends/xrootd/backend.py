"""``root://`` and ``roots://`` by the XRootD client library.

Files are moved in streams, many in flight on one connection, with answers handled as they come. A path
is what follows ``root://host/``, with or without a second slash; it is not percent-encoded, and what
follows ``?`` are parameters for the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pegasus_toolkit.transfer.backends.xrootd import trees
from pegasus_toolkit.transfer.backends.xrootd.loop import Steps, Task
from pegasus_toolkit.transfer.backends.xrootd.moves import Transfers, parse_checksum
from pegasus_toolkit.transfer.backends.xrootd.server import Server
from pegasus_toolkit.transfer.backends.xrootd.site import flags
from pegasus_toolkit.transfer.errors import NotFound, TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Inspects,
    Job,
    Requirement,
    Settings,
    Sink,
    Source,
)

IN_FLIGHT = 32  # files; more gain nothing


class Xrootd(Server):
    """One server or redirector, as one user."""

    abilities = Abilities(in_flight=IN_FLIGHT, pipelined=True, threads=4)

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        super().__init__(endpoint, settings)
        self.moves = Transfers(self.site)

    # -- verbs -------------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Transfers each ``job.path`` into ``job.end``."""
        yield from self._batch(jobs, self.moves.load)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Transfers each ``job.end`` to ``job.path``."""
        yield from self._batch(jobs, self.moves.save)

    def _batch(self, jobs: Iterator[Job[Any]], steps: Any) -> Iterator[Job[Any]]:
        first = next(jobs, None)
        if first is None:
            return
        self.begin()
        if first.required.remote:
            self.moves.checksums = self.checksums()

        def all_of_them() -> Iterator[Job[Any]]:
            yield first
            yield from jobs

        for task in self.loop.run(all_of_them(), steps, IN_FLIGHT):
            task.item.error = task.error
            yield task.item

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it."""
        self.begin()
        for task in self.loop.run(iter(paths), lambda t: trees.remove(self.site, t, recursive), IN_FLIGHT):
            yield task.item, task.error

    def mkdir(self, path: str) -> None:
        """Makes the directory and its parents."""
        self.begin()
        self.loop.wait(lambda task: self.moves.make(task, path))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, and empty directories."""
        self.begin()
        waiting = [Entry(prefix, None, True)]
        while waiting:
            directory = waiting.pop()
            try:
                entries = self._entries(directory.path)
            except NotFound:
                if directory.path == prefix:
                    raise
                continue  # it went meanwhile
            if not entries and directory.path != prefix:
                yield directory
            for entry in entries:
                if entry.directory:
                    waiting.append(entry)
                else:
                    yield entry

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the digest where the server can tell it."""
        entry = self.stat(path)
        if algorithm not in self.checksums():
            return entry
        argument = self.site.path(path, f"cks.type={algorithm}")
        response = self.ask(path, self.site.files.query, flags.QueryCode.CHECKSUM, argument)
        return entry._replace(digest=parse_checksum(response))

    def copies(self, other: Backend, required: Requirement) -> bool:
        """From server to server, where both can and what must hold can be compared there."""
        if not isinstance(other, Xrootd) or required.digest or required.also:
            return False
        try:
            both = self.can_copy() and other.can_copy()
            return both and (not required.remote or bool(self.common(other)))
        except TransferError:
            return False  # the relay meets it again, and tells it

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Third-party copies: written aside, compared, renamed."""
        from pegasus_toolkit.transfer.backends.xrootd.copy import copy

        assert isinstance(other, Xrootd)
        return copy(jobs, self, other, control)

    def identity(self) -> Identity:
        """What is shown to the server."""
        return self.site.identity

    def close(self) -> None:
        """From any thread."""
        self.loop.interrupt()

    def _entries(self, path: str) -> trees.Entries:
        found: trees.Entries = []

        def steps(task: Task) -> Steps:
            found.extend((yield from trees.entries_of(self.site, task, path)))

        self.loop.wait(steps)
        return found


def open_backend(endpoint: Endpoint, settings: Settings) -> Xrootd:
    """A client of that endpoint; connects when it is first used."""
    return Xrootd(endpoint, settings)


_backend: type[Backend] = Xrootd
_copies: type[Copies] = Xrootd
_inspects: type[Inspects] = Xrootd
_identified: type[Identified] = Xrootd
