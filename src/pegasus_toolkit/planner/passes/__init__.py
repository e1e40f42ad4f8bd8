"""The passes, in their order: each a pure function from plan to plan, one module each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pegasus_toolkit.planner.passes.cleanup import clean_up
from pegasus_toolkit.planner.passes.clustering import cluster
from pegasus_toolkit.planner.passes.create_dir import create_dir
from pegasus_toolkit.planner.passes.credentials import give_credentials
from pegasus_toolkit.planner.passes.integrity import check_integrity
from pegasus_toolkit.planner.passes.inter_site import inter_site
from pegasus_toolkit.planner.passes.plan import Plan
from pegasus_toolkit.planner.passes.registration import register
from pegasus_toolkit.planner.passes.replicas import select_replicas
from pegasus_toolkit.planner.passes.reuse import reuse
from pegasus_toolkit.planner.passes.sites import select_sites
from pegasus_toolkit.planner.passes.stage_in import stage_in
from pegasus_toolkit.planner.passes.stage_out import stage_out
from pegasus_toolkit.planner.passes.structure import structure
from pegasus_toolkit.planner.passes.supported import supported


class Pass(NamedTuple):
    """``needs``: kinds of file that must have been read without a problem for it to say anything."""

    run: Callable[[Plan], Plan]
    needs: frozenset[str]


CHECKED: tuple[Pass, ...] = (
    Pass(structure, frozenset(("workflow",))),
    Pass(reuse, frozenset(("workflow", "replica"))),
    Pass(select_sites, frozenset(("workflow", "site", "transformation"))),
    Pass(select_replicas, frozenset(("workflow", "replica"))),
    Pass(supported, frozenset()),
)
"""On the abstract workflow. All of them run, whatever is wrong, so that all of it is told."""

PASSES: tuple[Callable[[Plan], Plan], ...] = (
    cluster,
    create_dir,
    stage_in,
    inter_site,
    stage_out,
    register,
    clean_up,
    check_integrity,
    give_credentials,
)
"""On a workflow with which nothing is wrong: they make the nodes."""
