"""The connections to one GridFTP server: for commands, for files each way, for listings."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pegasus_toolkit.transfer.backends.gridftp import names as gridftp_names
from pegasus_toolkit.transfer.backends.gridftp.data import Receiver, Sender, Streamer, receiver
from pegasus_toolkit.transfer.backends.gridftp.login import Connector
from pegasus_toolkit.transfer.backends.gridftp.wire import Session
from pegasus_toolkit.transfer.errors import Cancelled, TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from pegasus_toolkit.transfer.streams.disk import aside

CLEANING = 10.0  # seconds for a connection of its own that removes what was left aside


class Connections:
    """Made when they are first used, and again after one was lost."""

    def __init__(self, connector: Connector, settings: Settings, endpoint: Endpoint) -> None:
        self.connector = connector
        self.settings = settings
        self.endpoint = endpoint
        self.closed = False
        self._names: Session | None = None
        self._sender: Sender | None = None
        self._receiver: Receiver | Streamer | None = None
        self._lister: Streamer | None = None
        self._made: set[str] = set()  # directories that are known to be there
        self._lock = threading.Lock()
        self._active = 0  # verbs under way

    def connect(self, data: bool = False) -> Session:
        """One more connection; ``data``: that data connections belong to."""
        if self.closed:
            raise Cancelled("closed", url=self.connector.url)
        return self.connector.connect(self.settings.stall_timeout, data)

    def names(self) -> Session:
        """The connection for commands."""
        if self._names is None or self._names.broken:
            if self._names is not None:
                waiting = bool(self._names.waiting)
                self._names.close()
                if waiting:  # answers to what was asked will never come
                    raise self._names.lost(None)
            self._names = self.connect()
        return self._names

    def settle(self) -> None:
        """Waits for the answers to all commands that were sent."""
        while self._names is not None and self._names.waiting and not self._names.broken:
            self._names.pump()

    def sender(self) -> Sender:
        """The connection for files that go there."""
        if self._sender is None:
            self._sender = Sender(self.connect(data=True), self.settings.stall_timeout)
        return self._sender

    def receiver(self) -> Receiver | Streamer:
        """The connection for files that come from there."""
        if self._receiver is None:
            self._receiver = receiver(
                self.connect(data=True), self.settings.stall_timeout, self.connector.near
            )
        return self._receiver

    def lister(self) -> Streamer:
        """The connection for listings."""
        if self._lister is None or self._lister.session.broken:
            self._lister = Streamer(self.connect(data=True), self.settings.stall_timeout)
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
            session = self.connector.connect(CLEANING)
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

    def aside(self, path: str) -> str:
        """A name next to ``path`` that nobody else has; noted, as it may exist from now on."""
        name = aside(path, os.urandom(6).hex())
        self.settings.notes.aside(self.endpoint, path, name)
        return name

    def make_parent(self, path: str) -> None:
        """Makes the directory that the file goes into, unless it is known to be there."""
        parent = path.rpartition("/")[0]
        if parent and parent not in self._made:
            gridftp_names.make_directory(self.names(), parent)
            self._made.add(parent)
