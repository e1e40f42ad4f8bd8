"""Copies that WebDAV servers make themselves: within one, or from one to another (WLCG HTTP-TPC).

Between two servers the destination fetches (pull), or the source sends (push). The answer to a COPY that
goes on is 201 or 202 whatever comes of it: its body tells how far it is, and in its last line whether
it worked. What was copied stands aside until its size, and its digest where both servers tell one, are
those of the source.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from pegasus_toolkit.transfer.backends.http.backend import WANT_DIGEST
from pegasus_toolkit.transfer.backends.http.site import Login
from pegasus_toolkit.transfer.backends.http.uploads import Put
from pegasus_toolkit.transfer.backends.webdav.put import DavPut, DavPuts
from pegasus_toolkit.transfer.backends.webdav.steps import Step, alone
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.engine.finish import finish_get
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    Defect,
    NoSpace,
    ServerFault,
    TimedOut,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Control, Data, Entry, Job, Requirement, Sink, Source
from pegasus_toolkit.transfer.streams.pipe import Pipe

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.backends.webdav.backend import WebDav

FINAL = (Cancelled, TimedOut, NoSpace)  # after anything else that a server says, the file goes through here
COMMON = "adler32"  # the digest that grid storage keeps of every file
TAIL = 4096  # bytes of a COPY's answer that are kept
PATIENCE = 600  # seconds that a server may say nothing while it copies


class Copy(Step):
    """A COPY, whose answer is read while it goes on."""

    patience = PATIENCE

    def __init__(
        self,
        session: Session,
        path: str,
        then: Callable[[Step], None],
        extra: tuple[str, ...],
        control: Control,
    ) -> None:
        super().__init__(session, "COPY", path, then, extra=extra)
        self._control = control
        self._moved = 0

    def begin(self, head: Head) -> None:
        """Reads whatever comes."""
        self.body.clear()
        self.take = self._read

    def _read(self, chunk: Data) -> None:
        self.body += chunk
        for line in bytes(self.body).split(b"\n")[:-1]:
            name, _, value = line.partition(b":")
            if name.strip() == b"Stripe Bytes Transferred" and value.strip().isdigit():
                moved = int(value)
                self._control.spend(max(0, moved - self._moved))  # raises when the run stops
                self._moved = max(moved, self._moved)
        del self.body[:-TAIL]

    def outcome(self) -> TransferError | None:
        """What came of it."""
        error = self.failed()
        if error is not None:
            return error
        lines = bytes(self.body).decode("utf-8", "replace").strip().splitlines()
        last = lines[-1].strip() if lines else ""
        told = bool(self.body) and self.head is not None and "text/plain" in self.head.get("content-type")
        if not told or last.lower().startswith("success"):
            return None
        what = "".join(c for c in last[:200] if c.isprintable()) or "broken off"
        return ServerFault(f"the servers' own copy failed: {what}", url=self.shown(), host=self.session.host)


class DavCopy(DavPut):
    """One file: COPY aside, a look at what came, MOVE."""

    def __init__(self, batch: Copies, job: Job[Any]) -> None:
        super().__init__(batch, batch.server, job, job.destination)
        self.copies = batch
        self.source: Entry | None = None

    @property
    def large(self) -> bool:
        """As if it were: its collection must be there beforehand."""
        return True

    def begin(self) -> None:
        """Learns what the source is."""
        try:
            self.source = self.copies.reader.inspect(self.job.path, COMMON)
            if self.job.required.size not in (None, self.source.size):
                what = f"{self.source.size} bytes, {self.job.required.size} expected"
                raise Corrupted(what, url=self.job.path, side="source")
        except TransferError as error:
            error.side = error.side or "source"
            return self.over(error)
        self.prepare()

    def send(self) -> None:
        """The COPY: at the destination, or for a push at the source."""
        self.where = self.name
        self.batch.aside[self.name] = self
        self.copies.copy(self)

    def copied(self, step: Step) -> None:
        """The COPY is over."""
        assert isinstance(step, Copy)
        error = step.outcome()
        self.answered = step.status > 0
        if error is None:
            self.start("HEAD", self.name, self._compare, f"Want-Digest: {WANT_DIGEST[COMMON]}")
        else:
            if step.status and not isinstance(error, FINAL):
                self.copies.refused.append(self.job)
            self.drop(error)

    def _compare(self, step: Step) -> None:
        error = step.failed()
        if error is not None or step.head is None or self.source is None:
            return self.drop(error or ServerFault("no answer", url=step.shown()))
        told = step.head.digests().get(COMMON)
        ours = self.source.digest
        if self.source.size is not None and step.head.length != self.source.size:
            what = f"{step.head.length} bytes came, {self.source.size} expected"
            return self.drop(Corrupted(what, url=step.shown(), side="destination"))
        if told and ours is not None and ours != (COMMON, told):
            what = f"{ours[0]} is {told}, at the source {ours[1]}"
            return self.drop(Corrupted(what, url=step.shown(), side="destination"))
        self.job.size = self.source.size or 0
        self.publish()


class Copies(DavPuts):
    """One batch of copies. ``refused``: jobs whose servers would not, or could not."""

    def __init__(self, reader: WebDav, writer: WebDav, control: Control) -> None:
        super().__init__(writer.loop, writer.server, writer.clean)
        self.reader = reader
        self.writer = writer
        self.control = control
        self.refused: deque[Job[Any]] = deque()

    def put(self, job: Job[Any]) -> Put:
        """One file's copy, not begun yet."""
        return DavCopy(self, job)

    def copy(self, one: DavCopy) -> None:
        """Within the server; else a pull; else a push, one at a time."""
        reader, writer = self.reader.session, self.session
        to = f"Destination: {writer.url(one.name).partition('?')[0]}"
        if reader.origin == writer.origin:
            return self.send(Copy(writer, one.job.path, one.copied, (to, "Overwrite: T"), self.control))
        headers = lent(self.reader.login, self.writer.login)
        if headers is not None:
            extra = (f"Source: {reader.url(one.job.path)}", "Overwrite: T", "Credential: none", *headers)
            return self.send(Copy(writer, one.name, one.copied, extra, self.control))
        extra = (
            to,
            "Overwrite: T",
            "Credential: none",
            *(lent(self.writer.login, self.reader.login) or ()),
        )
        step = Copy(reader, one.job.path, one.copied, extra, self.control)
        with suppress(TransferError):  # the step has it
            alone(self.reader.side, step)
        one.copied(step)


def lent(passive: Login, active: Login) -> tuple[str, ...] | None:
    """What the server that acts has to show the other one; ``None`` where that would tell it a secret.

    A bearer token goes along only where both servers are shown the very same one anyway.
    """
    if passive.user is not None or passive.credential.headers:
        return None
    if passive.token is None:
        return ()
    if active.token is None or active.token.secret.reveal() != passive.token.secret.reveal():
        return None
    return (f"TransferHeaderAuthorization: Bearer {passive.token.secret.reveal()}",)


def able(reader: WebDav, writer: WebDav, required: Requirement) -> bool:
    """Whether to try. What is to be proven by a digest is not: servers tell other ones than are asked for."""
    if required.digest or required.also or required.remote:
        return False
    ours, theirs = reader.login, writer.login
    if reader.session.origin == writer.session.origin:
        same = (ours.user, ours.headers, ours.credential.client_certificate)
        return same == (theirs.user, theirs.headers, theirs.credential.client_certificate)
    grid = reader.scheme == writer.scheme == "davs"
    return grid and (lent(ours, theirs) is not None or lent(theirs, ours) is not None)


def copies(
    jobs: Iterator[Job[None]], reader: WebDav, writer: WebDav, control: Control
) -> Iterator[Job[None]]:
    """Each job when it is over; what the servers would not do goes through here, one by one."""
    batch = Copies(reader, writer, control)
    made: Iterator[Job[Any]] = batch.run(cast("Iterator[Job[Any]]", jobs))
    for job in made:
        if job not in batch.refused:
            yield job
    for job in batch.refused:
        _through(job, reader, writer, control)
        yield job


def _through(job: Job[Any], reader: WebDav, writer: WebDav, control: Control) -> None:
    pipe = Pipe(job.path, job.required, control)
    job.error, job.through = None, True
    pump = threading.Thread(target=_pump, args=(job, reader, pipe), daemon=True)
    pump.start()
    try:
        pipe.wait_for_size()
        for put in writer.put(iter([Job[Source](job.destination, "", job.required, pipe.source)])):
            job.error = put.error
    except TransferError as error:
        job.error = error
    finally:
        pipe.source.close()
        pump.join()
    job.size, job.digest = pipe.check.count, pipe.digest or ""


def _pump(job: Job[Any], reader: WebDav, pipe: Pipe) -> None:
    try:
        for got in reader.get(iter([Job[Sink](job.path, "", job.required, pipe.sink)])):
            if got.error is not None:
                pipe.fail(got.error)
            finish_get(got)
    except TransferError as error:
        pipe.fail(error)
    except Exception as error:  # noqa: BLE001  must reach the other end of the pipe
        pipe.fail(Defect.wrap(error))
