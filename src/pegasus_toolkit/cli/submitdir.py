"""``pegasus-submitdir``: packs submit directories of runs that are over, moves and deletes them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pegasus_toolkit import __version__
from pegasus_toolkit.cli import watching
from pegasus_toolkit.cli.help import Help

if TYPE_CHECKING:
    from pegasus_toolkit.monitor.locate import Run

DESCRIPTION = """\
Packs the submit directory of a run that is over, unpacks it, moves or deletes it."""

EPILOG = """\
commands:
  archive SUBMITDIR     packs submit files, logs and records into archive.tar.gz there; status, analyzer,
                        statistics and metadata work on as before
  extract SUBMITDIR     unpacks them again
  move SUBMITDIR DEST   to DEST, or into it if that is a directory; pegasus-run cannot go on with it there
  delete SUBMITDIR      removes it with all that is in it

exit codes: 0 done; 1 it runs, or is archived already, or is not; 2 no run is there, or a wrong option."""

_NAME = "pegasus-submitdir"
ARCHIVE = "archive.tar.gz"
_PACKED = ("jobs", "submit", "logs", "records", "pegasus-worker", "dagman.config", "pegasus.properties")
_COMMANDS = ("archive", "extract", "move", "delete")


class _Refused(Exception):
    """One line that says why."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = watching.parsed(_parser(), None if argv is None else list(argv))
    if isinstance(options, int):
        return options
    return watching.ended(_NAME, lambda: _do(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_NAME,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("command", choices=(*_COMMANDS, "attach", "detach"), metavar="COMMAND")
    parser.add_argument("submitdir", metavar="SUBMITDIR")
    parser.add_argument("destination", nargs="?", metavar="DEST")
    parser.add_argument("--json", action="store_true", help="tell of it as JSON")
    parser.add_argument("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    return parser


def _do(options: argparse.Namespace) -> int:
    from pegasus_toolkit.monitor.locate import find

    if options.command in ("attach", "detach"):
        print(f"{_NAME}: there is no master database here: each run has its own, run.db", file=sys.stderr)
        return 0
    if (options.destination is not None) != (options.command == "move"):
        print(f"{_NAME}: move takes SUBMITDIR and DEST, {options.command} SUBMITDIR alone", file=sys.stderr)
        return watching.NO_RUN
    run = find(options.submitdir)
    try:
        _check(run)
        place, said = _RUN[options.command](run, options.destination)
    except _Refused as error:
        print(f"{_NAME}: {run.directory}: {error}", file=sys.stderr)
        return 1
    known = {"submit_dir": run.directory, "command": options.command, "place": place}
    print(json.dumps(known) if options.json else f"{place}{said}")
    return 0


def _check(run: Run) -> None:
    """Raises :class:`_Refused` where something still uses the directory, or another program made it."""
    from pegasus_toolkit.engines.local.lock import holder
    from pegasus_toolkit.monitor.database import opened
    from pegasus_toolkit.monitor.status import status

    if not run.plan():
        raise _Refused("it is no submit directory of pegasus-plan: there is no plan.json in it")
    with opened(run) as connection:
        if holder(run.dag) or status(connection, run).state in ("Running", "Held"):
            raise _Refused("the run goes on; pegasus-remove ends it")


def _archive(run: Run, _: str | None) -> tuple[str, str]:
    directory = Path(run.directory)
    target = directory / ARCHIVE
    if target.exists():
        raise _Refused("it is archived already")
    names = [name for name in _PACKED if (directory / name).exists()]
    aside = directory / f".{ARCHIVE}.{os.getpid()}"
    try:
        with tarfile.open(aside, "w:gz") as archive:
            for name in names:
                archive.add(directory / name, name)
        with aside.open("rb") as stream:
            os.fsync(stream.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    for name in names:
        _remove(directory / name)
    return str(target), f": {target.stat().st_size} bytes"


def _extract(run: Run, _: str | None) -> tuple[str, str]:
    directory = Path(run.directory)
    source = directory / ARCHIVE
    if not source.exists():
        raise _Refused("it is not archived")
    with tarfile.open(source) as archive:
        for member in archive:
            if member.name.partition("/")[0] not in _PACKED or ".." in member.name.split("/"):
                raise _Refused(f"{ARCHIVE} holds {member.name!r}, which was not packed here")
        archive.extractall(directory, filter="tar")
    source.unlink()
    return str(directory), " is as it was"


def _move(run: Run, destination: str | None) -> tuple[str, str]:
    target = Path(destination or "").absolute()
    if target.is_dir():
        target /= Path(run.directory).name
    if target.exists():
        raise _Refused(f"{target} is there already")
    if target.is_relative_to(run.directory):
        raise _Refused(f"{target} is inside of it")
    shutil.move(run.directory, target)
    for name, changes in (
        ("braindump.yml", {"submit_dir": str(target), "basedir": str(target.parent)}),
        ("plan.json", {"moved_from": run.directory}),
    ):
        path = target / name
        if path.exists():
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=1) + "\n")
    return str(target), "; pegasus-run cannot go on with it there, as its files name the old place"


def _delete(run: Run, _: str | None) -> tuple[str, str]:
    shutil.rmtree(run.directory)
    return run.directory, " is deleted"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


_RUN = {"archive": _archive, "extract": _extract, "move": _move, "delete": _delete}


if __name__ == "__main__":
    sys.exit(main())
