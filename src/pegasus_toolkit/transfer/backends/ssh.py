"""SSH: ``scp://`` and ``sftp://``, both by SFTP over one connection that keeps many files in flight.

The connection is made by the ``ssh`` program; by paramiko where there is none, and for passwords and
for keys with a passphrase, which ``ssh`` would ask for on a terminal. The client is our own either way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from pegasus_toolkit.credentials import SshCredential
from pegasus_toolkit.transfer.backends import sftp_tree
from pegasus_toolkit.transfer.backends.sftp_get import Gets
from pegasus_toolkit.transfer.backends.sftp_put import Puts
from pegasus_toolkit.transfer.backends.sftp_session import Link, Session
from pegasus_toolkit.transfer.backends.ssh_address import address
from pegasus_toolkit.transfer.errors import Cancelled, TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Job,
    Settings,
    Sink,
    Source,
)

IN_FLIGHT = 64  # files on one connection


class Connector(Protocol):
    """How a server is reached and logged in to."""

    def sftp(self) -> Link:
        """Begins to connect to its SFTP subsystem. Raises what is wrong at once."""

    def run(self, command: str, given: bytes, timeout: float) -> tuple[int, bytes]:
        """Runs a command there, with that standard input: its exit status and what it printed."""


class Sftp:
    """One account at one server. Connects when it is first used, again after a connection was lost."""

    abilities = Abilities(in_flight=IN_FLIGHT, pipelined=True, threads=4)

    def __init__(self, endpoint: Endpoint, settings: Settings, connector: Connector) -> None:
        self.endpoint = endpoint
        self.connector = connector
        self._settings = settings
        self._url = f"{endpoint.scheme}://{endpoint.authority}"
        self._session: Session | None = None
        self._active = 0  # verbs under way
        self._closed = False
        self._lock = threading.Lock()
        self._shell: bool | None = None  # whether commands can be run there; None: not tried

    # -- files -------------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps 64 files in flight, 8 MiB asked for ahead."""
        with self._use() as session:
            yield from Gets(session, self._url, IN_FLIGHT).run(jobs)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Written aside, renamed when the server has acknowledged every byte."""
        with self._use() as session:
            batch = Puts(session, self._url, IN_FLIGHT)
            try:
                yield from batch.run(jobs)
            finally:
                if batch.litter() and not self._closed:
                    self._sweep(batch.litter())

    def _sweep(self, names: list[str]) -> None:
        """Removes what a lost connection left aside, over a new one, if that can be had soon."""

    # -- names -------------------------------------------------------------------------------------

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it; no command runs there, links are not followed."""
        with self._use() as session:
            if recursive:
                for path in paths:
                    yield path, sftp_tree.remove_tree(session, path, self._url + path)
            else:
                yield from sftp_tree.run(session, (sftp_tree.remove(p, self._url + p) for p in paths))

    def mkdir(self, path: str) -> None:
        """Makes it and its parents. Raises ``Permanent`` where a file is in the way."""
        with self._use() as session:
            error = sftp_tree.one(session, sftp_tree.mkdir(path, self._url + path))
        if error is not None:
            raise error

    def stat(self, path: str) -> Entry:
        """Size, or that it is a directory; links are followed. Raises ``NotFound``."""
        with self._use() as session:
            found = sftp_tree.one(session, sftp_tree.stat(path, self._url + path))
        if isinstance(found, TransferError):
            raise found
        return found

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, through symbolic links, and empty directories. Raises ``NotFound``."""
        with self._use() as session:
            yield from sftp_tree.walk(session, prefix, self._url)

    # -- connection --------------------------------------------------------------------------------

    @contextmanager
    def _use(self) -> Iterator[Session]:
        with self._lock:
            if self._closed:
                raise Cancelled("the connection was closed", host=self.endpoint.host)
            self._active += 1
        try:
            yield self._connected()
        except TransferError as error:
            if not error.host:
                error.host = self.endpoint.host
            raise
        finally:
            with self._lock:
                self._active -= 1
            session = self._session
            if session is not None and (self._closed or session.broken is not None):
                self._drop()

    def _connected(self) -> Session:
        if self._session is None:
            session = Session(self.connector.sftp(), self._settings.connect_timeout + 5)
            with self._lock:
                self._session = session
                if self._closed:
                    session.interrupt()
            session.hello()
            session.patience = self._settings.stall_timeout
        return self._session

    def _drop(self) -> None:
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def close(self) -> None:
        """What is under way tidies up, for two seconds at most, and raises ``Cancelled``."""
        with self._lock:
            self._closed = True
            session, active = self._session, self._active
            if session is not None and active:
                session.interrupt()
        if session is not None and not active:
            self._drop()


def open_backend(endpoint: Endpoint, settings: Settings) -> Sftp:
    """Connects to nothing yet. Raises ``BadSpecification``, and ``CredentialError`` for broken ones."""
    credential = settings.credentials.ssh(endpoint.scheme, endpoint.authority, endpoint.site)
    return Sftp(endpoint, settings, connector(endpoint, settings, credential))


def connector(endpoint: Endpoint, settings: Settings, credential: SshCredential) -> Connector:
    """The ``ssh`` program, unless it is not there or there is a secret that it would ask for."""
    import shutil

    where = address(endpoint, credential)
    binary = shutil.which("ssh", path=settings.environ.get("PATH"))
    if binary is not None and credential.password is None and credential.passphrase is None:
        from pegasus_toolkit.transfer.backends.ssh_program import Program

        return Program(binary, where, credential, settings.environ, settings.connect_timeout)
    from pegasus_toolkit.transfer.backends.ssh_paramiko import Library

    return Library(where, credential, settings.environ, settings.connect_timeout)


_: type[Backend] = Sftp
