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

from pegasus_toolkit.cli import plan_options

if TYPE_CHECKING:
    from pegasus_toolkit.planner.model import Dag


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. As the installed script calls it, it ends the process itself."""
    try:
        arguments = plan_options.parse(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    except plan_options.OptionError as error:
        print(f"pegasus-plan: {error}", file=sys.stderr)
        return 2
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
    try:
        return workflow_run.start(directory, console, out="nothing" if arguments.json else "text")
    finally:
        console.close()


def _plan(arguments: argparse.Namespace, environ: Mapping[str, str], cwd: str) -> str:
    """Plans, and gives the submit directory."""
    from pegasus_toolkit.cli import plan_catalog, plan_settings, plan_worker
    from pegasus_toolkit.planner.compile import compile
    from pegasus_toolkit.planner.reading.load import load
    from pegasus_toolkit.planner.writing import directory

    if arguments.mend:
        _mend(arguments.mend)
        return ""
    above = plan_settings.above(arguments.above, cwd)
    if above.log:
        _keep(above.log)
    cwd = above.base
    arguments.relative_dir = arguments.relative_submit_dir or arguments.relative_dir
    if arguments.if_missing and arguments.relative_dir:
        planned = Path(cwd, arguments.dir, arguments.relative_dir)
        if os.path.exists(planned / "braindump.yml"):  # noqa: PTH110  False for what can be no path
            import json

            name = json.loads((planned / "braindump.yml").read_bytes())["dag"]
            _mend(str(planned / name))
            print(planned)
            return str(planned)
    found = plan_settings.properties(arguments, above, environ)
    given, wrong = plan_settings.given(arguments, above)
    missing, told = plan_catalog.fetch(found.values, environ, cwd)
    loaded = load(arguments.dax or arguments.workflow, found.values, environ, cwd, given)
    settings, problems = plan_settings.settings(arguments, found, environ, above, loaded.workflow.name)
    loaded = loaded._replace(
        problems=(*found.problems, *missing, *wrong, *problems, *loaded.problems),
        warnings=(*plan_options.notes(arguments), *told, *loaded.warnings),
    )
    dag = compile(loaded, settings)
    name = arguments.basename or f"{plan_settings.plain(loaded.workflow.name)}-0"
    named = str(Path(cwd, arguments.worker)) if arguments.worker else ""
    dag, packed = plan_worker.give(dag, named, loaded.catalogs, environ)
    directory.write(dag, name, (*directory.files(dag, name), *packed))
    _tell(dag, arguments)
    return settings.submit


def _keep(log: str) -> None:
    """Whatever is said goes into a file: DAGMan keeps nothing of what its scripts say."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)


def _mend(dag: str) -> None:
    """Before a sub-workflow is tried again: files of it that were damaged are to be made again."""
    from pegasus_toolkit.cli import workflow_remake
    from pegasus_toolkit.cli.console import Console

    workflow_remake.itself(dag, Console(sys.stderr))


def _tell(dag: Dag, arguments: argparse.Namespace) -> None:
    submit = dag.settings.submit
    for warning in () if arguments.quiet else (*dag.warnings, *_refused(submit)):
        if arguments.verbose or "left alone" not in warning:
            print(f"pegasus-plan: warning: {warning}", file=sys.stderr)
    message = "\n".join(_summary(dag, arguments.submit))
    if arguments.json:
        import json

        print(json.dumps({"submit_dir": submit, "message": message}))
    else:
        print(submit if arguments.quiet else message)


def _refused(submit: str) -> Iterator[str]:
    """Where DAGMan, if there is one, would not run it."""
    if not submit.startswith("/tmp"):
        return
    from pegasus_toolkit.engines.htcondor.schedd import strict

    if strict(os.environ):
        yield (
            f"{submit} is below /tmp, where DAGMan writes no log unless this pool has DAGMAN_USE_STRICT = 0:"
            " choose another place with --dir, or run it with --engine local"
        )


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
    yield f"  {'receipt':<12} {1:>8}"  # DAGMan's final node
    yield f"  {'all nodes':<12} {len(dag.nodes) + 1:>8}"
    yield f"submit directory: {submit}"
    if not submitted:
        yield "to run it:"
        yield f"pegasus-run {submit}"  # alone on its line, as scripts around Pegasus look for it


if __name__ == "__main__":
    sys.exit(main())
