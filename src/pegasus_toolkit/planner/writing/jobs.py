"""What the worker is told: bundles of nodes, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL
from pegasus_toolkit.planner.model import Dag, Input, Move, Node, NodeFile, Registration
from pegasus_toolkit.planner.passes.places import path_of

VERSION = 1
OUTBOX = "out"
WORKER = "pegasus-worker"  # the file that goes with jobs, where one does
FINAL = "receipt"  # the name of the node that comes last, whatever became of the others
_NODES, _BYTES = 100, 256 * 1024  # in a bundle, which travels with each of its jobs


def specification_file(node: str) -> str:
    """Its specification's name, also in the sandbox of its job, where ``NODE.json`` is its record."""
    return f"{node}.spec.json"


class Bundle(NamedTuple):
    """``name``: of the file; ``nodes``: whose lines it holds."""

    name: str
    content: bytes
    nodes: tuple[str, ...]


def bundles(dag: Dag) -> Iterator[Bundle]:
    """All nodes but sub-workflows, and the final one."""
    encode = msgspec.json.Encoder().encode
    compute = ((n.name, encode(node_file(dag, n))) for n in dag.nodes if n.kind == "compute")
    others = ((n.name, encode(node_file(dag, n))) for n in dag.nodes if n.operations or n.registrations)
    yield from _packed("compute", compute)
    yield from _packed("auxiliary", others)
    yield Bundle("final.jsonl", encode(_final(dag)) + b"\n", (FINAL,))


def _packed(kind: str, lines: Iterable[tuple[str, bytes]]) -> Iterator[Bundle]:
    names: list[str] = []
    content: list[bytes] = []
    count = size = 0
    for name, line in lines:
        if names and (len(names) >= _NODES or size + len(line) > _BYTES):
            yield Bundle(f"{kind}-{count:04d}.jsonl", b"\n".join((*content, b"")), tuple(names))
            names, content, size, count = [], [], 0, count + 1
        names.append(name)
        content.append(line)
        size += len(line)
    if names:
        yield Bundle(f"{kind}-{count:04d}.jsonl", b"\n".join((*content, b"")), tuple(names))


def node_file(dag: Dag, node: Node) -> NodeFile:
    """The line of one node."""
    settings = dag.settings
    return NodeFile(
        version=VERSION,
        node=node.name,
        kind=node.kind,
        workflow=dag.workflow.name,
        run=settings.run,
        site=node.site,
        configuration=node.configuration or settings.configuration,
        verify=settings.integrity,
        directory=node.directory,
        # An empty tuple counts as the default, and is left out, only if it is the one that () is.
        inputs=tuple(_input(dag, node, one) for one in node.inputs) or (),
        outputs=node.outputs or (),
        checkpoints=node.checkpoints or (),
        outbox=OUTBOX if carried(dag, node) else "",
        tasks=node.tasks or (),
        specification=specification_file(node.name) if node.operations else "",
        metas=node.metas or (),
        catalog=catalog(dag) if node.registrations else "",
        registrations=node.registrations or (),
    )


def _input(dag: Dag, node: Node, one: Input) -> Input:
    path = delivered(dag, node, one)
    return replace(one, sources=(), delivered=path.rpartition("/")[2]) if path else one


def carried(dag: Dag, node: Node) -> bool:
    """Whether HTCondor carries the files of a compute node; on the submit host it carries nothing."""
    condorio = node.configuration == "condorio"
    return condorio and node.site != LOCAL and not in_place(dag, node.site)


def in_place(dag: Dag, site: str) -> bool:
    """Whether jobs run on the file system of the submit host, by its own batch system."""
    found = dag.batches.get(site)
    return found is not None and not found.host


def universe(dag: Dag, node: Node) -> str:
    """That of HTCondor that the catalogs name."""
    condor = {**dag.sites[node.site].profiles.get("condor", {}), **node.profiles.get("condor", {})}
    return condor.get("universe", "vanilla").lower()


def delivered(dag: Dag, node: Node, one: Input) -> str:
    """The path of a file that HTCondor brings; "" where the worker fetches it itself."""
    return path_of(one.sources[0].url) if carried(dag, node) and one.sources else ""


def catalog(dag: Dag) -> str:
    """The file that outputs are registered in."""
    named = dag.settings.properties.get("pegasus.catalog.replica.output.file", "")
    return named or f"{dag.settings.submit}/replicas-output.yml"


def _final(dag: Dag) -> NodeFile:
    """It looks for what the run has to bring; an output that is there from before is nobody's work."""
    moves = ((node, one) for node in dag.nodes for one in node.operations if isinstance(one, Move))
    brought = {pfn for node, one in moves if one.lfn not in node.checkpoints for pfn in one.destinations}
    wanted = ((lfn, pfn) for lfn, pfns in dag.outputs.items() for pfn in pfns if pfn in brought)
    return NodeFile(
        version=VERSION,
        node=FINAL,
        kind="final",
        workflow=dag.workflow.name,
        run=dag.settings.run,
        site="local",
        configuration=dag.settings.configuration,
        verify=dag.settings.integrity,
        registrations=tuple(Registration(lfn, pfn) for lfn, pfn in wanted),
    )
