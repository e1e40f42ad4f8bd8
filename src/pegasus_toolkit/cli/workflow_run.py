"""``pegasus-run``: runs a planned workflow, on HTCondor or on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.cli.help import Help

if TYPE_CHECKING:
    from pegasus_toolkit.engines.local.engine import Settings
    from pegasus_toolkit.engines.remake import Why

DESCRIPTION = """\
Runs the workflow that pegasus-plan wrote into SUBMITDIR; what is done already is not done again. If
HTCondor is available, the DAG is submitted to DAGMan and the command returns. Else it runs on this machine,
as many jobs at a time as there are cores: Ctrl-C ends the jobs and keeps what is done, and the same command
goes on. With --background, and with --json as Pegasus' Python API says it, the command returns once
the run has begun."""

EPILOG = """\
exit codes: 0 submitted to HTCondor, or begun in the background. Of a run that ended: 0 all is done;
1 something failed; 2 it was ended by a signal or removed.
Also 2: the directory cannot be run, and nothing was begun."""

ENGINES = ("auto", "htcondor", "local")
Out = Literal["text", "json", "nothing"]
_REFUSED = 2
_WORKER = "pegasus_toolkit.cli.worker:main"
# What the worker imports when it needs it, for nearly every job: the engine's jobs begin with it imported.
_PRELOAD = (
    "pegasus_toolkit.cli.worker",
    "pegasus_toolkit.worker.node",
    "pegasus_toolkit.worker.auxiliary",
    "pegasus_toolkit.worker.compute",
    "pegasus_toolkit.worker.registration",
    "pegasus_toolkit.worker.receipt",
    "pegasus_toolkit.worker.verdict",
    "pegasus_toolkit.transfer.engine.engine",
    "pegasus_toolkit.transfer.spec.build",
    "pegasus_toolkit.transfer.backends.local.backend",
    "hashlib",
)


class Wanted(NamedTuple):
    """What is to be run, and how.

    ``dag``: the path of the DAG file; ``jobs``: 0 for the number of cores; ``out``: what is told to standard
    output; ``wait``: for the end of what was submitted; ``background``: the local engine goes on alone;
    ``beside``: what else is told of how far it is, given whether that is a live line.
    """

    directory: str
    dag: str
    console: Console
    jobs: int = 0
    out: Out = "text"
    engine: str = "auto"
    wait: bool = False
    background: bool = False
    again: Why | None = None
    beside: Callable[[bool], str] | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else _REFUSED
    console = Console(sys.stderr, debug=bool(arguments.verbose), quiet=arguments.quiet)
    directory = os.path.abspath(arguments.directory)  # noqa: PTH100  symbolic links stay what they are
    wanted = Wanted(
        directory,
        _dag(directory),
        console,
        jobs=arguments.jobs,
        out="json" if arguments.json else "text",
        engine=arguments.engine,
        wait=arguments.wait,
        background=arguments.background or (arguments.json and not arguments.wait),
        again="remake" if arguments.remake else "restage" if arguments.restage else None,
    )
    try:
        code = _again(wanted, arguments) if arguments.later or arguments.after else run(wanted)
    finally:
        console.close()
    if argv is None:
        os._exit(code)  # a file that is being carried to a job that was killed holds nobody up
    return code


def _again(wanted: Wanted, arguments: argparse.Namespace) -> int:
    from pegasus_toolkit.cli import workflow_remake

    if arguments.after:
        return workflow_remake.after(wanted.dag, arguments.after, wanted.console)
    problem = workflow_remake.later(wanted.directory, wanted.dag, arguments.later)
    return _refuse(problem) if problem else 0


def start(directory: str, console: Console, out: Out) -> int:
    """Runs or submits what was just planned into ``directory``; gives the exit code. Who reads JSON
    (``out`` is "nothing", as all is told already) does not wait for the end."""
    return run(Wanted(directory, _dag(directory), console, out=out, background=out == "nothing"))


def run(wanted: Wanted) -> int:
    """Runs or submits it, by the engine that is wanted; gives the exit code."""
    if problem := _unusable(wanted):
        return _refuse(f"{wanted.directory} {problem}")
    from pegasus_toolkit.engines.choose import choose
    from pegasus_toolkit.engines.htcondor.schedd import NoPool
    from pegasus_toolkit.engines.local.records import finished

    if finished(wanted.dag):
        wanted.console.info(f"{wanted.directory}: all is done already")
        if wanted.out == "json":
            from pegasus_toolkit.cli.workflow_started import announce

            announce(wanted.directory, wanted.out, wanted.console.quiet, {"engine": "", "exit": 0})
        return 0
    try:
        choice = choose(wanted.engine, wanted.dag, os.environ)
    except NoPool as error:
        return _refuse(str(error))
    wanted.console.info(choice.why)
    from pegasus_toolkit.cli import workflow_remake

    if wanted.again is None:
        workflow_remake.warn(wanted.dag, wanted.directory, wanted.console)
    elif problem := workflow_remake.asked(wanted.dag, wanted.again, choice.schedd, wanted.console):
        return _refuse(f"{wanted.directory}: {problem}")
    if choice.schedd is None:
        return _here(wanted)
    from pegasus_toolkit.cli.workflow_progress import Progress
    from pegasus_toolkit.cli.workflow_submit import submit

    progress = Progress(wanted.console, wanted.directory, wanted.beside)
    return submit(choice.schedd, wanted.dag, progress, out=wanted.out, wait=wanted.wait)


def _unusable(wanted: Wanted) -> str:
    """Why the directory cannot be run from; "" if it can."""
    if not wanted.dag:
        return "holds no planned workflow: no .dag file, or several"
    if Path(wanted.directory, "archive.tar.gz").exists():
        return f"is archived: pegasus-submitdir extract {wanted.directory}"
    moved = _plan(wanted.directory).get("moved_from")
    return f"was moved from {moved}, which its files name: plan it anew" if moved else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pegasus-run",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Help,
    )
    add = parser.add_argument
    add("directory", nargs="?", default=".", metavar="SUBMITDIR", help="default: the working directory")
    add("--engine", choices=ENGINES, default="auto", help="what runs it (default: HTCondor if it is there)")
    add("-w", "--wait", action="store_true", help="wait for the end, the exit code is the run's")
    add("--background", action="store_true", help="local engine: return once it has begun (as with --json)")
    add(
        "--jobs", type=_positive, default=0, metavar="N", help="local engine: jobs at a time (default: cores)"
    )
    add("--remake", action="store_true", help="make damaged files of the run again, and what depends on them")
    add("--restage", action="store_true", help="stage in again what was changed since")
    # For the end of a DAGMan that nobody waits for, and the job that goes on after it.
    add("--later", type=_positive, default=0, help=argparse.SUPPRESS)
    add("--after", type=_positive, default=0, help=argparse.SUPPRESS)
    add("-j", "--json", action="store_true", help="tell of the run as a JSON object")
    add("--grid", action="store_true", help=argparse.SUPPRESS)  # Pegasus' API may say it; nothing to do
    add("-v", "--verbose", action="count", default=0, help="tell more")
    add("-q", "--quiet", action="store_true", help="print only warnings and errors")
    add("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    return parser


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if not value:
        raise argparse.ArgumentTypeError(f"expected a number from 1, found {text!r}")
    return value


def _dag(directory: str) -> str:
    """The directory's DAG, as the plan names it, else the only one; "" if there is none."""
    try:
        names = sorted(one.name for one in Path(directory).iterdir() if one.name.endswith(".dag"))
    except OSError:
        return ""
    named = _plan(directory).get("dag")
    if isinstance(named, str) and named in names:
        return f"{directory}/{named}"
    return f"{directory}/{names[0]}" if len(names) == 1 else ""


def _plan(directory: str) -> Mapping[str, object]:
    import json

    try:
        known = json.loads(Path(directory, "plan.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _refuse(text: str) -> int:
    print(f"pegasus-run: {text}", file=sys.stderr)
    return _REFUSED


def _here(wanted: Wanted) -> int:
    """On this machine; who calls by Pegasus' API will ask ``condor_q`` about it."""
    if not wanted.background:
        return local(wanted)
    from pegasus_toolkit.cli import condor_q, workflow_background

    if (problem := condor_q.provide(os.environ)) and wanted.out != "text":
        wanted.console.warning(problem)
    return workflow_background.start(wanted)


def local(wanted: Wanted, begun: Callable[[], None] = lambda: None) -> int:
    """Runs it here to its end; gives the exit code. ``begun`` is called when nothing can be refused now."""
    from pegasus_toolkit.cli import local_runs, workflow_remake
    from pegasus_toolkit.cli.workflow_progress import Progress
    from pegasus_toolkit.dag.problems import DagError
    from pegasus_toolkit.engines.local.lock import Running
    from pegasus_toolkit.engines.local.run import execute
    from pegasus_toolkit.engines.spawner import Gone

    progress = Progress(wanted.console, wanted.directory, wanted.beside)
    try:
        with local_runs.listed(wanted.dag, os.environ):
            code = execute(wanted.dag, _settings(wanted), progress, begun)
            while code == 1 and workflow_remake.itself(wanted.dag, wanted.console):
                code = execute(wanted.dag, _settings(wanted), progress, lambda: None)
    except DagError as error:
        for problem in error.problems:
            print(f"pegasus-run: {problem}", file=sys.stderr)
        errors = "1 error" if len(error.problems) == 1 else f"{len(error.problems)} errors"
        return _refuse(f"{errors}; nothing was started")
    except Running as running:
        return _refuse(f"{wanted.dag} {running}")
    except OSError as error:
        return _refuse(f"{error.filename or wanted.dag}: {error.strerror or error}")
    except Gone as gone:
        return _refuse(f"{gone}; pegasus-run {wanted.directory} goes on")
    progress.summary(code, wanted.out == "json")
    return code


def _settings(wanted: Wanted) -> Settings:
    from pegasus_toolkit.engines.local.engine import Settings

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    jobs = wanted.jobs or len(os.sched_getaffinity(0))
    return Settings(jobs, memory, os.environ, cache(_entry), _PRELOAD)


def _entry(path: str) -> str:
    """The worker, where it is this installation's, or was packed from it for a plan: not started anew for
    each job. One that the user has named is started as it is."""
    directory, _, name = path.rpartition("/")
    if name != "pegasus-worker":
        return ""
    if path == str(Path(sys.executable).parent / name):
        return _WORKER
    workers = _plan(directory).get("workers")
    return _WORKER if isinstance(workers, list) and path in workers else ""


if __name__ == "__main__":
    sys.exit(main())
