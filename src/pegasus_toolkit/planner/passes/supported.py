"""What is asked for and not done here is named when the workflow is planned, not found out when it runs."""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_toolkit.planner.catalogs import Path, Profiles
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.passes import known, mappers, profile_values, urls
from pegasus_toolkit.planner.passes.mappers import MAPPERS
from pegasus_toolkit.planner.passes.plan import Plan
from pegasus_toolkit.planner.passes.programs import KINDS
from pegasus_toolkit.planner.passes.selectors import SELECTORS
from pegasus_toolkit.planner.reading.properties import MODES

_PROPERTIES = {
    "pegasus.file.cleanup.strategy": ("", "inplace"),
    "pegasus.dir.submit.mapper": ("", "Flat", "Named", "Hashed"),
    "pegasus.dir.staging.mapper": ("", "Flat", "Hashed"),
    "pegasus.dir.storage.mapper": ("", *MAPPERS),
    "pegasus.selector.replica": ("", *SELECTORS),
    "pegasus.selector.transformation": ("", "Random", *KINDS),
    "pegasus.catalog.transformation.mapper": ("", "All", *KINDS),
    "pegasus.code.generator": ("", "Condor"),
    "pegasus.mode": ("", *MODES),
    "pegasus.register.deep": ("", "true"),
    "pegasus.catalog.replica.output": ("", "YAML", "yaml"),
}


def supported(plan: Plan) -> Plan:
    """Problems for what is not supported, warnings for what is left alone."""
    problems = list(_properties(plan))
    label = plan.property("pegasus.clusterer.label.key")
    warnings = known.warnings(plan.settings.properties, _all_profiles(plan), label)
    for file, path, profiles in _all_profiles(plan):
        problems += profile_values.wrong(file, path, profiles)
    problems += _sites(plan)
    problems += mappers.wrong(plan)
    problems += _condorio(plan)
    return plan.wrong(problems).warn(warnings)


def _properties(plan: Plan) -> Iterator[Problem]:
    for key, allowed in _PROPERTIES.items():
        value = plan.property(key)
        if value not in allowed and value.lower() not in allowed:
            expected = ", ".join(one for one in allowed if one)
            yield Problem("properties", (key,), f"expected one of {expected}; {value!r} is not supported")


def _all_profiles(plan: Plan) -> Iterator[tuple[str, Path, Profiles]]:
    """With where they stand; those of equal jobs only once."""
    yield "properties", (), plan.settings.profiles
    yield plan.workflow.file, ("profiles",), plan.workflow.profiles
    for job in plan.workflow.jobs:
        if job.profiles:
            yield *plan.at(job, "profiles"), job.profiles
    for site in plan.used.values():
        yield site.file, (*site.at, "profiles"), site.profiles
    for program in plan.catalogs.transformations.values():
        yield program.file, (*program.at, "profiles"), program.profiles
        for n, one in enumerate(program.sites):
            yield program.file, (*program.at, "sites", n, "profiles"), one.profiles


def _sites(plan: Plan) -> Iterator[Problem]:
    for site in plan.used.values():
        for path, message in site.problems:
            yield Problem(site.file, path, message)
        for server in (server for directory in site.directories for server in directory.servers):
            if text := urls.wrong(server.url):
                yield Problem(site.file, (*site.at, "directories"), text)


def _condorio(plan: Plan) -> Iterator[Problem]:
    """HTCondor is given lists with commas, and puts inputs down by the last part of their names."""
    default = plan.settings.configuration
    for job in plan.workflow.jobs:
        if (plan.chosen[job.id].configuration if job.id in plan.chosen else default) != "condorio":
            continue
        names: dict[str, str] = {}
        for use in job.uses:
            if "," in use.lfn or use.lfn != use.lfn.strip():
                message = f"HTCondor's file transfer (condorio) cannot carry the name {use.lfn!r}"
                yield plan.problem(job, message, *use.place)
            base = use.lfn.rpartition("/")[2]
            if use.link == "input" and names.setdefault(base, use.lfn) != use.lfn:
                message = f"condorio puts down {names[base]!r} and {use.lfn!r} under one name"
                yield plan.problem(job, message, *use.place)
