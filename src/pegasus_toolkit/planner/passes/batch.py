"""Sites whose jobs go to a batch system (Slurm, PBS, ...) by HTCondor's batch gahp, and what they ask of it.

Only what an unmodified gahp understands is used, so nothing of ours is installed beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pegasus_toolkit.planner.catalogs import Batch, Profiles, Site
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.passes.plan import number

STYLES = ("glite", "ssh")
_HERE = ("", "local", "localhost", "127.0.0.1", "::1")
_SYSTEMS = ("pbs", "lsf", "sge", "nqs", "slurm", "condor", "flux", "kubernetes", "cobalt", "moab")
_OLD = ("pbs", "lsf", "sge", "nqs")  # systems that a grid_resource may name without "batch" before them


def batch_of(site: Site) -> Batch | None:
    """The batch system that the site's jobs go to; ``None``: they go another way."""
    condor = site.profiles.get("condor", {})
    style = _style(site)
    named = condor.get("grid_resource", "").split()
    if style not in STYLES and condor.get("universe", "").lower() != "grid":
        return None
    if named and named[0].lower() in _OLD:
        named.insert(0, "batch")
    if len(named) > 1 and named[0].lower() == "batch":
        return Batch(named[1].lower(), _host(" ".join(named[2:])))
    grids = [one for one in site.grids if one.type == "batch"]
    grid = next((one for one in grids if one.jobtype != "auxillary"), *grids[:1] or (None,))
    if named or grid is None:
        return None
    meant = style == "ssh" or "@" in grid.contact
    return Batch(grid.scheduler.lower(), _host(grid.contact) if meant else "")


def _style(site: Site) -> str:
    return site.profiles.get("pegasus", {}).get("style", "condor")


def _host(contact: str) -> str:
    return "" if contact.rpartition("@")[2].lower() in _HERE else contact


def wrong(site: Site) -> Iterator[Problem]:
    """What is missing or not understood in a site of a style that goes to a batch system."""
    if _style(site) not in STYLES:
        return
    batch = batch_of(site)
    if batch is None:
        message = f"style {_style(site)!r} needs to know the batch system"
        hint = (
            "condor profile grid_resource: 'batch slurm' (or pbs, sge, lsf, ...), or a grid of the type batch"
        )
        yield Problem(site.file, (*site.at, "profiles", "condor", "grid_resource"), message, hint=hint)
    elif batch.system not in _SYSTEMS:
        message = f"unknown batch system {batch.system!r}"
        yield Problem(site.file, site.at, message, hint=f"known are {', '.join(_SYSTEMS)}")
    elif _style(site) == "ssh" and not batch.host:
        message = "style 'ssh' needs the host to log in to"
        hint = "condor profile grid_resource: 'batch slurm user@host', or the contact of a grid"
        yield Problem(site.file, site.at, message, hint=hint)


def warnings(site: Site) -> Iterator[str]:
    """What of the catalog is left alone."""
    batch = batch_of(site)
    if batch is None or batch.host:
        return
    for contact in dict.fromkeys(grid.contact for grid in site.grids if grid.type == "batch"):
        if _host(contact):
            yield (
                f"site {site.name!r}: the grid's contact {contact!r} is not used: with style glite jobs are "
                "submitted on the submit host; style ssh submits elsewhere"
            )


def requests(profiles: Profiles) -> Iterator[tuple[str, str]]:
    """Commands of the submit file for what a job asks of the batch system, beside those for all jobs."""
    pegasus = {**_globus(profiles), **profiles.get("pegasus", {})}
    for key in ("queue", "project"):
        if pegasus.get(key):
            yield f"batch_{key}", pegasus[key]
    if seconds := limit(profiles):
        yield "batch_runtime", str(seconds)
    yield from _processes(pegasus)
    if arguments := " ".join(pegasus.get("glite.arguments", "").splitlines()):
        yield "batch_extra_submit_args", arguments.replace("$", "$(DOLLAR)")


def limit(profiles: Profiles) -> int:
    """Seconds: ``maxwalltime`` (minutes), else ``runtime`` (seconds); 0 where neither is told.

    Up to a whole minute, as the gahp counts in those, rounded down.
    """
    told = {"pegasus": {**_globus(profiles), **profiles.get("pegasus", {})}}
    return 60 * (number(told, "maxwalltime") or -(-number(told, "runtime") // 60))


def _processes(pegasus: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Nodes and processors. As in Pegasus, ``cores`` counts over all nodes, and not beside the other two."""
    cores, nodes, each = (number({"pegasus": pegasus}, key) for key in ("cores", "nodes", "ppn"))
    if not cores and not nodes and not each:
        return
    if not nodes:
        nodes = -(-cores // each) if cores and each else 1
    if not each:
        each = -(-cores // nodes) if cores else 1
    yield "+NodeNumber", str(nodes * each)
    yield "+SMPGranularity", str(each)
    yield "+HostNumber", str(nodes)


_SAME = ("queue", "project", "maxwalltime")
_GLOBUS = {**{key: key for key in _SAME}, "count": "cores", "hostcount": "nodes", "xcount": "ppn"}


def _globus(profiles: Profiles) -> dict[str, str]:
    """What older catalogs say in the namespace ``globus``."""
    return {
        _GLOBUS[key.lower()]: value
        for key, value in profiles.get("globus", {}).items()
        if key.lower() in _GLOBUS and value
    }
