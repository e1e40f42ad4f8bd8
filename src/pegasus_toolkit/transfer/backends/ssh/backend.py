"""SSH: ``scp://`` and ``sftp://``, both by SFTP over one connection that keeps many files in flight.

The connection is made by the ``ssh`` program; by paramiko where there is none, and for passwords and
for keys with a passphrase, which ``ssh`` would ask for on a terminal. The client is our own either way.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from pegasus_toolkit.credentials import SshCredential
from pegasus_toolkit.transfer.backends.ssh import sftp_tree
from pegasus_toolkit.transfer.backends.ssh import sftp_wire as wire
from pegasus_toolkit.transfer.backends.ssh.address import address
from pegasus_toolkit.transfer.backends.ssh.sftp_copy import Copier
from pegasus_toolkit.transfer.backends.ssh.sftp_get import Gets
from pegasus_toolkit.transfer.backends.ssh.sftp_put import Puts
from pegasus_toolkit.transfer.backends.ssh.sftp_session import Link, Session
from pegasus_toolkit.transfer.errors import Cancelled, ServerFault, TransferError, Unsupported
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
    Preconnects,
    ReportsFreeSpace,
    Requirement,
    Settings,
    Sink,
    Source,
)
from pegasus_toolkit.transfer.streams.checked import NullSink

IN_FLIGHT = 128  # files on one connection
SOON = 5.0  # seconds to connect for what is only a help
WORTH_A_COMMAND = 8 << 20  # bytes: smaller files are sooner read back than a command is started
SLOWEST = 100_000_000  # bytes per second that a server's command digests at least
COMMANDS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}  # and the length of what they print
DIGEST = re.compile(rb"\\?([0-9a-f]+) [ *]")


Stopped = Callable[[], bool]


class Connector(Protocol):
    """How a server is reached and logged in to."""

    waits: bool
    """Whether ``sftp`` comes back only when it is connected."""

    def sftp(self, timeout: float) -> Link:
        """Begins to connect to its SFTP subsystem. Raises what is wrong at once."""

    def retry_with_less(self) -> bool:
        """After a connection failed: whether another try, asking for less, may do."""

    def run(self, command: str, given: bytes, timeout: float, stopped: Stopped) -> tuple[int, bytes]:
        """Runs a command there, with that standard input: its exit status and what it printed."""


class Sftp:
    """One account at one server. Connects when it is first used, again after a connection was lost."""

    abilities = Abilities(in_flight=IN_FLIGHT, pipelined=True, threads=4)

    def __init__(
        self, endpoint: Endpoint, settings: Settings, connector: Connector, who: SshCredential
    ) -> None:
        self.endpoint = endpoint
        self._who = who
        self.connector = connector
        self._settings = settings
        self._url = f"{endpoint.scheme}://{endpoint.authority}"
        self._session: Session | None = None
        self._active = 0  # verbs under way
        self._closed = False
        self._lock = threading.Lock()
        self._shell = True  # whether commands can be run there, as far as is known

    # -- files -------------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps 128 files in flight, 8 MiB asked for ahead."""
        with self._use() as session:
            yield from Gets(session, self._url, IN_FLIGHT).run(jobs)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Written aside, renamed when the server has acknowledged every byte."""
        with self._use() as session:
            batch = Puts(session, self._url, IN_FLIGHT)
            try:
                yield from batch.run(jobs)
            except ServerFault:
                self._sweep(batch.litter())
                raise

    def _sweep(self, names: list[str]) -> None:
        """Removes what a lost connection left aside, over a new one, if that can be had soon."""
        if not names or self._closed:
            return
        self._drop()
        try:
            session = self._connected(SOON)
            for _ in sftp_tree.run(session, [sftp_tree.remove(name, name) for name in names]):
                pass
        except TransferError:
            return  # what is left has a name of its own, and no other run takes it for a file

    def copies(self, other: Backend, required: Requirement) -> bool:
        """Within one account of a server that offers ``copy-data``; asks the server, once."""
        if not isinstance(other, Sftp) or other.endpoint[1:] != self.endpoint[1:]:
            return False
        try:
            with self._use(SOON) as session:
                return wire.COPY_DATA in session.offers
        except TransferError:
            return False  # the transfer itself will tell why

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Copies aside, takes the digest that is wanted of the copy, renames."""
        with self._use() as session:

            def make(path: str) -> None:
                error = sftp_tree.one(session, sftp_tree.mkdir(path, self._url + path))
                if error is not None:
                    raise error

            def digest(path: str, algorithm: str, size: int) -> str:
                return self._remote_digest(path, algorithm, size) or self._read_back(
                    session, path, algorithm, size, control
                )

            yield from Copier(session, self._url, control, digest).run(jobs, make)

    def _read_back(self, session: Session, path: str, algorithm: str, size: int, control: Control) -> str:
        required = Requirement(algorithm, "", size)
        job: Job[Sink] = Job(path, "", required, NullSink(self._url + path, required, control))
        for over in Gets(session, self._url, 1).run(iter([job])):
            if over.error is not None:
                raise over.error
        return job.end.commit()

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size; and the digest by the server's own ``sha256sum`` where that is worth a connection."""
        entry = self.stat(path)
        digest = self._remote_digest(path, algorithm, entry.size or 0)
        return entry._replace(digest=(algorithm, digest)) if digest else entry

    def _remote_digest(self, path: str, algorithm: str, size: int) -> str:
        """By a command there, if the account has a shell; "" where reading it back must do.

        The path goes through standard input, so that no shell ever sees it.
        """
        patience = self._settings.stall_timeout
        if not self._shell or algorithm not in COMMANDS or not WORTH_A_COMMAND <= size <= patience * SLOWEST:
            return ""
        name = path.encode("utf-8", "surrogateescape") + b"\0"
        command = f"xargs -0 {algorithm}sum --"
        try:
            status, printed = self.connector.run(command, name, patience, lambda: self._closed)
        except TransferError:
            status, printed = 255, b""
        found = DIGEST.match(printed)
        if status == 0 and found and len(found[1]) == COMMANDS[algorithm]:
            return found[1].decode()
        self._shell = False
        return ""

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

    def identity(self) -> Identity:
        """Password, key file, or what ``ssh`` finds by itself (agent, default keys)."""
        who = self._who
        if who.password is not None:
            return Identity("password", who.section)
        return Identity("SSH key", who.private_key or "agent or default keys")

    def free(self, path: str) -> int | None:
        """By ``statvfs``, of the nearest directory that is there; ``None`` where the server has no such."""
        with self._use() as session:
            while wire.STATVFS in session.offers:
                kind, body = session.ask(wire.EXTENDED, wire.string(wire.STATVFS) + wire.encode(path or "/"))
                if kind == wire.EXTENDED_REPLY:
                    return wire.free_space(body)
                if path in ("", "/"):
                    break
                path = path.rstrip("/").rpartition("/")[0]
        return None

    # -- connection --------------------------------------------------------------------------------

    @contextmanager
    def _use(self, timeout: float | None = None) -> Iterator[Session]:
        with self._lock:
            if self._closed:
                raise Cancelled("the connection was closed", host=self.endpoint.host)
            self._active += 1
        try:
            yield self._connected(timeout or self._settings.connect_timeout)
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

    def begin(self) -> None:
        """Starts ``ssh``, which logs in by itself meanwhile."""
        if self.connector.waits or self._session is not None:
            return
        with suppress(TransferError, OSError):
            self._session = self._new(self._settings.connect_timeout)

    def _connected(self, timeout: float) -> Session:
        if self._session is not None and self._session.open:
            return self._session
        try:
            return self._connect(timeout)
        except Unsupported:
            if not self.connector.retry_with_less():
                raise
            self._drop()
            return self._connect(timeout)

    def _connect(self, timeout: float) -> Session:
        session = self._session or self._new(timeout)
        with self._lock:
            self._session = session
            if self._closed:
                session.interrupt()
        session.hello()
        session.patience = self._settings.stall_timeout
        return session

    def _new(self, timeout: float) -> Session:
        return Session(self.connector.sftp(timeout), timeout + 5)

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
    return Sftp(endpoint, settings, connector(endpoint, settings, credential), credential)


def connector(endpoint: Endpoint, settings: Settings, credential: SshCredential) -> Connector:
    """The ``ssh`` program, unless it is not there or there is a secret that it would ask for."""
    import shutil

    where = address(endpoint, credential)
    binary = shutil.which("ssh", path=settings.environ.get("PATH"))
    if binary is not None and credential.password is None and credential.passphrase is None:
        from pegasus_toolkit.transfer.backends.ssh.program import Program

        return Program(binary, where, credential, settings.environ)
    from pegasus_toolkit.transfer.backends.ssh.paramiko import Library

    return Library(where, credential, settings.environ)


_: type[Backend] = Sftp
_copies: type[Copies] = Sftp
_inspects: type[Inspects] = Sftp
_identified: type[Identified] = Sftp
_spacious: type[ReportsFreeSpace] = Sftp
_connects: type[Preconnects] = Sftp
