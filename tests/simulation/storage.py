"""Simulated servers and their backends: slow, failing, throttling, hanging, dying by plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pegasus_toolkit.transfer.errors import (
    CannotCopy,
    Corrupted,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    Throttled,
    TransferError,
    Unreachable,
    translate,
)
from pegasus_toolkit.transfer.interface import Abilities, Control, Entry, Job, Requirement, Sink, Source
from tests.simulation.runtime import Event, Simulation

CHUNK = 64  # bytes
KINDS = ("away", "busy", "fails", "hangs", "dies")
WATCHED = ("get", "put")


@dataclass
class Trouble:
    """What a server does between two times: one of ``KINDS``. ``asks``: Retry-After, where it says so."""

    kind: str
    begin: float
    end: float
    asks: float | None = None


@dataclass
class Request:
    """One request of one operation at one server, as the server saw it."""

    verb: str
    operation: int
    path: str
    begin: float
    end: float = -1.0
    error: TransferError | None = None
    batch: int = 0


@dataclass
class Server:
    """One host. ``files`` by path; ``broken``: paths that fail for good, or come wrong, with how."""

    sim: Simulation
    name: str
    latency: float = 0.05
    in_flight: int = 1
    most: int = 10**6  # requests at once; what is more is throttled
    unsure: float = 0.0  # how often a request fails for no reason
    deaf: bool = False  # hangs on although its connection was closed
    copies: bool = False
    troubles: list[Trouble] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    expected: dict[str, bytes] = field(default_factory=dict)  # all that may ever stand there
    log: list[Request] = field(default_factory=list)
    busy: dict[int, Request] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)  # what should never have been published

    def trouble(self) -> Trouble | None:
        now = self.sim.now
        return next((one for one in self.troubles if one.begin <= now < one.end), None)

    def publish(self, path: str, content: bytes) -> None:
        if self.expected.get(path, content) != content:
            self.wrong.append(f"{self.name}{path}: {content[:20]!r}")
        self.files[path] = content


class Dead(Exception):
    """What a library raises when its connection is gone, and that no backend knows of."""


class Remote:
    """A backend for one server: keeps as many requests in flight as it was given connections."""

    def __init__(self, server: Server, connections: int) -> None:
        self.server = server
        self.sim = server.sim
        self.connections = connections
        self.closed = Event(server.sim)
        self.abilities = Abilities(in_flight=server.in_flight, directories=False)

    # -- requests ------------------------------------------------------------------------------------

    def _begin(self, verb: str, path: str, operation: int) -> Request:
        server = self.server
        one = Request(verb, operation, path, self.sim.now, batch=id(self))
        server.log.append(one)
        server.busy[id(one)] = one
        return one

    def _end(self, one: Request, error: TransferError | None) -> None:
        one.end, one.error = self.sim.now, error
        self.server.busy.pop(id(one), None)

    def _fault(self, path: str, verb: str, watched: bool = True) -> TransferError | None:
        """What goes wrong with this request, if anything. Raises what breaks the whole batch."""
        server, trouble = self.server, self.server.trouble()
        kind = trouble.kind if trouble is not None else ""
        asks = trouble.asks if trouble is not None else None
        if kind == "dies":
            raise Dead("connection reset")
        if kind == "hangs":
            self._hang(watched and verb in WATCHED)
        name, how = server.name, server.broken.get(path)
        faults = {
            kind == "away": Unreachable("refused", host=name),
            kind == "busy": Throttled("busy", retry_after=asks, host=name),
            kind == "fails": ServerFault("internal error", host=name),
            len(server.busy) > server.most: Throttled("too many", host=name),
            how == "missing" and verb in ("get", "copy"): NotFound("no such file", host=name),
            how == "denied": Denied("no", host=name),
            how == "full" and verb == "put": NoSpace("quota", host=name, side="destination"),
            self.sim.random.random() < server.unsure: ServerFault("a cosmic ray", host=name),
        }
        return faults.get(True)

    def _hang(self, watched: bool) -> None:
        own = None if watched else 60.0  # the backend's own time-out, where the engine has none
        if self.server.deaf:
            Event(self.sim).wait(own)
        self.closed.wait(own)
        raise ServerFault("silent", host=self.server.name)

    def _many(self, verb: str, jobs: Iterator[Job[Any]], work: Any) -> Iterator[Job[Any]]:
        """Each job when it is over, ``connections`` of them at once."""
        going: list[tuple[float, int, Job[Any], Request]] = []
        more, number = True, 0
        try:
            while more or going:
                while more and len(going) < self.connections:
                    job = next(jobs, None)
                    if job is None:
                        more = bool(going)  # ask again when one is over
                        break
                    number += 1
                    one = self._begin(
                        verb if job.task else "proof", job.path, job.task.operation.id if job.task else -1
                    )
                    slow = self.server.latency * (0.5 + self.sim.random.random())
                    going.append((self.sim.now + slow, number, job, one))
                if not going:
                    return
                going.sort(key=lambda item: item[:2])
                when, _, job, one = going[0]
                self.sim.sleep(when - self.sim.now)
                if self.closed.is_set():
                    raise ServerFault("closed", host=self.server.name)
                self._one(verb, job, work)
                going.pop(0)
                self._end(one, job.error)
                more = True
                yield job
        finally:
            for _, _, _, one in going:
                self._end(one, ServerFault("the batch broke"))

    def _one(self, verb: str, job: Job[Any], work: Any) -> None:
        job.error = self._fault(job.path, verb)
        if job.error is None:
            try:
                work(job)
            except (TransferError, OSError) as error:
                job.error = translate(error)

    # -- the verbs -----------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        yield from self._many("get", jobs, self._load)

    def _load(self, job: Job[Sink]) -> None:
        server = self.server
        if job.path not in server.files:
            raise NotFound("no such file", host=server.name)
        content, how = server.files[job.path], server.broken.get(job.path)
        job.end.announce(len(content))
        if how in ("rotten", "rots"):
            content = bytes([content[0] ^ 1]) + content[1:]
            if how == "rots":  # once
                del server.broken[job.path]
        for at in range(0, len(content), CHUNK):
            if how == "cut" and at:
                del server.broken[job.path]
                raise ServerFault("reset", host=server.name)
            job.end.write(content[at : at + CHUNK])

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        yield from self._many("put", jobs, self._save)

    def _save(self, job: Job[Source]) -> None:
        content = b"".join(job.end)
        if job.end.size is not None and len(content) != job.end.size:
            raise Corrupted("short", host=self.server.name)
        if self.server.broken.get(job.path) == "forgets":  # once: stores something else
            del self.server.broken[job.path]
            self.server.files[job.path] = content[:-1] + b"?"
            return
        self.server.publish(job.path, content)

    def _began(self, job: Job[None]) -> float:
        return next(r.begin for r in self.server.busy.values() if r.verb == "copy" and r.path == job.path)

    def _received(self, job: Job[None], began: float) -> TransferError | None:
        """What the destination of a copy says."""
        one = self._begin("copied", job.destination, job.task.operation.id)
        one.begin = began
        error: TransferError | None = ServerFault("broken off", host=self.server.name)
        try:
            error = self._fault(job.destination, "put", False)
        finally:
            self._end(one, error)
        return error

    def copies(self, other: Any, required: Requirement) -> bool:
        return self.server.copies and isinstance(other, Remote) and not required.remote

    def copy(self, jobs: Iterator[Job[None]], other: Remote, control: Control) -> Iterator[Job[None]]:
        def work(job: Job[None]) -> None:
            server = self.server
            if server.broken.get(job.path) == "uncopied":
                raise CannotCopy("quota of copies")
            fault = other._received(job, self._began(job)) if other.server is not server else None
            if fault is not None:
                fault.side = "destination"
                raise fault
            if job.path not in server.files:
                raise NotFound("no such file", host=server.name, side="source")
            content = server.files[job.path]
            wrong = server.broken.get(job.path) in ("rotten", "rots")
            if wrong or job.required.size not in (None, len(content)):
                raise Corrupted("the servers' digests differ", host=server.name, side="source")
            other.server.publish(job.destination, content)
            job.size = len(content)

        for job in self._many("copy", jobs, work):
            if job.error is not None and job.error.host == self.server.name:
                job.error.side = job.error.side or "source"
            yield job

    def _simple(self, verb: str, path: str) -> TransferError | None:
        """One request by itself."""
        one = self._begin(verb, path, -1)
        error: TransferError | None = ServerFault("broken off", host=self.server.name)
        try:
            self.sim.sleep(self.server.latency)
            error = self._fault(path, verb)
        finally:
            self._end(one, error)
        return error

    def remove(self, paths: Iterable[str], recursive: bool = False) -> Iterator[tuple[str, Any]]:
        for path in paths:
            error = self._simple("remove", path)
            if error is None:
                self.server.files.pop(path, None)
            yield path, error

    def mkdir(self, path: str) -> None:
        error = self._simple("mkdir", path)
        if error is not None:
            raise error

    def stat(self, path: str) -> Entry:
        if path not in self.server.files:
            raise NotFound("no such file", host=self.server.name)
        return Entry(path, len(self.server.files[path]))

    def list(self, prefix: str) -> Iterator[Entry]:
        below = prefix.rstrip("/") + "/"
        error = self._simple("list", prefix)
        found = sorted(path for path in self.server.files if path.startswith(below))
        if not found and error is None:
            error = NotFound("nothing below", host=self.server.name)
        if error is not None:
            raise error
        for path in found:
            self.sim.sleep(self.server.latency / 10)
            if self.server.broken.get(path) == "odd":
                yield Entry("/elsewhere/" + path, 1)
            else:
                yield self.stat(path)

    def close(self) -> None:
        self.closed.set()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
