"""``--dry-run``: each operation's route and why, on standard output; nothing is moved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pegasus_toolkit.cli import progress
from pegasus_toolkit.cli.check import begun, sizes
from pegasus_toolkit.cli.console import Console, visible
from pegasus_toolkit.cli.options import Arguments
from pegasus_toolkit.cli.outputs import Refused
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.engine.engine import Engine
from pegasus_toolkit.transfer.engine.survey import Survey
from pegasus_toolkit.transfer.model import Operation, Transfer
from pegasus_toolkit.transfer.observer import Plan
from pegasus_toolkit.transfer.records.report import ends
from pegasus_toolkit.transfer.units import plural


def plan_all(operations: Sequence[Operation], engine: Engine, arguments: Arguments, console: Console) -> int:
    """0 where all can be done, as far as can be known; else as the run would exit. Raises ``Refused``."""
    report = begun(arguments.report)
    done = _done(arguments.journal)
    counts = {"planned": 0, "failed": 0}
    code = 0
    survey = Survey(operations, engine.pool)
    known = bool(arguments.sources)  # who names them in plain words had them looked at
    for found in survey.look(lambda one: known or done(one)):
        operation = found.operation
        plan = _skipped(operation) if done(operation) else engine.plan(operation)
        if plan.error is None and found.error is not None:
            plan = plan._replace(error=found.error)
        if plan.error is not None:
            code = max(code, plan.error.exit_code)
        counts["failed" if plan.error is not None else "planned"] += 1
        if report is not None:
            report.planned(operation, plan, found.size)
        _print(line(operation, plan))
    for lacking in survey.room():
        code = max(code, lacking.exit_code)
        console.error(redact.message(str(lacking)))
    engine.close()
    if report is not None:
        report.end({**counts, "bytes": survey.bytes, "exit_code": code})
        if text := report.file.complaint("the report"):
            console.error(text)
            code = code or 1
    console.info(summary(counts["planned"], counts["failed"], sizes(survey)))
    return code


def summary(planned: int, failed: int, size: str) -> str:
    """The last line: "Found a route for 3 of 4 operations, 2.0 GiB; nothing was moved"."""
    total = planned + failed
    of = f"all {total}" if not failed and total > 1 else f"{planned} of {total}" if failed else f"the {total}"
    return f"Found a route for {of} {plural(total, 'operation')}, {size}; nothing was moved"


def _done(journal: str) -> Callable[[Operation], bool]:
    """Whether an earlier run with this journal has finished an operation."""
    if not journal or not Path(journal).exists():
        return lambda operation: False
    from pegasus_toolkit.transfer.records.journal import Journal, JournalError

    try:
        return Journal(journal, "", look=True).done
    except JournalError as error:
        raise Refused(str(error)) from error


def _skipped(operation: Operation) -> Plan:
    return Plan("none", "done by an earlier run", *ends(operation), None)


def line(operation: Operation, plan: Plan) -> str:
    """One operation's plan."""
    words = [str(operation.id)]
    if not isinstance(operation, Transfer):
        words.append(type(operation).__name__.lower())
    elif plan.error is None:
        words.append(plan.route)
    words.append(progress.pair(plan.source, plan.destination))
    text = "  ".join(words)
    if plan.error is not None:
        return f"{text}: cannot be done: {redact.message(str(plan.error))}"
    return f"{text}  ({redact.message(plan.why)})" if plan.why else text


def _print(text: str) -> None:
    try:
        print(visible(text).encode(errors="backslashreplace").decode(), file=sys.stdout)
    except (BrokenPipeError, ValueError):  # the reader has seen enough
        return
