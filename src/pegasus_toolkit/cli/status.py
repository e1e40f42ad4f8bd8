"""``pegasus-status``: how far a run is."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pegasus_toolkit.cli import watching

if TYPE_CHECKING:
    from pegasus_toolkit.monitor.locate import Run
    from pegasus_toolkit.monitor.status import Counts, Job, Status
    from pegasus_toolkit.monitor.tree import Branch

DESCRIPTION = "Shows how far a run is, also while it goes on."

EPILOG = """\
columns: UNRDY nodes that wait for others, READY could be submitted, PRE and POST their scripts run,
IN_Q in the queue or running, DONE, FAIL, %DONE, STATE Running, Success, Failure, Held or Unknown.

exit codes: 0: status printed; 2: no run found in that directory."""

_NAME = "pegasus-status"
_HEADS = ("UNRDY", "READY", "PRE", "IN_Q", "POST", "DONE", "FAIL")
_KEYS = ("unready", "ready", "pre", "queued", "post", "succeeded", "failed")
_LEGEND = (
    "UNRDY waits for other nodes     READY could be submitted, or waits for another try",
    "PRE   its PRE script runs       IN_Q  idle, running or held",
    "POST  its POST script runs      DONE  succeeded    FAIL  failed for good",
)
_QUEUED = {"pre": "Pre", "idle": "Idle", "running": "Run", "held": "Held", "post": "Post"}
_OVER = ("Success", "Failure")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = watching.parsed(_parser(), None if argv is None else list(argv))
    if isinstance(options, int):
        return options
    if options.watch is None:
        return watching.ended(_NAME, lambda: _once(options))
    return watching.ended(_NAME, lambda: _watch(options))


def _parser() -> argparse.ArgumentParser:
    made = watching.parser(_NAME, DESCRIPTION, EPILOG)
    add = made.add_argument
    add("-l", "--long", action="store_true", help="a line for each sub-workflow")
    add("-L", "--legend", action="store_true", help="say what the columns mean")
    add("-D", "--dirs", action="store_true", help="with -l: name submit directories in place of DAGs")
    add("--jobs", action="store_true", help="also the jobs that are in the queue, running or held")
    add("-Q", "--noqueue", action="store_true", help="nothing to do: no queue is asked")
    add("-d", "--debug", action="store_true", help="the same as -v")
    add(
        "-w",
        "--watch",
        nargs="?",
        type=_seconds,
        const=5.0,
        metavar="SEC",
        help="again every SEC seconds (default: 5), until it is over or Ctrl-C",
    )
    add("-j", "--json", "--jsonrv", action="store_true", help="as JSON, in the form of Pegasus' Python API")
    return made


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.1 to 86400, found {text}")
    return value


class _Found(NamedTuple):
    """What is told of one DAG."""

    branch: Branch
    status: Status
    jobs: list[Job]


def _found(options: argparse.Namespace, run: Run, jobs: bool) -> list[_Found]:
    from pegasus_toolkit.monitor import status
    from pegasus_toolkit.monitor.tree import walk

    note = watching.noting(_NAME, options.verbose or options.debug)
    return [
        _Found(branch, status.status(connection, branch.run), status.jobs(connection) if jobs else [])
        for branch, connection in walk(run, note=note)
    ]


def _once(options: argparse.Namespace) -> int:
    from pegasus_toolkit.monitor.locate import find

    found = _found(options, find(options.submitdir), options.jobs or options.json)
    if options.json:
        import json

        print(json.dumps(_json(found), indent=1))
    else:
        print("\n".join(_text(options, found)))
    return 0


def _watch(options: argparse.Namespace) -> int:
    """On a terminal always at the same place; elsewhere one block after the other."""
    from pegasus_toolkit.monitor.locate import find

    run, terminal = find(options.submitdir), sys.stdout.isatty()
    try:
        while True:
            found = _found(options, run, options.jobs)
            lines = [time.strftime("%Y-%m-%d %H:%M:%S"), *_text(options, found)]
            print(_screen(lines) if terminal else "\n".join((*lines, "")), flush=True)
            if found[0].status.state in _OVER:
                return 0
            time.sleep(options.watch)
    except KeyboardInterrupt:
        print()
        return 0


def _screen(lines: list[str]) -> str:
    """As much as there is room for, over what was there."""
    import shutil

    from pegasus_toolkit.cli.console import fitted

    size = shutil.get_terminal_size()
    shown = [fitted(line, size.columns) for line in lines[: max(size.lines - 1, 3)]]
    return "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J"


# --- as text ----------------------------------------------------------------------------------------


def _text(options: argparse.Namespace, found: list[_Found]) -> Iterator[str]:
    from pegasus_toolkit.monitor.status import Counts

    total = Counts()
    for one in found:
        total = total.plus(one.status.counts)
    width = max(5, len(str(total.total)))
    heads = " ".join(f"{head:>{width}}" for head in _HEADS)
    yield f"{heads} %DONE STATE   DAGNAME"
    root = found[0]
    row = _rower(width)
    name = f"*{root.branch.run.name}"
    if options.long and len(found) > 1:
        for one, tree in zip(found, _trees([one.branch.path for one in found]), strict=True):
            run = one.branch.run
            label = f"{tree}{run.directory if options.dirs else run.name}" if one.branch.path else name
            yield row(one.status.counts, one.status.state, label)
        yield row(total, "", f"all {len(found)} together")
    else:
        more = f"  (with {len(found) - 1} sub-workflows)" if len(found) > 1 else ""
        yield row(total, root.status.state, name + more)
    for one in found:
        if one.status.note and (options.long or not one.branch.path):
            yield f"{one.branch.run.name}: {one.status.note}"
    if options.legend:
        yield from ("", *_LEGEND)
    if options.jobs:
        yield from _jobs(found)


def _rower(width: int) -> Callable[[Counts, str, str], str]:
    from pegasus_toolkit.cli.console import visible

    def row(counts: Counts, state: str, name: str) -> str:
        numbers = " ".join(f"{number:>{width}}" for number in counts)
        return f"{numbers} {counts.percent:>5.1f} {state:<7} {visible(name)}"

    return row


def _trees(paths: list[tuple[str, ...]]) -> Iterator[str]:
    """For each, the lines that lead to it."""
    for at, path in enumerate(paths):
        later = paths[at + 1 :]
        marks = []
        for depth in range(1, len(path) + 1):
            above = path[: depth - 1]
            more = any(one[: depth - 1] == above and one[:depth] != path[:depth] for one in later)
            if depth == len(path):
                marks.append("├─" if more else "└─")
            else:
                marks.append("│ " if more else "  ")
        yield "".join(marks)


def _jobs(found: list[_Found]) -> Iterator[str]:
    from pegasus_toolkit.cli.console import visible

    jobs = [(one.branch.path, job) for one in found for job in one.jobs]
    yield ""
    if not jobs:
        yield "no job is in the queue"
        return
    yield f"{'ID':>10} {'STAT':<5} {'IN_STATE':>11} TRY JOB"
    for path, job in jobs:
        name = "/".join((*path, job.node))
        id = job.job.partition(".")[0] or "-"
        yield visible(f"{id:>10} {_QUEUED[job.state]:<5} {_clock(job.seconds):>11} {job.attempt:>3} {name}")
        if job.state == "held":
            yield visible(f"{'':>32} held: {job.reason}")


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"{days}+{clock}" if days else clock


# --- as JSON ----------------------------------------------------------------------------------------


def _json(found: list[_Found]) -> dict[str, object]:
    from pegasus_toolkit.monitor.status import Counts

    total = Counts()
    for one in found:
        total = total.plus(one.status.counts)
    return {
        "totals": _counted(total),
        "dags": {"/".join(one.branch.path) or "root": _dag(one) for one in found},
        "jobs": [
            {"dag": "/".join(one.branch.path) or "root", **job._asdict()} for one in found for job in one.jobs
        ],
    }


def _counted(counts: Counts) -> dict[str, object]:
    return {**dict(zip(_KEYS, counts, strict=True)), "percent_done": counts.percent, "total": counts.total}


def _dag(one: _Found) -> dict[str, object]:
    return {
        **_counted(one.status.counts),
        "state": one.status.state,
        "note": one.status.note,
        "seconds": one.status.seconds,
        "dagname": one.branch.run.name,
        "submit_directory": one.branch.run.directory,
    }


if __name__ == "__main__":
    sys.exit(main())
