"""A large transfer specification as a DAG of shards, each a specification of its own: pure functions.

Directories are made before files are moved, and things removed after that, as in one run of
``pegasus-transfer``; each of the three has nodes of its own.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL, Catalogs, Pfn, Profiles, ReplicaCatalog, Site
from pegasus_toolkit.planner.model import Dag, MakeDirectory, Node, PlanError, Settings, Workflow
from pegasus_toolkit.planner.passes.credentials import give_credentials
from pegasus_toolkit.planner.passes.plan import Plan

POOL = "pool"  # the label of wherever HTCondor finds a machine
STEPS = ("mkdir", "transfer", "remove")  # in the order of execution
FILE = 1 << 20  # what a file costs beside its bytes, in bytes that could be moved in that time
PIECES = 32  # at least so many to a shard, so that they come out alike within 3 %
PORTION = 5000  # directories or removals to a node, at least
MEMORY = "512"  # MB that HTCondor is asked for
TOGETHER = "4"  # shards at the submit host that run at the same time

CATALOGS = Catalogs(
    sites={site: Site(name=site) for site in (LOCAL, POOL)},
    replicas=ReplicaCatalog(),
    transformations={},
    containers={},
)

Positions = array  # of entries, in the order of execution


class Shard(NamedTuple):
    """One node: what it does (of ``STEPS``), where, with which entries.

    ``weight``: their bytes, and ``FILE`` for each.
    """

    name: str
    step: str
    site: str
    positions: Positions[int]
    weight: int


class Entries(NamedTuple):
    """What has to be known of all entries, by their positions.

    ``counts``: mkdirs, transfers, removes, which come in this order. ``sizes``: bytes, -1 where nobody knows.
    ``here``: 1 for those that can be done on the submit host alone. ``places``: index into ``known``: all
    pairs of server and site that an entry names.
    """

    counts: tuple[int, int, int]
    sizes: array[int]
    here: bytearray
    places: array[int]
    known: Sequence[tuple[Pfn, ...]]


def divide(entries: Entries, shards: int) -> list[Shard]:
    """At most ``shards`` of transfers (one more where some have to run here), balanced by bytes and count."""
    made: list[Shard] = []
    begin = 0
    for step, count in zip(STEPS, entries.counts, strict=True):
        positions = range(begin, begin + count)
        begin += count
        most = shards if step == "transfer" else min(shards, -(-count // PORTION))
        parts = [array("I", (p for p in positions if entries.here[p] == flag)) for flag in (0, 1)]
        weights = _weights(entries, step)
        loads = [sum(weights(p) for p in part) for part in parts]
        for part, numbers, site in zip(parts, _shares(loads, most), (POOL, LOCAL), strict=True):
            prefix = step if site == POOL else f"{step}-here"
            for n, (positions_, weight) in enumerate(_balanced(part, weights, numbers), 1):
                made.append(Shard(f"{prefix}-{n:04d}", step, site, positions_, weight))
    return made


Weights = Callable[[int], int]  # of an entry, by its position


def _weights(entries: Entries, step: str) -> Weights:
    """What an entry counts. One of unknown size counts as the mean of those that are known."""
    if step != "transfer":
        return lambda position: FILE
    known = [size for size in entries.sizes if size >= 0]
    mean = sum(known) // len(known) if known else 0
    return lambda position: FILE + (size if (size := entries.sizes[position]) >= 0 else mean)


def _shares(loads: Sequence[int], most: int) -> list[int]:
    """How many of ``most`` shards each of two loads gets: at least one, if it is any."""
    total = sum(loads)
    if not all(loads):
        return [most if load else 0 for load in loads]
    second = min(max(1, round(most * loads[1] / total)), max(1, most - 1))
    return [max(1, most - second), second]


def _balanced(part: Positions[int], weights: Weights, numbers: int) -> Iterator[tuple[Positions[int], int]]:
    """Longest processing time first, of pieces: neighbours stay together as far as they are small."""
    if not part or not numbers:
        return
    total = sum(weights(p) for p in part)
    pieces = sorted(_pieces(part, weights, total // (numbers * PIECES)), key=lambda one: -one[0])
    heap = [(0, n) for n in range(min(numbers, len(pieces)))]
    shards: list[list[tuple[int, int]]] = [[] for _ in heap]
    for weight, begin, end in pieces:
        load, n = heap[0]
        shards[n].append((begin, end))
        heapq.heapreplace(heap, (load + weight, n))
    loads = {n: load for load, n in heap}
    for n, ranges in enumerate(shards):
        chosen: Positions[int] = array("I")
        for begin, end in sorted(ranges):
            chosen.extend(part[begin:end])
        yield chosen, loads[n]


def _pieces(part: Positions[int], weights: Weights, size: int) -> Iterator[tuple[int, int, int]]:
    """Weight, first and last but one of each run of entries that is not larger than one entry or ``size``."""
    begin = load = 0
    for at, position in enumerate(part):
        weight = weights(position)
        if load and load + weight > size:
            yield load, begin, at
            begin, load = at, 0
        load += weight
    yield load, begin, len(part)


def plan(
    shards: Sequence[Shard], entries: Entries, settings: Settings, workflow: Workflow, *, threads: int
) -> Dag:
    """The DAG. Raises ``PlanError`` where a node needs a credential that is not there or too open."""
    nodes = tuple(_node(shard, entries, threads) for shard in shards)
    done = give_credentials(Plan(workflow=workflow, catalogs=CATALOGS, settings=settings, nodes=nodes))
    if done.problems:
        raise PlanError(done.problems)
    limits: Profiles = {"dagman": {"here.maxjobs": TOGETHER}}
    return Dag(
        workflow=workflow,
        settings=replace(settings, profiles=limits),
        sites=CATALOGS.sites,
        nodes=done.nodes,
        parents=dict(_parents(shards)),
    )


def _node(shard: Shard, entries: Entries, threads: int) -> Node:
    """``operations`` name each server and site once: they tell which credentials it needs."""
    seen = {entries.places[position] for position in shard.positions}
    places = sorted({pfn for one in seen for pfn in entries.known[one]}, key=lambda one: (one.url, one.site))
    profiles: dict[str, Mapping[str, str]] = {
        "pegasus": {"memory": MEMORY},
        "env": {"PEGASUS_TRANSFER_THREADS": str(threads)},
        "dagman": {"category": "here"} if shard.site == LOCAL else {},
        "condor": {} if shard.site == LOCAL else {"+WantIOProxy": "true"},  # it tells how far it is
    }
    return Node(
        name=shard.name,
        kind="transfer",
        site=shard.site,
        operations=tuple(MakeDirectory(place) for place in places),
        profiles=profiles,
    )


def _parents(shards: Iterable[Shard]) -> Iterator[tuple[str, tuple[str, ...]]]:
    before: tuple[str, ...] = ()
    for step in STEPS:
        names = tuple(shard.name for shard in shards if shard.step == step)
        for name in names:
            yield name, before
        before = names or before
