"""What the commands that look at runs have in common: where to look, and how they end."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.help import Help

NO_RUN = 2


def parser(name: str, description: str, epilog: str, several: bool = False) -> argparse.ArgumentParser:
    """With what all of them take: the submit directory, ``-v``, ``-V``; ``several``: of those directories."""
    made = argparse.ArgumentParser(
        prog=name,
        description=description,
        epilog=epilog,
        formatter_class=Help,
    )
    help = f"the submit director{'ies' if several else 'y'}, or .dag file{'s' * several} (default: here)"
    if several:
        made.add_argument("submitdirs", nargs="*", default=["."], metavar="SUBMITDIR", help=help)
    else:
        made.add_argument("submitdir", nargs="?", default=".", help=help)
    made.add_argument("-v", "--verbose", action="count", default=0, help="say more, of the database too")
    made.add_argument("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    return made


def without_meaning(made: argparse.ArgumentParser, *flags: str, values: Sequence[str] = ()) -> None:
    """Options of upstream's command that change nothing here; ``values``: those that take one."""
    for flag in flags:
        made.add_argument(*flag.split("|"), action=_Noted, nargs=0)
    for flag in values:
        made.add_argument(*flag.split("|"), action=_Noted)


class _Noted(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, nargs: int | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=nargs, help=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, *more: object) -> None:
        print(f"{parser.prog}: {more[-1]} changes nothing here", file=sys.stderr)


def parsed(made: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace | int:
    """The options, or the exit code where that is all there is to say."""
    try:
        return made.parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2


def noting(name: str, verbose: int) -> Callable[[str], None]:
    """What says the database's notes, under ``-v``."""
    return lambda text: print(f"{name}: {text}", file=sys.stderr) if verbose else None


def ended(name: str, action: Callable[[], int]) -> int:
    """What ``action`` gives; what it cannot do is said in a line, and the exit code is 2."""
    from pegasus_toolkit.dag.problems import DagError
    from pegasus_toolkit.monitor.locate import NotARun

    try:
        code = action()
        sys.stdout.flush()
    except NotARun as error:
        print(f"{name}: {error}", file=sys.stderr)
    except DagError as error:
        for problem in error.problems[:10]:
            print(f"{name}: {problem}", file=sys.stderr)
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{name}: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    else:
        return code
    return NO_RUN
