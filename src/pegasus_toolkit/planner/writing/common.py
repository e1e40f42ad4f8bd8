"""What many jobs share, in HTCondor's catalogs of common files: it goes to each machine once.

The worker, and inputs that no job of the run makes: HTCondor keeps what it has brought under the list of
the paths, and does not see that a file has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pegasus_toolkit.planner.catalogs import LOCAL
from pegasus_toolkit.planner.model import Dag, Node
from pegasus_toolkit.planner.passes.places import path_of
from pegasus_toolkit.planner.writing import jobs, quoting

MANY = 4  # jobs that share a file, from which on it is worth a catalog
_MOST = 4  # catalogs; each is a transfer of its own, one after the other, to each machine


class Shared(NamedTuple):
    """``commands``: what declares a node's catalogs in its submit file; ``paths``: what comes by them."""

    commands: Mapping[str, str]
    paths: frozenset[str]


NONE = Shared({}, frozenset())


def shared(dag: Dag) -> Mapping[str, Shared]:
    """Of each node, what at least :data:`MANY` jobs share; files of the same jobs are in one catalog."""
    if not dag.settings.common:
        return {}
    users: dict[str, list[str]] = {}
    for node in dag.nodes:
        if node.site != LOCAL and node.subdag is None and _by_htcondor(dag, node):
            for path in _brought(dag, node):
                users.setdefault(path, []).append(node.name)
    groups: dict[tuple[str, ...], list[str]] = {}
    for path, some in users.items():
        if len(some) >= MANY and len(path.split()) == 1:  # HTCondor's lists end at spaces, too
            groups.setdefault(tuple(some), []).append(path)
    chosen = sorted(groups.items(), key=lambda one: -len(one[0]))[:_MOST]
    catalogs = {f"pegasus{number}": paths for number, (_, paths) in enumerate(chosen)}
    of: dict[str, tuple[str, ...]] = {}
    for name, (nodes, _) in zip(catalogs, chosen, strict=True):
        of |= {node: (*of.get(node, ()), name) for node in nodes}
    made = {names: _shared(names, catalogs) for names in set(of.values())}
    return {node: made[names] for node, names in of.items()}


def _brought(dag: Dag, node: Node) -> Iterator[str]:
    """Paths of what HTCondor brings, but for what is the node's own or may be made again."""
    names = set()
    for one in node.inputs if jobs.carried(dag, node) else ():
        if path := path_of(one.sources[0].url) if one.sources else "":
            names.add(path.rpartition("/")[2])
            yield from () if one.produced else (path,)
    worker = dag.settings.workers.get("", "")
    packed = worker == f"{dag.settings.submit}/{jobs.WORKER}"  # of another nobody knows that Python runs it
    if packed and node.site not in dag.settings.workers and jobs.WORKER not in names:
        yield worker


def _by_htcondor(dag: Dag, node: Node) -> bool:
    """Whether HTCondor's own machines run it; whoever else carries its files knows no catalogs."""
    return node.site not in dag.batches and jobs.universe(dag, node) != "grid"


def _shared(names: Sequence[str], catalogs: Mapping[str, Sequence[str]]) -> Shared:
    commands = {f"MY._x_catalog_{one}": quoting.string(", ".join(catalogs[one])) for one in names}
    commands["MY.CommonInputCatalogs"] = quoting.string(", ".join(names))
    return Shared(commands, frozenset(path for one in names for path in catalogs[one]))
