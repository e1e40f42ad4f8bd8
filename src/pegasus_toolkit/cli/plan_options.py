"""The options of ``pegasus-plan``: those of Pegasus' command of that name, and a few of our own."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.help import Help

DESCRIPTION = """\
Plans a Pegasus 5 workflow: chooses sites and replicas, adds jobs that bring files in, out and
away again, and writes a DAG for HTCondor's DAGMan. All that is wrong is told at once, with file,
line and key; then nothing is written."""

EPILOG = """\
files, where no property names others, are looked for in the working directory: pegasus.properties,
sites.yml, replicas.yml, transformations.yml. What stands inline in the workflow goes before them.

exit codes: 0 planned; 2 something is wrong with workflow, catalogs or options: nothing was written.
With --submit and a plan: those of pegasus-run."""

CLEANUPS = ("none", "inplace", "leaf", "constraint")
_NOTED = {
    "forward": "--forward: give such options to pegasus-run itself",
    "force_replan": "--force-replan: a sub-workflow that failed goes on from its rescue DAG; to have it"
    " planned anew, remove its submit directory",
    "java": "-X: no Java runs here",
    "rescue": "--rescue: a sub-workflow that failed goes on from its rescue DAG as often as it is retried",
    "group": "--group: nothing depends on a group here",
    "deferred": "--deferred: a workflow is planned as a whole",
}


class OptionError(Exception):
    """The command line is wrong; the text says how."""


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in a sentence, without the usage of all options."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)

    def given(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """The options. Raises :class:`OptionError`."""
        arguments, more = self.parse_known_args(argv)
        unknown = [word.partition("=")[0] for word in more if word.startswith("-")]
        if unknown:
            raise OptionError("; ".join(map(self._unknown, unknown)))
        if more:
            raise OptionError(f"expected one workflow, found {', '.join((arguments.workflow, *more))}")
        return arguments

    def _unknown(self, word: str) -> str:
        import difflib

        close = difflib.get_close_matches(word, self._option_string_actions, 1)
        hint = f"did you mean {close[0]}?" if close else "pegasus-plan --help lists all"
        return f"unknown option {word}; {hint}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for. Raises :class:`OptionError`; ``SystemExit`` after ``--help`` and ``--version``."""
    return _parser().given(argv)


def given(words: Sequence[str]) -> tuple[Mapping[str, object], str]:
    """Options that differ from their defaults, and what is wrong with them ("" nothing)."""
    parser = _parser()
    try:
        found = vars(parser.given(words))
    except OptionError as error:
        return {}, str(error)
    except SystemExit:
        return {}, "--help and --version plan nothing"
    if found["workflow"] != parser.get_default("workflow"):
        return {}, f"the workflow's file is named by the job, not by {found['workflow']!r}"
    return {key: value for key, value in found.items() if value != parser.get_default(key)}, ""


def notes(arguments: argparse.Namespace) -> Iterator[str]:
    """A line for each option that is given and makes no sense here."""
    for name, text in _NOTED.items():
        if getattr(arguments, name):
            yield text
    if arguments.cleanup == "constraint":
        yield "--cleanup constraint: no bound on space is kept; files go after their last use (inplace)"


def _parser() -> _Parser:
    parser = _Parser(
        prog="pegasus-plan",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Help,
        fromfile_prefix_chars="@",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("workflow", nargs="?", default="workflow.yml", help="the abstract workflow (default: %(default)s)")
    _sites(parser)
    _files(parser)
    _directories(parser)
    _jobs(parser)
    _others(parser)
    return parser


def _sites(parser: argparse.ArgumentParser) -> None:
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
    add("-O", "--output-dir", metavar="DIR", help="where outputs go, in place of the site's storage")


def _files(parser: argparse.ArgumentParser) -> None:
    """What is read beside the catalogs."""
    add = parser.add_argument
    add("--conf", metavar="FILE", help="properties (default: pegasus.properties)")
    add("-D", action="append", default=[], metavar="KEY=VALUE", dest="define", help="a property of its own")
    add("-d", "--dax", metavar="FILE", help="the abstract workflow, as an option")

    def listed(*names: str, help: str) -> None:
        one = "DIR" if names[-1].endswith(("dir", "reuse")) else "FILE"
        add(*names, action="append", default=[], metavar=f"{one}[,{one}]", help=help)

    listed("-I", "--input-dir", help="its files are replicas")
    listed("-c", "--cache", help="replicas in place of the catalog's")
    listed("--inherited-rc-files", help="replicas below the catalog's")
    listed("-R", "--reuse", help="submit directories whose outputs are replicas")
    listed("-t", "--transformations-dir", help="its files are programs to stage")
    add("-m", "--output-map", metavar="FILE", help="a replica catalog that says where each output goes")


def _directories(parser: argparse.ArgumentParser) -> None:
    """The submit directory."""
    add = parser.add_argument
    add("--dir", default=".", metavar="DIR", help="submit directories are below it (default: here)")
    add("--relative-dir", metavar="DIR", help="this one's place there (default: USER/pegasus/NAME/run0001)")
    add("--relative-submit-dir", metavar="DIR", help="the same as --relative-dir, and before it")
    add("-r", "--randomdir", nargs="?", const="", help="directories are always a run's own: nothing to do")
    add("-b", "--basename", metavar="NAME", help="of the .dag file (default: the workflow's name and -0)")
    add("-j", "--job-prefix", default="", metavar="TEXT", help="before the names of jobs")
    add("--above", metavar="FILE", help=argparse.SUPPRESS)  # what the workflow above tells
    add(
        "--mend", metavar="DAG", help=argparse.SUPPRESS
    )  # before a DAG that was planned before is tried again
    add("--if-missing", action="store_true", help="do nothing where --relative-dir is planned already")


def _jobs(parser: argparse.ArgumentParser) -> None:
    """What is done."""
    add = parser.add_argument
    add(
        "--cleanup",
        choices=CLEANUPS,
        default="inplace",
        help="what is removed from scratch (default: inplace)",
    )
    add("-n", "--nocleanup", action="store_true", help="the same as --cleanup none")
    kinds = "horizontal, label, whole: several jobs as one"
    add("-C", "--cluster", default="", metavar="KIND[,KIND]", help=kinds)
    add("-f", "--force", action="store_true", help="run all jobs, also those whose files are there")
    add("--no-check-replicas", action="store_true", help="believe the catalog, look for no local file")
    add("--worker", metavar="FILE", help="goes with jobs as their pegasus-worker, in place of one packed now")
    add("-S", "--submit", action="store_true", help="run it then, as pegasus-run does")


def _others(parser: argparse.ArgumentParser) -> None:
    """What is said; and upstream's options without a meaning here."""
    add = parser.add_argument
    add("-v", "--verbose", action="count", default=0, help="also warnings that are seldom of use")
    add("-q", "--quiet", action="count", default=0, help="print the submit directory and nothing else")
    add("-J", "--json", action="store_true", help="print submit_dir and message as a JSON object")
    add("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    add("-F", "--forward", action="append", default=[], help=argparse.SUPPRESS)
    add("-X", action="append", default=[], dest="java", help=argparse.SUPPRESS)
    for names in (("--rescue",), ("-g", "--group")):
        add(*names, help=argparse.SUPPRESS)
    for names in (("--force-replan",), ("-z", "--deferred")):
        add(*names, action="store_true", help=argparse.SUPPRESS)
