"""``pegasus-statistics``: what a run took."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pegasus_toolkit.cli import watching

if TYPE_CHECKING:
    import sqlite3

    from pegasus_toolkit.monitor.statistics import Summary
    from pegasus_toolkit.monitor.tables import Cell, Table
    from pegasus_toolkit.monitor.tree import Branch

DESCRIPTION = "Tells what a run took: tasks, jobs, retries, time, bytes moved, integrity checks."

EPILOG = """\
a task is a job of the abstract workflow, a job one of the planned one; sub-workflows' count, too.
levels: summary; wf the same for each workflow; jb every job; tf by transformation; ti by time and host;
int integrity checks; all. Upstream's names wf_stats, jb_stats, ... are known, too.

exit codes: 0: statistics printed; 2: no run found in that directory."""

_NAME = "pegasus-statistics"
_LEVELS = ("summary", "wf", "jb", "tf", "ti", "int")
_FORMS = {"month": "%Y-%m", "week": "%Y-w%W", "day": "%Y-%m-%d", "hour": "%Y-%m-%d %H"}
_FILES = {
    "summary": "summary",
    "wf": "workflow",
    "jb": "jobs",
    "tf": "breakdown",
    "ti": "time",
    "int": "integrity",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = watching.parsed(_parser(), None if argv is None else list(argv))
    if isinstance(options, int):
        return options
    return watching.ended(_NAME, lambda: _tell(options))


def _parser() -> argparse.ArgumentParser:
    made = watching.parser(_NAME, DESCRIPTION, EPILOG, several=True)
    add = made.add_argument
    add("-u", "--isuuid", action="store_true", help="runs are named by their ids, and looked for below here")
    watching.without_meaning(
        made,
        "-m|--multiple-wf",
        "-p|--ispmc",
        "-i|--ignore-db-inconsistency",
        "-q|--quiet",
        values=("-c|--conf",),
    )
    add(
        "-s",
        "--statistics-level",
        type=_levels,
        default=["summary"],
        metavar="LEVEL[,LEVEL]",
        dest="levels",
        help="summary (default), wf, jb, tf, ti, int, all",
    )
    add("-o", "--output", metavar="DIR", help="also a file for each level in this directory")
    add("-f", "--file-type", choices=("text", "csv"), default="text", help="of those files (default: text)")
    add("-t", "--time-filter", choices=tuple(_FORMS), default="day", help="for ti (default: day)")
    add("--json", action="store_true", help="print JSON")
    return made


def _levels(text: str) -> list[str]:
    asked = [word.removesuffix("_stats") for word in text.split(",")]
    if wrong := [word for word in asked if word not in (*_LEVELS, "all")]:
        raise argparse.ArgumentTypeError(f"no such level: {wrong[0]!r}; there are {', '.join(_LEVELS)}, all")
    return [level for level in _LEVELS if level in asked or "all" in asked]


class _Found(NamedTuple):
    """Databases, which stay open, and a summary of each."""

    branches: list[Branch]
    connections: list[sqlite3.Connection]
    summaries: list[Summary]


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[_Found]:
    from pegasus_toolkit.monitor.database import opened
    from pegasus_toolkit.monitor.locate import by_id, find
    from pegasus_toolkit.monitor.statistics import summary
    from pegasus_toolkit.monitor.tree import walk

    note = watching.noting(_NAME, options.verbose)
    found, now = _Found([], [], []), time.time()
    with contextlib.ExitStack() as stack:
        for directory in by_id(options.submitdirs) if options.isuuid else options.submitdirs:
            for branch, _ in walk(find(directory), note=note):
                connection = stack.enter_context(opened(branch.run, records=True, note=note))
                found.branches.append(branch)
                found.connections.append(connection)
                found.summaries.append(summary(connection, branch.run, now))
        yield found


def _tell(options: argparse.Namespace) -> int:
    with _opened(options) as found:
        tables = {level: list(_tables(level, found, options)) for level in options.levels}
        whole = _whole(found)
    if options.output:
        _write(options, tables, whole)
    if options.json:
        import json

        print(json.dumps(_json(tables, whole), indent=1))
        return 0
    for number, level in enumerate(options.levels):
        lines = list(_level(level, tables[level], whole))
        print(("\n" if number else "") + "\n".join(lines))
    return 0


def _whole(found: _Found) -> Summary:
    whole = found.summaries[0]
    for one in found.summaries[1:]:
        whole = whole.plus(one)
    roots = zip(found.branches, found.summaries, strict=True)
    return whole._replace(wall=sum(one.wall for branch, one in roots if not branch.path))


def _tables(level: str, found: _Found, options: argparse.Namespace) -> Iterator[Table]:
    from pegasus_toolkit.monitor import statistics

    names = ["/".join(branch.path) or branch.run.name for branch in found.branches]
    match level:
        case "summary":
            runs = [name for name, branch in zip(names, found.branches, strict=True) if not branch.path]
            yield statistics.counted(_whole(found), ", ".join(runs))
        case "wf":
            for name, one in zip(names, found.summaries, strict=True):
                yield statistics.counted(one, name)
        case "jb":
            for name, connection in zip(names, found.connections, strict=True):
                yield statistics.jobs(connection, name)
        case "tf":
            yield statistics.transformations(found.connections)
        case "ti":
            yield statistics.times(found.connections, _FORMS[options.time_filter])
        case _:
            yield statistics.integrity(found.connections)


def _level(level: str, tables: list[Table], whole: Summary) -> Iterator[str]:
    from pegasus_toolkit.monitor.tables import text

    for number, table in enumerate(tables):
        if number:
            yield ""
        yield from text(table)
    if level == "summary":
        yield ""
        yield from (f"{label:<56}: {value}" for label, value in _facts(whole))


def _facts(one: Summary) -> Iterator[tuple[str, str]]:
    from pegasus_toolkit.transfer.units import size

    took = one.took
    yield "workflow wall time", _seconds(one.wall)
    yield "cumulative job wall time", _seconds(took.cumulative)
    yield "cumulative job wall time as seen from submit side", _seconds(took.cumulative_submit)
    yield "cumulative job badput wall time", _seconds(took.badput)
    yield "cumulative job badput wall time as seen from submit side", _seconds(took.badput_submit)
    yield "bytes moved in by jobs", size(took.bytes_in)
    yield "bytes moved out by jobs", size(took.bytes_out)
    seconds = f", {took.check_seconds:.2f} s" if took.check_seconds else ""
    missing = f", {took.unchecked} not possible for want of a digest" if took.unchecked else ""
    yield "integrity checks made", f"{took.checks}, {took.mismatches} failed{missing}{seconds}"


def _seconds(value: float) -> str:
    from pegasus_toolkit.transfer.units import span

    return f"{value:.2f} s" + (f" ({span(value)})" if value >= 60 else "")


def _json(tables: dict[str, list[Table]], whole: Summary) -> dict[str, object]:
    counts = {
        name: {**count._asdict(), "total": count.total}
        for name, count in (("tasks", whole.tasks), ("jobs", whole.jobs), ("workflows", whole.workflows))
    }
    known: dict[str, object] = {**counts, "wall": whole.wall, **whole.took._asdict()}
    for level, found in tables.items():
        if level != "summary":
            known[_FILES[level]] = [{"title": one.title, "rows": one.objects()} for one in found]
    return known


def _write(options: argparse.Namespace, tables: dict[str, list[Table]], whole: Summary) -> None:
    import csv

    from pegasus_toolkit.monitor import tables as form

    directory = Path(options.output)
    directory.mkdir(parents=True, exist_ok=True)
    for level, found in tables.items():
        if options.file_type == "text":
            text = "\n".join((*_level(level, found, whole), ""))
            (directory / f"{_FILES[level]}.txt").write_text(text, "utf-8", "backslashreplace")
            continue
        with (directory / f"{_FILES[level]}.csv").open("w", newline="", encoding="utf-8") as stream:
            rows: Iterator[list[Cell]] = form.csv(found)
            csv.writer(stream).writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
