"""Writing behind: while libcurl fills one block, a thread hashes and writes the one before.

Hashing and writing a large file take as long as receiving it does, so they run beside it; small
files are not worth the way to another thread. Measured in docs/decisions/0001-http-client.md.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from pegasus_toolkit.transfer.interface import Data, Sink

BLOCK = 1 << 20  # bytes handed to a sink at once
WAITING = 8  # blocks that may wait to be written, of all files together

Free = SimpleQueue[memoryview]


class Behind:
    """The way into one sink: pieces are gathered into blocks, which the thread writes in order.

    ``error``: what the sink raised; nothing more is written from then on.
    """

    __slots__ = ("_at", "_block", "_writer", "error", "owner", "sink", "total")

    def __init__(self, writer: Writer, sink: Sink, owner: object) -> None:
        self._writer = writer
        self.sink = sink
        self.owner = owner
        self.error: BaseException | None = None
        self.total = 0  # bytes taken
        self._block: memoryview | None = None
        self._at = 0

    def take(self, chunk: Data) -> None:
        """The next piece. Waits while too much is waiting; raises what the sink raised."""
        n = len(chunk)
        if self._block is None or self._at + n > len(self._block):
            self.flush()
            self._block = self._writer.block(n)
        self._block[self._at : self._at + n] = chunk
        self._at += n
        self.total += n

    def flush(self) -> None:
        """Hands on what was gathered."""
        if self.error is not None:
            raise self.error
        if self._block is not None:
            block, self._block = self._block, None
            self._writer.put(self, block, self._at, self._writer.free)
            self._at = 0

    def pass_on(self, block: memoryview, n: int, free: Free) -> None:
        """The first n bytes of somebody else's block, which goes to ``free`` when they are written."""
        if self.error is not None:
            raise self.error
        self.total += n
        self._writer.put(self, block, n, free)

    def finish(self) -> None:
        """After the last piece: the writer's ``over`` will hold the owner when all is written."""
        try:
            self.flush()
        except BaseException as error:  # noqa: BLE001  kept, and told to the owner
            self.error = error
        self._writer.end(self)


class Writer:
    """The thread behind all large files of one batch. ``over``: those that are written to the end."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.free: Free = SimpleQueue()
        self.over: deque[Behind] = deque()
        self.pending = 0  # files that were finished and not yet taken out of ``over``
        self._wake = wake
        self._work: SimpleQueue[tuple[Behind, memoryview | None, int, Free] | None] = SimpleQueue()
        self._room = threading.Semaphore(WAITING)
        self._thread: threading.Thread | None = None
        self._abandoned = False

    def block(self, least: int) -> memoryview:
        """An empty block of at least so many bytes."""
        with suppress(Empty):
            found = self.free.get_nowait()
            if len(found) >= least:
                return found
        return memoryview(bytearray(max(BLOCK, least)))

    def put(self, behind: Behind, block: memoryview, n: int, free: Free) -> None:
        """Queues the first n bytes of a block; waits while too many are queued."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="http-writer", daemon=True)
            self._thread.start()
        self._room.acquire()
        self._work.put((behind, block, n, free))

    def end(self, behind: Behind) -> None:
        """Queues the end of a file."""
        self.pending += 1
        if self._thread is None:
            self.over.append(behind)
        else:
            self._work.put((behind, None, 0, self.free))

    def close(self) -> None:
        """Waits for the thread; what is queued is dropped."""
        self._abandoned = True
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            behind, block, n, free = work
            if block is None:
                self.over.append(behind)
                self._wake()
                continue
            self._write(behind, block[:n])
            free.put(block)
            self._room.release()
            if free is not self.free:
                self._wake()

    def _write(self, behind: Behind, data: memoryview) -> None:
        if behind.error is None and not self._abandoned:
            try:
                behind.sink.write(data)
            except BaseException as error:  # noqa: BLE001  raised again in the thread that receives
                behind.error = error
