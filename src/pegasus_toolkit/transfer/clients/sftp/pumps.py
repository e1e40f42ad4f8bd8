"""What moves the bytes of open files: WRITEs in a window, READs ahead; many files on one connection.

A pump is a request of the client's: it ends with CLOSE, whatever happens, and is its own answer.
"""

from __future__ import annotations

from collections import deque

from pegasus_toolkit.transfer.clients.sftp import wire
from pegasus_toolkit.transfer.clients.sftp.session import BLOCK_HEAD, Session
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Sink, Source

WINDOW = 8 << 20  # bytes that were sent and are not acknowledged; and that were asked for and did not come


class Asker:
    """Who waits for a pump."""

    def answer(self, value: object = None) -> None:
        """It is over."""
        raise NotImplementedError


class Pumps:
    """The pumps of one connection."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.writing: deque[Write] = deque()  # those with bytes still to be sent
        self.reading: deque[Read] = deque()  # those with reads still to be sent
        self.unacknowledged = 0  # bytes
        self.asked = 0  # bytes
        self.ahead = 0  # bytes of files that are being read, in all

    def work(self) -> None:
        """Sends what the windows and the blocks have room for, the oldest file's first."""
        writing, reading = self.writing, self.reading
        while writing and self.unacknowledged < WINDOW:
            block = self.session.take_block()
            if block is None:
                break
            if writing[0].send(block):
                writing.popleft()
        while reading and self.asked < WINDOW:
            if reading[0].ask():
                reading.popleft()


class Write:
    """All of a source into a file that was just made, and CLOSE. When over, one of these tells how it went:

    ``error``: of the source, or that it was told to stop; ``failure``: the server's answer (kind, body);
    ``size``: bytes that the server then has, ``None`` where it does not tell. ``offset``: bytes sent.
    """

    __slots__ = (
        "begun", "ended", "error", "failure", "handle", "held", "mode", "modified", "name", "offset", "pumps",
        "size", "source", "task", "waits", "writes",
    )  # fmt: skip

    def __init__(self, handle: bytes, source: Source, name: str, mode: int | None) -> None:
        """``mode``: permission bits that the file gets, if the server likes to set them."""
        self.handle = handle
        self.source = source
        self.name = name
        self.mode = mode
        self.modified: int | None = None  # seconds, which the file is to tell
        self.offset = self.writes = self.waits = self.held = 0
        self.begun = self.ended = False
        self.error: TransferError | None = None
        self.failure: tuple[int, bytes] | None = None
        self.size: int | None = 0

    def begin(self, pumps: Pumps, task: Asker) -> None:
        """Sends at once what can be sent."""
        self.pumps, self.task, self.begun = pumps, task, True
        session = pumps.session
        if self.mode is not None:
            session.request(wire.FSETSTAT, wire.string(self.handle) + wire.permissions(self.mode), ignore)
        if not pumps.writing and pumps.unacknowledged < WINDOW:
            block = session.take_block()
            if block is not None and self.send(block):
                return
        pumps.writing.append(self)

    def stop(self) -> None:
        """Nothing more of the source is to be sent."""
        if not self.ended and self.error is None:
            self.error = Cancelled("the batch was given up")

    def send(self, block: bytearray) -> bool:
        """Sends the next bytes; whether nothing is left to be sent."""
        pumps, total, count = self.pumps, self.source.size, 0
        session = pumps.session
        if self.error is None and self.failure is None:
            try:
                count = self._fill(block, total)
            except TransferError as error:
                self.error = error
            except OSError as error:
                self.error = from_oserror(error, url=self.name, side="source")
        if count:
            self.waits += 1
            self.writes += 1
            pumps.unacknowledged += count
            if count == total:  # its only one: acknowledged with the close
                self.held = self.offset = count
                session.write(self.handle, 0, block, count, self)
            else:
                session.write(self.handle, self.offset, block, count, _Written(self, count))
                self.offset += count
                if total is None or self.offset < total:
                    return False
        else:
            session.drop_block(block)
        self._close()
        return True

    def _fill(self, block: bytearray, total: int | None) -> int:
        """Reads the next bytes of the source into the block; 0 at its end."""
        room = self.pumps.session.limits.write
        if total is not None:
            room = min(room, max(1, total - self.offset))
        count: int = self.source.readinto(memoryview(block)[BLOCK_HEAD : BLOCK_HEAD + room])
        if total is not None and (count > total if not total else not count):
            message = f"{self.offset + count} bytes came, {total} expected"
            raise Corrupted(message, url=self.name, side="source")
        return count

    def _close(self) -> None:
        """One acknowledged write to a new file says how long it is; for more of them the server is asked."""
        session, handle = self.pumps.session, wire.string(self.handle)
        self.ended = True
        self.size = self.offset
        if self.writes > 1:
            self.size = None
            self.waits += 1
            session.request(wire.FSTAT, handle, self._found)
        if self.modified is not None:
            session.request(wire.FSETSTAT, handle + wire.times(self.modified), ignore)
        self.waits += 1
        session.request(wire.CLOSE, handle, self)

    def _found(self, kind: int, body: memoryview) -> None:
        if kind == wire.ATTRS:
            self.size = wire.attributes(body)[0].size
        self.waits -= 1

    def __call__(self, kind: int, body: memoryview) -> None:
        """A write or the close is done."""
        if wire.code(kind, body) != wire.OK and self.failure is None:
            self.failure = (kind, bytes(body))
        self.waits -= 1
        if self.ended and not self.waits:
            self.pumps.unacknowledged -= self.held
            self.task.answer(self)


class _Written:
    """One WRITE on its way."""

    __slots__ = ("count", "pump")

    def __init__(self, pump: Write, count: int) -> None:
        self.pump = pump
        self.count = count

    def __call__(self, kind: int, body: memoryview) -> None:
        self.pump.pumps.unacknowledged -= self.count
        self.pump(kind, body)


class Read:
    """All of an open file into a sink, from ``start`` on, and CLOSE. When over:

    ``error``: of the sink, that it was told to stop, or that the file is not as long as it was said to be;
    ``failure``: the server's answer (kind, body). Reads are answered in any order; the sink gets them in
    theirs. The last asks for one byte more than there should be: a file that grew is noticed.
    """

    __slots__ = (
        "begun", "early", "error", "failure", "handle", "name", "next", "next_ask", "outstanding", "pumps",
        "sink", "size", "task",
    )  # fmt: skip

    def __init__(self, handle: bytes, size: int, start: int, sink: Sink, name: str) -> None:
        self.handle = handle
        self.size = size  # bytes
        self.next_ask = start  # offset of the next read to be sent
        self.next = start  # offset of the next byte that the sink wants
        self.sink = sink
        self.name = name
        self.begun = False
        self.outstanding = 0  # reads
        self.early: dict[int, bytes] = {}  # what came before its turn, by offset
        self.error: TransferError | None = None
        self.failure: tuple[int, bytes] | None = None

    def begin(self, pumps: Pumps, task: Asker) -> None:
        """Sends the first read."""
        self.pumps, self.task, self.begun = pumps, task, True
        pumps.ahead += self.size
        if not self.ask():
            pumps.reading.append(self)

    def stop(self) -> None:
        """Nothing more of it is wanted."""
        self.fail(Cancelled("the batch was given up"))
        if not self.outstanding:
            self._close()

    def fail(self, error: TransferError) -> None:
        """The first error is the one that counts."""
        if self.error is None and self.failure is None:
            self.error = error

    def ask(self) -> bool:
        """Sends the next read; whether that was the last that is needed."""
        if self.error is not None or self.failure is not None:
            return True
        left = self.size + 1 - self.next_ask
        count = min(left, self.pumps.session.limits.read)
        self._read(self.next_ask, count)
        self.next_ask += count
        return count == left

    def _read(self, offset: int, count: int) -> None:
        self.outstanding += 1
        self.pumps.asked += count
        self.pumps.session.read(self.handle, offset, _Asked(self, offset, count))

    def came(self, offset: int, data: memoryview) -> None:
        """Bytes for the sink, or for later when others come before them."""
        if self.error is not None or self.failure is not None:
            return
        if offset != self.next:
            self.early[offset] = self.early.get(offset, b"") + bytes(data)
            return
        if offset + len(data) > self.size:
            self.fail(Corrupted("grew while it was read", url=self.name, side="source"))
            return
        try:
            self.sink.write(data)
        except TransferError as error:
            self.fail(error)
            return
        except OSError as error:
            self.fail(from_oserror(error, side="destination"))
            return
        self.next += len(data)
        while self.early and (early := self.early.pop(self.next, None)) is not None:
            self.came(self.next, memoryview(early))

    def over(self, read: _Asked, got: int) -> None:
        """One read was answered, with so many bytes (fewer than asked for: perhaps the end)."""
        self.outstanding -= 1
        self.pumps.asked -= read.asked
        end = min(read.offset + read.asked, self.size)
        bad = self.error is not None or self.failure is not None
        if not bad and got and read.offset + got < end:
            self._read(read.offset + got, end - read.offset - got)
        elif not self.outstanding and (bad or self.next_ask > self.size):
            self._close()

    def _close(self) -> None:
        if self.next != self.size:
            text = f"{self.next} bytes came, {self.size} announced"
            self.fail(Corrupted(text, url=self.name, side="source"))
        self.pumps.ahead -= self.size
        self.pumps.session.request(wire.CLOSE, wire.string(self.handle), ignore)
        self.task.answer(self)


class _Asked:
    """One READ on its way."""

    __slots__ = ("asked", "at", "offset", "pump")

    def __init__(self, pump: Read, offset: int, asked: int) -> None:
        self.pump = pump
        self.offset = offset
        self.asked = asked
        self.at = offset

    def __call__(self, kind: int, body: memoryview) -> None:
        pump = self.pump
        if wire.code(kind, body) != wire.EOF and pump.error is None and pump.failure is None:
            pump.failure = (kind, bytes(body))
        pump.over(self, 0)

    def piece(self, data: memoryview, last: bool) -> None:
        """Some of the bytes that were asked for."""
        pump = self.pump
        if data:
            pump.came(self.at, data)
            self.at += len(data)
        if last:
            pump.over(self, self.at - self.offset)


def ignore(kind: int, body: memoryview) -> None:
    """That answer tells nothing."""
