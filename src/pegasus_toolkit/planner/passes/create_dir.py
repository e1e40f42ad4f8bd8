"""Create-dir: this run's own directory at each staging site, before anything touches it."""

from __future__ import annotations

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL, Pfn
from pegasus_toolkit.planner.model import MakeDirectory, Node
from pegasus_toolkit.planner.passes.places import Places
from pegasus_toolkit.planner.passes.plan import Plan


def create_dir(plan: Plan) -> Plan:
    """One node a staging site. Nodes added later wait for it by themselves; see ``plan.made``."""
    places = Places(plan.catalogs, plan.settings)
    made: dict[str, str] = {}
    nodes = []
    for site in dict.fromkeys(one.staging for one in plan.chosen.values()):
        pfn = Pfn(site, places.scratch(site, "all", "put"))
        at = LOCAL if places.reaches(LOCAL, pfn) else site
        made[site] = f"create_dir_{len(made)}_{_safe(site)}"
        nodes.append(Node(name=made[site], kind="create_dir", site=at, operations=(MakeDirectory(pfn),)))
    staging = {node.name: plan.chosen[node.jobs[0]].staging for node in plan.nodes}
    edges = {}
    for node in plan.nodes:
        site = staging[node.name]
        if not any(staging[parent] == site for parent in plan.edges[node.name]):
            edges[node.name] = (made[site],)
    return replace(plan, made=made).add(nodes, edges)


def _safe(site: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in site)
