"""A run drawn from a seed: servers with their troubles, operations, options; and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import patch

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends.memory import Memory
from pegasus_toolkit.transfer.engine import engine as engine_module
from pegasus_toolkit.transfer.engine import planning, relay
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from pegasus_toolkit.transfer.model import Checksum, Mkdir, Operation, Remove, Transfer
from pegasus_toolkit.transfer.observer import Summary
from tests.simulation.runtime import Simulation
from tests.simulation.storage import KINDS, Remote, Server, Trouble, digest
from tests.worlds import Recorder, at

PROFILES = ("calm", "flaky", "outage", "throttled", "crowded", "permanent", "hanging", "mixed", "cancelled")
SPOOL = 256  # bytes: what is larger goes through a pipe
FAULTS = ("missing", "denied", "rotten", "rots", "cut", "full", "forgets", "uncopied")


@dataclass
class Scenario:
    """All that a seed decides before the run, and what came of it."""

    seed: int
    profile: str
    sim: Simulation
    servers: dict[str, Server]
    options: Options
    operations: list[Operation]
    stall: float
    cancel_at: float | None = None
    old: dict[str, bytes] = field(default_factory=dict)  # what stood at destinations before
    recorder: Recorder = field(default_factory=Recorder)
    settled_at: dict[int, float] = field(default_factory=dict)
    summary: Summary | None = None
    began: float = 0.0
    ended: float = 0.0


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    random = Random(f"scenario {seed}")
    profile = PROFILES[seed % len(PROFILES)]
    sim = Simulation(seed)
    servers = {f"s{n}": _server(sim, f"s{n}", profile, random) for n in range(random.randint(2, 4))}
    options = Options(
        attempts=random.choice((1, 2, 3, 3, 3, 4)),
        concurrency=random.choice((1, 2, 4, 8)),
        per_host=random.choice((0, 0, 1, 2, 3)),
        run="sim",
    )
    stall = 100.0 if profile == "hanging" else 20.0
    one = Scenario(seed, profile, sim, servers, options, [], stall)
    for number in range(random.choice((1, 3, 8, 20, 40))):
        one.operations.append(_operation(number, one, random))
    if profile == "cancelled" or random.random() < 0.05:
        one.cancel_at = sim.now + random.choice((0.0, 0.1, 1.0, 5.0, 30.0))
    if profile in ("hanging", "cancelled"):
        _hang(one, random)
    return one


def _server(sim: Simulation, name: str, profile: str, random: Random) -> Server:
    server = Server(sim, name)
    server.latency = random.choice((0.01, 0.05, 0.3, 0.3 if profile == "hanging" else 1.5))
    server.in_flight = random.choice((1, 1, 4, 8))
    server.copies = random.random() < 0.3
    if profile == "flaky" or (profile == "mixed" and random.random() < 0.3):
        server.unsure = random.choice((0.05, 0.2, 0.5))
    if profile == "crowded" or (profile == "mixed" and random.random() < 0.3):
        server.most = random.choice((1, 2, 3))
    if profile in ("outage", "throttled", "mixed") and random.random() < 0.7:
        for _ in range(random.randint(1, 3)):
            server.troubles.append(_trouble(sim, profile, random))
    return server


def _trouble(sim: Simulation, profile: str, random: Random) -> Trouble:
    kind = "busy" if profile == "throttled" else random.choice(KINDS)
    begin = sim.now + random.choice((0.0, 0.0, 0.2, 2.0, 10.0))
    last = random.choice((0.5, 5.0, 20.0, 45.0, 400.0, 4000.0))
    asks = random.choice((None, None, 0.0, 3.0, 20.0, 90.0))
    return Trouble(kind, begin, begin + last, asks)


def _hang(one: Scenario, random: Random) -> None:
    """Some servers hang for ever; the others are well."""
    names = sorted(one.servers)
    for name in random.sample(names, random.randint(1, len(names) - 1)):
        server = one.servers[name]
        begin = one.sim.now + random.choice((0.0, 0.0, 0.5))
        server.troubles = [Trouble("hangs", begin, float("inf"))]
        server.deaf = random.random() < 0.5


def _operation(number: int, one: Scenario, random: Random) -> Operation:
    names = sorted(one.servers)
    kind = random.random()
    if kind < 0.04:
        return Mkdir(id=number, target=at(f"remote://{random.choice(names)}/new{number}"))
    if kind < 0.08:
        server = one.servers[random.choice(names)]
        server.files[f"/gone{number}"] = b"gone"
        return Remove(id=number, target=at(f"remote://{server.name}/gone{number}"))
    if kind < 0.14:
        return _directory(number, one, random)
    return _transfer(number, one, random)


def _transfer(number: int, one: Scenario, random: Random) -> Transfer:
    content = random.randbytes(random.choice((1, 10, 100, 400, 2000)))
    faulty = 0.7 if one.profile == "permanent" else 0.1 if one.profile != "hanging" else 0.0
    here, there = f"/f{number}", f"/g{number}"
    chosen = random.sample(sorted(one.servers), random.choice((1, 1, min(2, len(one.servers)))))
    wrong = remote = False
    for name in chosen:
        server = one.servers[name]
        server.files[here] = content
        if random.random() < faulty:
            server.broken[here] = how = random.choice(FAULTS)
            wrong = wrong or how in ("rotten", "rots")
    sources = tuple(at(f"remote://{name}{here}") for name in chosen)
    if random.random() < 0.2:
        sources = (at(f"memory://m{number}{here}"),)
    destinations = [at(f"memory://m{number}{there}")]
    if random.random() < 0.5 or sources[0].scheme == "memory":
        destinations = []
        for name in random.sample(sorted(one.servers), random.choice((1, 1, min(2, len(one.servers))))):
            server = one.servers[name]
            destinations.append(at(f"remote://{name}{there}"))
            server.expected[there] = content
            if random.random() < 0.2:
                one.old[f"{name}{there}"] = server.files[there] = b"old content"
                server.expected[there] = content
            if random.random() < faulty:
                server.broken[there] = how = random.choice(FAULTS)
                remote = remote or how == "forgets"
    return Transfer(
        id=number,
        sources=sources,
        destinations=tuple(destinations),
        lfn=f"f{number}",
        checksum=Checksum("sha256", digest(content)) if wrong or random.random() < 0.3 else None,
        size=len(content) if random.random() < 0.3 else None,
        verify_checksum_remote=remote,
    )


def _directory(number: int, one: Scenario, random: Random) -> Transfer:
    server = one.servers[random.choice(sorted(one.servers))]
    for file in range(random.randint(1, 6)):
        path = f"/d{number}/{file}"
        server.files[path] = random.randbytes(random.choice((1, 100)))
        if random.random() < 0.1:
            server.broken[path] = random.choice(("denied", "odd"))
    source = at(f"remote://{server.name}/d{number}/")
    return Transfer(id=number, sources=(source,), destinations=(at(f"memory://m{number}/e{number}"),))


def contents(one: Scenario) -> dict[int, bytes]:
    """What each transfer of a file must bring, by operation."""
    found = {}
    for operation in one.operations:
        if isinstance(operation, Transfer) and not operation.sources[0].path.endswith("/"):
            source = operation.sources[0]
            files = one.servers[source.endpoint.host].files if source.scheme == "remote" else {}
            found[operation.id] = files.get(source.path, b"")
    return found


def run(one: Scenario) -> Scenario:
    """Runs the engine over it."""
    memory: dict[str, bytes] = {}
    for operation in one.operations:
        if isinstance(operation, Transfer) and operation.sources[0].scheme == "memory":
            memory[operation.sources[0].path] = next(
                (
                    one.servers[place.endpoint.host].expected[place.path]
                    for place in operation.destinations
                    if place.scheme == "remote"
                ),
                b"",
            )
    settings = Settings(Credentials.none(), stall_timeout=one.stall, memory={"m": memory})

    def opener(endpoint: Endpoint, given: Settings) -> Backend:
        if endpoint.scheme == "memory":
            return Memory(given.memory["m"])
        return Remote(one.servers[endpoint.host], given.connections)  # type: ignore[return-value]

    one.memory = memory  # type: ignore[attr-defined]
    engine = Engine(one.options, settings, [one.recorder, _Clock(one)], opener, runtime=_runtime(one.sim))
    if one.cancel_at is not None:
        one.sim.at(one.cancel_at, lambda: engine.cancel("told to stop"))
    one.began = one.sim.now
    with (
        patch.object(planning, "SPOOL", SPOOL),
        patch.object(relay, "SPOOL", SPOOL),
        patch.object(engine_module, "TICK", 0.5),
    ):
        one.summary = one.sim.run(lambda: engine.run(one.operations))
    one.ended = one.sim.now
    return one


def _runtime(sim: Simulation) -> Any:
    return sim


class _Clock:
    """When each operation was told to be over."""

    def __init__(self, one: Scenario) -> None:
        self.one = one

    def settled(self, outcomes: Any) -> None:
        for outcome in outcomes:
            self.one.settled_at.setdefault(outcome.operation.id, self.one.sim.now)

    def tick(self, progress: Any) -> None:
        """Nothing to be noted."""
