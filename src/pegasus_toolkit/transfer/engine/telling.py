"""The last look at an outcome before observers get it: no secret in its errors, and help known only now."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer import redact, url
from pegasus_toolkit.transfer.errors import NotFound, TransferError
from pegasus_toolkit.transfer.model import Location, Operation, Outcome, Transfer

# As streams/disk.py and backends call a file that is not whole yet.
_ASIDE = re.compile(
    r"(?:(?<=/)|^)(?:\.[^/\n]*?\.?[0-9a-f]{8,16}(?:-[0-9a-f]{8})?\.part|[^/\n]*?\.[0-9a-f]{16}\.tmp)(?!\w)"
)


def finish(outcome: Outcome, credentials: Credentials) -> None:
    """Changes the outcome's errors in place; other outcomes may share them."""
    hidden = _hidden(outcome.operation)
    for attempt in outcome.attempts:
        if attempt.error is not None:
            _hint(attempt.error, attempt.source)
            _final(attempt.error, attempt.destination)
            mask(attempt.error, credentials, hidden)
    if outcome.error is not None:
        mask(outcome.error, credentials, hidden)


def tellable(error: TransferError, operation: Operation, credentials: Credentials) -> TransferError:
    """The same error, changed in place: without what the operation's URLs and the credentials keep secret."""
    mask(error, credentials, _hidden(operation))
    return error


def mask(error: TransferError, credentials: Credentials, more: Iterable[str] = ()) -> None:
    """Takes out every secret that is known, whoever has repeated it."""
    for name in ("message", "url", "host", "hint"):
        text = getattr(error, name)
        if text:
            setattr(error, name, credentials.mask(text, more))
    error.args = (error.message,)


def _hidden(operation: Operation) -> list[str]:
    hidden = [secret for place in _places(operation) for secret in redact.hidden(place.url)]
    return hidden + [unquote(secret) for secret in hidden if "%" in secret]


def _hint(error: TransferError, source: Location | None) -> None:
    if source is not None and not error.hint and isinstance(error, NotFound) and error.side == "source":
        error.hint = url.meant_literally(source)


def _final(error: TransferError, destination: Location) -> None:
    """The file's own name, where an error names what it was called until it was whole."""
    name = url.parted(destination)[0].rstrip("/").rpartition("/")[2]
    for field in ("message", "url", "hint"):
        text = getattr(error, field)
        if name and (".part" in text or ".tmp" in text):
            setattr(error, field, _ASIDE.sub(lambda _: name, text))


def _places(operation: Operation) -> tuple[Location, ...]:
    if isinstance(operation, Transfer):
        return operation.sources + operation.destinations
    return (operation.target,)
