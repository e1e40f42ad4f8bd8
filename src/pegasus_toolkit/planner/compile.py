"""From what was read to the executable workflow. Pure: no file is touched, but through ``settings``."""

from __future__ import annotations

from pegasus_toolkit.planner.catalogs import words
from pegasus_toolkit.planner.model import Dag, Node, PlanError, Problem, Settings
from pegasus_toolkit.planner.passes import CHECKED, PASSES
from pegasus_toolkit.planner.passes.batch import batch_of
from pegasus_toolkit.planner.passes.metadata import metadata
from pegasus_toolkit.planner.passes.plan import Plan
from pegasus_toolkit.planner.reading import document
from pegasus_toolkit.planner.reading.load import Loaded


def compile(loaded: Loaded, settings: Settings) -> Dag:
    """The DAG. Raises :class:`PlanError` with all that is wrong with the files and with what they mean."""
    plan = Plan(
        workflow=loaded.workflow,
        catalogs=loaded.catalogs,
        settings=settings,
        jobs=loaded.workflow.jobs,
        problems=loaded.problems,
        warnings=loaded.warnings,
    )
    for one in CHECKED:
        if not one.needs & loaded.broken:
            plan = one.run(plan)
    for run in () if plan.problems else PASSES:
        plan = run(plan)
        if not plan.nodes and plan.problems:  # nothing that the others could say something about
            break
    if plan.problems:
        raise PlanError(_located(plan.problems, loaded))
    return Dag(
        workflow=plan.workflow,
        settings=settings,
        sites=plan.catalogs.sites,
        batches={name: found for name, site in plan.catalogs.sites.items() if (found := batch_of(site))},
        nodes=_by_kind(plan.nodes),
        parents=_reduced(plan),
        outputs=plan.delivered,
        reused=plan.reused,
        metadata=metadata(plan),
        warnings=tuple(dict.fromkeys(plan.warnings)),
    )


def _located(problems: tuple[Problem, ...], loaded: Loaded) -> list[Problem]:
    """With their lines, where they are about a file that was read."""
    located: list[Problem] = []
    for file in dict.fromkeys(problem.file for problem in problems):
        some, text = [problem for problem in problems if problem.file == file], loaded.texts.get(file)
        located += document.located(some, text) if text is not None else some
    return located


def _reduced(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Without those parents that another parent waits for anyway."""
    edges = plan.edges
    found = {}
    for node in plan.nodes:
        parents = edges[node.name]
        if len(parents) > 1:
            implied = {above for parent in parents for above in edges[parent]}
            parents = tuple(parent for parent in parents if parent not in implied)
        found[node.name] = tuple(sorted(parents))
    return found


_ORDER = words("create_dir stage_in compute subworkflow inter_site stage_out register cleanup")


def _by_kind(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """As people expect to find them; each kind in the order in which it was made."""
    return tuple(sorted(nodes, key=lambda node: _ORDER.index(node.kind)))
