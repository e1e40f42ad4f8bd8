"""Passive ends: what every one of them checks, and those that live in memory.

``StreamVerifier`` holds what must be true of a stream: its length, its digests, and that the run goes on.
The ends here and in ``files`` differ only in where the bytes are.
"""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Control, Data, Requirement, Sink, Source

BLOCK = 1 << 20  # bytes; one reused buffer of this size is as fast as anything measured


def _hasher(algorithm: str) -> digests.Hasher:
    try:
        return digests.new(algorithm)
    except digests.UnsupportedAlgorithm as error:
        raise Unsupported(error.message, hint=error.hint) from None


class StreamVerifier:
    """Digests and length of one stream, taken as it passes."""

    __slots__ = ("control", "count", "extra", "hasher", "name", "required")

    def __init__(self, name: str, required: Requirement, control: Control) -> None:
        self.name = name  # path or URL, for errors
        self.required = required
        self.control = control
        self.count = 0  # bytes seen
        self.hasher = _hasher(required.algorithm) if required.algorithm else None
        self.extra = [(_hasher(a), a, d) for a, d in required.also] if required.also else []

    def extent(self) -> tuple[int, int | None]:
        """Bytes that have passed, and how many there are in all, where that is known."""
        return self.count, self.required.size

    def expect(self, algorithm: str, digest: str) -> None:
        """A further digest (lower-case hex) that must hold; call before the first byte."""
        if algorithm == self.required.algorithm and not self.required.digest:
            self.required = self.required._replace(digest=digest)
        else:
            self.extra.append((_hasher(algorithm), algorithm, digest))

    def announce(self, size: int) -> None:
        """Raises ``Corrupted`` when the announced size is not the expected one."""
        if self.required.size is None:
            self.required = self.required._replace(size=size)
        elif size != self.required.size:
            raise Corrupted(f"{size} bytes announced, {self.required.size} expected", url=self.name)

    def feed(self, data: Data) -> None:
        """Accounts for the next bytes. Raises when cancelled, or on more than the expected size."""
        self.control.spend(len(data))
        self.take(data)

    def take(self, data: Data) -> None:
        """``feed`` for bytes that were moved before (the kept prefix of a partial file)."""
        self.count += len(data)
        if self.required.size is not None and self.count > self.required.size:
            raise Corrupted(f"more than the expected {self.required.size} bytes", url=self.name)
        if self.hasher is not None:
            self.hasher.update(data)
        for hasher, _, _ in self.extra:
            hasher.update(data)

    def restart(self) -> None:
        """As if nothing had passed."""
        self.count = 0
        self.hasher = _hasher(self.required.algorithm) if self.required.algorithm else None
        self.extra = [(_hasher(a), a, d) for _, a, d in self.extra]

    def finish(self) -> str:
        """The digest (hex, "" for none). Raises ``Corrupted`` unless all that is expected holds."""
        if self.required.size is not None and self.count != self.required.size:
            raise Corrupted(f"{self.count} bytes came, {self.required.size} expected", url=self.name)
        digest = self.hasher.hexdigest() if self.hasher is not None else ""
        if self.required.digest and digest != self.required.digest:
            raise mismatch(self.name, self.required.algorithm, self.required.digest, digest)
        for hasher, algorithm, expected in self.extra:
            if hasher.hexdigest() != expected:
                raise mismatch(self.name, algorithm, expected, hasher.hexdigest())
        return digest

    def disputed(self) -> str:
        """Which of the further digests does not hold; "" for none."""
        for hasher, algorithm, expected in self.extra:
            if hasher.hexdigest() != expected:
                return _differs(algorithm, expected, hasher.hexdigest())
        return ""


def mismatch(name: str, algorithm: str, expected: str, found: str) -> Corrupted:
    """The error for a digest that is not the expected one."""
    return Corrupted(_differs(algorithm, expected, found), url=name)


def _differs(algorithm: str, expected: str, found: str) -> str:
    return f"{algorithm} is {found or 'unknown'}, expected {expected}"


class NullSink:
    """A sink that checks what comes and keeps nothing: for reading back what was stored."""

    file: str | None = None
    mode: int | None = None
    modified: int | None = None
    stored: tuple[str, ...] = ()

    def __init__(self, name: str, required: Requirement, control: Control) -> None:
        self.check = StreamVerifier(name, required, control)

    @property
    def size(self) -> int:
        return self.check.count

    def extent(self) -> tuple[int, int | None]:
        return self.check.extent()

    def announce(self, size: int) -> None:
        self.check.announce(size)

    def expect(self, algorithm: str, digest: str) -> None:
        self.check.expect(algorithm, digest)

    def disputed(self) -> str:
        return self.check.disputed()

    def resume(self, validator: str) -> int:
        return 0

    def restart(self) -> None:
        self.check.restart()

    def write(self, data: Data) -> None:
        self.check.feed(data)

    def passed(self, n: int) -> None:
        self.check.control.spend(n)

    def commit(self) -> str:
        return self.check.finish()

    def abort(self) -> None:
        pass


class MemorySink(NullSink):
    """A sink that keeps what came; ``publish`` gets it, verified, at commit."""

    def __init__(self, name: str, required: Requirement, control: Control) -> None:
        super().__init__(name, required, control)
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

    def __init__(self, name: str, content: Data, required: Requirement, control: Control) -> None:
        self.check = StreamVerifier(name, required, control)
        self.view = memoryview(content)
        self.size: int | None = len(content)
        self.at = 0
        self.digest = ""
        self.ended = False
        self.error: TransferError | None = None

    @property
    def control(self) -> Control:
        return self.check.control

    def extent(self) -> tuple[int, int | None]:
        return self.at, self.size

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

    def passed(self, n: int) -> None:
        self.check.control.spend(n)

    def close(self) -> None:
        if not self.ended and self.error is None:  # nor may one that still reads
            self.error = Cancelled("closed before its end", url=self.check.name)
        self.view = memoryview(b"")


_null: type[Sink] = NullSink
_sink: type[Sink] = MemorySink
_source: type[Source] = MemorySource
