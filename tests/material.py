"""Contents, names, ends and jobs that the tests share."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterable

from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Control, Data, Job, Requirement, Sink, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK, MemorySink, MemorySource
from tests.faults import SinkLayer, SourceLayer

SIZES = (0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3)
AWKWARD = (
    "two words",
    " leading and trailing ",
    "100%",
    "%20",
    "a%2Fb",
    "#hash",
    "q?x=1&y=2",
    "a+b",
    "semi;colon",
    "co:lon",
    "at@sign",
    "c,omma",
    "[brackets]{braces}",
    "~tilde",
    "st*r",
    "-leading-dash",
    "--target-directory=x",
    "'single' \"double\"",
    "back\\slash",
    "$HOME ${HOME} $(id) `id`",
    "<&|>!^",
    ".hidden",
    "...",
    "tab\there",
    "new\nline",
    "Grüße-日本-🚀",
    "e\u0301 is not \u00e9",
    "x" * 200,
)


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that compress badly and repeat nowhere; the same for the same arguments."""
    return random.Random(f"{size} {seed}").randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Kept(MemorySink):
    """Keeps what was committed; ``None`` until then."""

    content: bytes | None = None

    def publish(self, content: bytes) -> None:
        self.content = content


def kept(required: Requirement | None = None) -> Kept:
    return Kept("end", required or Requirement(), Control())


def given(data: bytes, required: Requirement | None = None) -> MemorySource:
    """A source that gives ``data`` and checks it against ``required``."""
    return MemorySource("end", data, required or Requirement(), Control())


def fetch_job(path: str, end: Sink | None = None, required: Requirement | None = None) -> Job[Sink]:
    return Job[Sink](path, "", required or Requirement(), end if end is not None else kept(required))


def store_job(path: str, end: Source, required: Requirement | None = None) -> Job[Source]:
    return Job[Source](path, "", required or Requirement(), end)


def settle(job: Job[Sink]) -> bytes | None:
    """Does what the engine does with a job of ``get`` that is over; the content, or ``None``."""
    if job.error is None:
        job.end.commit()
        assert isinstance(job.end, Kept)
        return job.end.content
    job.end.abort()
    return None


class Failing(SinkLayer):
    """Raises ``error`` once ``after`` bytes have come."""

    def __init__(self, error: TransferError, after: int = 0) -> None:
        super().__init__(kept(), after)
        self.error = error

    def write(self, data: Data) -> None:
        if self.count + len(data) > self.after:
            raise self.error
        super().write(data)


class Told(SinkLayer):
    """Keeps the sizes that were announced, each with how many bytes had come by then."""

    def __init__(self) -> None:
        super().__init__(kept())
        self.told: list[tuple[int, int]] = []

    def announce(self, size: int) -> None:
        self.told.append((size, self.count))
        super().announce(size)


class Calling(SinkLayer):
    """Calls ``hook`` once, when the first bytes have come."""

    def __init__(self, hook: Callable[[], None]) -> None:
        super().__init__(kept())
        self.hook: Callable[[], None] | None = hook

    def write(self, data: Data) -> None:
        hook, self.hook = self.hook, None
        if hook is not None:
            hook()
        super().write(data)


class CallingSource(SourceLayer):
    """Calls ``hook`` once, when the first bytes are asked for."""

    def __init__(self, inner: Source, hook: Callable[[], None]) -> None:
        super().__init__(inner)
        self.hook: Callable[[], None] | None = hook

    def readinto(self, view: memoryview) -> int:
        hook, self.hook = self.hook, None
        if hook is not None:
            hook()
        return super().readinto(view)


def in_thread(action: Callable[[], None]) -> None:
    """Runs it in another thread, to its end."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def errors(jobs: Iterable[Job[Source]] | Iterable[Job[Sink]]) -> list[TransferError | None]:
    return [job.error for job in jobs]
