"""``pegasus-plan``: from an abstract workflow and catalogs to a submit directory with a DAG in it."""

from __future__ import annotations

import argparse
import gc
import os
import re
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from pegasus_toolkit import __version__

if TYPE_CHECKING:
    from pegasus_toolkit.planner.catalogs import Pfn
    from pegasus_toolkit.planner.model import Configuration, Dag, Problem, Settings

DESCRIPTION = """\
Plans a Pegasus 5 workflow: chooses sites and replicas, adds jobs that bring files in, out and
away again, and writes a DAG for HTCondor's DAGMan. All that is wrong is told at once, with file,
line and key; then nothing is written."""

EPILOG = """\
files, where no property names others, are looked for in the working directory: pegasus.properties,
sites.yml, replicas.yml, transformations.yml. What stands inline in the workflow goes before them.

exit codes: 0 planned; 2 something is wrong with workflow, catalogs or options: nothing was written."""

_CONFIGURATION = "pegasus.data.configuration"
_CLEANUPS = ("none", "inplace", "leaf")
_REUSES = ("none", "partial", "full")
_CLUSTERERS = ("horizontal", "label")
_YES = ("true", "yes", "1")


class Found(NamedTuple):
    """``pegasus.properties``: where it was found ("" nowhere), what it says, what is wrong with it."""

    file: str
    values: dict[str, str]
    problems: list[Problem]


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
        code = _plan(arguments, os.environ, str(Path.cwd()))
    except PlanError as error:
        for line in map(str, error.problems):
            print(f"pegasus-plan: {line}", file=sys.stderr)
        print(f"pegasus-plan: {len(error.problems)} found wrong, nothing was planned", file=sys.stderr)
        code = 2
    if argv is None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    gc.enable()
    return code


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
    add("--conf", metavar="FILE", help="properties (default: pegasus.properties)")
    add("-s", "--sites", action="append", default=[], metavar="SITE[,SITE]", help="where jobs may run")
    add("-o", "--output-sites", "--output-site", action="append", default=[], metavar="SITE[,SITE]")
    add(
        "--staging-site",
        action="append",
        default=[],
        metavar="[SITE=]STAGING",
        help="where files of jobs (at SITE) stand on their way; for nonsharedfs",
    )
    add("--dir", default=".", metavar="DIR", help="submit directories are below it (default: here)")
    add("--relative-dir", metavar="DIR", help="this one's place there (default: USER/pegasus/NAME/run0001)")
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
    add("--worker", metavar="FILE", help="the program pegasus-worker, as jobs are to be given it")
    add("--if-missing", action="store_true", help="do nothing where --relative-dir is planned already")
    add("-v", "--verbose", action="count", default=0, help="also warnings that are seldom of use")
    add("-q", "--quiet", action="store_true", help="print the submit directory and nothing else")
    add("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    return parser


def _plan(arguments: argparse.Namespace, environ: Mapping[str, str], cwd: str) -> int:
    from pegasus_toolkit.planner.compile import compile
    from pegasus_toolkit.planner.reading.load import load
    from pegasus_toolkit.planner.writing import directory

    if arguments.if_missing and arguments.relative_dir:
        planned = Path(cwd, arguments.dir, arguments.relative_dir)
        if (planned / "braindump.yml").exists():
            print(planned)
            return 0
    found = _properties(arguments.conf, environ, cwd)
    inputs = [one for value in arguments.input_dir for one in value.split(",")]
    loaded = load(arguments.workflow, found.values, environ, cwd, inputs)
    settings, problems = _settings(arguments, found, environ, cwd, loaded.workflow.name)
    loaded = loaded._replace(problems=(*found.problems, *problems, *loaded.problems))
    dag = compile(loaded, settings)
    name = arguments.basename or f"{_plain(loaded.workflow.name)}-0"
    directory.write(dag, name)
    _tell(dag, name, arguments)
    return 0


def _properties(named: str | None, environ: Mapping[str, str], cwd: str) -> Found:
    from pegasus_toolkit.planner.model import Problem
    from pegasus_toolkit.planner.reading import properties

    file = named or "pegasus.properties"
    try:
        text = Path(cwd, file).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError as error:
        problem = [Problem(file, (), f"cannot be read: {error.strerror}")] if named else []
        return Found("", {}, problem)
    except OSError as error:
        return Found("", {}, [Problem(file, (), f"cannot be read: {error.strerror}")])
    values, problems = properties.read(file, text, environ)
    return Found(file, values, problems)


def _settings(
    arguments: argparse.Namespace, found: Found, environ: Mapping[str, str], cwd: str, name: str
) -> tuple[Settings, list[Problem]]:
    """What options and properties mean together, and what is wrong with them."""
    from pegasus_toolkit.planner.catalogs import LOCAL
    from pegasus_toolkit.planner.model import CONFIGURATIONS, Settings
    from pegasus_toolkit.planner.reading.properties import profiles

    values = found.values
    check = _Choices(found.file)
    configuration = check.one(values, _CONFIGURATION, CONFIGURATIONS, "condorio")
    integrity = check.one(values, "pegasus.integrity.checking", ("none", "full", "nosymlink"), "full")
    reuse = check.one(values, "pegasus.data.reuse.scope", _REUSES, "full")
    run = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
    base = Path(cwd, arguments.dir)
    relative = arguments.relative_dir or _next_run(base, environ, _plain(name))
    user = _plain(environ.get("USER") or environ.get("LOGNAME") or "user")
    staging, staging_problems = _staging(arguments.staging_site)
    settings = Settings(
        configuration=cast("Configuration", configuration),
        submit=os.path.normpath(base / relative),
        run=run,
        scratch=f"{user}/pegasus/{_plain(name)}/{run}",
        sites=_listed(arguments.sites),
        output_sites=_listed(arguments.output_sites) or (LOCAL,),
        staging=staging,
        output_directory=os.path.normpath(Path(cwd, arguments.output_dir)) if arguments.output_dir else "",
        clusterers=check.all("--cluster", arguments.cluster, _CLUSTERERS),
        cleanup=arguments.cleanup,
        reuse="none" if arguments.force else cast("Literal['none', 'partial', 'full']", reuse),
        integrity=integrity != "none",
        register=values.get("pegasus.register", "true").lower() in _YES,
        bypass=values.get("pegasus.transfer.bypass.input.staging", "").lower() in _YES,
        properties=_absolute(values, cwd),
        profiles=profiles(values),
        environ={"UID": str(os.getuid()), **environ},
        exists=None if arguments.no_check_replicas else _exists,
        secret=_secret,
        worker=arguments.worker or _beside("pegasus-worker"),
        planner=_beside("pegasus-plan"),
    )
    return settings, [*check.problems, *staging_problems]


class _Choices:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def one(self, values: Mapping[str, str], key: str, choices: Sequence[str], default: str) -> str:
        from pegasus_toolkit.planner.model import Problem

        value = values.get(key, default).lower()
        if value not in choices:
            expected = f"expected one of {', '.join(choices)}, found {values[key]!r}"
            self.problems.append(Problem(self.file, (key,), expected))
        return value if value in choices else default

    def all(self, option: str, value: str, choices: Sequence[str]) -> tuple[str, ...]:
        from pegasus_toolkit.planner.model import Problem

        wanted = _listed([value])
        for one in wanted:
            if one not in choices:
                expected = f"expected {' or '.join(choices)}, found {one!r}"
                self.problems.append(Problem(option, (), expected))
        return tuple(one for one in wanted if one in choices)


def _listed(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for value in values for one in value.split(",") if one))


def _staging(values: Sequence[str]) -> tuple[dict[str, str], list[Problem]]:
    from pegasus_toolkit.planner.model import Problem

    found: dict[str, str] = {}
    problems = []
    for one in _listed(values):
        site, equals, staging = one.rpartition("=")
        if equals and not (site and staging):
            problems.append(Problem("--staging-site", (), f"expected SITE=STAGING, found {one!r}"))
        found[site] = staging
    return found, problems


def _absolute(values: Mapping[str, str], cwd: str) -> dict[str, str]:
    """With catalogs' files as seen from anywhere: sub-workflows are planned elsewhere."""
    catalogs = re.compile(r"pegasus\.catalog\.[a-z.]+\.file")
    return {k: os.path.normpath(Path(cwd, v)) if catalogs.fullmatch(k) else v for k, v in values.items()}


def _next_run(base: Path, environ: Mapping[str, str], name: str) -> str:
    """The next free ``USER/pegasus/NAME/run0001``."""
    user = _plain(environ.get("USER") or environ.get("LOGNAME") or "user")
    parent = f"{user}/pegasus/{name}"
    try:
        taken = [entry.name for entry in (base / parent).iterdir()]
    except OSError:
        taken = []
    numbers = [int(one[3:]) for one in taken if re.fullmatch(r"run[0-9]+", one)]
    return f"{parent}/run{max(numbers, default=0) + 1:04d}"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".") or "workflow"


def _exists(pfn: Pfn) -> bool | None:
    """Whether a replica on the submit host is there; of others nothing is known."""
    if pfn.site != "local" or not pfn.url.startswith("file://"):
        return None
    return Path(pfn.url[7:]).exists()


def _secret(path: str) -> str:
    from pegasus_toolkit.credentials.errors import CredentialError
    from pegasus_toolkit.credentials.files import check_private

    try:
        check_private(Path(path), "")
    except CredentialError as error:
        return str(error)
    return ""


def _beside(program: str) -> str:
    """The program as it is installed with this one."""
    here = Path(sys.executable).parent / program
    return str(here) if here.exists() else shutil.which(program) or str(here)


def _tell(dag: Dag, name: str, arguments: argparse.Namespace) -> None:
    submit = dag.settings.submit
    if arguments.quiet:
        print(submit)
        return
    for warning in dag.warnings:
        if arguments.verbose or "left alone" not in warning:
            print(f"pegasus-plan: warning: {warning}", file=sys.stderr)
    counts = Counter(node.kind for node in dag.nodes)
    tasks = sum(len(node.tasks) for node in dag.nodes)
    print(f"{dag.workflow.name}: {len(dag.workflow.jobs)} jobs, {len(dag.reused)} of them need not run")
    for kind, count in counts.items():
        more = f"  ({tasks} jobs)" if kind == "compute" and tasks != count else ""
        print(f"  {kind:<12} {count:>8}{more}")
    print(f"  {'all nodes':<12} {len(dag.nodes):>8}")
    print(f"submit directory: {submit}")
    print(f"to run it on HTCondor: condor_submit_dag {submit}/{name}.dag")


if __name__ == "__main__":
    sys.exit(main())
