"""Registration: outputs that were staged out are written into a replica catalog, others never."""

from __future__ import annotations

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL
from pegasus_toolkit.planner.model import Node, Registration
from pegasus_toolkit.planner.passes.metadata import of_files
from pegasus_toolkit.planner.passes.plan import Plan

MOST = 1000  # files in a node


def register(plan: Plan) -> Plan:
    """Register nodes, each after the stage-out nodes of its files."""
    if not plan.settings.register:
        return plan
    wanted = [
        use.lfn
        for job in plan.workflow.jobs  # those reused, too: their files are at a new place now
        for use in (*job.outputs, *job.checkpoints)
        if use.register and use.stage_out and use.lfn in plan.delivering
    ]
    told = of_files(plan.workflow, plan.catalogs) if wanted else {}
    optional = {use.lfn for job in plan.workflow.jobs for use in job.checkpoints}
    nodes: list[Node] = []
    edges: dict[str, list[str]] = {}
    for at in range(0, len(wanted), MOST):
        lfns = wanted[at : at + MOST]
        name = f"register_{len(nodes)}"
        entries = tuple(
            Registration(lfn, pfn, told.get(lfn, {})) for lfn in lfns for pfn in plan.delivered[lfn]
        )
        node = Node(name=name, kind="register", site=LOCAL, registrations=entries)
        kept = tuple(lfn for lfn in lfns if lfn in optional)
        nodes.append(replace(node, checkpoints=kept) if kept else node)
        edges[name] = [by for lfn in lfns for by in plan.delivering.get(lfn, ())]
    return plan.add(nodes, edges)
