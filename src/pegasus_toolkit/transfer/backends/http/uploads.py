"""Uploads that every protocol here makes alike: sent aside, many at once, then made visible.

Directories are made where they turn out to be missing, each once. What is different, how a request
looks and what an answer means, is a subclass's.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from pegasus_toolkit.transfer.backends.http.parents import Made, Parents, parent
from pegasus_toolkit.transfer.clients.curl.exchange import Exchange
from pegasus_toolkit.transfer.clients.curl.loop import PATIENCE, Loop
from pegasus_toolkit.transfer.clients.curl.upload import Stream, Upload, body
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    IsDirectory,
    TransferError,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Job, Source

SMALL = 1 << 20  # bytes; such a file is in memory, and verified, before anything of it is sent
LARGE = 16 << 20  # bytes; from here on a thread to read a local file ahead is worth its while
WIND_DOWN = 10.0  # seconds that requests under way get when a batch is given up


class Puts:
    """One batch of uploads. ``aside``: names that may stand aside."""

    def __init__(self, loop: Loop, known: set[str], clean: Callable[[list[str]], None]) -> None:
        """``known``: directories that are there; ``clean``: removes names aside after the loop has ended."""
        self.session = loop.session
        self.ready: deque[Job[Source]] = deque()
        self.aside: dict[str, Put] = {}
        self.streams: set[Stream] = set()  # sources that are being read
        self.parents = Parents(self.make)
        self.parents.known = known
        self.under_way = 0
        self.stopping = False
        self._loop = loop
        self._clean = clean

    def put(self, job: Job[Source]) -> Put:
        """One file's upload, not begun yet."""
        raise AssertionError("the subclass makes it")

    def make(self, path: str, told: Callable[[Made], None]) -> None:
        """Asks the server for one directory."""
        raise AssertionError("the subclass asks for it")

    def run(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Yields each job when it is over."""
        try:
            with self._loop.use():
                try:
                    while self._fill(jobs):
                        if self._loop.active:
                            self._loop.step(PATIENCE)
                        while self.ready:
                            self.under_way -= 1
                            yield self.ready.popleft()
                except GeneratorExit:
                    self._wind_down()
                    raise
        finally:
            for stream in self.streams:
                stream.close()
            if self.aside:
                self._clean(list(self.aside))

    def _fill(self, jobs: Iterator[Job[Source]]) -> bool:
        """Starts what there is room for; whether anything is under way."""
        while self.under_way < self._loop.connections:
            job = next(jobs, None)
            if job is None:
                break
            self.under_way += 1
            self.put(job).begin()
        return self.under_way > 0

    def _wind_down(self) -> None:
        """Lets what is under way come to its end, which is not a MOVE any more: a PUT that is just broken off
        may leave its file after it was removed."""
        self.stopping = True
        for put in self.aside.values():
            put.upload.stopped = True
        end = time.monotonic() + WIND_DOWN
        while self._loop.active and time.monotonic() < end:
            self._loop.step(PATIENCE)

    def send(self, exchange: Exchange) -> None:
        """Starts an exchange."""
        self._loop.start(exchange, SETTLE)


def settle(exchange: Exchange) -> None:
    """Does what an exchange says is next."""
    then: Any = getattr(exchange, "then", None)
    assert then is not None
    then(exchange)


class _Settle:
    answer = staticmethod(settle)


SETTLE = _Settle()


class Put:
    """One file on its way: sent to ``name``, then made visible as ``target`` (by default the job's path)."""

    def __init__(self, batch: Puts, job: Job[Source], target: str = "") -> None:
        self.batch = batch
        self.job = job
        self.target = target or job.path
        path, mark, query = self.target.partition("?")
        folder, _, _ = path.rpartition("/")
        self.name = f"{folder}/.pegasus-{os.urandom(8).hex()}.part{mark}{query}"
        self.upload = Upload()
        self.made = False  # its directory was asked for
        self.answered = False  # else the server may still be busy with what was broken off

    @property
    def large(self) -> bool:
        """Whether it cannot be sent a second time."""
        return isinstance(self.upload, Stream)

    def begin(self) -> None:
        """Reads a small file; then the first request."""
        try:
            if self.job.path.partition("?")[0].endswith("/"):
                raise IsDirectory("names a directory", url=self.job.path, side="destination")
            self.upload = body(self.job.end)
        except OSError as error:
            return self.over(from_oserror(error, url=self.job.path, side="source"))
        except TransferError as error:
            return self.over(error)
        if isinstance(self.upload, Stream):
            self.batch.streams.add(self.upload)
        self.prepare()

    def prepare(self) -> None:
        """A large file's directory must be there beforehand."""
        if self.large and parent(self.target) not in self.batch.parents.known:
            self.made = True
            self.batch.parents.make(parent(self.target), lambda _: self.send())
        else:
            self.send()

    def send(self) -> None:
        """Sends the file, aside; ``unstored`` or ``publish`` follows."""
        raise AssertionError("the subclass sends it")

    def erase(self, then: Callable[[Any], None]) -> None:
        """Removes what stands aside."""
        raise AssertionError("the subclass removes it")

    def unstored(self, error: TransferError, orphan: bool) -> None:
        """It was not taken; ``orphan``: perhaps since its directory is missing."""
        if orphan and not self.made and self.upload.rewind():
            self.made = True
            self.batch.parents.make(parent(self.target), self._again)
        else:
            self.drop(error)

    def _again(self, error: TransferError | None) -> None:
        if error is None:
            self.send()
        else:
            self.drop(error)

    def given_up(self) -> bool:
        """Whether the batch ends, so that nothing more may become visible; the file is dropped then."""
        if self.batch.stopping:
            self.drop(Cancelled("the batch was given up", url=self.target))
        return self.batch.stopping

    def drop(self, error: TransferError, instead: Callable[[], None] | None = None) -> None:
        """Removes what stands aside; then the job failed, or something else is tried."""

        def gone(exchange: Any) -> None:
            if exchange.error is None or (exchange.missing and self.answered):
                self.batch.aside.pop(self.name, None)
            if instead is not None:
                instead()
            else:
                self._end(error)

        if self.name in self.batch.aside:
            self.erase(gone)
        else:
            self._end(error)

    def over(self, error: TransferError | None) -> None:
        """The job is over, and nothing stands aside."""
        self.batch.aside.pop(self.name, None)
        self._end(error)

    def _end(self, error: TransferError | None) -> None:
        if isinstance(self.upload, Stream):
            self.upload.close()
            self.batch.streams.discard(self.upload)
        self.job.error = error
        self.batch.ready.append(self.job)
