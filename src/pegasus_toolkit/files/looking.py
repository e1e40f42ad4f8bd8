"""What looks at places: one directory's names, and a file's content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pegasus_toolkit.files import listing
from pegasus_toolkit.files.copying import Choice
from pegasus_toolkit.files.listing import Item
from pegasus_toolkit.files.places import children, last, look, shown
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import IsDirectory, ServerFault
from pegasus_toolkit.transfer.interface import Control, Data, Job, Requirement, Sink
from pegasus_toolkit.transfer.model import Location
from pegasus_toolkit.transfer.streams.checked import NullSink


class Writable(Protocol):
    """A file or pipe to write bytes to."""

    def write(self, data: bytes, /) -> object:
        """Takes all."""


def listed(where: Location, pool: Pool, choice: Choice, recursive: bool = False) -> Iterator[Item]:
    """A file itself; what is in a directory, at any depth where ``recursive``. By name.

    Raises ``TransferError``.
    """
    entry = look(where, pool)
    if not entry.directory:
        yield Item(last(where), entry.size, entry.modified)
    elif recursive:
        yield from listing.read(where, pool, choice.filters, choice.links).items.values()
    else:
        for name, child in sorted(children(where, pool)):
            if child.directory or choice.filters.keeps(name):
                yield Item(name, child.size, child.modified, 0, 0, child.directory, child.link)


class _Out(NullSink):
    """Hands on what comes, checked."""

    def __init__(self, where: Location, out: Writable) -> None:
        super().__init__(where.url, Requirement(), Control())
        self.out = out

    def restart(self) -> None:
        if self.check.count:  # what was handed on cannot be taken back
            raise ServerFault("the content changed in the middle", url=self.check.name)

    def write(self, data: Data) -> None:
        self.check.feed(data)
        self.out.write(data if isinstance(data, bytes) else bytes(data))


def stream(where: Location, pool: Pool, out: Writable) -> str:
    """Writes a file to ``out``; its sha256. Raises ``TransferError``, perhaps after a part was written."""
    backend = pool.lend(where.endpoint, pool.settings.connections)
    try:
        if look(where, pool).directory:
            raise IsDirectory("is a directory", url=shown(where), side="source")
        sink = _Out(where, out)
        for job in backend.get(iter([Job[Sink](where.path, "", Requirement(), sink)])):
            if job.error is not None:
                raise job.error
        return sink.commit()
    finally:
        backend.close()
