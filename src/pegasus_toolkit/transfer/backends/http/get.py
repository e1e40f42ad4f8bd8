"""Downloads: many files in flight on kept connections, each from its first byte to its last."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.clients.curl import errors
from pegasus_toolkit.transfer.clients.curl.exchange import Again, Exchange, StopReading
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.loop import PATIENCE, Loop
from pegasus_toolkit.transfer.clients.curl.parts import Part, Parts
from pegasus_toolkit.transfer.clients.curl.write_behind import BLOCK, Behind, Writer
from pegasus_toolkit.transfer.errors import IsDirectory, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Data, Job, Sink


class Tuning(NamedTuple):
    """From where on a file is worth more than one plain request. Sizes in bytes, times in seconds.

    ``resumable``: smaller files are fetched again from the start; ``several``: what must be left of
    a file to fetch the rest over several connections, in parts of ``part`` bytes, when its first
    ``trial`` seconds came at less than ``rate`` bytes a second.
    """

    resumable: int = 1 << 20
    several: int = 64 << 20
    part: int = 8 << 20
    trial: float = 1.0
    rate: float = 100e6


class Fetch(Exchange):
    """One file, or the rest of one that an earlier attempt began."""

    def __init__(self, batch: Gets, job: Job[Sink]) -> None:
        super().__init__(batch.session, batch.session.url(job.path))
        self.job = job
        self.first = self.url
        self.behind: Behind | None = None
        self.size: int | None = None  # of the whole, where known
        self.kept = 0  # bytes of an earlier attempt
        self.validator = ""  # of the content that is being fetched
        self.ranges = False  # the server gives parts of it
        self.started = 0.0
        self._until = 0
        self._told = False  # the sink knows what is to come, and has told what it kept
        self.batch = batch

    def begin(self, head: Head) -> None:
        """Tells the sink what the headers say, and where to put the body."""
        if not 200 <= head.status < 300:
            return  # an error's page, a redirect's
        if head.status == 206 and self.kept:
            self._rest(head)
        else:
            if head.status != 200 or "content-encoding" in head.fields:  # else it is one
                errors.require_file(head, self.shown(), self.session.host, stored=self.session.stored)
            self._whole(head)
        self.receive()

    def _whole(self, head: Head) -> None:
        sink = self.job.end
        if self._told:  # a part was asked for: the server gives none, or the content has changed
            if head.validator != self.validator:
                raise self._another()
            if self.kept:
                self._restart()
            return
        self.size = head.length
        if self.size is not None:
            sink.announce(self.size)
        sink.modified = self.session.kept_time(head)
        self._expect(head)
        self.validator = head.validator
        accepts = head.get("accept-ranges").lower()
        self.ranges = bool(self.validator) and accepts == "bytes"
        large = self.size is not None and self.size >= self.batch.tuning.resumable
        if large and self.validator and accepts != "none" and not self.batch.known("whole", self.first):
            self.resume()

    def _expect(self, head: Head) -> None:
        """The server's own digests count where nobody else vouches for the content: one in the wanted
        algorithm costs nothing; else one is taken in another."""
        told, required = head.digests(), self.job.required
        if not told or required.digest:
            return
        if required.algorithm in told:
            self.job.end.expect(required.algorithm, told[required.algorithm])
        elif not required.also:
            best = next((name for name in digests.HEX_LENGTH if name in told), None)
            if best is not None:
                self.job.end.expect(best, told[best])

    def resume(self) -> None:
        """Goes on where an earlier attempt at the same content ended."""
        self._told = True
        self.kept = self.job.end.resume(f"{self.first} {self.validator} {self.size}")
        if self.kept == self.size:
            raise StopReading
        if self.kept:
            self.extra = (f"Range: bytes={self.kept}-", f"If-Range: {self.validator}")
            raise Again

    def _restart(self) -> None:
        self.job.end.restart()
        self.kept = 0
        self.extra = ()

    def _rest(self, head: Head) -> None:
        """Only the rest of the same content is joined to what was kept: some servers and caches do not heed
        ``If-Range``."""
        came, theirs = head.range, head.tag if self.validator.startswith('"') else head.get("last-modified")
        if (head.get("etag") or theirs) and theirs != self.validator:
            raise self._another()
        if came is None or came[0] != self.kept or came[1:] != (self.size, self.size):
            self.batch.learn("whole", self.first)
            raise ServerFault("another part came than was asked for", url=self.shown())

    def _another(self) -> ServerFault:
        """It changed, or another server behind the same name has it: the next attempt asks for all of it."""
        self.batch.learn("whole", self.first)
        return ServerFault("the file changed while it was fetched", url=self.shown())

    def receive(self) -> None:
        """Says where the body goes."""
        self.started = time.monotonic()
        if self.size is not None and self.size < BLOCK:
            self.take = self.job.end.write
        else:
            self.behind = Behind(self.batch.writer, self.job.end, self)
            self.take = self.behind.take
            self.batch.large.add(self)

    @property
    def position(self) -> int:
        """Bytes from the start of the file that it has received."""
        return self.kept + (self.behind.total if self.behind is not None else 0)

    def end_at(self, position: int) -> None:
        """What follows comes otherwise."""
        self._until = position
        self.take = self._take_some

    def _take_some(self, chunk: Data) -> None:
        assert self.behind is not None
        left = self._until - self.position
        if len(chunk) < left:
            return self.behind.take(chunk)
        if left > 0:
            self.behind.take(memoryview(chunk)[:left])
        raise StopReading

    def slow(self) -> bool:
        """Whether the rest of it is worth several connections, as far as one can say by now."""
        tuning, behind = self.batch.tuning, self.behind
        if not self.ranges or self.size is None or behind is None:
            return False
        age = time.monotonic() - self.started
        left = self.size - self.position
        return age >= tuning.trial and left >= tuning.several and behind.total < tuning.rate * age

    def _judge(self, handle: Any, code: int, text: str) -> bool:
        if not code and self.head is not None and self.head.status == 416 and self.kept:
            self._restart()
            self.reset()
            return False
        return super()._judge(handle, code, text)

    def follow(self, location: str) -> None:
        """Redirects, but not to the listing of a directory of that name."""
        before = self.url.partition("?")[0]
        super().follow(location)
        if self.url.partition("?")[0] == before + "/":
            raise IsDirectory("a directory, not a file", url=self.shown(), host=self.session.host)


class Gets:
    """One batch of downloads."""

    fetch: type[Fetch] = Fetch

    def __init__(self, loop: Loop, tuning: Tuning) -> None:
        self.session = loop.session
        self.tuning = tuning
        self.writer = Writer(loop.wake)
        self.large: set[Fetch] = set()  # under way, written behind
        self._loop = loop
        self._ready: deque[Job[Sink]] = deque()
        self._parts: Parts | None = None
        self._alone = self.known("one connection", self.session.base)  # it gives no parts, or not at once

    def run(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Yields each job when it is over."""
        loop = self._loop
        try:
            with loop.use():
                while self._fill(jobs):
                    if not self._ready:
                        loop.step(PATIENCE)
                    self._written()
                    self._speed_up()
                    while self._ready:
                        yield self._ready.popleft()
        finally:
            self.writer.close()

    def _fill(self, jobs: Iterator[Job[Sink]]) -> bool:
        """Starts what there is room for; whether anything is under way."""
        loop = self._loop
        if self._parts is not None:
            self._parts.fill(loop, self)
        while loop.room > 0:
            job = next(jobs, None)
            if job is None:
                break
            try:
                loop.start(self.fetch(self, job), self)
            except TransferError as error:  # a name that the protocol cannot carry
                job.error = error
                self._ready.append(job)
                break
        return bool(loop.active or self.writer.pending or self._parts or self._ready)

    def answer(self, exchange: Exchange) -> None:
        """By the loop: takes over what it has ended."""
        parts = self._parts
        if isinstance(exchange, Part):
            if parts is not None:
                parts.settle(exchange, self._loop)
                self._go_on(parts)
            return
        assert isinstance(exchange, Fetch)
        if parts is not None and parts.fetch is exchange:
            if exchange.error is not None:
                parts.give_up(exchange.error, self._loop)
            elif parts.accepted:
                parts.head_over()
            else:  # it was over before the server had answered
                parts.abandon(self._loop)
                self._parts = None
                self._finish(exchange)
                return
            self._go_on(parts)
        elif exchange.behind is not None:
            self._finish(exchange)
        else:
            exchange.job.error = _of_ours(exchange.error)
            self._ready.append(exchange.job)

    def _go_on(self, parts: Parts) -> None:
        """After the end of a part, or of the request before them."""
        fetch = parts.fetch
        assert isinstance(fetch, Fetch)
        if parts.given_up or parts.refused:
            self._alone = True
            self.learn("one connection", self.session.base)
        if parts.given_up:
            self._parts = None
        elif parts.error is not None or parts.done:
            self._loop.stop(fetch)
            if isinstance(fetch.error, StopReading):  # it was stopped just when it came to its end
                fetch.error = None
            fetch.error = fetch.error or parts.error
            self._parts = None
            self._finish(fetch)

    def _finish(self, fetch: Fetch) -> None:
        self.large.discard(fetch)
        assert fetch.behind is not None
        fetch.behind.finish()

    def learn(self, what: str, of: str) -> None:
        """Notes for this run what a server does not do."""
        self.session.settings.notes.mark("http", what, of)

    def known(self, what: str, of: str) -> bool:
        """Whether that was noted."""
        return self.session.settings.notes.marked("http", what, of)

    def _written(self) -> None:
        """Files whose last block was written are over."""
        over = self.writer.over
        while over:
            behind = over.popleft()
            self.writer.pending -= 1
            fetch = behind.owner
            assert isinstance(fetch, Fetch)
            fetch.job.error = _of_ours(fetch.error or behind.error)
            self._ready.append(fetch.job)

    def _speed_up(self) -> None:
        """A large file that comes slowly gets the connections that nobody else uses."""
        streams = min(self.session.settings.streams, self._loop.room + 1)
        if not self.large or self._alone or self._parts is not None or streams < 2:
            return
        fetch = next((fetch for fetch in self.large if fetch.slow()), None)
        if fetch is None:
            return
        assert fetch.behind is not None
        self._parts = Parts(fetch, fetch.behind, self.tuning.part, streams)


def _of_ours(error: BaseException | None) -> TransferError | None:
    """A job's error. What is none of ours is a defect, or Ctrl-C: it ends the batch."""
    if error is None or isinstance(error, TransferError):
        return error
    raise error
