"""``pegasus-files``: list, copy, synchronise, compare and remove files, between any two protocols."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from pegasus_toolkit import __version__
from pegasus_toolkit.cli import options, transfer
from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.cli.help import Help

VERBS = ("ls", "cp", "sync", "verify", "rm", "cat", "du", "check")

DESCRIPTION = """\
Lists, copies, synchronises, compares and removes files: here, and at any server. A place is a path
or a URL: sftp://host/path, s3://bucket/key, davs://host/path, https://..., root://..., gsiftp://..."""

EPILOG = """\
examples:
  pegasus-files ls -l s3://bucket/runs/
  pegasus-files cp results.tar s3://bucket/2026/
  pegasus-files cp data/ davs://server/archive/data/      what is in data/; without that slash: data itself
  pegasus-files cp 'sftp://host/runs/*.h5' scratch/       a wildcard in the last part, here or there
  pegasus-files sync --delete results/ s3://bucket/results/
  pegasus-files rm -r s3://bucket/old/

exit codes:
  0  all done    1  running it again may succeed    2  it cannot, or what was asked for is wrong

pegasus-files COMMAND --help tells the options of each. Credentials, environment and limits are those of
pegasus-transfer (docs/credentials.md, docs/options.md)."""

CP = """\
Where a file goes, as cp -r has it, the same up and down: into a destination that is a directory, or
ends in /; else the destination is its new name. DIRECTORY/ means what is in it. Each file is digested
on its way, appears under its name only when it is whole, and keeps its time where the storage can."""


SYNC = """\
What is in the directory SOURCE is to be in DESTINATION, too. A file with the same size and time is left
alone; --checksum compares digests instead: the server's own where it tells them, those of files here from
a cache. Nothing is deleted without --delete, nothing that a filter leaves out, nothing after a failure."""


VERIFY = """\
    pegasus-files verify FIRST SECOND                 two files or directories
    pegasus-files verify --against SHA256SUMS PLACE   a directory and a manifest
    pegasus-files verify --against receipt.json       all files that a run has put somewhere

Sizes are compared, then digests: the server's own where it tells them, else of what is read. Nothing is
copied. Exit code 1 when anything differs, is missing, is extra, or cannot be read."""


class _Parser(options.Parser):
    """One line for what makes no sense."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {self.place}{message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. Without arguments it ends the process, as ``pegasus-transfer``."""
    if argv is None:
        gc.set_threshold(transfer.GARBAGE, 20, 50)
    try:
        parser = _parser()
        got = parser.parse_args(argv)
        parser = got.parser
        words = (sys.argv[1:] if argv is None else argv)[1:]
        _check_verify(parser, got)
        moving = _moving(parser, got, words, os.environ) if got.verb in ("cp", "sync", "rm") else None
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        return transfer.INTERRUPTED
    if moving is not None:
        return transfer.run(moving, argv is None)
    from pegasus_toolkit.cli import files_look

    console = Console(sys.stderr, quiet=got.quiet)
    try:
        code = files_look.execute(got, os.environ, console)
    except KeyboardInterrupt:
        code = transfer.INTERRUPTED
    finally:
        console.close()
    if argv is None:
        os._exit(code)
    return code


def _check_verify(parser: argparse.ArgumentParser, got: argparse.Namespace) -> None:
    if got.verb == "verify" and (len(got.places) > 1 if got.against else len(got.places) != 2):
        parser.error("needs two places, or --against FILE and one")


def _moving(
    parser: options.Parser, got: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]
) -> options.Arguments:
    """The arguments of a command that changes something; ``words``: what followed its name."""
    verb = got.verb
    got = options.with_defaults(parser, got, words, environ)
    options.check_outputs(parser, got, got.sources)
    destination = getattr(got, "destination", "")
    own = {
        key: getattr(got, key)
        for key in ("recursive", "force", "checksum", "delete", "cache")
        if hasattr(got, key)
    }
    return options.arguments_of(
        parser,
        got,
        environ,
        file="-",
        sources=tuple(got.sources),
        destination=destination,
        given=tuple(words),
        verb=verb,
        command=f"pegasus-files {verb}",
        **own,
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pegasus-files", description=DESCRIPTION, epilog=EPILOG, formatter_class=Help)
    parser.add_argument("--version", action="version", version=f"pegasus-toolkit {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True, title="commands")

    def verb(name: str, text: str, more: str = "") -> argparse.ArgumentParser:
        made = verbs.add_parser(
            name, help=text, description=more or text, formatter_class=Help, allow_abbrev=False
        )
        made.set_defaults(parser=made)
        return made

    _add_looks(verb)
    cp = verb("cp", "copy files and directories", CP)
    cp.add_argument("sources", nargs="+", type=options.path, metavar="SOURCE")
    cp.add_argument("destination", type=options.path, metavar="DESTINATION")
    options.add_common(cp)
    options.add_outputs(cp)
    options.add_choice(cp)
    options.add_limits(cp)
    sync = verb("sync", "make a directory what another is: copy what is new or changed", SYNC)
    sync.add_argument("sources", nargs=1, type=options.path, metavar="SOURCE")
    sync.add_argument("destination", type=options.path, metavar="DESTINATION")
    sync.add_argument("--delete", action="store_true", help="delete what is extra, after all else succeeded")
    sync.add_argument("--checksum", action="store_true", help="compare digests in place of times")
    sync.add_argument(
        "--no-cache", action="store_false", dest="cache", help="take all digests anew (with --checksum)"
    )
    options.add_common(sync)
    options.add_outputs(sync)
    options.add_choice(sync)
    options.add_limits(sync)
    rm = verb("rm", "remove files, and with -r directories")
    rm.add_argument("sources", nargs="+", type=options.path, metavar="PLACE")
    rm.add_argument("-r", "--recursive", action="store_true", help="directories with all that is in them")
    rm.add_argument("-f", "--force", action="store_true", help="what is not there is no error")
    options.add_common(rm)
    options.add_outputs(rm, sums=False)
    options.add_limits(rm)
    rm.set_defaults(choice=None, links=None)
    return parser


def _add_looks(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that only look."""
    ls = verb("ls", "list files and directories")
    ls.add_argument("-l", "--long", action="store_true", help="with size and time")
    ls.add_argument("-R", "--recursive", action="store_true", help="at any depth")
    cat = verb("cat", "write files to standard output")
    du = verb("du", "count files and their bytes")
    check = verb("check", "does a place answer, with which credential, and how much space is free?")
    for made, least in ((ls, "*"), (cat, "+"), (du, "*"), (check, "+")):
        made.add_argument("places", nargs=least, type=options.path, metavar="PLACE")
        made.add_argument("-q", "--quiet", action="store_true", help="print only warnings and errors")
        made.add_argument("--version", action="version", version=f"pegasus-toolkit {__version__}")
    _add_verify(verb)
    for made in (ls, du, check):
        made.add_argument("--json", action="store_true", help="one JSON object for each, a line each")
    for made in (ls, du):
        options.add_choice(made)


def _add_verify(verb: Callable[..., argparse.ArgumentParser]) -> None:
    made = verb("verify", "compare files without copying them", VERIFY)
    add = made.add_argument
    add("places", nargs="*", type=options.path, metavar="PLACE")
    add("--against", type=options.path, metavar="FILE", help="SHA256SUMS, a receipt, or a report of a run")
    add("--one-way", action="store_true", help="what is only in the second place, or in no manifest, is fine")
    add("--algorithm", default="sha256", metavar="NAME", help="of the manifest (default sha256)")
    add("-n", "--threads", type=options.whole(1, options.MOST_THREADS), default=8, metavar="N",
        help="files under way at once (default 8)")  # fmt: skip
    add("--json", action="store_true", help="one JSON object for each difference, a line each")
    add("-q", "--quiet", action="store_true", help="print only differences, warnings and errors")
    options.add_choice(made)


if __name__ == "__main__":
    sys.exit(main())
