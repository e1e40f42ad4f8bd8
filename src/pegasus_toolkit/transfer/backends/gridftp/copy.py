"""Third party: one GridFTP server sends a file straight to another.

Each server is logged in to with its own credential. What arrived is checked by the servers' own
digests (and the size), before it gets its name; where the receiving server has no such algorithm, it
is read back. Each server is told whose proxy the other shows it on the data connection.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import suppress

from pegasus_toolkit.transfer.backends.gridftp import names as gridftp_names
from pegasus_toolkit.transfer.backends.gridftp.connections import Connections
from pegasus_toolkit.transfer.backends.gridftp.data import Channel, passive, spot
from pegasus_toolkit.transfer.backends.gridftp.errors import failure
from pegasus_toolkit.transfer.backends.gridftp.get import Gets
from pegasus_toolkit.transfer.backends.gridftp.wire import Session
from pegasus_toolkit.transfer.errors import Corrupted, Denied, Side, TransferError
from pegasus_toolkit.transfer.interface import Control, Job, Requirement, Sink
from pegasus_toolkit.transfer.streams.checked import NullSink, mismatch


class Copy:
    """One batch."""

    def __init__(self, reader: Connections, writer: Connections, control: Control) -> None:
        self.reader = reader
        self.writer = writer
        self.control = control
        self.sending: Channel | None = None
        self.storing: Channel | None = None

    def run(self, jobs: Iterator[Job[None]]) -> Iterator[Job[None]]:
        """Yields each when it is over."""
        try:
            for job in jobs:
                try:
                    self.control.spend(0)
                    self._one(job)
                except TransferError as error:
                    if self.reader.closed or self.writer.closed:
                        raise
                    job.error = error
                yield job
        finally:
            self._hang_up()

    def _one(self, job: Job[None]) -> None:
        """One file, from its size to its final name."""
        source, destination = self.reader.names(), self.writer.names()
        try:
            found = gridftp_names.stat(source, job.path)
            if error := gridftp_names.not_a_directory(found, source.url + job.path):
                raise error
        except TransferError as error:
            error.side = "source"
            raise
        self.writer.make_parent(job.destination)
        aside = self.writer.aside(job.destination)
        try:
            self._move(job, aside)
            self._verify(job, aside, found.size)
            rename(destination, aside, job.destination)
        except BaseException:
            self.writer.sweep([aside])
            raise

    # -- bytes ---------------------------------------------------------------------------------------

    def _move(self, job: Job[None], aside: str) -> None:
        """Once the two are connected, the sending server is asked only when the other is ready."""
        first = self.sending is None or self.storing is None
        if first:
            self._introduce()
        assert self.sending is not None and self.storing is not None
        sending, storing = self.sending.session, self.storing.session
        try:
            storing.send(f"STOR {aside}")
            if not first:
                _begun(storing, job.destination, "destination")
            sending.send(f"RETR {job.path}")
            if first:
                self._first(job, sending, storing)
            else:
                _begun(sending, job.path, "source")
            self._both(job, sending, storing)
        except BaseException:
            self._hang_up()  # one of the two may still wait for the other
            raise

    def _first(self, job: Job[None], sending: Session, storing: Session) -> None:
        """Neither says that it begins before both are connected; one may say why it does not."""
        storing.flush()
        sending.flush()
        socks = [storing.link.sock, sending.link.sock]
        ready, _, _ = select.select(socks, [], [], self.writer.settings.stall_timeout)
        if socks[0] in ready:
            _begun(storing, job.destination, "destination")
        _begun(sending, job.path, "source")
        if socks[0] not in ready:
            _begun(storing, job.destination, "destination")

    def _both(self, job: Job[None], sending: Session, storing: Session) -> None:
        ends: list[tuple[Session, str, Side]] = [
            (sending, job.path, "source"),
            (storing, job.destination, "destination"),
        ]
        for session, path, side in ends:
            while (reply := session.reply()).preliminary:
                self.control.spend(0)
            if not reply.good:
                raise failure(reply, session.url + path, session.host, side=side)

    def _introduce(self) -> None:
        """Tells each server of the other; the connection between them serves all files."""
        patience = self.writer.settings.stall_timeout
        self._hang_up()
        self.storing = Channel(self.writer.connect(data=True), patience)
        self.sending = Channel(self.reader.connect(data=True), patience)
        self.storing.agree("E", _expected(self.storing, self.sending))
        host, port = spot(self.storing.session.ask(passive(self.storing.session)), self.storing.session)
        self.sending.agree("E", _expected(self.sending, self.storing))
        self.sending.must(f"PORT {host.replace('.', ',')},{port >> 8},{port & 255}")

    def _hang_up(self) -> None:
        for channel in (self.sending, self.storing):
            if channel is not None:
                with suppress(OSError):
                    channel.close()
        self.sending = self.storing = None

    # -- proof ---------------------------------------------------------------------------------------

    def _verify(self, job: Job[None], aside: str, size: int | None) -> None:
        """Size, and every digest that is wanted, of what the receiving server holds."""
        destination = self.writer.names()
        held = gridftp_names.stat(destination, aside).size
        job.size = held or 0
        for expected in (size, job.required.size):
            if expected is not None and held != expected:
                raise Corrupted(
                    f"{held} bytes arrived, {expected} expected", url=destination.url + job.destination
                )
        for algorithm, expected_digest in job.required.also:
            self._compare(job, aside, algorithm, expected_digest)
        if job.required.algorithm:
            job.digest = self._compare(job, aside, job.required.algorithm, job.required.digest)
            job.proven = True

    def _compare(self, job: Job[None], aside: str, algorithm: str, expected: str) -> str:
        """The digest of what arrived, which is that of the source, and the expected one."""
        found = gridftp_names.checksum(self.writer.names(), aside, algorithm)
        found = found or self._read_back(aside, algorithm)
        for other in (expected, gridftp_names.checksum(self.reader.names(), job.path, algorithm)):
            if other and other != found:
                raise mismatch(self.writer.connector.url + job.destination, algorithm, other, found)
        return found

    def _read_back(self, aside: str, algorithm: str) -> str:
        sink = NullSink(aside, Requirement(algorithm), self.control)
        for back in Gets(self.writer).run(iter([Job[Sink](aside, "", sink.check.required, sink)])):
            if back.error is not None:
                raise back.error
        return sink.commit()


def _expected(at: Channel, other: Channel) -> str:
    """Who that server must find at the other end, as ``DCAU`` says it."""
    ours, theirs = at.session.guard, other.session.guard
    if ours is None or theirs is None or ours.theirs.subject == theirs.theirs.subject:
        return "A"
    return f"S {theirs.theirs.subject}"


def rename(session: Session, old: str, new: str) -> None:
    """Gives a file its final name."""
    session.send(f"RNFR {old}", lambda reply: None)
    reply = session.ask(f"RNTO {new}")
    if not reply.good:
        raise failure(reply, session.url + new, session.host, side="destination", other=Denied)


def _begun(session: Session, path: str, side: Side) -> None:
    """Waits until the transfer begins. Raises what the server says instead."""
    while (reply := session.reply()).preliminary and reply.code not in (125, 150):
        pass
    if not reply.preliminary:
        raise failure(reply, session.url + path, session.host, side=side)
