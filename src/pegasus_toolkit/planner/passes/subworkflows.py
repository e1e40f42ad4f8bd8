"""Sub-workflows: planned when their turn comes, then run as a DAG of their own.

Their files pass through the scratch directory of the submit host: what they need is staged there,
their own plan has it as its input directory and puts its outputs there, and from there on those are files of
this workflow like any other.
"""

from __future__ import annotations

from pegasus_toolkit.planner.catalogs import LOCAL
from pegasus_toolkit.planner.model import ROOT, Job, Problem, SubDag
from pegasus_toolkit.planner.passes.places import Places, path_of
from pegasus_toolkit.planner.passes.plan import Plan

DAG = "workflow.dag"  # of a sub-workflow that is planned


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
    directory = f"{settings.submit}/{name}"
    given = list(job.arguments)
    options = {
        "--dir": [directory],
        "--relative-dir": ["plan"],
        "--basename": [DAG.removesuffix(".dag")],
        "--input-dir": [scratch],
        "--output-dir": [scratch],
        "--output-sites": [LOCAL],
    }
    if not {"--sites", "-s"}.intersection(given) and settings.sites:
        options["--sites"] = [",".join(settings.sites)]
    own = {word.partition("=")[0] for word in given}
    clash = sorted(own & {"--dir", "--relative-dir", "--basename", "--submit"})
    problems = [plan.problem(job, f"{word} is set by the workflow above", "arguments") for word in clash]
    if "--conf" not in own and settings.properties:
        options["--conf"] = [f"{settings.submit}/pegasus.properties"]
    words = [word for option, value in options.items() if option not in own for word in (option, *value)]
    words += ["-D", f"{ROOT}={settings.root}"]
    command = (settings.planner, *words, *given, "--if-missing", f"{scratch}/{job.file}")
    return SubDag(f"{directory}/plan/{DAG}", "", command), problems
