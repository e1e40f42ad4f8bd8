"""A small world for the engine's tests: stores that behave as remote ones, with faults on order.

``remote:`` is the memory store behind a connection: it can't hand out ends, so that the engine must
download, upload and relay. ``whole:`` moves whole local files only. The faults of a store are looked
up by path before each file is moved.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.memory import Memory
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.errors import Cancelled, TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Job,
    Settings,
    Sink,
    Source,
)
from pegasus_toolkit.transfer.model import Location, Mkdir, Operation, Outcome, Remove, Transfer
from pegasus_toolkit.transfer.observer import Progress, Summary


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fill(world: World, authority: str, count: int, size: int = 10) -> None:
    """Files ``/f0`` ... with different content."""
    world.store(authority).update({f"/f{i}": b"%d" % i * size for i in range(count)})


def at(url: str, site: str = "local") -> Location:
    """A location, taken apart by the simplest rule."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return Location(url, Endpoint(scheme, authority, site), slash + path)


def move(id_: int, *urls: str, **more: Any) -> Transfer:
    """All but the last are sources."""
    sources = tuple(at(url) for url in urls[:-1])
    return Transfer(id=id_, sources=sources, destinations=(at(urls[-1]),), **more)


def mkdir(id_: int, url: str) -> Mkdir:
    return Mkdir(id=id_, target=at(url))


def remove(id_: int, url: str, recursive: bool = False) -> Remove:
    return Remove(id=id_, target=at(url), recursive=recursive)


@dataclass
class Recorder:
    """Keeps what an observer is told."""

    outcomes: list[Outcome] = field(default_factory=list)
    ticks: list[Progress] = field(default_factory=list)

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes

    def tick(self, progress: Progress) -> None:
        self.ticks.append(progress)

    def of(self, id_: int) -> Outcome:
        """The outcome of one operation; there must be exactly one."""
        (found,) = [o for o in self.outcomes if o.operation.id == id_ and not o.member]
        return found


Fault = Callable[[str], None]


@dataclass
class World:
    """Stores, their faults, and an account of what was going on at once."""

    settings: Settings = field(default_factory=lambda: Settings(Credentials.none(), stall_timeout=0.5))
    faults: dict[str, Fault] = field(default_factory=dict)  # by authority: called before each file
    opening: dict[str, Fault] = field(default_factory=dict)  # by authority: called at each opening
    in_flight: int = 1
    remote: type[Remote] | None = None
    opened: int = 0
    busy: dict[str, int] = field(default_factory=dict)  # by authority
    most: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self, authority: str) -> dict[str, bytes]:
        return self.settings.memory.setdefault(authority, {})

    def open(self, endpoint: Endpoint, settings: Settings) -> Backend:
        if endpoint.scheme not in ("remote", "whole"):
            return open_backend(endpoint, settings)
        self.opened += 1
        if endpoint.authority in self.opening:
            self.opening[endpoint.authority](endpoint.authority)
        kind = (self.remote or Remote) if endpoint.scheme == "remote" else Whole
        return kind(self, endpoint.authority, Memory(self.store(endpoint.authority)))

    def run(self, *operations: Operation, **options: Any) -> tuple[Summary, Recorder]:
        """Runs them, with next to no back-off unless told otherwise."""
        recorder = Recorder()
        engine = self.engine(recorder, **options)
        return engine.run(operations), recorder

    def engine(self, recorder: Recorder, **options: Any) -> Engine:
        chosen = Options(**{"first_delay": 0.001, "patience": 0.05, **options})
        return Engine(chosen, self.settings, [recorder], self.open)

    def enter(self, authority: str, path: str) -> None:
        with self.lock:
            self.busy[authority] = self.busy.get(authority, 0) + 1
            self.most[authority] = max(self.most.get(authority, 0), self.busy[authority])
        try:
            if authority in self.faults:
                self.faults[authority](path)
        finally:
            with self.lock:
                self.busy[authority] -= 1


class Remote:
    """A memory store that is far away."""

    def __init__(self, world: World, authority: str, inner: Memory) -> None:
        self.world = world
        self.authority = authority
        self.inner = inner
        self.closed = threading.Event()
        self.abilities = Abilities(in_flight=world.in_flight, directories=False)

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        for job in jobs:
            if self._ready(job):
                yield from self.inner.get(iter([job]))
            else:
                yield job

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        for job in jobs:
            if self._ready(job):
                yield from self.inner.put(iter([job]))
            else:
                yield job

    def _ready(self, job: Job[Any]) -> bool:
        try:
            self.world.enter(self.authority, job.path)
        except TransferError as error:
            job.error = error
        return job.error is None

    def remove(self, paths: Iterable[str], recursive: bool = False) -> Iterator[tuple[str, Any]]:
        return self.inner.remove(paths, recursive)

    def mkdir(self, path: str) -> None:
        self.world.enter(self.authority, path)
        self.inner.mkdir(path)

    def stat(self, path: str) -> Entry:
        return self.inner.stat(path)

    def list(self, prefix: str) -> Iterator[Entry]:
        return self.inner.list(prefix)

    def close(self) -> None:
        self.closed.set()
        self.inner.close()


class Whole(Remote):
    """Moves whole local files only, as a native tool does."""

    def __init__(self, world: World, authority: str, inner: Memory) -> None:
        super().__init__(world, authority, inner)
        self.abilities = Abilities(streams=False, directories=False)

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        for job in jobs:
            if self._ready(job):
                assert job.end.file is not None
                Path(job.end.file).write_bytes(self.world.store(self.authority)[job.path])
            yield job

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        for job in jobs:
            if self._ready(job):
                assert job.end.file is not None
                self.world.store(self.authority)[job.path] = Path(job.end.file).read_bytes()
            yield job


class Hang:
    """A fault that blocks until it is let go."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Event()

    def __call__(self, path: str) -> None:
        self.entered.set()
        self.release.wait(30)
        raise Cancelled("let go")
