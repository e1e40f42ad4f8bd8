"""GridFTP: ``gsiftp://`` with a proxy, ``sshftp://`` through ssh, by a client of our own.

One connection carries commands (sizes, names, renames), many ahead; others carry files. All replies
are numbers, so each file's own outcome is known. ``docs/decisions/0007-gridftp-tools.md`` says why
``globus-url-copy`` does not do this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pegasus_toolkit.transfer.backends.gridftp import names as gridftp_names
from pegasus_toolkit.transfer.backends.gridftp.connections import Connections
from pegasus_toolkit.transfer.backends.gridftp.get import Gets
from pegasus_toolkit.transfer.backends.gridftp.put import Puts
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Entry,
    Identity,
    Inspects,
    Job,
    Requirement,
    Sink,
    Source,
)


class GridFtp(Connections):
    """One account at one server. Connects when it is first used, again after a connection was lost."""

    abilities = Abilities(in_flight=1, threads=4)  # more connections serve far servers better

    # -- files ---------------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Sixteen files asked for ahead."""
        with self.use():
            yield from Gets(self).run(jobs)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Stored aside, renamed once the server has told that it holds all."""
        with self.use():
            yield from Puts(self).run(jobs)

    def copies(self, other: Backend, required: Requirement) -> bool:
        """From server to server, where both speak GridFTP and treat data connections alike."""
        return isinstance(other, GridFtp) and self.connector.data == other.connector.data

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Third party: each end with its own credential, digests told by the servers."""
        from pegasus_toolkit.transfer.backends.gridftp.copy import Copy

        assert isinstance(other, GridFtp)
        with self.use(), other.use():
            yield from Copy(self, other, control).run(jobs)

    # -- names ---------------------------------------------------------------------------------------

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it."""
        self._made.clear()
        with self.use():
            for path in paths:
                yield path, self._remove_tree(path) if recursive else self._remove(path)

    def _remove_tree(self, path: str) -> TransferError | None:
        return gridftp_names.remove_tree(self.names(), self.lister, path)

    def _remove(self, path: str) -> TransferError | None:
        told: list[TransferError | None] = []
        try:
            gridftp_names.remove(self.names(), path, told.append)
            while not told:
                self.names().pump()
        except TransferError as error:
            if self.broken():
                raise
            return error
        return told[0]

    def mkdir(self, path: str) -> None:
        """Makes it and its parents."""
        with self.use():
            gridftp_names.make_directory(self.names(), path)

    def stat(self, path: str) -> Entry:
        """Size, or that it is a directory. Raises ``NotFound``."""
        with self.use():
            found = gridftp_names.stat(self.names(), path)
        return Entry(path, None if found.directory else found.size, found.directory)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, and empty directories. Raises ``NotFound``."""
        with self.use():
            found = gridftp_names.stat(self.names(), prefix)
            if found.directory:
                yield from gridftp_names.walk(self.lister(), prefix)
            else:
                yield Entry(prefix, found.size)

    def identity(self) -> Identity:
        """Proxy or SSH key."""
        return self.connector.identity()

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the server's own digest where it knows the algorithm."""
        entry = self.stat(path)
        with self.use():
            digest = gridftp_names.checksum(self.names(), path, algorithm)
        return entry._replace(digest=(algorithm, digest) if digest else None)


_backend: type[Backend] = GridFtp
_copies: type[Copies] = GridFtp
_inspects: type[Inspects] = GridFtp
