"""``pegasus-exitcode``: whether a job did well, by its record, what it said and what DAGMan told of it.

Our own POST scripts are ``pegasus-worker --check``; this is for whoever calls Pegasus' command by its name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.help import Help

DESCRIPTION = """\
Tells whether a job of a submit directory did well: by its record, if it is one of ours, by texts in its
output and error, and by what DAGMan says it returned. OUTPUT is the job's output file, logs/NODE.out. Its
output and error are kept under a number unless -n is given."""

EPILOG = """\
exit codes: 0 the job did well; 1 it failed; 2 the options are wrong."""

_NAME = "pegasus-exitcode"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    output = Path(options.output)
    try:
        problem = next(_problems(options, output), "")
        if not options.no_rename:
            _rotate(output)
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
    if problem:
        print(f"{_NAME}: {output}: {problem}", file=sys.stderr)
    return 1 if problem else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_NAME, description=DESCRIPTION, epilog=EPILOG, formatter_class=Help)
    add = parser.add_argument
    add("output", metavar="OUTPUT", help="the job's output file")
    add("-r", "--return", type=int, default=0, dest="returned", metavar="N", help="what DAGMan says: $RETURN")
    add("-n", "--no-rename", action="store_true", help="leave output and error where they are")
    add("-N", "--no-metadata", action="store_true", help="nothing to do: the job itself wrote its .meta file")
    add("-I", "--no-invocations", action="store_true", help="do not ask for a record")
    add(
        "-f",
        "--failure-message",
        action="append",
        default=[],
        metavar="TEXT",
        help="told by a job that failed",
    )
    add(
        "-s", "--success-message", action="append", default=[], metavar="TEXT", help="missing if a job failed"
    )
    add("-l", "--log", metavar="FILE", help=argparse.SUPPRESS)
    add("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    return parser


def _problems(options: argparse.Namespace, output: Path) -> Iterator[str]:
    """What says that the job failed, the plainest first."""
    if options.returned:
        yield f"the job returned {options.returned}"
    said = "".join(_text(path) for path in (output, _error(output)))
    for text in options.failure_message:
        if text in said:
            yield f"it said {text!r}"
    for text in options.success_message:
        if text not in said:
            yield f"it did not say {text!r}"
    if not options.no_invocations:
        yield from _recorded(output)


def _recorded(output: Path) -> Iterator[str]:
    """What the job's record tells; one that nobody can read is a failure."""
    path = output.parent.parent / "records" / f"{output.name.removesuffix('.out')}.json"
    try:
        record = json.loads(path.read_bytes())
        if record["exit"]:
            yield str(record.get("error") or f"its record tells exit code {record['exit']}")
    except FileNotFoundError:
        yield f"there is no record {path}, and those of pegasus-kickstart are not read; -I does without"
    except (ValueError, KeyError, TypeError):
        yield f"{path} is no record"


def _error(output: Path) -> Path:
    return output.with_name(f"{output.name.removesuffix('.out')}.err")


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.exists() else ""


def _rotate(output: Path) -> None:
    """Keeps output and error of this attempt under the first number that is free."""
    number = next(n for n in range(1000) if not output.with_name(f"{output.name}.{n:03d}").exists())
    for path in (output, _error(output)):
        if path.exists():
            path.rename(path.with_name(f"{path.name}.{number:03d}"))


if __name__ == "__main__":
    sys.exit(main())
