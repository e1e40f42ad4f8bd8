"""Clustering: jobs become nodes, some of them several to a node, one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import Profiles
from pegasus_toolkit.planner.model import Job, Problem
from pegasus_toolkit.planner.passes.compute import Builder
from pegasus_toolkit.planner.passes.plan import Plan, number
from pegasus_toolkit.planner.passes.structure import levels, sort

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_RESERVED = ("create_dir_", "stage_in_", "stage_out_", "inter_site_", "register_", "cleanup_")
_LARGEST = ("cores", "memory", "diskspace", "gpus", "nodes", "ppn")
_SUMMED = ("runtime", "maxwalltime")


def cluster(plan: Plan) -> Plan:
    """One compute node for each group of jobs, with edges and levels between nodes."""
    groups = list(_groups(plan))
    names = _names(groups, plan.settings.prefix)
    node_of = {job.id: name for name, group in zip(names, groups, strict=True) for job in group}
    edges: dict[str, tuple[str, ...]] = {}
    for name, group in zip(names, groups, strict=True):
        found = (node_of[parent] for job in group for parent in plan.parents[job.id])
        edges[name] = tuple(dict.fromkeys(parent for parent in found if parent != name))
    order, cycle = sort(names, edges)
    if cycle:
        way = " -> ".join((*cycle, cycle[0]))
        return plan.wrong([Problem("--cluster", (), f"clusters wait for each other: {way}")])
    level = levels(order, edges)
    builder = Builder(plan)
    by_name = dict(zip(names, groups, strict=True))
    nodes = tuple(
        builder.node(name, by_name[name], level[name], _profiles(plan, by_name[name])) for name in order
    )
    return replace(plan, node_of=node_of).add(nodes, edges).wrong(builder.problems)


def _groups(plan: Plan) -> Iterator[tuple[Job, ...]]:
    """Disjoint groups of jobs. A job that a clusterer took is not seen by the next."""
    left = {job.id: job for job in plan.jobs}
    for kind in plan.settings.clusterers:
        found = _CLUSTERERS[kind](plan, left.values())
        for group in list(found):
            if len(group) > 1:
                for job in group:
                    del left[job.id]
                yield tuple(group)
    for job in left.values():
        yield (job,)


def _labelled(plan: Plan, jobs: Iterable[Job]) -> Iterator[list[Job]]:
    key = plan.property("pegasus.clusterer.label.key") or "label"

    def label(job: Job) -> str:
        return plan.chosen[job.id].profiles.get("pegasus", {}).get(key, "")

    yield from _alike(plan, filter(label, jobs), label)


def _alike(plan: Plan, jobs: Iterable[Job], key: Callable[[Job], object]) -> Iterator[list[Job]]:
    """Jobs of one site and configuration with the same key; no sub-workflows."""
    found: dict[object, list[Job]] = {}
    for job in jobs:
        if job.kind == "job":
            chosen = plan.chosen[job.id]
            found.setdefault((key(job), chosen.site, chosen.configuration), []).append(job)
    yield from found.values()


def _horizontal(plan: Plan, jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Jobs of one level, program and site: ``clusters.size`` to a cluster, or ``clusters.num`` clusters."""
    timed = plan.property("pegasus.clusterer.preference").lower() in ("", "runtime")
    for group in _alike(plan, jobs, lambda job: (plan.level[job.id], job.transformation)):
        profiles = plan.chosen[group[0].id].profiles
        if timed and (most := number(profiles, "clusters.maxruntime")):
            yield from _timed(plan, group, most)
            continue
        count = number(profiles, "clusters.num")
        size = -(-len(group) // count) if count else number(profiles, "clusters.size") or 1
        for at in range(0, len(group), size):
            yield group[at : at + size]


def _timed(plan: Plan, jobs: list[Job], most: int) -> Iterator[list[Job]]:
    """Clusters that run for ``most`` seconds together, of jobs that say how long they run; longest first."""
    times = {job.id: number(plan.chosen[job.id].profiles, "runtime") for job in jobs}
    clusters: list[tuple[list[Job], int]] = []
    for job in sorted(jobs, key=lambda job: -times[job.id]):
        fits = (n for n, (_, time) in enumerate(clusters) if times[job.id] and time + times[job.id] <= most)
        if (n := next(fits, None)) is None:
            clusters.append(([job], times[job.id] or most))  # who does not say is left alone
        else:
            clusters[n] = ([*clusters[n][0], job], clusters[n][1] + times[job.id])
    for cluster, _ in clusters:
        yield sorted(cluster, key=lambda job: job.at)


def _whole(plan: Plan, jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """All jobs of a site."""
    return _alike(plan, jobs, lambda job: None)


_CLUSTERERS: Mapping[str, Callable[[Plan, Iterable[Job]], Iterator[list[Job]]]] = {
    "label": _labelled,
    "horizontal": _horizontal,
    "whole": _whole,
}


def _names(groups: list[tuple[Job, ...]], prefix: str) -> list[str]:
    """Names that DAGMan takes, none twice."""
    taken: dict[str, int] = {}
    names = []
    for group in groups:
        first = group[0]
        if len(group) > 1:
            wanted = f"merge_{first.name}_{first.id}"
        elif first.kind != "job":
            wanted = f"subworkflow_{first.id}"
        else:
            wanted = f"{first.name}_{first.id}"
        plain = _UNSAFE.sub("_", prefix + wanted)[:120]
        name = plain = f"job_{plain}" if plain.startswith(_RESERVED) else plain
        while name in taken:
            taken[plain] += 1
            name = f"{plain}__{taken[plain]}"
        taken[name] = taken.setdefault(plain, 0)
        names.append(name)
    return names


def _profiles(plan: Plan, group: tuple[Job, ...]) -> Profiles:
    """The first job's, with the most that any needs of each resource, and the time that all need together."""
    first = plan.chosen[group[0].id].profiles
    if len(group) == 1:
        return first
    pegasus = dict(first.get("pegasus", {}))
    for key in _LARGEST:
        most = max((_amount(plan.chosen[job.id].profiles, key) for job in group), default=(0.0, ""))
        if most[1]:
            pegasus[key] = most[1]
    for key in _SUMMED:  # one after the other; known only where it is known of each
        times = [number(plan.chosen[job.id].profiles, key) for job in group]
        pegasus[key] = str(sum(times)) if all(times) else ""
    merged: Mapping[str, Mapping[str, str]] = {**first, "pegasus": pegasus}
    return merged


def _amount(profiles: Profiles, key: str) -> tuple[float, str]:
    value = profiles.get("pegasus", {}).get(key, "")
    match = re.match(r"\s*([0-9]+(?:\.[0-9]+)?)", value)
    return (float(match[1]) if match else 0.0, value)
