"""Copies that WebDAV servers make themselves: within one, or from one to another (WLCG HTTP-TPC).

Between two servers the destination fetches (pull), or the source sends (push). The answer to a COPY that
goes on is 201 or 202 whatever comes of it: its body tells how far it is, and in its last line whether
it worked. What was copied stands aside until its size, and its digest where both servers tell one, are
those of the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pegasus_toolkit.transfer.backends.http.files import WANT_DIGEST
from pegasus_toolkit.transfer.backends.http.site import Login
from pegasus_toolkit.transfer.backends.shared.files import Found, Sending, Stored, perhaps
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.backends.shared.upload import store
from pegasus_toolkit.transfer.backends.webdav.files import DavFiles
from pegasus_toolkit.transfer.clients.curl.exchange import Answer
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    CannotCopy,
    Corrupted,
    NoSpace,
    ServerFault,
    TimedOut,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Control, Data, Job, Requirement

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.backends.webdav.backend import WebDav

FINAL = (Cancelled, TimedOut, NoSpace)  # after anything else that a server says, the file goes another way
COMMON = "adler32"  # the digest that grid storage keeps of every file
TAIL = 4096  # bytes of a COPY's answer that are kept
PATIENCE = 600  # seconds that a server may say nothing while it copies


class Copy(Answer):
    """A COPY, whose answer is read while it goes on."""

    patience = PATIENCE

    def __init__(self, session: Session, path: str, extra: tuple[str, ...], control: Control) -> None:
        super().__init__(session, session.url(path), "COPY")
        self.extra = extra
        self._control = control
        self._moved = 0

    def begin(self, head: Head) -> None:
        """Reads whatever comes."""
        self.body.clear()
        self.take = self._read

    def follow(self, location: str) -> None:
        """A token for the other server is for the one that was asked, and no other."""
        super().follow(location)
        lent = any(line.startswith("TransferHeader") for line in self.extra)
        if lent and self.target != self.session.origin:
            text = "redirected to another host, where the other server's token must not go"
            raise ServerFault(text, url=self.shown(), host=self.session.host)

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


class Copying(Sending):
    """One file, with what is known of its source."""

    def __init__(self, job: Job[Any], path: str, found: Found) -> None:
        super().__init__(job)
        self.path = path
        self.found = found
        self.refused = False  # by a server


class CopyFiles(DavFiles):
    """The destination, where what is written comes by a COPY."""

    def __init__(self, reader: WebDav, writer: WebDav, control: Control) -> None:
        super().__init__(writer.session, writer.files.learned)
        self.noted = writer.files.noted
        self.reader = reader
        self.writer = writer
        self.control = control

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """A COPY, and a look at what came of it."""
        assert isinstance(sending, Copying)
        copy = yield self._copy(sending.path, name)
        if (error := copy.outcome()) is not None:
            sending.refused = copy.status > 0 and not isinstance(error, FINAL)
            raise perhaps(error, "copy") if copy.status else error
        seen = yield self.ask("HEAD", name, f"Want-Digest: {WANT_DIGEST[COMMON]}")
        if (error := seen.failed()) is not None:
            raise error
        told, ours = seen.head.digests().get(COMMON), sending.found.digest
        if told and ours is not None and ours != (COMMON, told):
            text = f"{ours[0]} is {told}, at the source {ours[1]}"
            raise Corrupted(text, url=self.url(name), side="destination")
        sending.sent = sending.found.size or 0
        return Stored(None if sending.found.size is None else seen.head.length)

    def _copy(self, path: str, name: str) -> Copy:
        """Within the server; else a pull; else a push."""
        reader, writer, overwrite = self.reader, self.writer, "Overwrite: T"
        to = f"Destination: {self.url(name)}"
        if reader.session.origin == self.session.origin:
            return Copy(self.session, path, (to, overwrite), self.control)
        headers = lent(reader.login, writer.login)
        if headers is not None:
            source = f"Source: {reader.session.url(path)}"
            return Copy(self.session, name, (source, overwrite, "Credential: none", *headers), self.control)
        headers = lent(writer.login, reader.login) or ()
        return Copy(reader.session, path, (to, overwrite, "Credential: none", *headers), self.control)


def copied(files: CopyFiles, job: Job[None]) -> Steps[None]:
    """One file: what the source is; COPY aside, compared, MOVE. Raises ``CannotCopy``."""
    try:
        found = yield from files.reader.files.inspect(job.path, COMMON)
        if job.required.size not in (None, found.size):
            text = f"{found.size} bytes, {job.required.size} expected"
            raise Corrupted(text, url=files.reader.files.url(job.path))
    except TransferError as error:
        error.side = error.side or "source"
        raise
    sending = Copying(Job(job.destination, "", job.required, None), job.path, found)
    try:
        yield from store(files, sending)
    except TransferError as error:
        if sending.refused:
            raise CannotCopy(error.message, url=error.url, host=error.host) from error
        raise
    job.size = found.size or 0


def lent(passive: Login, active: Login) -> tuple[str, ...] | None:
    """What the server that acts has to show the other one; ``None`` where that would tell it a secret.

    A bearer token goes along only where both servers are shown the very same one anyway.
    """
    if passive.user is not None or passive.credential.headers:
        return None
    if passive.token is None:
        return ()
    line = passive.token.line()
    if active.token is None or active.token.line() != line:
        return None
    return (f"TransferHeader{line}",)


def able(reader: WebDav, writer: WebDav, required: Requirement) -> bool:
    """Whether to try. What is to be proven by a digest is not: servers tell other ones than are asked for."""
    if required.digest or required.also or required.remote:
        return False
    ours, theirs = reader.login, writer.login
    if reader.session.origin == writer.session.origin:
        return _shown(ours) == _shown(theirs)
    grid = reader.scheme == writer.scheme == "davs"
    return grid and (lent(ours, theirs) is not None or lent(theirs, ours) is not None)


def _shown(login: Login) -> tuple[object, ...]:
    token = login.token.line() if login.token is not None else ""
    return login.user, login.headers, token, login.credential.client_certificate


def copies(
    jobs: Iterator[Job[None]], reader: WebDav, writer: WebDav, control: Control
) -> Iterator[Job[None]]:
    """Each job when it is over."""
    files = CopyFiles(reader, writer, control)
    stories = ((job, copied(files, job)) for job in jobs)
    with closing(writer.runner().run(stories, writer.abilities.in_flight)) as tasks:
        for task in tasks:
            task.item.error = task.error
            yield task.item
