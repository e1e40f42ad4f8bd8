"""Sub-workflows: planned when their turn comes, then run as a DAG of their own.

Their files pass through the scratch directory of the submit host: what they need is staged there, their own
plan has it as its first input directory and leaves there what this workflow goes on with. All else in their
arguments means what it means for a workflow that is planned where this one was.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from pegasus_toolkit.planner.catalogs import LOCAL
from pegasus_toolkit.planner.model import ROOT, Above, Job, Problem, Settings, SubDag
from pegasus_toolkit.planner.passes.places import Places, path_of
from pegasus_toolkit.planner.passes.plan import Plan

DAG = "workflow"  # the name of a sub-workflow's DAG where its arguments give none
_PLAIN = re.compile(r"[^\s,;=\"'\\$%#@]+")
_CATALOG = re.compile(r"pegasus\.(catalog\.(site|transformation|replica)(\..*)?|condor\.common\.files)")
_FILES = ("conf", "input_dir", "cache", "inherited_rc_files", "transformations_dir", "output_map")


def sub_dag(plan: Plan, places: Places, job: Job, name: str) -> tuple[SubDag | None, list[Problem]]:
    """What DAGMan is to run for the job, and what stands against it."""
    settings = plan.settings
    scratch = path_of(places.scratch(LOCAL, "all", "put"))
    if not scratch:
        message = "a sub-workflow needs a sharedScratch directory with a file:// server at the site local"
        return None, [plan.problem(job, message)]
    if job.kind == "condorWorkflow":
        if any(c.isspace() or c in '"\\' for c in f"{scratch}/{job.file}"):
            return None, [plan.problem(job, f"DAGMan takes no spaces or quotes in {scratch}/{job.file}")]
        return SubDag(f"{scratch}/{job.file}", scratch), []
    given, wrong = settings.options(job.arguments)
    # Many write names of inputs without saying that they are for planning.
    names = [use.lfn for use in job.inputs if use.planning or not settings.here(f"{settings.base}/{use.lfn}")]
    planning = {lfn: f"{scratch}/{lfn}" for lfn in names}
    submit, dag = _directory(settings, given, name), str(given.get("basename") or DAG)
    messages = [wrong] if wrong else list(_wrong(settings, given, planning, f"{submit}/{dag}"))
    if messages:
        return None, [plan.problem(job, message, "arguments") for message in messages]
    above = Above(
        base=settings.base,
        files={**settings.above.files, **planning},
        catalogs={key: value for key, value in settings.properties.items() if _CATALOG.fullmatch(key)},
        workflows=(posixpath.join(settings.base, plan.workflow.file), *settings.above.workflows),
        directory=scratch,
        wanted={use.lfn: not use.stage_out or _elsewhere(settings, given) for use in job.outputs},
        log=f"{settings.submit}/logs/{name}.pre.log",
    )
    fixed = ["--dir", posixpath.dirname(submit), "--relative-submit-dir", posixpath.basename(submit)]
    fixed += ["--basename", dag, "--above", f"{settings.submit}/jobs/{name}.above.json", "--if-missing"]
    words = (*_inherited(settings, given), *job.arguments, "-D", f"{ROOT}={settings.root}", *fixed)
    command = (settings.planner, "--input-dir", scratch, *words, f"{scratch}/{job.file}")
    return SubDag(f"{submit}/{dag}.dag", "", command, above), []


def _directory(settings: Settings, given: Mapping[str, object], name: str) -> str:
    """The submit directory: below this workflow's, unless its arguments name another place."""
    relative = str(given.get("relative_submit_dir") or given.get("relative_dir") or "")
    base = posixpath.join(settings.base, str(given["dir"])) if "dir" in given else f"{settings.submit}/{name}"
    return posixpath.normpath(posixpath.join(base, relative or (name if "dir" in given else "plan")))


def _wrong(
    settings: Settings, given: Mapping[str, object], planning: Mapping[str, str], dag: str
) -> Iterator[str]:
    if given.get("submit"):
        yield "--submit: the workflow above runs it"
    if not _PLAIN.fullmatch(dag):
        yield f"a path in a DAG cannot hold spaces or any of , ; = \" ' \\ $ % # @: {dag}"
    for option in _FILES:
        value = given.get(option, ())
        for one in (value,) if isinstance(value, str) else value if isinstance(value, Sequence) else ():
            for name in str(one).split(","):
                known = name in planning or name in settings.above.files
                if not known and not settings.here(posixpath.join(settings.base, name)):
                    yield f"--{option.replace('_', '-')}: there is no {name!r} in {settings.base}"


def _elsewhere(settings: Settings, given: Mapping[str, object]) -> bool:
    """Whether its outputs are to go to other places than those of this workflow."""
    sites, directory = given.get("output_sites"), given.get("output_dir")
    if directory:
        return posixpath.normpath(posixpath.join(settings.base, str(directory))) != settings.output_directory
    named = sites if isinstance(sites, Sequence) else ()
    return bool(named) and ",".join(map(str, named)) != ",".join(settings.output_sites)


def _inherited(settings: Settings, given: Mapping[str, object]) -> Iterator[str]:
    """Options of this workflow that hold for those below it, unless their arguments say otherwise."""
    if "conf" not in given and settings.properties:
        yield from ("--conf", f"{settings.submit}/pegasus.properties")
    if "sites" not in given and settings.sites:
        yield from ("--sites", ",".join(settings.sites))
    if "staging_site" not in given:
        for site, staging in settings.staging.items():
            yield from ("--staging-site", f"{site}={staging}" if site else staging)
    if "output_sites" not in given and "output_dir" not in given:
        yield from ("--output-sites", ",".join(settings.output_sites) or LOCAL)
        if settings.output_directory:
            yield from ("--output-dir", settings.output_directory)
