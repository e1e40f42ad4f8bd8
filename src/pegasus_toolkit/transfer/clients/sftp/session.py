"""One SFTP connection: requests go out in any number, answers are handed to who asked.

A socket leads to the other side, whoever provides it (the ``ssh`` program, paramiko). One thread
sends, waits and handles in turns; another may only call :meth:`Session.interrupt`.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from struct import error as StructError
from typing import Protocol

from pegasus_toolkit.transfer.clients.sftp import wire
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
)

BUFFER = 1 << 20  # bytes taken from the socket at a time, and the longest packet that is taken
BLOCKS = 4  # blocks of payload that may wait to be sent
TOGETHER = 32  # small requests that are sent at once; with more of them the server would wait for us
TIDY = 2.0  # seconds that what was given up may take to remove what it left
BLOCK_HEAD = 512  # bytes of a block kept free for the head of its packet


Answer = Callable[[int, memoryview], None]
"""Gets the kind of the answer and its body, which is only lent."""


class Link(Protocol):
    """What carries a session: a connected socket, and who knows why it broke."""

    sock: socket.socket

    def lost(self) -> TransferError:
        """Why the connection ended; called once, after its end was seen."""

    def close(self) -> None:
        """Ends the connection and what runs for it. Idempotent."""


class Read(Protocol):
    """Who asked for data: called like any ``Answer`` when there is none, else with each piece of it."""

    asked: int  # bytes, at most

    def __call__(self, kind: int, body: memoryview) -> None: ...

    def piece(self, data: memoryview, last: bool) -> None:
        """The next bytes, only lent; ``last``: there are no more in this answer."""


class Session:
    """An open connection, after the handshake."""

    def __init__(self, link: Link, patience: float) -> None:
        self.link = link
        self.patience = patience  # seconds without a byte before it counts as dead
        self.limits = wire.Limits()
        self.offers: dict[bytes, bytes] = {}
        self.broken: TransferError | None = None
        self.interrupted = False
        self.open = False  # the handshake is over
        self._deadline = float("inf")  # of tidying up
        self._silent = 0.0  # seconds for which nothing came
        self._sock = link.sock
        self._sock.setblocking(False)
        self._pending: dict[int, Answer] = {}
        self._reads: dict[int, Read] = {}
        self._number = 0
        self._small: list[bytes] = []  # requests that wait to be sent together
        self._waiting: deque[tuple[memoryview, bytearray | None]] = deque()
        self._blocks: list[bytearray] = []
        self._blocks_made = 0
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0  # what is in the buffer and not handled
        self._reader: Read | None = None  # in the middle of a DATA packet ...
        self._left = 0  # ... so many bytes before its end
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._poll = select.poll()
        self._poll.register(self._wake_in, select.POLLIN)
        self._poll.register(self._sock, select.POLLIN)
        self._wants_out = False

    # -- asking ------------------------------------------------------------------------------------

    def request(self, kind: int, body: bytes, answer: Answer) -> None:
        """Queues a request; ``answer`` is called in a later turn. Raises what a broken link says."""
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        self._pending[number] = answer
        small = self._small
        small.append(wire.HEADER.pack(len(body) + 5, kind, number) + body)
        if len(small) >= TOGETHER:
            self.flush()

    def extended(self, name: bytes, body: bytes, answer: Answer) -> None:
        """Queues a request of an extension."""
        self.request(wire.EXTENDED, wire.string(name) + body, answer)

    def ask(self, kind: int, body: bytes) -> tuple[int, bytes]:
        """A request and its answer. Other requests are served meanwhile."""
        came: list[tuple[int, bytes]] = []
        self.request(kind, body, lambda kind, body: came.append((kind, bytes(body))))
        while not came:
            self.turn()
        return came[0]

    def hello(self) -> None:
        """The handshake: version 3, what the server offers, and its limits where it tells them.

        Raises ``Unsupported`` when what comes is no SFTP.
        """
        came: list[bytes] = []
        self._small.append(wire.HEADER.pack(5, wire.INIT, wire.VERSION_3))
        self._pending[wire.VERSION_3] = lambda kind, body: came.append(bytes(body))
        try:
            while not came:
                self.turn()
        except wire.ProtocolError as error:
            hint = "do the login scripts of the account print something?"
            raise Unsupported("the server's answer is no SFTP 3", hint=hint) from error
        self.offers = wire.extensions(came[0])
        if wire.LIMITS in self.offers:
            kind, body = self.ask(wire.EXTENDED, wire.string(wire.LIMITS))
            if kind == wire.EXTENDED_REPLY:
                self.limits = wire.limits(body)
        self.open = True

    @property
    def idle(self) -> bool:
        """Whether every request was answered."""
        return not self._pending and not self._reads

    def read(self, handle: bytes, offset: int, read: Read) -> None:
        """Queues a READ of ``read.asked`` bytes; the answer's bytes are handed on as they come."""
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        self._reads[number] = read
        body = wire.string(handle) + wire.READ_TAIL.pack(offset, read.asked)
        self._queue(wire.HEADER.pack(len(body) + 5, wire.READ, number) + body)

    def _queue(self, packet: bytes) -> None:
        small = self._small
        small.append(packet)
        if len(small) >= TOGETHER:
            self.flush()

    # -- blocks of payload -------------------------------------------------------------------------

    def take_block(self) -> bytearray | None:
        """Room for one write's payload behind ``BLOCK_HEAD``; ``None`` while all blocks are under way."""
        if self._blocks:
            return self._blocks.pop()
        if self._blocks_made == BLOCKS:
            return None
        self._blocks_made += 1
        return bytearray(BLOCK_HEAD + self.limits.write)

    def drop_block(self, block: bytearray) -> None:
        """A block that was not needed after all."""
        self._blocks.append(block)

    def write(self, handle: bytes, offset: int, block: bytearray, count: int, answer: Answer) -> None:
        """Queues a WRITE of ``count`` bytes that stand in the block behind ``BLOCK_HEAD``."""
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        self._pending[number] = answer
        middle = wire.string(handle) + wire.READ_TAIL.pack(offset, count)
        head = wire.HEADER.pack(5 + len(middle) + count, wire.WRITE, number) + middle
        if count <= wire.DEFAULT_BLOCK:  # small ones travel together
            self._blocks.append(block)
            self._queue(head + block[BLOCK_HEAD : BLOCK_HEAD + count])
            return
        self._join()
        start = BLOCK_HEAD - len(head)
        block[start:BLOCK_HEAD] = head
        self._waiting.append((memoryview(block)[start : BLOCK_HEAD + count], block))

    # -- turns -------------------------------------------------------------------------------------

    def turn(self, wait: float = 1.0) -> None:
        """Sends what waits, waits for something to come (or for room to send), handles it.

        Waits for ``wait`` seconds at most. Raises ``Cancelled`` once interrupted, ``TimedOut`` after
        ``patience`` seconds without an answer, what the link says when it broke, and ``ProtocolError``.
        """
        self._going()
        self.flush()
        if self._receive():
            return
        self._wait(wait)
        self._going()
        self.flush()
        self._receive()

    def flush(self) -> None:
        """Sends what can be sent without waiting."""
        if self._small:
            self._join()
        waiting = self._waiting
        while waiting:
            try:
                sent = self._sock.sendmsg([view for view, _ in waiting])
            except BlockingIOError:
                return
            except OSError:
                raise self._lost() from None
            while sent:
                view, block = waiting[0]
                if sent < len(view):
                    waiting[0] = (view[sent:], block)
                    break
                sent -= len(view)
                waiting.popleft()
                if block is not None:
                    self._blocks.append(block)

    def interrupt(self) -> None:
        """From any thread: a turn that waits, and every later one, raises ``Cancelled``."""
        self.interrupted = True
        self.wake()

    def wake(self) -> None:
        """From any thread: a turn that waits comes back."""
        with suppress(OSError):  # full, or closed: awake either way
            os.write(self._wake_out, b"x")

    def tidy(self) -> None:
        """Turns work again after an interruption, for ``TIDY`` seconds in all."""
        self.interrupted = False
        self._deadline = time.monotonic() + TIDY

    def close(self) -> None:
        """Ends the connection; in the thread that uses it, or when none does."""
        if self.broken is None:
            self.broken = Cancelled("the connection was closed")
        self.link.close()
        self._pending.clear()
        self._reads.clear()
        if self._wake_in >= 0:
            os.close(self._wake_in)
            os.close(self._wake_out)
            self._wake_in = self._wake_out = -1

    def _going(self) -> None:
        if self.broken is not None:
            raise self.broken
        if self.interrupted or time.monotonic() > self._deadline:
            raise Cancelled("the connection was closed")

    def _lost(self) -> TransferError:
        if self.broken is None:
            error = self.link.lost()
            if self.open and isinstance(error, Unreachable):  # it was reached
                error = ServerFault(error.message, host=error.host)
            self.broken = error
        return self.broken

    def _join(self) -> None:
        if self._small:
            self._waiting.append((memoryview(b"".join(self._small)), None))
            self._small.clear()

    def _wait(self, seconds: float) -> None:
        wants_out = bool(self._waiting)
        if wants_out != self._wants_out:
            self._wants_out = wants_out
            self._poll.modify(self._sock, select.POLLIN | (select.POLLOUT if wants_out else 0))
        seconds = min(seconds, self.patience)
        came = self._poll.poll(seconds * 1000)
        if any(fd == self._wake_in for fd, _ in came):
            os.read(self._wake_in, 64)
        if came or self.idle:
            self._silent = 0.0
            return
        self._silent += seconds
        if self._silent >= self.patience:
            self.broken = TimedOut(f"nothing came for {self.patience:.0f} s")
            raise self.broken

    def _receive(self) -> bool:
        """Takes what is there and handles it; whether anything was."""
        try:
            count = self._sock.recv_into(self._view[self._end :])
        except BlockingIOError:
            return False
        except OSError:
            raise self._lost() from None
        if not count:
            raise self._lost()
        self._end += count
        try:
            self._handle()
        except (StructError, ValueError, KeyError, wire.ProtocolError) as error:
            self.broken = wire.ProtocolError()
            raise self.broken from error
        return True

    def _handle(self) -> None:
        """Hands over all whole packets in the buffer, and of a DATA packet what is there."""
        buffer, view = self._buffer, self._view
        at, end = self._begin, self._end
        unpack, pending = wire.HEADER.unpack_from, self._pending
        if self._reader is not None:
            at = self._more(at, end)
        while end - at >= 9:
            length, kind, number = unpack(buffer, at)
            after = at + 4 + length
            if not 5 <= length <= BUFFER - 4:
                raise ValueError("a packet of a wrong length")
            if kind == wire.DATA:
                if end - at < 13:
                    break
                self._reader = reader = self._reads.pop(number)
                (self._left,) = wire.U32.unpack_from(buffer, at + 9)
                if self._left != length - 9 or self._left > reader.asked:
                    raise ValueError("a DATA packet of a wrong length")
                at = self._more(at + 13, end)
            elif after <= end:
                answer = pending.pop(number, None) or self._reads.pop(number)
                answer(kind, view[at + 9 : after])
                at = after
            else:
                break
        rest = end - at
        if at and rest:
            buffer[:rest] = buffer[at:end]
        self._begin, self._end = 0, rest

    def _more(self, at: int, end: int) -> int:
        """Hands on what there is of the DATA packet under way; where what follows it begins."""
        reader = self._reader
        assert reader is not None
        count = min(self._left, end - at)
        self._left -= count
        last = not self._left
        if last:
            self._reader = None
        if count or last:
            reader.piece(self._view[at : at + count], last)
        return at + count
