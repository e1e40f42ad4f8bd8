"""``pegasus-plan``: from an abstract workflow and catalogs to a submit directory with a DAG in it."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pegasus_toolkit import __version__

if TYPE_CHECKING:
    from pegasus_toolkit.planner.model import Dag

DESCRIPTION = """\
Plans a Pegasus 5 workflow: chooses sites and replicas, adds jobs that bring files in, out and
away again, and writes a DAG for HTCondor's DAGMan. All that is wrong is told at once, with file,
line and key; then nothing is written."""

EPILOG = """\
files, where no property names others, are looked for in the working directory: pegasus.properties,
sites.yml, replicas.yml, transformations.yml. What stands inline in the workflow goes before them.

exit codes: 0 planned; 2 something is wrong with workflow, catalogs or options: nothing was written.
With --submit and a plan: those of pegasus-run."""

_CLEANUPS = ("none", "inplace", "leaf")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. As the installed script calls it, it ends the process itself."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    # Nothing that is made here goes before the process does; looking for cycles takes a third of the time.
    gc.disable()
    from pegasus_toolkit.planner.model import PlanError

    try:
        planned, code = _plan(arguments, os.environ, str(Path.cwd())), 0
    except PlanError as error:
        for line in map(str, error.problems):
            print(f"pegasus-plan: {line}", file=sys.stderr)
        errors = "1 error" if len(error.problems) == 1 else f"{len(error.problems)} errors"
        print(f"pegasus-plan: {errors}; nothing was planned", file=sys.stderr)
        planned, code = "", 2
    gc.enable()
    if planned and arguments.submit:
        code = _run(planned, arguments)
    if argv is None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(directory: str, arguments: argparse.Namespace) -> int:
    from pegasus_toolkit.cli import workflow_run
    from pegasus_toolkit.cli.console import Console

    console = Console(sys.stderr, debug=bool(arguments.verbose), quiet=bool(arguments.quiet))
    # Who reads JSON takes one object, and has it.
    return workflow_run.start(directory, console, out="nothing" if arguments.json else "text")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pegasus-plan",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    add = parser.add_argument
    add("workflow", nargs="?", default="workflow.yml", help="the abstract workflow (default: %(default)s)")
    _places(parser)
    add("--conf", metavar="FILE", help="properties (default: pegasus.properties)")
    add("-D", action="append", default=[], metavar="KEY=VALUE", dest="define", help="a property of its own")
    add("--dir", default=".", metavar="DIR", help="submit directories are below it (default: here)")
    add("--relative-dir", metavar="DIR", help="this one's place there (default: USER/pegasus/NAME/run0001)")
    add("--relative-submit-dir", metavar="DIR", help="the same as --relative-dir, and before it")
    add("--randomdir", nargs="?", const="", help="directories are always a run's own: nothing to do")
    add("--basename", metavar="NAME", help="of the .dag file (default: the workflow's name and -0)")
    add(
        "-c",
        "--cleanup",
        choices=_CLEANUPS,
        default="inplace",
        help="what is removed from scratch (default: inplace)",
    )
    add("-C", "--cluster", default="", metavar="KIND[,KIND]", help="horizontal, label: several jobs as one")
    add("-f", "--force", action="store_true", help="run all jobs, also those whose files are there")
    add("--no-check-replicas", action="store_true", help="believe the catalog, look for no local file")
    add("--input-dir", action="append", default=[], metavar="DIR", help="its files are replicas")
    add("-O", "--output-dir", metavar="DIR", help="where outputs go, in place of the site's storage")
    add("--worker", metavar="FILE", help="goes with jobs as their pegasus-worker, in place of one packed now")
    add("--if-missing", action="store_true", help="do nothing where --relative-dir is planned already")
    add("--submit", action="store_true", help="run it then, as pegasus-run does")
    add("-v", "--verbose", action="count", default=0, help="also warnings that are seldom of use")
    add("-q", "--quiet", action="count", default=0, help="print the submit directory and nothing else")
    add("--json", action="store_true", help="print submit_dir and message as a JSON object")
    add("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    return parser


def _places(parser: argparse.ArgumentParser) -> None:
    """Where things are."""
    add = parser.add_argument
    add("-s", "--sites", action="append", default=[], metavar="SITE[,SITE]", help="where jobs may run")
    add(
        "--staging-site",
        action="append",
        default=[],
        metavar="[SITE=]STAGING",
        help="where files of jobs (at SITE) stand on their way; for nonsharedfs",
    )
    add(
        "-o",
        "--output-sites",
        "--output-site",
        action="append",
        default=[],
        metavar="SITE[,SITE]",
        help="where outputs go (default: local)",
    )


def _plan(arguments: argparse.Namespace, environ: Mapping[str, str], cwd: str) -> str:
    """Plans, and gives the submit directory."""
    from pegasus_toolkit.cli import plan_settings, plan_worker
    from pegasus_toolkit.planner.compile import compile
    from pegasus_toolkit.planner.reading.load import load
    from pegasus_toolkit.planner.writing import directory

    arguments.relative_dir = arguments.relative_submit_dir or arguments.relative_dir
    if arguments.if_missing and arguments.relative_dir:
        planned = Path(cwd, arguments.dir, arguments.relative_dir)
        if (planned / "braindump.yml").exists():
            print(planned)
            return str(planned)
    found = plan_settings.properties(arguments.conf, arguments.define, environ, cwd)
    inputs = [one for value in arguments.input_dir for one in value.split(",")]
    loaded = load(arguments.workflow, found.values, environ, cwd, inputs)
    settings, problems = plan_settings.settings(arguments, found, environ, cwd, loaded.workflow.name)
    loaded = loaded._replace(problems=(*found.problems, *problems, *loaded.problems))
    dag = compile(loaded, settings)
    name = arguments.basename or f"{plan_settings.plain(loaded.workflow.name)}-0"
    named = str(Path(cwd, arguments.worker)) if arguments.worker else ""
    dag, packed = plan_worker.give(dag, named, loaded.catalogs, environ)
    directory.write(dag, name, (*directory.files(dag, name), *packed))
    _tell(dag, arguments)
    return settings.submit


def _tell(dag: Dag, arguments: argparse.Namespace) -> None:
    submit = dag.settings.submit
    for warning in () if arguments.quiet else dag.warnings:
        if arguments.verbose or "left alone" not in warning:
            print(f"pegasus-plan: warning: {warning}", file=sys.stderr)
    message = "\n".join(_summary(dag, arguments.submit))
    if arguments.json:
        import json

        print(json.dumps({"submit_dir": submit, "message": message}))
    else:
        print(submit if arguments.quiet else message)


def _summary(dag: Dag, submitted: bool) -> Iterator[str]:
    submit = dag.settings.submit
    counts = Counter(node.kind for node in dag.nodes)
    tasks = sum(len(node.tasks) for node in dag.nodes)
    left = len(dag.workflow.jobs) - len(dag.reused)
    skipped = f"{len(dag.reused)} skipped: their outputs are there" if dag.reused else "none skipped"
    yield f"{dag.workflow.name}: {left} {'job' if left == 1 else 'jobs'} to run, {skipped}"
    for kind, count in counts.items():
        more = f"  ({tasks} jobs)" if kind == "compute" and tasks != count else ""
        yield f"  {kind:<12} {count:>8}{more}"
    yield f"  {'all nodes':<12} {len(dag.nodes):>8}"
    yield f"submit directory: {submit}"
    if not submitted:
        yield f"to run it: pegasus-run {submit}"


if __name__ == "__main__":
    sys.exit(main())
