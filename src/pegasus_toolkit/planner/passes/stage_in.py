"""Stage-in: brings to the staging sites what no job makes, grouped by who needs it.

A file that more jobs wait for than one batch serves (a program, a calibration) goes into batches of its own.
Every other file goes with the first job that needs it, so that a job waits for its own files and those of its
neighbours.
"""

from __future__ import annotations

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL, Pfn
from pegasus_toolkit.planner.model import Input, Move, Node, Problem
from pegasus_toolkit.planner.passes.batches import IN, batches, limit
from pegasus_toolkit.planner.passes.places import Places, path_of
from pegasus_toolkit.planner.passes.plan import ExternalFile, Plan, number
from pegasus_toolkit.planner.passes.programs import from_registry
from pegasus_toolkit.planner.passes.selectors import selector


def stage_in(plan: Plan) -> Plan:
    """Inputs get their sources; stage-in nodes put there what is not there."""
    work = _StageIn(plan)
    nodes = tuple(work.inputs(node) for node in plan.nodes)
    told = (
        f"{', '.join(lfns[:3])}{' ...' if len(lfns) > 3 else ''}: catalogued at {site!r}, which nobody can"
        " read from; the file of that path on the submit host is used"
        for site, lfns in work.read_here.items()
    )
    plan = replace(plan, nodes=nodes).wrong(work.problems.values()).warn(told)
    return work.staged(plan)


class _StageIn:
    def __init__(self, plan: Plan) -> None:
        self.problems: dict[str, Problem] = {}
        self.read_here: dict[str, list[str]] = {}  # LFNs of files of the submit host, by their sites
        self._plan = plan
        self._places = Places(plan.catalogs, plan.settings)
        self._select = selector(plan)
        self._links = plan.property("pegasus.transfer.links").lower() == "true"
        self._bypass = {(job.id, use.lfn) for job in plan.jobs for use in job.uses if use.bypass}
        # For each staging site and level: LFN to the nodes that wait for it, in their order.
        self._wanted: dict[tuple[str, str, int], dict[str, list[str]]] = {}
        self._where: dict[tuple[str, str], tuple[str, tuple[Pfn, ...], int] | None] = {}

    def inputs(self, node: Node) -> Node:
        """The node with sources for its inputs; what must be staged is noted."""
        if not node.jobs:
            return node
        staging = self._plan.chosen[node.jobs[0]].staging
        inputs = tuple(self._source(node, staging, one) for one in node.inputs)
        return replace(node, inputs=inputs)

    def _source(self, node: Node, staging: str, one: Input) -> Input:
        raw = self._plan.raw.get(one.lfn)
        if raw is not None:
            direct = self._direct(node, raw)
            if direct:
                return replace(one, sources=direct)
            self._note(node, staging, raw)
        if node.directory or node.kind == "subworkflow":
            return one
        return replace(one, sources=(self._places.get(staging, one.lfn),))

    def _direct(self, node: Node, raw: ExternalFile) -> tuple[Pfn, ...]:
        """Replicas that the job fetches by itself, where it is to bypass staging."""
        if node.directory or node.kind == "subworkflow":
            return ()
        here = node.profiles.get("pegasus", {}).get("transfer.bypass.input.staging", "").lower() == "true"
        named = self._bypass and any((id, raw.lfn) in self._bypass for id in node.jobs)
        if not (here or self._plan.settings.bypass or raw.bypass or named):
            return ()
        if any(from_registry(pfn.url) for pfn in raw.pfns):
            return ()  # a registry is asked once, whatever else bypasses staging
        carried = node.configuration == "condorio"
        at = LOCAL if carried else node.site
        pfns = [pfn for pfn in raw.pfns if self._places.reaches(at, pfn)]
        if carried:  # HTCondor puts a file down by the last part of its path, which must be the right one
            base = raw.lfn.rpartition("/")[2]
            pfns = [pfn for pfn in pfns if pfn.url.rpartition("/")[2] == base or not path_of(pfn.url)]
        return self._select(pfns, node.site)

    def _note(self, node: Node, staging: str, raw: ExternalFile) -> None:
        key = (raw.lfn, staging)
        if key not in self._where:
            self._where[key] = self._route(raw, staging, node.level)
        found = self._where[key]
        if found is not None:
            at, _, level = found  # that of the first job that needs it
            self._wanted.setdefault((staging, at, level), {}).setdefault(raw.lfn, []).append(node.name)

    def _route(self, raw: ExternalFile, staging: str, level: int) -> tuple[str, tuple[Pfn, ...], int] | None:
        """Where the transfer runs, with which replicas; ``None``, and a problem, where it cannot be done."""
        target = self._places.put(staging, raw.lfn)
        for at in dict.fromkeys((LOCAL, staging)):
            reached = [pfn for pfn in raw.pfns if self._places.reaches(at, pfn)]
            sources = self._select(reached, staging)
            if sources and self._places.reaches(at, target):
                return at, sources, level
        places = ", ".join(f"{pfn.url} at {pfn.site}" for pfn in raw.pfns)
        # Many catalogs mean a file of the submit host, whatever site they name.
        paths = [path for pfn in raw.pfns if (path := path_of(pfn.url))]
        here = tuple(Pfn(LOCAL, f"file://{path}") for path in paths if self._plan.settings.here(path))
        if here and self._places.reaches(LOCAL, target):
            self.read_here.setdefault(raw.pfns[0].site, []).append(raw.lfn)
            return LOCAL, here, level
        message = f"no site can read {raw.lfn!r} ({places}) and write {target.url} at {staging}"
        hint = "give the site a file server that others reach, or the profile auxillary.local"
        self.problems.setdefault(raw.lfn, Problem("replicas", (), message, hint=hint))
        return None

    def staged(self, plan: Plan) -> Plan:
        """The plan with stage-in nodes."""
        nodes: list[Node] = []
        edges: dict[str, list[str]] = {}
        placed = dict(plan.placed)
        for (staging, at, level), wanted in self._wanted.items():
            for lfns in self._batched(staging, wanted):
                letters = (c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in staging)
                name = f"stage_in_{len(nodes)}_{''.join(letters)}"
                moves = tuple(self._move(lfn, staging) for lfn in lfns)
                nodes.append(Node(name=name, kind="stage_in", site=at, level=level, operations=moves))
                edges[name] = [plan.made[staging]]
                for lfn in lfns:
                    placed[lfn, staging] = name
                    for consumer in wanted[lfn]:
                        edges.setdefault(consumer, []).append(name)
        return replace(plan, placed=placed).add(nodes, edges)

    def _batched(self, staging: str, wanted: dict[str, list[str]]) -> list[list[str]]:
        at = (self._plan.catalogs.sites[staging].profiles, self._plan.settings.profiles)
        most = limit(len(wanted), IN, next(filter(None, (number(one, "stagein.clusters") for one in at)), 0))
        common = [lfn for lfn, consumers in wanted.items() if len(consumers) > most]
        by_consumer: dict[str, list[str]] = {}
        for lfn, consumers in wanted.items():
            if len(consumers) <= most:
                by_consumer.setdefault(consumers[0], []).append(lfn)
        groups = [(lfns, sum(map(self._size, lfns))) for lfns in by_consumer.values()]
        single = [([lfn], self._size(lfn)) for lfn in common]
        return [*batches(single, most), *batches(groups, most)]

    def _size(self, lfn: str) -> int:
        return self._plan.raw[lfn].size or 0

    def _move(self, lfn: str, staging: str) -> Move:
        raw = self._plan.raw[lfn]
        found = self._where[lfn, staging]
        assert found is not None
        target, sources = self._places.put(staging, lfn), found[1]
        files = tuple(pfn for pfn in sources if path_of(pfn.url))
        # A program is copied: it is made executable, which is not for the file of somebody else.
        if self._links and files and path_of(target.url) and not raw.executable:
            target, sources = replace(target, url=f"symlink://{path_of(target.url)}"), files
        return Move(lfn=lfn, sources=sources, destinations=(target,), checksum=raw.checksum, size=raw.size)
