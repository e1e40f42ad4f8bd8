"""Output mappers: the path of each output below the storage directory, or its whole URL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pegasus_toolkit.planner.catalogs import Pfn
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.passes.places import Places, join
from pegasus_toolkit.planner.passes.plan import Plan

_START = "pegasus.dir.storage"
_TOGETHER = 256  # files in a directory of the Hashed mapper
MAPPERS = ("Flat", "Fixed", "Hashed", "Named", "Replica")
Mapper = Callable[[str, str], Pfn]
"""Where an LFN goes at an output site; an empty URL where nobody says."""


def chosen(plan: Plan) -> str:
    """The mapper's name, from the properties."""
    deep = plan.property(f"{_START}.deep").lower() == "true"
    named = plan.property(f"{_START}.mapper") or ("Hashed" if deep else "Flat")
    return named if named in MAPPERS else "Flat"  # others are told by ``supported``


def mapper(plan: Plan, places: Places) -> Mapper:
    """The one that the properties choose."""
    name = chosen(plan)
    below = plan.settings.relative if plan.property(f"{_START}.deep").lower() == "true" else ""

    def stored(site: str, path: str) -> Pfn:
        return places.storage(site, f"{below}/{path}" if below else path)

    if name == "Fixed":
        base = plan.property(f"{_START}.mapper.fixed.url")
        return lambda site, lfn: Pfn(site, join(base, lfn) if base else "")
    if name == "Replica":
        return lambda site, lfn: _catalogued(plan, site, lfn)
    outputs = [(use.lfn, job.name) for job in plan.workflow.jobs for use in job.outputs]
    if name == "Hashed":
        directories = {
            lfn: f"{n // _TOGETHER // _TOGETHER:02X}/{n // _TOGETHER % _TOGETHER:02X}"
            for n, (lfn, _) in enumerate(outputs)
        }
    elif name == "Named":
        directories = {lfn: job.replace("/", "_") for lfn, job in outputs}
    else:
        return stored
    return lambda site, lfn: stored(site, f"{directories[lfn]}/{lfn}")


def _catalogued(plan: Plan, site: str, lfn: str) -> Pfn:
    """The place at the site, else the first of the output catalog."""
    replica = plan.catalogs.outputs.find(lfn) if plan.catalogs.outputs is not None else None
    pfns = replica.pfns if replica is not None else ()
    return next((pfn for pfn in pfns if pfn.site == site), pfns[0] if pfns else Pfn(site, ""))


def wrong(plan: Plan) -> Iterator[Problem]:
    """What a mapper needs and does not have."""
    if chosen(plan) == "Fixed" and "://" not in plan.property(f"{_START}.mapper.fixed.url"):
        message = "the mapper Fixed needs the URL of a directory"
        yield Problem("properties", (f"{_START}.mapper.fixed.url",), message)
    if chosen(plan) != "Replica" or plan.catalogs.outputs is None:
        return
    for job in plan.jobs:
        for use in job.outputs:
            kept = use.stage_out and plan.settings.above.wanted.get(use.lfn, True)
            if kept and not _catalogued(plan, "", use.lfn).url:
                message = f"the output map ({_START}.mapper.replica.file) does not say where {use.lfn!r} goes"
                yield plan.problem(job, message, *use.place)
