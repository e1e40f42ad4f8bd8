"""``pegasus-analyzer``: what failed in a run, where, what it said, and what to try."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pegasus_toolkit.cli import watching

if TYPE_CHECKING:
    from pegasus_toolkit.monitor.failures import Failure, Totals
    from pegasus_toolkit.monitor.tree import Branch

DESCRIPTION = "Tells what failed in a run, where, what it said, and what to try. It changes nothing."

EPILOG = """\
exit codes: 0: the report was printed, also of a failure (as Pegasus 5.1 has it); 2: no run found there.
With --exit-code also 2 where something failed or is held."""

_NAME = "pegasus-analyzer"
_WIDTH = 100
_LINES = 25  # of an output that are shown


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = watching.parsed(_parser(), None if argv is None else list(argv))
    if isinstance(options, int):
        return options
    return watching.ended(_NAME, lambda: _analyze(options))


def _parser() -> argparse.ArgumentParser:
    made = watching.parser(_NAME, DESCRIPTION, EPILOG)
    add = made.add_argument
    add("-d", "-i", "--dir", metavar="DIR", help="the submit directory, another way to say it")
    add("-q", "--quiet", action="store_true", help="name output files, don't show what is in them")
    add("-r", "--recurse", action="store_true", help="also what failed in sub-workflows")
    add("-T", "--traverse-all", action="store_true", help="the same as -r")
    add("-j", "--json", action="store_true", help="as JSON")
    add("-S", "--summary", action="store_true", help="the counts of jobs alone")
    add("--exit-code", action="store_true", help="exit with 2 if something failed or is held")
    # What is told is taken from the run's own files, always up to date.
    watching.without_meaning(
        made,
        "-f|--files",
        "-s|--strict",
        "-m|-t|--monitord",
        values=("-c|--conf", "-o|--output-dir", "-p|--print", "--top-dir", "--type"),
    )
    return made


def _analyze(options: argparse.Namespace) -> int:
    from pegasus_toolkit.monitor.failures import failures, totals
    from pegasus_toolkit.monitor.locate import find
    from pegasus_toolkit.monitor.status import status
    from pegasus_toolkit.monitor.tree import walk

    run = find(options.dir or options.submitdir)
    deep = options.recurse or options.traverse_all
    code, told = 0, []
    for branch, connection in walk(run, True, watching.noting(_NAME, options.verbose), deep):
        counts, found = totals(connection), list(failures(connection, branch.run))
        state = status(connection, branch.run)
        code = 2 if found or (not branch.path and state.state == "Failure") else code
        if options.json:
            told.append(_json(branch, counts, found, state.state, state.note))
        elif found or not branch.path:
            print("\n".join(_text(options, branch, counts, found, f"{state.state} {state.note}".strip())))
    if options.json:
        import json

        print(json.dumps({"exit": code, "workflows": told}, indent=1))
    elif code:
        print(f"\nwhen it is mended: pegasus-run {shlex.quote(run.directory)}   goes on where it stopped")
    return code if options.exit_code else 0


def _json(branch: Branch, counts: Totals, found: list[Failure], state: str, note: str) -> dict[str, object]:
    import msgspec

    return {
        "dag": branch.run.dag,
        "path": "/".join(branch.path),
        "state": state,
        "note": note,
        "jobs": counts._asdict(),
        "failures": [msgspec.to_builtins(one._asdict()) for one in found],
    }


# --- as text ----------------------------------------------------------------------------------------


def _text(
    options: argparse.Namespace, branch: Branch, counts: Totals, found: list[Failure], state: str
) -> Iterator[str]:
    from pegasus_toolkit.cli.console import visible

    name = "/".join(branch.path) or branch.run.name
    yield visible(f" {name} ".center(_WIDTH, "*"))
    yield ""
    yield visible(f" Submit directory  : {branch.run.directory}")
    yield f" State             : {state}"
    yield f" Total jobs        : {counts.total:7}"
    for word in ("succeeded", "failed", "held", "unsubmitted", "unfinished"):
        count = getattr(counts, word)
        share = 100 * count / counts.total if counts.total else 0.0
        yield f" # jobs {word:<11}: {count:7} ({share:.2f}%)"
    for one in () if options.summary else found:
        yield ""
        yield visible(f" {one.node} ".center(_WIDTH, "="))
        yield ""
        yield from _failure(options, one, f"{branch.run.directory}/")


def _failure(options: argparse.Namespace, one: Failure, directory: str) -> Iterator[str]:
    from pegasus_toolkit.cli.console import visible

    facts = {
        "what": f"{one.state}, {one.kind}" + (f", in phase {one.phase}" if one.phase else ""),
        "kind": one.failure,
        "why": one.why or one.error,
        "error": one.error if one.why and one.error not in one.why else "",
        "reason": one.reason,
        "job": _ended(one),
        "attempts": str(one.attempts),
        "site": one.site,
        "host": one.host,
        "seconds": "" if one.seconds is None else f"{one.seconds:.1f}",
    }
    for number, task in enumerate(one.tasks, 1):
        word = "program" if len(one.tasks) == 1 else f"program {number}"
        how = _how(task.exit, task.signal)
        facts[word] = shlex.join((task.program, *task.arguments)) + (f"   ({how})" if how else "")
    for number, transfer in enumerate(one.transfers[:10], 1):
        place = f"{transfer.source} -> {transfer.destination}" if transfer.source else transfer.destination
        facts[f"transfer {number}"] = f"{transfer.lfn or transfer.kind}: {transfer.error}: {place}"
    if len(one.transfers) > 10:
        facts["transfers"] = f"{len(one.transfers) - 10} more failed, see the record"
    facts.update({what: path.removeprefix(directory) for what, path in one.files.items()})
    for word, fact in facts.items():
        if fact:
            yield visible(f"{word:>12}: {fact}")
    for hint in one.hints:
        yield visible(f"{'try':>12}: {hint}")
    if not options.quiet:
        yield from _outputs(one.output)


def _outputs(output: dict[str, str]) -> Iterator[str]:
    from pegasus_toolkit.cli.console import visible

    for who, text in output.items():
        lines = text.rstrip("\n").split("\n")
        left = len(lines) - _LINES
        yield ""
        yield visible(f" {who}{f' (the last {_LINES} lines)' if left > 0 else ''} ".center(_WIDTH, "-"))
        yield from (visible(line.expandtabs()) for line in lines[-_LINES:])


def _ended(one: Failure) -> str:
    number = one.job.partition(".")[0]
    how = _how(one.status, None) if one.status is None or one.status >= 0 else _how(None, -one.status)
    return ", ".join(part for part in (number if number.isdecimal() else "", how) if part)


def _how(code: int | None, signal: int | None) -> str:
    if signal is not None:
        return f"ended by signal {signal}"
    return f"exit code {code}" if code is not None else ""


if __name__ == "__main__":
    sys.exit(main())
