"""Inputs that many jobs share, in HTCondor's catalogs of common files: they go to each machine once.

Only what no job of the run makes: HTCondor keeps what it has brought under the list of the paths, and does
not see that a file has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pegasus_toolkit.planner.model import Dag
from pegasus_toolkit.planner.writing import jobs, quoting

MANY = 4  # jobs that share a file, from which on it is worth a catalog
_MOST = 4  # catalogs; each is a transfer of its own, one after the other, to each machine


class Common(NamedTuple):
    """``catalogs``: paths by name; ``of``: the names of those that a node takes."""

    catalogs: Mapping[str, tuple[str, ...]]
    of: Mapping[str, tuple[str, ...]]

    def commands(self, node: str) -> dict[str, str]:
        """What declares the node's catalogs in its submit file."""
        names = self.of.get(node, ())
        if not names:
            return {}
        found = {f"MY._x_catalog_{one}": quoting.string(", ".join(self.catalogs[one])) for one in names}
        return {"MY.CommonInputCatalogs": quoting.string(", ".join(names)), **found}

    def paths(self, node: str) -> frozenset[str]:
        """Files that come by the node's catalogs."""
        return frozenset(path for one in self.of.get(node, ()) for path in self.catalogs[one])


def common(dag: Dag) -> Common:
    """The files that at least :data:`MANY` jobs share; those of the same jobs are in one catalog."""
    if not dag.settings.common:
        return Common({}, {})
    users: dict[str, list[str]] = {}
    for node in dag.nodes:
        if jobs.carried(dag, node):
            for one in node.inputs:
                path = "" if one.produced else jobs.delivered(dag, node, one)
                if path and not any(c.isspace() for c in path):  # its lists end at spaces, too
                    users.setdefault(path, []).append(node.name)
    shared: dict[tuple[str, ...], list[str]] = {}
    for path, nodes in users.items():
        if len(nodes) >= MANY:
            shared.setdefault(tuple(nodes), []).append(path)
    chosen = sorted(shared.items(), key=lambda one: -len(one[0]))[:_MOST]
    of: dict[str, tuple[str, ...]] = {}
    for number, (names, _) in enumerate(chosen):
        of |= {name: (*of.get(name, ()), f"pegasus{number}") for name in names}
    return Common({f"pegasus{n}": tuple(paths) for n, (_, paths) in enumerate(chosen)}, of)
