"""Replica selection: for each file that no job makes, the places to get it from."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import Replica
from pegasus_toolkit.planner.model import Exists, Job, Problem, Use
from pegasus_toolkit.planner.passes import selectors, urls
from pegasus_toolkit.planner.passes.plan import ExternalFile, Plan


def select_replicas(plan: Plan) -> Plan:
    """``raw`` for every such file. Optional inputs without a replica are left out, with a warning."""
    made = {use.lfn for job in plan.jobs for use in job.outputs}
    raw = dict(plan.raw)
    seen: dict[str, ExternalFile | None] = {}
    problems: list[Problem] = list(selectors.wrong(plan))
    warnings: list[str] = []
    jobs: list[Job] = []
    for job in plan.jobs:
        left_out = set()
        for use in job.inputs:
            if use.lfn in made:
                continue
            lfn = use.lfn
            if lfn not in seen:
                seen[lfn] = _found(plan, lfn, plan.settings.exists)
                problems += _urls(plan, lfn)
            one = seen[lfn]
            if one is not None and one.pfns:
                raw[lfn] = one if one.size is not None or use.size is None else replace(one, size=use.size)
            elif use.optional:
                left_out.add(lfn)
                warnings.append(f"the optional input {lfn!r} has no replica: jobs run without it")
            elif one is not None and plan.property("pegasus.mode") == "tutorial":
                # The tutorials let a missing input be found by the run, mended, and the run go on.
                raw[lfn] = _found(plan, lfn, None) or one
                warnings.append(f"{_missing(plan, job, use, one).message}; its stage-in job will fail")
            else:
                problems.append(_missing(plan, job, use, one))
        jobs.append(_without(job, left_out) if left_out else job)
        for use in job.checkpoints:  # one to begin with, from an earlier run
            problems += _urls(plan, use.lfn)
            first = _found(plan, use.lfn, plan.settings.exists)
            if first is not None and first.pfns:
                raw[use.lfn] = first
    return replace(plan, jobs=tuple(jobs), raw=raw).wrong(problems).warn(warnings)


def _found(plan: Plan, lfn: str, exists: Exists | None) -> ExternalFile | None:
    """With the replicas that are there, as far as can be told; without any where none is."""
    if lfn in plan.there:
        return plan.there[lfn]
    replica: Replica | None = plan.catalogs.replicas.find(lfn)
    if replica is None:
        return None
    pfns = replica.pfns
    if exists is not None:
        pfns = tuple(pfn for pfn in pfns if exists(pfn) is not False)
    return ExternalFile(lfn=lfn, pfns=pfns, checksum=replica.checksum, size=replica.size)


def _urls(plan: Plan, lfn: str) -> Iterator[Problem]:
    replica = plan.catalogs.replicas.find(lfn)
    if replica is None:
        return
    for pfn in replica.pfns:
        if text := urls.wrong(pfn.url):
            yield Problem(replica.file, (*replica.at, "pfns"), text)


def _missing(plan: Plan, job: Job, use: Use, found: ExternalFile | None) -> Problem:
    if found is None:
        return plan.problem(job, f"no job makes {use.lfn!r}, and no catalog has a replica of it", *use.place)
    replica = plan.catalogs.replicas.find(use.lfn)
    places = ", ".join(pfn.url for pfn in replica.pfns) if replica else ""
    return plan.problem(job, f"no replica of {use.lfn!r} is there: {places}", *use.place)


def _without(job: Job, lfns: set[str]) -> Job:
    uses = tuple(use for use in job.uses if use.link == "output" or use.lfn not in lfns)
    return replace(job, uses=uses)
