"""Stage-out: what the workflow is for, from the staging sites to where it stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL, Pfn
from pegasus_toolkit.planner.model import Move, Node, Problem
from pegasus_toolkit.planner.passes.batches import OUT, batches, limit
from pegasus_toolkit.planner.passes.mappers import mapper
from pegasus_toolkit.planner.passes.places import Places
from pegasus_toolkit.planner.passes.plan import ExternalFile, Plan, number


class _File(NamedTuple):
    """One file to be staged out; ``maker``: the node that it waits for, "" for none."""

    lfn: str
    maker: str
    sources: tuple[Pfn, ...]
    raw: ExternalFile | None = None


def stage_out(plan: Plan) -> Plan:
    """Nodes that move outputs to every output site, one set of nodes for each."""
    above = plan.settings.above.wanted
    missing = above.keys() - {use.lfn for job in plan.workflow.jobs for use in job.outputs}
    told = (f"the workflow above waits for {lfn!r}, which no job makes" for lfn in sorted(missing))
    return _StageOut(plan).run().warn(told)


class _Target(NamedTuple):
    """Where which files go; ``directory``: the path that the workflow above reads them from."""

    site: str
    lfns: frozenset[str]
    directory: str = ""


class _StageOut:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._places = Places(plan.catalogs, plan.settings)
        self._map = mapper(plan, self._places)
        self._nodes: list[Node] = []
        self._edges: dict[str, list[str]] = {}
        self._delivered: dict[str, list[Pfn]] = {}
        self._delivering: dict[str, list[str]] = {}
        self._problems: dict[str, Problem] = {}
        uses = (use for job in plan.workflow.jobs for use in (*job.outputs, *job.checkpoints))
        self._outputs = [use.lfn for use in uses if use.stage_out]
        self._optional = {use.lfn for job in plan.workflow.jobs for use in job.checkpoints}
        self._wanted = plan.settings.above.wanted.keys() | self._outputs

    def run(self) -> Plan:
        made, there = self._made(), self._there()
        settings = self._plan.settings
        # What the workflow above goes on with is for it alone, unless it is wanted at both places.
        above = settings.above
        outputs = [lfn for lfn in self._outputs if above.wanted.get(lfn, True)]
        targets = [_Target(site, frozenset(outputs)) for site in settings.output_sites]
        if above.wanted:
            targets.append(_Target(LOCAL, frozenset(above.wanted), above.directory))
        for target in targets:
            for (staging, level), files in made.items():
                self._move(target, staging, level, files)
            for staging, found in there.items():
                self._move(target, staging, 0, found)
        plan = self._plan.add(self._nodes, self._edges).wrong(self._problems.values())
        return replace(
            plan,
            delivered={lfn: tuple(pfns) for lfn, pfns in self._delivered.items()},
            delivering={lfn: tuple(names) for lfn, names in self._delivering.items()},
        )

    def _made(self) -> dict[tuple[str, int], dict[str, list[_File]]]:
        """By staging site and level, then by the node that makes them."""
        found: dict[tuple[str, int], dict[str, list[_File]]] = {}
        level = {node.name: node.level for node in self._plan.nodes}
        for job in self._plan.jobs:
            staging, name = self._plan.chosen[job.id].staging, self._plan.node_of[job.id]
            for use in (*job.outputs, *job.checkpoints):
                if use.lfn in self._wanted:
                    one = _File(use.lfn, name, (self._places.get(staging, use.lfn),))
                    found.setdefault((staging, level[name]), {}).setdefault(name, []).append(one)
        return found

    def _there(self) -> dict[str, dict[str, list[_File]]]:
        """Outputs of jobs that need not run, by the site of the replica: they are wanted all the same."""
        found: dict[str, dict[str, list[_File]]] = {}
        gone = set(self._plan.reused)
        for job in self._plan.workflow.jobs if gone else ():
            for use in job.outputs if job.id in gone else ():
                raw = self._plan.there.get(use.lfn)
                if use.lfn in self._wanted and raw is not None:
                    files = found.setdefault(raw.pfns[0].site, {}).setdefault(use.lfn, [])
                    files.append(_File(use.lfn, "", raw.pfns, raw))
        return found

    def _move(self, target: _Target, staging: str, level: int, files: dict[str, list[_File]]) -> None:
        groups = [self._waiting(target, group) for group in files.values()]
        every = sum(map(len, groups))
        known = self._plan.catalogs.sites.get(staging)
        own = number(self._plan.settings.profiles, "stageout.clusters")
        wish = number(known.profiles if known else {}, "stageout.clusters") or own
        for batch in batches(((group, 0) for group in groups if group), limit(every, OUT, wish)):
            at = self._where(staging, target.site, batch)
            if not at:
                continue
            name = f"stage_out_{len(self._nodes)}"
            moves = tuple(_move(file, place) for file, place in batch)
            optional = tuple(file.lfn for file, _ in batch if file.lfn in self._optional)
            node = Node(name=name, kind="stage_out", site=at, level=level, operations=moves)
            self._nodes.append(replace(node, checkpoints=optional) if optional else node)
            self._edges[name] = [maker for maker in dict.fromkeys(file.maker for file, _ in batch) if maker]
            for file, place in batch if not target.directory else ():
                self._delivered.setdefault(file.lfn, []).append(place)
                self._delivering.setdefault(file.lfn, []).append(name)

    def _waiting(self, target: _Target, files: Iterable[_File]) -> list[tuple[_File, Pfn]]:
        """Those that are to go there, and are not there already; each with its place."""
        left = []
        for file in files:
            if file.lfn not in target.lfns:
                continue
            place = self._place(target, file.lfn)
            if all(pfn.url != place.url for pfn in file.sources):
                left.append((file, place))
            elif not target.directory:
                self._delivered.setdefault(file.lfn, []).append(place)
        return left

    def _place(self, target: _Target, lfn: str) -> Pfn:
        if target.directory:
            return self._places.storage(target.site, lfn, target.directory)
        return self._map(target.site, lfn)

    def _where(self, staging: str, site: str, batch: list[tuple[_File, Pfn]]) -> str:
        for at in dict.fromkeys((LOCAL, staging, site)):
            reached = all(any(self._places.reaches(at, pfn) for pfn in file.sources) for file, _ in batch)
            if reached and all(self._places.reaches(at, place) for _, place in batch):
                return at
        source, target = batch[0][0].sources[0], batch[0][1]
        message = f"no site can read {source.url} at {source.site} and write {target.url} at {site}"
        self._problems.setdefault(f"{staging} {site}", Problem("sites", (), message))
        return ""


def _move(file: _File, place: Pfn) -> Move:
    return Move(
        lfn=file.lfn,
        sources=file.sources,
        destinations=(place,),
        checksum=file.raw.checksum if file.raw else None,
        size=file.raw.size if file.raw else None,
        linkage="output",
    )
