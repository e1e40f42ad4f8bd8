"""A bounded pipe in memory between a backend that reads and one that writes, hashed on the way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from pegasus_toolkit.transfer.errors import Cancelled, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Control, Data, Requirement, Sink, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK, StreamVerifier

HOLD = 16 << 20  # bytes that wait in the pipe at most (one block may go beyond)
LOOK = 0.2  # seconds: how soon a waiting side notices that it should stop


class Pipe:
    """``sink`` and ``source`` of one file. The last block waits for the whole to be verified."""

    def __init__(
        self,
        name: str,
        required: Requirement,
        control: Control,
        changed: threading.Condition | None = None,
    ) -> None:
        self.check = StreamVerifier(name, required._replace(remote=False), control)
        self.control = control
        self.changed = changed or threading.Condition()
        self.blocks: deque[memoryview] = deque()
        self.held = 0  # bytes in blocks
        self.size = required.size
        self.started = False
        self.digest: str | None = None  # set once all is there and verified
        self.error: TransferError | None = None
        self.closed = False
        self.sink: Sink = _PipeSink(self)
        self.source: Source = _PipeSource(self)

    def fail(self, error: TransferError) -> None:
        """The reading side gave up: the writing side gets ``error`` at its next read."""
        with self.changed:
            self.error = self.error or error
            self.changed.notify_all()

    def wait(self) -> None:
        """Waits for a change; raises when the run stops. Call with ``changed`` held."""
        if self.control.stop is not None:
            raise self.control.stop
        self.changed.wait(LOOK)

    def wait_for_size(self) -> None:
        """Until the size is known, or it is clear that it will not be told."""
        with self.changed:
            while self.size is None and not self.started and self.error is None and self.digest is None:
                self.wait()


class _PipeSink:
    file = None
    mode: int | None = None
    modified: int | None = None
    stored: tuple[str, ...] = ()

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    @property
    def size(self) -> int:
        return self.pipe.check.count

    def extent(self) -> tuple[int, int | None]:
        return self.pipe.check.count, self.pipe.size

    def announce(self, size: int) -> None:
        self.pipe.check.announce(size)
        with self.pipe.changed:
            self.pipe.size = size
            self.pipe.changed.notify_all()

    def expect(self, algorithm: str, digest: str) -> None:
        self.pipe.check.expect(algorithm, digest)

    def disputed(self) -> str:
        return self.pipe.check.disputed()

    def resume(self, validator: str) -> int:
        return 0

    def restart(self) -> None:
        if self.pipe.check.count:
            raise ServerFault("the content changed in the middle", url=self.pipe.check.name)

    def write(self, data: Data) -> None:
        pipe = self.pipe
        pipe.check.feed(data)
        block = memoryview(data if isinstance(data, bytes) else bytes(data))
        with pipe.changed:
            pipe.started = True
            while pipe.held >= HOLD and not pipe.closed:
                pipe.wait()
            if pipe.closed:
                raise Cancelled("the writing side gave up", url=pipe.check.name)
            pipe.blocks.append(block)
            pipe.held += len(block)
            pipe.changed.notify_all()

    def passed(self, n: int) -> None:
        self.pipe.control.spend(n)

    def commit(self) -> str:
        try:
            digest = self.pipe.check.finish()
        except TransferError as error:
            self.pipe.fail(error)
            raise
        with self.pipe.changed:
            self.pipe.digest = digest
            self.pipe.size = self.pipe.check.count
            self.pipe.changed.notify_all()
        return digest

    def abort(self) -> None:
        if self.pipe.digest is None:
            self.pipe.fail(Cancelled("the reading side gave up", url=self.pipe.check.name))


class _PipeSource:
    file = None
    mode: int | None = None

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    @property
    def size(self) -> int | None:
        return self.pipe.size

    @property
    def control(self) -> Control:
        return self.pipe.control

    @property
    def digest(self) -> str:
        return self.pipe.digest or ""

    def extent(self) -> tuple[int, int | None]:
        return self.pipe.check.count, self.pipe.size

    def _next(self, n: int) -> memoryview:
        """Up to n bytes of the next block; empty at the end."""
        pipe = self.pipe
        with pipe.changed:
            while True:
                if pipe.error is not None:
                    raise pipe.error
                if len(pipe.blocks) > 1 or (pipe.blocks and pipe.digest is not None):
                    break
                if pipe.digest is not None:
                    return memoryview(b"")
                pipe.wait()
            block = pipe.blocks.popleft()
            if len(block) > n:
                pipe.blocks.appendleft(block[n:])
                block = block[:n]
            pipe.held -= len(block)
            pipe.changed.notify_all()
            return block

    def readinto(self, view: memoryview) -> int:
        filled = 0
        while filled < len(view) and (block := self._next(len(view) - filled)):
            view[filled : filled + len(block)] = block
            filled += len(block)
        return filled

    def read(self, n: int = -1) -> bytes:
        parts: list[memoryview] = []
        left = n
        while left and (block := self._next(left if n >= 0 else BLOCK)):
            parts.append(block)
            left -= len(block)
        return b"".join(parts)

    def __iter__(self) -> Iterator[bytes]:
        while block := self._next(BLOCK):
            yield bytes(block)

    def passed(self, n: int) -> None:
        self.pipe.control.spend(n)

    def close(self) -> None:
        with self.pipe.changed:
            self.pipe.closed = True
            self.pipe.changed.notify_all()
