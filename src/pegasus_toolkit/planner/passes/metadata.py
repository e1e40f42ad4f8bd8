"""Metadata: what users have said of workflow, jobs and files, in one place. It leaves the plan as it is."""

from __future__ import annotations

from collections.abc import Mapping

from pegasus_toolkit.planner.catalogs import Catalogs
from pegasus_toolkit.planner.model import Metadata, Workflow
from pegasus_toolkit.planner.passes.plan import Plan

Table = Mapping[str, str]


def metadata(plan: Plan) -> Metadata:
    """All of it; what has none is left out. A job has its transformation's, too, as it has its profiles."""
    tasks = {}
    for job in plan.workflow.jobs:
        program = plan.catalogs.transformations.get(job.transformation)
        known: dict[str, str] = {}
        if program is not None:
            site = plan.chosen[job.id].site if job.id in plan.chosen else ""
            known |= program.metadata
            for one in program.sites:
                known |= one.metadata if one.name == site else {}
        if known or job.metadata:
            tasks[job.id] = {**known, **job.metadata}
    return Metadata(
        workflow=plan.workflow.metadata, tasks=tasks, files=of_files(plan.workflow, plan.catalogs)
    )


def of_files(workflow: Workflow, catalogs: Catalogs) -> dict[str, Table]:
    """By LFN: what the workflow says of it goes before what a replica catalog does."""
    found: dict[str, Table] = {}
    entries, patterns = catalogs.replicas.entries.values(), catalogs.replicas.patterns
    told = any(one.metadata for one in entries) or any(one.metadata for _, one in patterns)
    for job in workflow.jobs:
        for use in (*job.uses, *job.checkpoints):
            if told and use.link == "input" and use.lfn not in found:
                replica = catalogs.replicas.find(use.lfn)
                if replica is not None and replica.metadata:
                    found[use.lfn] = replica.metadata
            if use.metadata:
                found[use.lfn] = {**found.get(use.lfn, {}), **use.metadata}
    return found
