"""Passive ends: what every one of them checks, and those that live in memory.

``Check`` holds what must be true of a stream: its length, its digests, and that the run goes on.
The ends here and in ``files`` differ only in where the bytes are.
"""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Control, Data, Sink, Source, Want

BLOCK = 1 << 20  # bytes; one reused buffer of this size is as fast as anything measured


def _hasher(algorithm: str) -> digests.Hasher:
    try:
        return digests.new(algorithm)
    except digests.UnsupportedAlgorithm as error:
        raise Unsupported(error.message, hint=error.hint) from None


class Check:
    """Digests and length of one stream, taken as it passes."""

    __slots__ = ("control", "count", "extra", "hasher", "name", "want")

    def __init__(self, name: str, want: Want, control: Control) -> None:
        self.name = name  # path or URL, for errors
        self.want = want
        self.control = control
        self.count = 0  # bytes seen
        self.hasher = _hasher(want.algorithm) if want.algorithm else None
        self.extra = [(_hasher(a), a, d) for a, d in want.also] if want.also else []

    def expect(self, algorithm: str, digest: str) -> None:
        """A further digest (lower-case hex) that must hold; call before the first byte."""
        if algorithm == self.want.algorithm and not self.want.digest:
            self.want = self.want._replace(digest=digest)
        else:
            self.extra.append((_hasher(algorithm), algorithm, digest))

    def announce(self, size: int) -> None:
        """Raises ``Corrupted`` when the announced size is not the expected one."""
        if self.want.size is None:
            self.want = self.want._replace(size=size)
        elif size != self.want.size:
            raise Corrupted(f"{size} bytes announced, {self.want.size} expected", url=self.name)

    def feed(self, data: Data) -> None:
        """Accounts for the next bytes. Raises when cancelled, or on more than the expected size."""
        self.control.spend(len(data))
        self.take(data)

    def take(self, data: Data) -> None:
        """``feed`` for bytes that were moved before (the kept prefix of a partial file)."""
        self.count += len(data)
        if self.want.size is not None and self.count > self.want.size:
            raise Corrupted(f"more than the expected {self.want.size} bytes", url=self.name)
        if self.hasher is not None:
            self.hasher.update(data)
        for hasher, _, _ in self.extra:
            hasher.update(data)

    def restart(self) -> None:
        """As if nothing had passed."""
        self.count = 0
        self.hasher = _hasher(self.want.algorithm) if self.want.algorithm else None
        self.extra = [(_hasher(a), a, d) for _, a, d in self.extra]

    def finish(self) -> str:
        """The digest (hex, "" for none). Raises ``Corrupted`` unless all that is expected holds."""
        if self.want.size is not None and self.count != self.want.size:
            raise Corrupted(f"{self.count} bytes came, {self.want.size} expected", url=self.name)
        digest = self.hasher.hexdigest() if self.hasher is not None else ""
        if self.want.digest and digest != self.want.digest:
            raise mismatch(self.name, self.want.algorithm, self.want.digest, digest)
        for hasher, algorithm, expected in self.extra:
            if hasher.hexdigest() != expected:
                raise mismatch(self.name, algorithm, expected, hasher.hexdigest())
        return digest


def mismatch(name: str, algorithm: str, expected: str, found: str) -> Corrupted:
    """The error for a digest that is not the expected one."""
    return Corrupted(f"{algorithm} is {found or 'unknown'}, expected {expected}", url=name)


class NullSink:
    """A sink that checks what comes and keeps nothing: for reading back what was stored."""

    file: str | None = None
    mode: int | None = None

    def __init__(self, name: str, want: Want, control: Control) -> None:
        self.check = Check(name, want, control)

    @property
    def size(self) -> int:
        return self.check.count

    def announce(self, size: int) -> None:
        self.check.announce(size)

    def expect(self, algorithm: str, digest: str) -> None:
        self.check.expect(algorithm, digest)

    def resume(self, validator: str) -> int:
        return 0

    def restart(self) -> None:
        self.check.restart()

    def write(self, data: Data) -> None:
        self.check.feed(data)

    def commit(self) -> str:
        return self.check.finish()

    def abort(self) -> None:
        pass


class MemorySink(NullSink):
    """A sink that keeps what came; ``publish`` gets it, verified, at commit."""

    def __init__(self, name: str, want: Want, control: Control) -> None:
        super().__init__(name, want, control)
        self.chunks: list[bytes] = []

    def restart(self) -> None:
        super().restart()
        self.chunks.clear()

    def write(self, data: Data) -> None:
        self.check.feed(data)
        self.chunks.append(data if isinstance(data, bytes) else bytes(data))

    def commit(self) -> str:
        digest = self.check.finish()
        self.publish(b"".join(self.chunks))
        self.chunks.clear()
        return digest

    def publish(self, content: bytes) -> None:
        """What becomes of the verified content; nothing here."""

    def abort(self) -> None:
        self.chunks.clear()


class MemorySource:
    """Content that is in memory; verified as a whole before its last byte is handed out."""

    file: str | None = None
    mode: int | None = None

    def __init__(self, name: str, content: Data, want: Want, control: Control) -> None:
        self.check = Check(name, want, control)
        self.view = memoryview(content)
        self.size: int | None = len(content)
        self.at = 0
        self.digest = ""
        self.ended = False
        self.error: TransferError | None = None

    def _take(self, n: int) -> memoryview:
        if self.error is not None:  # a reader that tries again must not take it for the end
            raise self.error
        part = self.view[self.at : self.at + n]
        if self.ended:
            return part
        try:
            self.check.feed(part)
            if self.at + len(part) == len(self.view):
                self.digest = self.check.finish()
                self.ended = True
        except TransferError as error:
            self.error = error
            raise
        self.at += len(part)
        return part

    def readinto(self, view: memoryview) -> int:
        part = self._take(len(view))
        view[: len(part)] = part
        return len(part)

    def read(self, n: int = -1) -> bytes:
        return bytes(self._take(len(self.view) - self.at if n < 0 else n))

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK):
            yield block

    def close(self) -> None:
        if not self.ended and self.error is None:  # nor may one that still reads
            self.error = Cancelled("closed before its end", url=self.check.name)
        self.view = memoryview(b"")


_null: type[Sink] = NullSink
_sink: type[Sink] = MemorySink
_source: type[Source] = MemorySource
