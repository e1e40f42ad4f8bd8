"""The report of a run: JSON lines, one object an operation, and one of type "summary" at the end.

``docs/options.md`` lists the fields. Lines are written as outcomes settle, one write for each
batch, so a killed run leaves a valid beginning; the missing summary tells that it is only that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.model import Attempt, Location, Operation, Outcome, Transfer
from pegasus_toolkit.transfer.records.outfile import OutFile

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.observer import Observer, Plan, Progress, Summary


class Report:
    """Writes outcomes to a file that is begun anew. Raises ``OSError`` when that cannot be."""

    def __init__(self, path: str) -> None:
        self.file = OutFile(path)

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        self.file.write(b"".join([encode(outcome_fields(outcome)) for outcome in outcomes]))

    def tick(self, progress: Progress) -> None:
        """Nothing: only what has settled is reported."""

    def planned(self, operation: Operation, plan: Plan, size: int | None) -> None:
        """One line of a dry run. ``size``: bytes, ``None`` where nobody can tell."""
        self.file.write(encode({**plan_fields(operation, plan), "size": size}))

    def noted(self, fields: Mapping[str, Any]) -> None:
        """A line of another kind."""
        self.file.write(encode(fields))

    def finish(self, summary: Summary, exit_code: int, verified: Mapping[str, int]) -> None:
        """The last line. ``exit_code`` is the command's, which may be worse than the engine's."""
        self.end({**summary._asdict(), "exit_code": exit_code, "verified": verified})

    def end(self, totals: Mapping[str, Any]) -> None:
        """Writes the summary object and closes the file."""
        self.file.write(encode({"type": "summary", **totals}))
        self.file.close()


if TYPE_CHECKING:
    _: type[Observer] = Report


def encode(fields: Mapping[str, Any]) -> bytes:
    """One line of JSON. Lone surrogates (names that are not UTF-8) are escaped as in Python."""
    try:
        return msgspec.json.encode(fields) + b"\n"
    except UnicodeEncodeError:
        return msgspec.json.encode(_printable(fields)) + b"\n"


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """What became of one operation."""
    attempts = outcome.attempts
    last = attempts[-1] if attempts else None
    started = attempts[0].started if attempts else None
    seconds = last.started + last.seconds - attempts[0].started if last else 0.0
    source, destination = ends(outcome.operation)
    if last is not None:
        source, destination = last.source or source, last.destination
    done = outcome.status == "done"
    digest = {"type": outcome.algorithm, "value": outcome.digest} if outcome.digest else None
    return {
        "id": outcome.operation.id,
        "type": outcome.kind,
        "lfn": getattr(outcome.operation, "lfn", ""),
        "status": outcome.status,
        "source": _location(source),
        "destination": _location(destination),
        "route": outcome.route,
        "bytes": outcome.size,
        "files": outcome.files,
        "member": outcome.member,
        "digest": digest,
        "verified": outcome.verified,
        "stored": outcome.stored,
        "started": started,
        "seconds": round(seconds, 6),
        "rate": round(outcome.size / last.seconds) if done and last and last.seconds > 0 else None,
        "attempts": [_attempt(attempt) for attempt in attempts],
        "error": _error(outcome.error),
        "detail": redact.message(outcome.detail),
    }


def plan_fields(operation: Operation, plan: Plan) -> dict[str, Any]:
    """What would be done with one operation."""
    source, destination = ends(operation)
    kind = "transfer" if isinstance(operation, Transfer) else type(operation).__name__.lower()
    return {
        "id": operation.id,
        "type": kind,
        "lfn": getattr(operation, "lfn", ""),
        "status": "failed" if plan.error is not None else "planned",
        "source": _location(plan.source or source),
        "destination": _location(plan.destination or destination),
        "route": plan.route,
        "why": redact.message(plan.why),
        "error": _error(plan.error),
    }


def ends(operation: Operation) -> tuple[Location | None, Location]:
    """The first source (``None`` for mkdir and remove) and the first destination."""
    if isinstance(operation, Transfer):
        return operation.sources[0], operation.destinations[0]
    return None, operation.target


def _location(location: Location | None) -> dict[str, str] | None:
    if location is None:
        return None
    return {"url": redact.url(location.url), "site": location.endpoint.site}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "source": _location(attempt.source),
        "destination": _location(attempt.destination),
        "route": attempt.route,
        "started": attempt.started,
        "seconds": round(attempt.seconds, 6),
        "bytes": attempt.bytes,
        "error": _error(attempt.error),
    }


def _error(error: TransferError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "kind": error.kind,
        "message": redact.message(error.message),
        "url": redact.url(error.url),
        "host": error.host,
        "hint": redact.message(error.hint),
        "side": error.side,
        "retryable": error.retryable,
        "exit_code": error.exit_code,
    }


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {key: _printable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(part) for part in value]
    return value
