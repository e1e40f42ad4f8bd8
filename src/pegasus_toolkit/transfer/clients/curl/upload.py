"""What a request sends: content in memory, or a source that is sent as it is read."""

from __future__ import annotations

from pegasus_toolkit.transfer.clients.curl.read_ahead import Ahead
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, from_oserror
from pegasus_toolkit.transfer.interface import Data, Source

SMALL = 1 << 20  # bytes; such a file is in memory, and verified, before anything of it is sent
LARGE = 16 << 20  # bytes; from here on a thread to read a local file ahead is worth its while


class Upload:
    """What a request sends: content in memory, which can be sent again as often as need be.

    A subclass that reads from elsewhere may raise ``TransferError`` in ``read``, which ends the exchange.
    """

    def __init__(self, content: Data = b"") -> None:
        self.size: int | None = len(content)  # ``None``: not known before the end
        self.stopped = False  # set to have a stream raise at its next read
        self.sent = 0  # bytes
        self._view = memoryview(content)

    def read(self, n: int) -> bytes:
        """Up to n bytes; b"" at the end."""
        part = bytes(self._view[self.sent : self.sent + n])
        self.sent += len(part)
        return part

    def rewind(self) -> bool:
        """Back to the start; whether that was possible."""
        self.sent = 0
        return True

    def close(self) -> None:
        """Nothing is read any more. Idempotent."""


class Stream(Upload):
    """A source that is sent as it is read."""

    def __init__(self, source: Source, first: bytes, size: int | None) -> None:
        super().__init__()
        self.size = size
        self._first = first
        self._ahead = Ahead(source) if source.file is not None and (size or 0) >= LARGE else None
        self._source: Source | Ahead = self._ahead or source

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

    def close(self) -> None:
        """The source is not read any more."""
        if self._ahead is not None:
            self._ahead.close()


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
