"""GridFTP: ``gsiftp://`` with a proxy, ``sshftp://`` through ssh, by a client of our own.

One connection carries commands (sizes, names, renames), many ahead; others carry files. All replies
are numbers, so each file's own outcome is known. ``docs/decisions/0007-gridftp-tools.md`` says why
``globus-url-copy`` does not do this.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from pegasus_toolkit.transfer.backends.gridftp import names as gridftp_names
from pegasus_toolkit.transfer.backends.gridftp.data import Receiver, Sender, Streamer, receiver
from pegasus_toolkit.transfer.backends.gridftp.get import Gets
from pegasus_toolkit.transfer.backends.gridftp.login import Door, GsiDoor, door, tool_missing
from pegasus_toolkit.transfer.backends.gridftp.put import Puts
from pegasus_toolkit.transfer.backends.gridftp.wire import Session
from pegasus_toolkit.transfer.errors import Cancelled, TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Endpoint,
    Entry,
    Identity,
    Inspects,
    Job,
    Settings,
    Sink,
    Source,
    Want,
)

CLEANING = 10.0  # seconds for a connection of its own that removes what was left aside


class GridFtp:
    """One account at one server. Connects when it is first used, again after a connection was lost."""

    abilities = Abilities(in_flight=1, threads=4)  # more connections serve far servers better

    def __init__(self, entrance: Door, settings: Settings) -> None:
        self.door = entrance
        self.settings = settings
        self.closed = False
        self._names: Session | None = None
        self._sender: Sender | None = None
        self._receiver: Receiver | Streamer | None = None
        self._lister: Streamer | None = None
        self._made: set[str] = set()  # directories that are known to be there
        self._lock = threading.Lock()
        self._active = 0  # verbs under way

    # -- connections ---------------------------------------------------------------------------------

    def enter(self) -> Session:
        """One more connection."""
        if self.closed:
            raise Cancelled("closed", url=self.door.url)
        return self.door.enter(self.settings.stall_timeout)

    def names(self) -> Session:
        """The connection for commands."""
        if self._names is None or self._names.broken:
            if self._names is not None:
                waiting = bool(self._names.waiting)
                self._names.close()
                if waiting:  # answers to what was asked will never come
                    raise self._names.lost(None)
            self._names = self.enter()
        return self._names

    def settle(self) -> None:
        """Waits for the answers to all commands that were sent."""
        while self._names is not None and self._names.waiting and not self._names.broken:
            self._names.pump()

    def sender(self) -> Sender:
        """The connection for files that go there."""
        if self._sender is None:
            self._sender = Sender(self.enter(), self.settings.stall_timeout)
        return self._sender

    def receiver(self) -> Receiver | Streamer:
        """The connection for files that come from there."""
        if self._receiver is None:
            self._receiver = receiver(self.enter(), self.settings.stall_timeout, self.door.near)
        return self._receiver

    def lister(self) -> Streamer:
        """The connection for listings."""
        if self._lister is None or self._lister.session.broken:
            self._lister = Streamer(self.enter(), self.settings.stall_timeout)
        return self._lister

    def broken(self) -> bool:
        """Whether a connection that is in use was lost, or all were closed."""
        channels = (self._sender, self._receiver, self._lister)
        sessions = [self._names, *(channel.session for channel in channels if channel is not None)]
        return self.closed or any(session is not None and session.broken for session in sessions)

    def drop_sender(self) -> None:
        """Closes that connection; the next use makes another."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def drop_receiver(self) -> None:
        """Closes that connection; the next use makes another."""
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    def drop(self) -> None:
        """Closes all connections."""
        self.drop_sender()
        self.drop_receiver()
        if self._lister is not None:
            self._lister.close()
            self._lister = None
        if self._names is not None:
            self._names.close()
            self._names = None

    def sweep(self, paths: list[str]) -> None:
        """Removes files that were left aside, over a new connection where the old one was lost."""
        with suppress(TransferError):
            if not self.broken():
                gridftp_names.removed(self.names(), paths, "DELE")
                return
            session = self.door.enter(CLEANING)
            try:
                gridftp_names.removed(session, paths, "DELE")
            finally:
                session.close()

    @contextmanager
    def use(self) -> Iterator[None]:
        """While a verb is under way, ``close`` from another thread only interrupts."""
        with self._lock:
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                last = not self._active
            if last and self.broken():
                self.drop()

    def close(self) -> None:
        """From any thread; what waits for the server returns."""
        with self._lock:
            self.closed = True
            active = self._active
        if not active:
            self.drop()
            return
        for channel in (self._sender, self._receiver, self._lister):
            if channel is not None:
                channel.interrupt()
        if self._names is not None:
            self._names.interrupt()

    # -- files ---------------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Sixteen files asked for ahead."""
        with self.use():
            yield from Gets(self).run(jobs)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Stored aside, renamed once the server has told that it holds all."""
        with self.use():
            yield from Puts(self).run(jobs)

    def copies(self, other: Backend, want: Want) -> bool:
        """From server to server, where both speak GridFTP and can connect to each other."""
        return isinstance(other, GridFtp)

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Third party: each end with its own credential, digests told by the servers."""
        from pegasus_toolkit.transfer.backends.gridftp.copy import Copy

        assert isinstance(other, GridFtp)
        with self.use(), other.use():
            yield from Copy(self, other, control).run(jobs)

    # -- names ---------------------------------------------------------------------------------------

    def make_parent(self, path: str) -> None:
        """Makes the directory that the file goes into, unless it is known to be there."""
        parent = path.rpartition("/")[0]
        if parent and parent not in self._made:
            gridftp_names.make_directory(self.names(), parent)
            self._made.add(parent)

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
        return self.door.identity()

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the server's own digest where it knows the algorithm."""
        entry = self.stat(path)
        with self.use():
            digest = gridftp_names.checksum(self.names(), path, algorithm)
        return entry._replace(digest=(algorithm, digest) if digest else None)


def open_backend(endpoint: Endpoint, settings: Settings) -> GridFtp:
    """Connects to nothing yet. Raises ``BadSpecification``, ``CredentialError`` for a proxy that is over.

    With PEGASUS_FORCE_GUC set, ``globus-url-copy`` moves the bytes of ``gsiftp``.
    """
    entrance = door(endpoint, settings)
    if "PEGASUS_FORCE_GUC" in settings.environ and isinstance(entrance, GsiDoor):
        import shutil

        from pegasus_toolkit.transfer.backends.gridftp.guc import Guc

        tool = shutil.which("globus-url-copy", path=settings.environ.get("PATH"))
        if tool is None:
            name, package = "globus-url-copy (PEGASUS_FORCE_GUC is set)", "globus-gass-copy-progs"
            raise tool_missing(name, package, package, entrance.url)
        return Guc(entrance, settings, tool)
    return GridFtp(entrance, settings)


_backend: type[Backend] = GridFtp
_copies: type[Copies] = GridFtp
_inspects: type[Inspects] = GridFtp
