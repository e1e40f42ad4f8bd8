"""Uploads by WebDAV: PUT aside, then MOVE, many files at once; collections made where they are missing."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from pegasus_toolkit.transfer.backends.http import WANT_DIGEST
from pegasus_toolkit.transfer.backends.http_core import Upload
from pegasus_toolkit.transfer.backends.http_loop import Loop
from pegasus_toolkit.transfer.backends.http_parents import Made, Parents, parent
from pegasus_toolkit.transfer.backends.webdav_steps import Step, alone, nothing, propfind, settle
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    IsDirectory,
    ServerFault,
    TransferError,
    Unsupported,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Job, Source

SMALL = 1 << 20  # bytes; such a file is in memory, and verified, before anything of it is sent
WIND_DOWN = 10.0  # seconds that requests under way get when a batch is given up
_MISREAD = re.compile("%(?:[01].|23|25|3[BbFf])")  # control characters, "#", "%", ";" and "?" in a name
NO_MOVE = frozenset({405, 501})
NO_PARENT = frozenset({403, 404, 409, 500})  # what servers say of a PUT into a missing collection


class Server:
    """What was learnt about one server, for all batches of a backend."""

    def __init__(self) -> None:
        self.moves = True  # it has MOVE
        self.expects = True  # it answers "Expect: 100-continue"
        self.known: set[str] = {"/"}  # collections that are there
        self.greeted = False  # it has seen who we are


class Stream(Upload):
    """A source that is sent as it is read."""

    def __init__(self, source: Source, first: bytes, size: int | None) -> None:
        super().__init__()
        self.size = size
        self.sent = 0
        self._first = first
        self._source = source

    def read(self, n: int) -> bytes:
        """Raises ``Corrupted`` where the source ends too early."""
        if self.stopped:
            raise Cancelled("the batch was given up")
        if self._first:
            block, self._first = self._first[:n], self._first[n:]
        else:
            try:
                block = self._source.read(n)
            except OSError as error:
                raise from_oserror(error, side="source") from error
        self.sent += len(block)
        if not block and self.size is not None and self.sent != self.size:
            raise Corrupted(f"{self.sent} bytes came, {self.size} expected")
        return block

    def rewind(self) -> bool:
        """Only while nothing was sent."""
        return not self.sent


def body(source: Source) -> Upload:
    """What to send: all of it where it is small, else a stream. Raises what the source raises."""
    size = source.size
    if size is not None and size > SMALL:
        return Stream(source, b"", size)
    parts, count = [], 0
    while count <= SMALL and (part := source.read(SMALL + 1 - count)):
        parts.append(part)
        count += len(part)
    content = b"".join(parts)
    if count > SMALL:
        return Stream(source, content, size)
    if size is not None and count != size:
        raise Corrupted(f"{count} bytes came, {size} expected")
    return Upload(content)


class Puts:
    """One batch of uploads."""

    def __init__(self, loop: Loop, server: Server, clean: Callable[[list[str]], None]) -> None:
        """``clean``: removes names aside after the loop has ended."""
        self.session = loop.session
        self.server = server
        self.ready: deque[Job[Source]] = deque()
        self.aside: dict[str, Put] = {}  # names that may stand aside
        self.parents = Parents(self._make)
        self.parents.known = server.known
        self.under_way = 0
        self.stopping = False
        self._loop = loop
        self._clean = clean

    def run(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Yields each job when it is over."""
        try:
            with self._loop:
                try:
                    while self._fill(jobs):
                        if self._loop.active:
                            self._loop.step(settle)
                        while self.ready:
                            self.under_way -= 1
                            yield self.ready.popleft()
                except GeneratorExit:
                    self._wind_down()
                    raise
        finally:
            if self.aside:
                self._clean(list(self.aside))

    def _fill(self, jobs: Iterator[Job[Source]]) -> bool:
        """Starts what there is room for; whether anything is under way."""
        while self.under_way < self._loop.connections:
            job = next(jobs, None)
            if job is None:
                break
            self.under_way += 1
            Put(self, job).begin()
        return self.under_way > 0

    def _wind_down(self) -> None:
        """Lets what is under way come to its end, which is not a MOVE any more: a PUT that is just broken off
        may leave its file after it was removed."""
        self.stopping = True
        for put in self.aside.values():
            put.upload.stopped = True
        end = time.monotonic() + WIND_DOWN
        while self._loop.active and time.monotonic() < end:
            self._loop.step(settle)

    def start(self, method: str, path: str, then: Callable[[Step], None], *extra: str) -> None:
        """Sends a request without a body."""
        self._loop.start(Step(self.session, method, path, then, extra=extra))

    def send(self, step: Step) -> None:
        """Sends a request."""
        self._loop.start(step)

    def _make(self, path: str, told: Callable[[Made], None]) -> None:
        self.start("MKCOL", path, lambda step: told(made(step)))


def made(step: Step) -> Made:
    """What the answer to a MKCOL means. 405: something is there already."""
    if step.status == 405 or (step.error is None and step.status != 207):
        return "made"
    return "orphan" if step.status in (404, 409) else step.failed() or step.refusal()


class Put:
    """One file on its way: (its collection), PUT aside, (its digest), MOVE."""

    def __init__(self, batch: Puts, job: Job[Source]) -> None:
        self.batch = batch
        self.job = job
        path, mark, query = job.path.partition("?")
        self.query = mark + query
        folder, _, _ = path.rpartition("/")
        self.name = f"{folder}/.pegasus-{os.urandom(8).hex()}.part"
        self.target = job.path
        self.where = ""  # where it was sent to
        self.upload = Upload()
        self._made = False  # its collection was asked for
        self._answered = False  # else the server may still be busy with a PUT that was broken off

    # -- PUT ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Reads a small file; then the first request."""
        try:
            if self.job.path.partition("?")[0].endswith("/"):
                raise IsDirectory("names a directory", url=self.job.path, side="destination")
            self.upload = body(self.job.end)
        except OSError as error:
            return self._over(from_oserror(error, url=self.job.path, side="source"))
        except TransferError as error:
            return self._over(error)
        large = isinstance(self.upload, Stream)
        server = self.batch.server
        if large and not server.greeted:
            server.greeted = True
            self._greet()
        elif large:
            self._prepare()
        else:
            self._put()

    def _greet(self) -> None:
        """What can't be sent twice should not be refused for want of a password, or of MOVE: tries both."""
        self.batch.start("MOVE", self.name + self.query, self._greeted, *self._to("F"))

    def _greeted(self, step: Step) -> None:
        self.batch.server.moves = step.status not in NO_MOVE
        self._prepare()

    def _prepare(self) -> None:
        """A large file's collection must be there beforehand."""
        if parent(self.target) not in self.batch.server.known:
            self._made = True
            self.batch.parents.make(parent(self.target), lambda _: self._put())
        else:
            self._put()

    def _put(self) -> None:
        batch = self.batch
        self.where = path = self.name + self.query if batch.server.moves else self.target
        if path != self.target:
            batch.aside[path] = self
        waits = isinstance(self.upload, Stream) and batch.server.expects
        extra = () if waits else ("Expect:",)
        batch.send(Step(batch.session, "PUT", path, self._stored, extra=extra, upload=self.upload))

    def _stored(self, step: Step) -> None:
        error = step.failed()
        self._answered = step.status > 0
        if error is None:
            self._learn(step)
            self._inspect()
        elif step.status in NO_PARENT and not self._made and self.upload.rewind():
            self._made = True
            self.batch.parents.make(parent(self.target), self._parent)
        else:
            self._drop(error)

    def _learn(self, step: Step) -> None:
        server = self.batch.server
        server.known.add(parent(self.target))
        if isinstance(self.upload, Stream) and step.head is not None and not step.head.continued:
            server.expects = False  # it let us wait a second for nothing

    def _parent(self, error: TransferError | None) -> None:
        if error is None:
            self._put()
        else:
            self._drop(error)

    # -- what was stored ---------------------------------------------------------------------------

    def _inspect(self) -> None:
        name = WANT_DIGEST.get(self.job.want.algorithm)
        if self.job.want.remote and name is not None:
            self.batch.start("HEAD", self.where, self._inspected, f"Want-Digest: {name}")
        else:
            self._publish()

    def _inspected(self, step: Step) -> None:
        algorithm, digest = self.job.want.algorithm, self.job.end.digest
        told = step.head.digests().get(algorithm, "") if step.error is None and step.head is not None else ""
        if told and told != digest:
            what = f"{algorithm} of what the server stored is {told}, expected {digest}"
            self._drop(Corrupted(what, url=step.shown(), side="destination"))
        else:
            self.job.proven = bool(told)
            self._publish()

    # -- MOVE --------------------------------------------------------------------------------------

    def _publish(self, overwrite: str = "F") -> None:
        """Where something stands under the name, it must be a file: MOVE would remove a whole collection."""
        if self.where == self.target:
            return self._over(None)
        if self.batch.stopping:
            return self._drop(Cancelled("the batch was given up", url=self.target))
        then = self._moved if overwrite == "F" else self._replaced
        self.batch.start("MOVE", self.name + self.query, then, *self._to(overwrite))

    def _to(self, overwrite: str) -> tuple[str, ...]:
        destination = self.batch.session.url(self.target).partition("?")[0]
        return f"Destination: {destination}", f"Overwrite: {overwrite}"

    def _moved(self, step: Step) -> None:
        if step.status == 412:
            self.batch.send(propfind(self.batch.session, self.target, self._standing))
        else:
            self._replaced(step)

    def _standing(self, step: Step) -> None:
        try:
            found = step.resources()
        except TransferError as error:
            return self._drop(error)
        if step.status == 404:
            self._drop(self._elsewhere(step))
        elif any(one.collection for one in found):
            self._drop(IsDirectory("a directory stands there", url=step.shown(), side="destination"))
        else:
            self._publish("T")

    def _replaced(self, step: Step) -> None:
        error = step.partly()
        if error is None and _MISREAD.search(self.target):
            self.batch.start("HEAD", self.target, self._there)
        elif error is None:
            self._over(None)
        elif step.status in NO_MOVE:
            self.batch.server.moves = False
            again = ServerFault("has no MOVE: files are sent under their own names", url=step.shown())
            self._drop(again, self._put if self.upload.rewind() else None)
        else:
            self._drop(error)

    def _there(self, step: Step) -> None:
        """Some servers read a Destination wrong that has a ``?`` or ``;`` in a name."""
        if step.status == 404:
            self._over(self._elsewhere(step))
        else:
            self._over(step.failed())

    def _elsewhere(self, step: Step) -> Unsupported:
        what = "the server takes this name of a MOVE's destination for another one"
        return Unsupported(what, url=step.shown(), side="destination")

    # -- the end -----------------------------------------------------------------------------------

    def _drop(self, error: TransferError, instead: Callable[[], None] | None = None) -> None:
        """Removes what stands aside; then the job failed, or something else is tried."""

        def gone(step: Step) -> None:
            if step.error is None or (step.status == 404 and self._answered):
                self.batch.aside.pop(self.name + self.query, None)
            if instead is not None:
                instead()
            else:
                self._over(error, gone=False)

        if self.name + self.query in self.batch.aside:
            self.batch.start("DELETE", self.name + self.query, gone)
        else:
            self._over(error)

    def _over(self, error: TransferError | None, gone: bool = True) -> None:
        if gone:
            self.batch.aside.pop(self.name + self.query, None)
        self.job.error = error
        self.batch.ready.append(self.job)


def clean(loop: Loop, names: Iterable[str]) -> None:
    """Removes names aside, as far as the server lets us. One that is not there is tried again: the server may
    still be busy with the PUT that was broken off."""
    waiting = list(names)
    for pause in (0.0, 0.1, 0.4):
        time.sleep(pause if waiting else 0.0)
        for name in list(waiting):
            step = Step(loop.session, "DELETE", name, nothing)
            with suppress(TransferError):
                alone(loop, step)
            if step.status != 404:
                waiting.remove(name)
