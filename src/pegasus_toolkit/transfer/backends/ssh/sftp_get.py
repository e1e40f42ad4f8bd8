"""Downloads by SFTP: many files and many reads in flight on one connection.

STAT comes before OPEN, since opening a FIFO would block the server for good. Then reads go out as
far as the window allows, one file after the other; their answers are handed to the sinks in order.
The last read asks for one byte more than the file had: a file that grew is noticed.
"""

from __future__ import annotations

import time
from collections import deque

from pegasus_toolkit.transfer.backends.ssh import sftp_wire as wire
from pegasus_toolkit.transfer.backends.ssh.sftp_batch import Batch, Transferring
from pegasus_toolkit.transfer.backends.ssh.sftp_errors import refused
from pegasus_toolkit.transfer.errors import (
    Corrupted,
    IsDirectory,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Job, Sink

WINDOW = 8 << 20  # bytes that were asked for and have not come
AHEAD = 16 << 20  # bytes of files that were opened and have not come
RESUMED = 16 << 20  # bytes; smaller files are not worth keeping in part
TO_READ = wire.U32.pack(wire.FOR_READING) + wire.NO_ATTRIBUTES
AT_REST = 60  # seconds since its last change: what changes after that has another time


class Gets(Batch[Sink]):
    """The downloads under way on one connection."""

    def prepare(self) -> None:
        self.reading: deque[_Download] = deque()  # those with reads still to be sent
        self.asked = 0  # bytes
        self.ahead = 0

    def has_room(self) -> bool:
        return len(self.files) < self.width and self.ahead < AHEAD

    def begin(self, job: Job[Sink]) -> None:
        _Download(self, job)

    def work(self) -> None:
        """Sends reads as far as the window allows, the oldest file's first."""
        while self.reading and self.asked < WINDOW:
            if self.reading[0].ask():
                self.reading.popleft()


class _Download(Transferring[Sink]):
    """One file: STAT, OPEN, READs, CLOSE."""

    __slots__ = ("batch", "early", "handle", "next", "next_ask", "outstanding", "path", "size")

    def __init__(self, batch: Gets, job: Job[Sink]) -> None:
        super().__init__(batch, job)
        self.batch: Gets = batch
        self.handle = b""
        self.size = 0  # bytes, as STAT told
        self.next_ask = 0  # offset of the next read to be sent
        self.next = 0  # offset of the next byte that the sink wants
        self.outstanding = 0  # reads
        self.early: dict[int, bytes] = {}  # what came before its turn, by offset
        self.path = wire.encode(job.path)
        batch.session.request(wire.STAT, self.path, self._found)

    def _found(self, kind: int, body: memoryview) -> None:
        if self.over:
            return
        if kind != wire.ATTRS:
            self.fail(refused(kind, body, self.name, "source"))
            return
        found, _ = wire.attributes(body)
        try:
            self._check(found)
            self.job.end.announce(self.size)
            self.job.end.mode = found.mode
            if self.size >= RESUMED and found.modified and found.modified < time.time() - AT_REST:
                self.next = self.job.end.resume(f"{self.name} {self.size} {found.modified}")
                if self.next > self.size:
                    self.job.end.restart()
                    self.next = 0
        except (TransferError, OSError) as error:
            self.fail(error)
            return
        self.next_ask = self.next
        self.batch.ahead += self.size
        self.batch.session.request(wire.OPEN, self.path + TO_READ, self._opened)

    def _check(self, found: wire.Attributes) -> None:
        if found.directory:
            raise IsDirectory("is a directory", url=self.name, side="source")
        if not found.regular or found.size is None:
            raise Unsupported("is not a regular file", url=self.name, side="source")
        self.size = found.size

    def _opened(self, kind: int, body: memoryview) -> None:
        if kind != wire.HANDLE:
            self.batch.ahead -= self.size
            self.fail(refused(kind, body, self.name, "source"))
            return
        self.handle, _ = wire.text(body)
        if self.over:  # the batch was given up meanwhile
            self._close()
            return
        if not self.ask():
            self.batch.reading.append(self)

    def ask(self) -> bool:
        """Sends the next read; whether that was the last that is needed."""
        if self.over:
            return True
        left = self.size + 1 - self.next_ask
        count = min(left, self.batch.session.limits.read)
        self._read(self.next_ask, count)
        self.next_ask += count
        return count == left

    def _read(self, offset: int, count: int) -> None:
        self.outstanding += 1
        self.batch.asked += count
        self.batch.session.read(self.handle, offset, _Read(self, offset, count))

    def came(self, offset: int, data: memoryview) -> None:
        """Bytes for the sink, or for later when others come before them."""
        if self.over:
            return
        if offset != self.next:
            self.early[offset] = self.early.get(offset, b"") + bytes(data)
            return
        if offset + len(data) > self.size:
            self.fail(Corrupted("grew while it was read", url=self.name, side="source"))
            return
        try:
            self.job.end.write(data)
        except (TransferError, OSError) as error:
            self.fail(error)
            return
        self.next += len(data)
        while self.early and (early := self.early.pop(self.next, None)) is not None:
            self.came(self.next, memoryview(early))

    def read_over(self, read: _Read, got: int) -> None:
        """One read was answered, with so many bytes (fewer than asked for: perhaps the end)."""
        self.outstanding -= 1
        self.batch.asked -= read.asked
        end = min(read.offset + read.asked, self.size)
        if not self.over and got and read.offset + got < end:
            self._read(read.offset + got, end - read.offset - got)
        elif not self.outstanding and (self.over or self.next_ask > self.size):
            self._last()

    def _last(self) -> None:
        """Nothing more will come."""
        if not self.over and self.next != self.size:
            message = f"{self.next} bytes came, {self.size} announced"
            self.fail(Corrupted(message, url=self.name, side="source"))
        self._close()

    def _close(self) -> None:
        if self.handle:
            self.batch.ahead -= self.size
            self.batch.session.request(wire.CLOSE, wire.string(self.handle), _ignore)
            self.handle = b""
        self.finish()

    def stop(self) -> None:
        if not self.outstanding:
            self._close()


class _Read:
    """One READ on its way."""

    __slots__ = ("asked", "at", "file", "offset")

    def __init__(self, file: _Download, offset: int, asked: int) -> None:
        self.file = file
        self.offset = offset
        self.asked = asked
        self.at = offset

    def __call__(self, kind: int, body: memoryview) -> None:
        file = self.file
        if wire.code(kind, body) != wire.EOF:
            file.fail(refused(kind, body, file.name, "source"))
        file.read_over(self, 0)

    def piece(self, data: memoryview, last: bool) -> None:
        """Some of the bytes that were asked for."""
        file = self.file
        if data:
            file.came(self.at, data)
            self.at += len(data)
        if last:
            file.read_over(self, self.at - self.offset)


def _ignore(kind: int, body: memoryview) -> None:
    """Closing what was read tells nothing."""
