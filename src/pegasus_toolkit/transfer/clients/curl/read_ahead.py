"""Reading ahead: while libcurl sends one block of a large local file, a thread reads and hashes the next.

The counterpart of ``behind``. Only for local files: what comes through a pipe is hashed elsewhere already.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from pegasus_toolkit.transfer.interface import Source

WAITING = 8  # blocks that may wait to be sent


class Ahead:
    """The blocks of one source, in order. ``close`` before the source is closed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._blocks: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._room = threading.Semaphore(WAITING)
        self._rest: bytes | BaseException = b""
        self._ended = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def read(self, n: int) -> bytes:
        """Up to n bytes; b"" at the end. Raises what the source raises."""
        if self._thread is None:  # its blocks are as large as what is asked for, so that none has to be cut
            self._thread = threading.Thread(target=self._run, args=(n,), name="http-reader", daemon=True)
            self._thread.start()
        block = self._rest
        if not block and not self._ended:
            block = self._blocks.get()
            self._room.release()
        if isinstance(block, BaseException):
            self._rest = block
            raise block
        self._ended = not block
        self._rest = block[n:]
        return block[:n]

    def close(self) -> None:
        """Waits for the thread, which reads no further. Idempotent."""
        self._closed = True
        self._room.release()
        if self._thread is not None:
            self._thread.join()

    def _run(self, n: int) -> None:
        block = b"more"
        while block:
            self._room.acquire()
            if self._closed:
                return
            try:
                block = self._source.read(n)
            except BaseException as error:  # noqa: BLE001  raised again in the thread that sends
                self._blocks.put(error)
                return
            self._blocks.put(block)
