"""Copies on the server's side, where it offers ``copy-data``: aside, proven, renamed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from pegasus_toolkit.transfer.backends.ssh import sftp_wire as wire
from pegasus_toolkit.transfer.backends.ssh.sftp_errors import refused
from pegasus_toolkit.transfer.backends.ssh.sftp_session import Session
from pegasus_toolkit.transfer.backends.ssh.sftp_tree import Task, one, remove, run
from pegasus_toolkit.transfer.errors import Corrupted, IsDirectory, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Control, Job
from pegasus_toolkit.transfer.streams.checked import mismatch
from pegasus_toolkit.transfer.streams.disk import aside

WIDTH = 16  # files in flight
SLICE = 64 << 20  # bytes copied by one request: the server answers nothing else meanwhile

Digest = Callable[[str, str, int], str]
"""Digest of a path there, by an algorithm, of so many bytes."""


class Copier:
    """The copies under way on one connection."""

    def __init__(self, session: Session, url: str, control: Control, digest: Digest) -> None:
        self.session = session
        self.url = url
        self.control = control
        self.digest = digest
        self.mark = os.urandom(4).hex()
        self.count = 0
        self.standing: dict[Job[None], str] = {}  # what stands aside

    def run(self, jobs: Iterator[Job[None]], make: Callable[[str], None]) -> Iterator[Job[None]]:
        """Yields each job when it is over; ``make`` makes a directory that is missing."""
        try:
            for job in run(self.session, (self._copy(job) for job in jobs), WIDTH):
                if isinstance(job.error, _NoParent):
                    self._once_more(job, make)
                self._publish(job)
                yield job
        finally:
            self._tidy()

    def _once_more(self, job: Job[None], make: Callable[[str], None]) -> None:
        try:
            job.error = None
            make(job.destination.rpartition("/")[0])
            one(self.session, self._copy(job))
        except TransferError as error:
            job.error = error

    def _copy(self, job: Job[None]) -> Task[Job[None]]:
        """Copies to a name aside; what fails is the job's error."""
        name = self.url + job.path
        kind, body = yield wire.STAT, wire.encode(job.path)
        if kind != wire.ATTRS:
            job.error = refused(kind, body, name, "source")
            return job
        found, _ = wire.attributes(body)
        if found.directory:
            job.error = IsDirectory("is a directory", url=name, side="source")
            return job
        if not found.regular or found.size is None:
            job.error = Unsupported("is not a regular file", url=name, side="source")
            return job
        job.size = found.size
        if job.required.size not in (None, job.size):
            message = f"{job.size} bytes there, {job.required.size} expected"
            job.error = Corrupted(message, url=name, side="source")
            return job
        target = wire.encode(job.destination)
        kind, body = yield wire.STAT, target
        if kind == wire.ATTRS and wire.attributes(body)[0].directory:
            job.error = IsDirectory("is a directory", url=self.url + job.destination, side="destination")
            return job
        yield from self._through(job, found)
        return job

    def _through(self, job: Job[None], found: wire.Attributes) -> Task[None]:
        """Opens both, copies in slices, closes both."""
        body = wire.encode(job.path) + wire.U32.pack(wire.FOR_READING) + wire.NO_ATTRIBUTES
        kind, body = yield wire.OPEN, body
        if kind != wire.HANDLE:
            job.error = refused(kind, body, self.url + job.path, "source")
            return
        source, _ = wire.text(body)
        self.count += 1
        there = aside(job.destination, f"{self.mark}-{self.count:x}")
        mode = wire.permissions((found.mode or 0o666) & 0o777)
        kind, body = yield wire.OPEN, wire.encode(there) + wire.U32.pack(wire.NEW_FOR_WRITING) + mode
        if kind == wire.HANDLE:
            self.standing[job] = there
            target, _ = wire.text(body)
            job.error = yield from self._slices(job, source, target)
            kind, body = yield wire.CLOSE, wire.string(target)
            if wire.code(kind, body) != wire.OK and job.error is None:
                job.error = refused(kind, body, self.url + job.destination, "destination", "write")
        elif wire.code(kind, body) in (wire.NO_SUCH_FILE, wire.NO_SUCH_PATH):
            job.error = _NoParent("no such directory", url=self.url + job.destination, side="destination")
        else:
            job.error = refused(kind, body, self.url + job.destination, "destination", "make a file there")
        yield wire.CLOSE, wire.string(source)

    def _slices(self, job: Job[None], source: bytes, target: bytes) -> Task[TransferError | None]:
        at = 0
        while at < job.size:
            count = min(SLICE, job.size - at)
            body = wire.string(wire.COPY_DATA) + wire.string(source) + wire.U64.pack(at)
            body += wire.U64.pack(count) + wire.string(target) + wire.U64.pack(at)
            kind, answer = yield wire.EXTENDED, body
            if wire.code(kind, answer) != wire.OK:
                return refused(kind, answer, self.url + job.destination, "destination", "copy")
            at += count
            try:
                self.control.spend(count)
            except TransferError as error:
                return error
        return None

    def _publish(self, job: Job[None]) -> None:
        """Proves what stands aside, as far as is wanted, and renames it."""
        there = self.standing.get(job)
        if there is None:
            return
        try:
            if job.error is None:
                self._prove(job, there)
                self._rename(job, there)
        except TransferError as error:
            job.error = error
        if job.error is None:
            del self.standing[job]
        else:
            self._remove(there)
            del self.standing[job]

    def _prove(self, job: Job[None], there: str) -> None:
        kind, body = self.session.ask(wire.STAT, wire.encode(there))
        size = wire.attributes(body)[0].size if kind == wire.ATTRS else None
        if size != job.size:
            message = f"{size} bytes were copied, {job.size} expected"
            raise Corrupted(message, url=self.url + job.destination, side="source")
        required = job.required
        expected = (
            [(required.algorithm, required.digest), *required.also]
            if required.algorithm
            else [*required.also]
        )
        for algorithm, digest in expected:
            found = self.digest(there, algorithm, job.size)
            if digest and found != digest:
                raise mismatch(self.url + job.path, algorithm, digest, found)
            if algorithm == required.algorithm:
                job.digest = found
                job.proven = True

    def _rename(self, job: Job[None], there: str) -> None:
        names = wire.encode(there) + wire.encode(job.destination)
        if wire.POSIX_RENAME in self.session.offers:
            kind, body = self.session.ask(wire.EXTENDED, wire.string(wire.POSIX_RENAME) + names)
        else:
            self.session.ask(wire.REMOVE, wire.encode(job.destination))
            kind, body = self.session.ask(wire.RENAME, names)
        if wire.code(kind, body) != wire.OK:
            raise refused(kind, body, self.url + job.destination, "destination", "rename it to its name")

    def _remove(self, there: str) -> None:
        one(self.session, remove(there, self.url + there))

    def _tidy(self) -> None:
        """Whatever still stands aside goes, if the connection works."""
        if not self.standing or self.session.broken is not None:
            return
        try:
            with self.session.tidying():
                while not self.session.idle:
                    self.session.turn()
                for there in self.standing.values():
                    self._remove(there)
        except TransferError:
            return  # it broke meanwhile


class _NoParent(TransferError):
    """The directory of the destination is missing. Never leaves this module."""
