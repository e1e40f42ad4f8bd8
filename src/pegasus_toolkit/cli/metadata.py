"""``pegasus-metadata``: asks for metadata of a run, and selects files by it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pegasus_toolkit import __version__
from pegasus_toolkit.cli import watching, where
from pegasus_toolkit.cli.help import Help

if TYPE_CHECKING:
    import sqlite3

    from pegasus_toolkit.monitor.locate import Run

DESCRIPTION = """\
Tells the metadata of a workflow, its jobs and its files: what users have said, and what the run has found
(size, digest, time, host, exit code). Selects files of a run or of a replica catalog by it."""

EPILOG = """\
exit codes: 0 told; 1 there is no such job, or no file for which the conditions hold; 2 there is no run
there, or the catalog is wrong."""

_NAME = "pegasus-metadata"
Table = Mapping[str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = watching.parsed(_parser(), None if argv is None else list(argv))
    if isinstance(options, int):
        return options
    return watching.ended(_NAME, lambda: int(options.run(options)))


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog=_NAME,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Help,
    )
    made.add_argument("-V", "--version", action="version", version=f"pegasus-toolkit {__version__}")
    commands = made.add_subparsers(required=True, metavar="workflow|task|file")
    workflow = _command(commands, "workflow", _workflow, "of the workflow")
    workflow.add_argument("-r", "--recursive", action="store_true", help="of its sub-workflows, too")
    task = _command(commands, "task", _task, "of a job of the abstract workflow")
    task.add_argument("-i", "--task-id", required=True, metavar="ID", help="which")
    file = _command(commands, "file", _file, "of files; all, where no option names some")
    add = file.add_argument
    add("-l", "--list", action="store_true", help="of all files (the default)")
    add("-n", "--file-name", metavar="LFN", help="of this file")
    add("-t", "--trace", action="store_true", help="with -n: of workflow and job that it comes from, too")
    add(
        "-w",
        "--where",
        type=where.condition,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"files {where.HELP}; several: all of them must hold",
    )
    add("-c", "--catalog", metavar="FILE", help="look into this replica catalog, in place of a run")
    add("--names", action="store_true", help="print LFNs alone, one a line")
    add("--write", metavar="FILE", help="with -c: write a replica catalog of those files")
    return made


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: object, text: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=f"Tells the metadata {text}.")
    made.set_defaults(run=run)
    made.add_argument("submitdir", nargs="?", default=".", help="the submit directory (default: here)")
    made.add_argument("-v", "--verbose", action="count", default=0, help="say more, of the database too")
    made.add_argument("--json", action="store_true", help="as JSON")
    return made


def _workflow(options: argparse.Namespace) -> int:
    from pegasus_toolkit.monitor import metadata
    from pegasus_toolkit.monitor.locate import find
    from pegasus_toolkit.monitor.tree import walk

    note = watching.noting(_NAME, options.verbose)
    found = []
    for branch, connection in walk(find(options.submitdir), True, note, deep=options.recursive):
        known = {
            "id": _id(branch.run),
            "path": "/".join(branch.path),
            "metadata": metadata.workflow(connection),
        }
        found.append(known)
        if not options.json:
            _print(f"Workflow {known['id']}", metadata.workflow(connection))
    if options.json:
        _json({"workflows": found})
    return 0


def _task(options: argparse.Namespace) -> int:
    from pegasus_toolkit.monitor import metadata
    from pegasus_toolkit.monitor.database import opened
    from pegasus_toolkit.monitor.locate import find

    with opened(find(options.submitdir), True, watching.noting(_NAME, options.verbose)) as connection:
        found = metadata.task(connection, options.task_id)
    if found is None:
        return _nothing(f"nothing is known of a job {options.task_id!r}")
    if options.json:
        _json({"task": {"id": found.id, "metadata": found.metadata}})
    else:
        _print(f"Task {found.id}", found.metadata)
    return 0


def _file(options: argparse.Namespace) -> int:
    from pegasus_toolkit.monitor import metadata
    from pegasus_toolkit.monitor.database import opened
    from pegasus_toolkit.monitor.locate import find

    if options.catalog:
        return _of_catalog(options)
    run = find(options.submitdir)
    with opened(run, True, watching.noting(_NAME, options.verbose)) as connection:
        chosen = _chosen(options, metadata.files(connection))
        traced = _traced(connection, run, options.file_name) if options.trace and chosen else {}
    return _told(options, chosen, traced)


def _traced(connection: sqlite3.Connection, run: Run, lfn: str) -> dict[str, Table]:
    """Metadata of the workflow and the job that a file comes from, by their titles."""
    from pegasus_toolkit.monitor import metadata

    found: dict[str, Table] = {f"Workflow {_id(run)}": metadata.workflow(connection)}
    maker = metadata.task(connection, metadata.maker(connection, run, lfn))
    if maker is not None:
        found[f"Task {maker.id}"] = maker.metadata
    return found


def _of_catalog(options: argparse.Namespace) -> int:
    from pegasus_toolkit.cli import replica_file

    try:
        entries = replica_file.read(options.catalog, os.environ)
        known = {str(one["lfn"]): replica_file.metadata(one) for one in entries}
        chosen = _chosen(options, known)
        if options.write and chosen:
            replica_file.write(options.write, [one for one in entries if one["lfn"] in chosen])
    except replica_file.Wrong as error:
        for line in error.lines:
            print(f"{_NAME}: {line}", file=sys.stderr)
        return watching.NO_RUN
    return _told(options, chosen, {})


def _chosen(options: argparse.Namespace, files: Mapping[str, Table]) -> dict[str, Table]:
    return {
        lfn: table
        for lfn, table in files.items()
        if options.file_name in (None, lfn) and all(holds(table) for holds in options.where)
    }


def _told(options: argparse.Namespace, chosen: Mapping[str, Table], traced: Mapping[str, Table]) -> int:
    if options.json:
        listed = [{"lfn": lfn, "metadata": table} for lfn, table in chosen.items()]
        _json({"files": listed, **({"trace": traced} if traced else {})})
    elif options.names:
        print("".join(f"{lfn}\n" for lfn in chosen), end="")
    else:
        for title, table in (*traced.items(), *((f"File {lfn}", table) for lfn, table in chosen.items())):
            _print(title, table)
    return 0 if chosen else _nothing("there is no such file")


def _id(run: Run) -> str:
    return str(run.plan().get("run", run.name))


def _print(title: str, table: Table) -> None:
    from pegasus_toolkit.cli.console import visible

    width = max(map(len, table), default=0)
    print(visible(title))
    for key, value in table.items():
        print(visible(f"    {key:<{width}} : {value}"))
    print("" if table else "    No metadata found\n")


def _json(value: object) -> None:
    import json

    print(json.dumps(value, indent=1))


def _nothing(text: str) -> int:
    print(f"{_NAME}: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
