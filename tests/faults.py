"""Faults as layers around sources, sinks and a backend's generator.

A layer behaves as what it wraps until its fault strikes, after ``after`` bytes (or jobs).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from pegasus_toolkit.transfer.errors import Cancelled, NoSpace, ServerFault
from pegasus_toolkit.transfer.interface import Control, Data, Sink, Source

CHUNK = 1 << 16


class SourceLayer:
    """A source that hands on what the inner one gives, all through ``readinto``."""

    mode: int | None = None

    def __init__(self, inner: Source, after: int = 0) -> None:
        self.inner = inner
        self.after = after  # bytes before the fault
        self.count = 0

    @property
    def size(self) -> int | None:
        return self.inner.size

    @property
    def file(self) -> str | None:
        return None

    @property
    def control(self) -> Control:
        return self.inner.control

    @property
    def digest(self) -> str:
        return self.inner.digest

    def readinto(self, view: memoryview) -> int:
        n = self.inner.readinto(view)
        self.count += n
        return n

    def read(self, n: int = -1) -> bytes:
        if n < 0:
            return b"".join(self)
        buffer = bytearray(min(n, 1 << 20))
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(CHUNK):
            yield block

    def passed(self, n: int) -> None:
        self.inner.passed(n)

    def close(self) -> None:
        self.inner.close()


class Short(SourceLayer):
    """Ends after ``after`` bytes, as if that were all, and still tells the whole size."""

    def readinto(self, view: memoryview) -> int:
        return super().readinto(view[: max(0, self.after - self.count)])


class Flipped(SourceLayer):
    """One bit of byte ``after`` is the other way round."""

    def readinto(self, view: memoryview) -> int:
        start = self.count
        n = super().readinto(view)
        if start <= self.after < start + n:
            view[self.after - start] ^= 1
        return n


class Broken(SourceLayer):
    """The connection behind it is reset after ``after`` bytes."""

    def readinto(self, view: memoryview) -> int:
        if self.count >= self.after:
            raise ServerFault("connection reset")
        return super().readinto(view[: self.after - self.count])


class Unsized(SourceLayer):
    """No fault: a stream that does not know its length."""

    @property
    def size(self) -> int | None:
        return None


class Stalled(SourceLayer):
    """Gives nothing more after ``after`` bytes until ``release`` is set; then it is cancelled."""

    def __init__(self, inner: Source, after: int = 0) -> None:
        super().__init__(inner, after)
        self.stalled = threading.Event()
        self.release = threading.Event()

    def readinto(self, view: memoryview) -> int:
        if self.count >= self.after:
            self.stalled.set()
            self.release.wait()
            raise Cancelled("stalled")
        return super().readinto(view[: self.after - self.count])

    def close(self) -> None:
        self.release.set()
        super().close()


class SinkLayer:
    """A sink that hands everything on."""

    mode: int | None = None

    def __init__(self, inner: Sink, after: int = 0) -> None:
        self.inner = inner
        self.after = after
        self.count = 0

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def file(self) -> str | None:
        return None

    def announce(self, size: int) -> None:
        self.inner.announce(size)

    def expect(self, algorithm: str, digest: str) -> None:
        self.inner.expect(algorithm, digest)

    def disputed(self) -> str:
        return self.inner.disputed()

    def resume(self, validator: str) -> int:
        return self.inner.resume(validator)

    def restart(self) -> None:
        self.count = 0
        self.inner.restart()

    def write(self, data: Data) -> None:
        self.inner.write(data)
        self.count += len(data)

    def passed(self, n: int) -> None:
        self.inner.passed(n)

    def commit(self) -> str:
        return self.inner.commit()

    def abort(self) -> None:
        self.inner.abort()


class Full(SinkLayer):
    """The disk is full after ``after`` bytes."""

    def write(self, data: Data) -> None:
        if self.count + len(data) > self.after:
            raise NoSpace("No space left on device", side="destination")
        super().write(data)


class FlippedSink(SinkLayer):
    """One bit of byte ``after`` arrives the other way round."""

    def write(self, data: Data) -> None:
        at = self.after - self.count
        if 0 <= at < len(data):
            wrong = bytearray(data)
            wrong[at] ^= 1
            data = bytes(wrong)
        super().write(data)


class StalledSink(SinkLayer):
    """Takes nothing more after ``after`` bytes until ``release`` is set; then it is cancelled."""

    def __init__(self, inner: Sink, after: int = 0) -> None:
        super().__init__(inner, after)
        self.stalled = threading.Event()
        self.release = threading.Event()

    def write(self, data: Data) -> None:
        if self.count + len(data) > self.after:
            self.stalled.set()
            self.release.wait()
            raise Cancelled("stalled")
        super().write(data)


def broken_off(jobs: Iterable[Any], after: int) -> Iterator[Any]:
    """A backend's generator whose connection is lost after ``after`` jobs were yielded."""
    for at, job in enumerate(jobs):
        if at == after:
            raise ServerFault("connection lost")
        yield job


_source: type[Source] = SourceLayer
_sink: type[Sink] = SinkLayer
