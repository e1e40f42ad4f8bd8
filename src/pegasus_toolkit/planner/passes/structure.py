"""The graph of jobs: who makes which file for whom, in which order; and what makes no sense about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from pegasus_toolkit.planner.model import Job, Problem
from pegasus_toolkit.planner.passes.plan import Plan


def structure(plan: Plan) -> Plan:
    """Jobs in an order in which each comes after those it needs, with all dependencies and levels."""
    jobs = plan.workflow.jobs
    problems = [*_twice(plan), *_writers(plan), *_checkpoints(plan)]
    maker = {use.lfn: job.id for job in jobs for use in job.outputs}
    parents: dict[str, tuple[str, ...]] = {}
    explicit = plan.workflow.parents
    for job in jobs:
        needed = [maker[use.lfn] for use in job.inputs if use.lfn in maker]
        found = dict.fromkeys((*explicit.get(job.id, ()), *needed))
        if job.id in found and job.id not in explicit.get(job.id, ()):
            del found[job.id]  # told as a file that it reads and writes
        parents[job.id] = tuple(found)
    order, cycle = sort([job.id for job in jobs], parents)
    if cycle:
        problems.append(_cycle(plan, cycle))
    by_id = {job.id: job for job in jobs}
    return replace(
        plan,
        jobs=tuple(by_id[id] for id in order),
        parents=parents,
        level=levels(order, parents),
        problems=(*plan.problems, *problems),
    )


def sort(ids: Sequence[str], parents: Mapping[str, tuple[str, ...]]) -> tuple[list[str], list[str]]:
    """Parents first, else in the given order; and one cycle, if there is any (in the order, too)."""
    waiting = {id: len(parents.get(id, ())) for id in ids}
    children: dict[str, list[str]] = {}
    for id in waiting:
        for parent in parents.get(id, ()):
            children.setdefault(parent, []).append(id)
    order = [id for id in waiting if not waiting[id]]
    for id in order:  # grows as it goes
        for child in children.get(id, ()):
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    if len(order) == len(waiting):
        return order, []
    done = set(order)
    left = [id for id in waiting if id not in done]
    return [*order, *left], _one_cycle(left, parents)


def _one_cycle(left: Sequence[str], parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Each that is left has a parent that is left, so going up must come back."""
    among = set(left)
    way: dict[str, int] = {}
    here = left[0]
    while here not in way:
        way[here] = len(way)
        here = next(parent for parent in parents[here] if parent in among)
    return list(way)[way[here] :][::-1]


def levels(order: Iterable[str], parents: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """The number of jobs on the longest way before each."""
    found: dict[str, int] = {}
    for id in order:
        found[id] = max((found.get(parent, -1) for parent in parents.get(id, ())), default=-1) + 1
    return found


def _cycle(plan: Plan, cycle: list[str]) -> Problem:
    place = {job.id: job.at for job in plan.workflow.jobs}
    first = min(range(len(cycle)), key=lambda n: place[cycle[n]])
    cycle = [*cycle[first:], *cycle[:first]]
    shown = cycle if len(cycle) <= 8 else [*cycle[:8], "..."]
    way = " -> ".join((*shown, cycle[0]))
    return Problem(plan.workflow.file, ("jobs", place[cycle[0]]), f"jobs wait for each other: {way}")


def _twice(plan: Plan) -> Iterator[Problem]:
    seen: dict[str, Job] = {}
    for job in plan.workflow.jobs:
        if job.id in seen:
            yield plan.problem(
                job, f"the id {job.id!r} is there twice, first in jobs[{seen[job.id].at}]", "id"
            )
        seen.setdefault(job.id, job)


def _writers(plan: Plan) -> Iterator[Problem]:
    makers: dict[str, Job] = {}
    for job in plan.workflow.jobs:
        inputs = {use.lfn for use in job.inputs}
        for use in job.outputs:
            first = makers.setdefault(use.lfn, job)
            if use.lfn in inputs:
                yield plan.problem(job, f"{job.id!r} reads and writes {use.lfn!r}", *use.place)
            if first is not job:
                yield plan.problem(job, f"{job.id!r} writes {use.lfn!r}, as {first.id!r} does", *use.place)
    yield from _nested(plan, makers)


def _checkpoints(plan: Plan) -> Iterator[Problem]:
    """A checkpoint is its own job's alone: what it holds at which time, no other could know."""
    owners = {use.lfn: job for job in plan.workflow.jobs for use in job.checkpoints}
    for job in plan.workflow.jobs if owners else ():
        for use in (*job.uses, *job.checkpoints):
            if owners.get(use.lfn, job) is not job or (use.link != "checkpoint" and use.lfn in owners):
                message = f"{use.lfn!r} is a checkpoint of {owners[use.lfn].id!r} and can be nothing else"
                yield plan.problem(job, message, *use.place)


def _nested(plan: Plan, makers: Mapping[str, Job]) -> Iterator[Problem]:
    """Files that would have to be directories for other files."""
    for lfn, job in makers.items():
        if "/" in lfn:
            parts = lfn.split("/")
            for n in range(1, len(parts)):
                if "/".join(parts[:n]) in makers:
                    above = "/".join(parts[:n])
                    yield plan.problem(job, f"{lfn!r} would be below the file {above!r}")
