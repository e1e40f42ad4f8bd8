"""Passive ends: what every one of them checks, and those that live in memory.

``Check`` holds what must be true of a stream: its length, its digest, that the run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.errors import Corrupted
from pegasus_toolkit.transfer.interface import Control, Data, Want

BLOCK = 1 << 20  # bytes; one reused buffer of this size is as fast as anything measured


class Check:
    """Digest and length of one stream, taken as it passes."""

    __slots__ = ("control", "count", "extra", "hasher", "name", "want")

    def __init__(self, name: str, want: Want, control: Control) -> None:
        self.name = name  # path or URL, for errors
        self.want = want
        self.control = control
        self.count = 0  # bytes seen
        self.hasher = digests.new(want.algorithm) if want.algorithm else None
        self.extra = [(digests.new(a), a, d) for a, d in want.also]

    def expect(self, algorithm: str, digest: str) -> None:
        """A further digest that must hold."""
        if algorithm == self.want.algorithm and not self.want.digest:
            self.want = self.want._replace(digest=digest)
        else:
            self.extra.append((digests.new(algorithm), algorithm, digest))

    def announce(self, size: int) -> None:
        """Raises ``Corrupted`` when the announced size is not the expected one."""
        if self.want.size is not None and size != self.want.size:
            raise Corrupted(f"{size} bytes announced, {self.want.size} expected", url=self.name)
        if self.want.size is None:
            self.want = self.want._replace(size=size)

    def feed(self, data: Data) -> None:
        """Accounts for the next bytes. Raises when cancelled, or on more than the expected size."""
        n = len(data)
        self.control.spend(n)
        self.count += n
        if self.want.size is not None and self.count > self.want.size:
            raise Corrupted(f"more than the expected {self.want.size} bytes", url=self.name)
        if self.hasher is not None:
            self.hasher.update(data)
        for hasher, _, _ in self.extra:
            hasher.update(data)

    def restart(self) -> None:
        """As if nothing had passed."""
        self.count = 0
        self.hasher = digests.new(self.want.algorithm) if self.want.algorithm else None
        self.extra = [(digests.new(a), a, d) for _, a, d in self.extra]

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
    return Corrupted(f"{algorithm} is {found}, expected {expected}", url=name)


class MemorySink:
    """A sink that keeps what came; ``publish`` gets it, verified, at commit."""

    file = None

    def __init__(self, name: str, want: Want, control: Control) -> None:
        self.check = Check(name, want, control)
        self.chunks: list[bytes] = []

    def announce(self, size: int) -> None:
        self.check.announce(size)

    def expect(self, algorithm: str, digest: str) -> None:
        self.check.expect(algorithm, digest)

    def resume(self, validator: str) -> int:
        return 0

    def restart(self) -> None:
        self.check.restart()
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
    """Content that is in memory; verified as a whole when its last byte is asked for."""

    file = None

    def __init__(self, name: str, content: Data, want: Want, control: Control) -> None:
        self.check = Check(name, want, control)
        self.view = memoryview(content)
        self.size: int | None = len(content)
        self.at = 0
        self.digest = ""

    def _take(self, n: int) -> memoryview:
        part = self.view[self.at : self.at + n]
        if self.at < len(self.view) or not self.digest:
            self.check.feed(part)
            if self.at + len(part) >= len(self.view):
                self.digest = self.check.finish()
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
        self.view = memoryview(b"")
