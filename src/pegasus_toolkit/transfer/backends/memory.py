"""``memory:`` files that live in ``Settings.memory``, for tests and for the Python API.

Behaves as an object store: no directories, a path is just a key, whole files replace one another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pegasus_toolkit.transfer.backends.onebyone import OneByOne
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, NotFound, TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Endpoint,
    Entry,
    Job,
    Passive,
    Requirement,
    Settings,
    Sink,
    Source,
)
from pegasus_toolkit.transfer.streams.checked import BLOCK, MemorySink, MemorySource, StreamVerifier


class Memory(OneByOne):
    """One store: a dictionary from path to content, shared by all that open the same authority."""

    abilities = Abilities(directories=False)

    def __init__(self, store: dict[str, bytes]) -> None:
        self._store = store
        self._closed = False

    def load(self, path: str, sink: Sink) -> None:
        content = memoryview(self._content(path))
        sink.announce(len(content))
        for at in range(0, len(content), BLOCK):
            self._going(path)
            sink.write(content[at : at + BLOCK])

    def save(self, job: Job[Source]) -> None:
        blocks = []
        for block in job.end:
            self._going(job.path)
            blocks.append(block)
        content = b"".join(blocks)
        size = job.end.size if job.end.size is not None else job.required.size
        if size is not None and len(content) != size:
            raise Corrupted(f"{len(content)} bytes came, {size} expected", url=job.path)
        if job.required.remote:
            _prove(self._store, job.path, content, Requirement(job.required.algorithm, job.end.digest))
            job.proven, job.stored = True, ("read back",)
        self._store[job.path] = content

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with ``None``: what is not there counts as removed."""
        for path in paths:
            self._store.pop(path, None)
            if recursive:
                below = path.rstrip("/") + "/"
                for key in [key for key in list(self._store) if key.startswith(below)]:
                    self._store.pop(key, None)
            yield path, None

    def mkdir(self, path: str) -> None:
        """Nothing to make."""

    def stat(self, path: str) -> Entry:
        """Size of one file. Raises ``NotFound``."""
        return Entry(path, len(self._content(path)))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below. Raises ``NotFound`` when there are none."""
        below = prefix.rstrip("/") + "/"
        found = sorted(key for key in list(self._store) if key.startswith(below))
        if not found:
            raise NotFound("nothing below this path", url=prefix)
        for key in found:
            yield self.stat(key)

    def source(self, path: str, required: Requirement, control: Control) -> Source:
        """Its content. Raises ``NotFound``."""
        return MemorySource(path, self._content(path), required, control)

    def sink(self, path: str, required: Requirement, control: Control) -> Sink:
        """Appears in the store at commit."""
        return _StoredSink(self._store, path, required, control)

    def close(self) -> None:
        """What is under way ends with ``Cancelled``; the store stays."""
        self._closed = True

    def _content(self, path: str) -> bytes:
        try:
            return self._store[path]
        except KeyError:
            raise NotFound("no such file", url=path) from None

    def _going(self, path: str) -> None:
        if self._closed:
            raise Cancelled("the store was closed", url=path)


class _StoredSink(MemorySink):
    def __init__(self, store: dict[str, bytes], path: str, required: Requirement, control: Control) -> None:
        super().__init__(path, required, control)
        self._store = store

    def publish(self, content: bytes) -> None:
        required = self.check.required
        if required.remote and self.check.hasher is not None:
            digest = self.check.hasher.hexdigest()
            _prove(self._store, self.check.name, content, Requirement(required.algorithm, digest))
            self.stored = ("read back",)
        self._store[self.check.name] = content


def _prove(store: dict[str, bytes], path: str, content: bytes, required: Requirement) -> None:
    """Stores it aside and reads it back, before it is seen. Raises ``Corrupted``."""
    aside = f"{path}.{os.urandom(8).hex()}.part"
    store[aside] = content
    check = StreamVerifier(path, required, Control())
    check.take(store.pop(aside))
    try:
        check.finish()
    except Corrupted as error:
        error.side = "destination"
        raise


def open_backend(endpoint: Endpoint, settings: Settings) -> Memory:
    """The store of the endpoint's authority, made when it is first used."""
    return Memory(settings.memory.setdefault(endpoint.authority, {}))


_backend: type[Backend] = Memory
_passive: type[Passive] = Memory
