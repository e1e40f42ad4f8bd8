"""The last look at an outcome before observers get it: no secret in its errors, and help known only now."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer import redact, url
from pegasus_toolkit.transfer.errors import NotFound, TransferError
from pegasus_toolkit.transfer.model import Location, Operation, Outcome, Transfer


def finish(outcome: Outcome, credentials: Credentials) -> None:
    """Changes the outcome's errors in place; other outcomes may share them."""
    hidden = [secret for place in _places(outcome.operation) for secret in redact.hidden(place.url)]
    hidden += [unquote(secret) for secret in hidden if "%" in secret]
    for attempt in outcome.attempts:
        if attempt.error is not None:
            _hint(attempt.error, attempt.source)
            mask(attempt.error, credentials, hidden)
    if outcome.error is not None:
        mask(outcome.error, credentials, hidden)


def mask(error: TransferError, credentials: Credentials, more: Iterable[str] = ()) -> None:
    """Takes out every secret that is known, whoever has repeated it."""
    for name in ("message", "url", "host", "hint"):
        text = getattr(error, name)
        if text:
            setattr(error, name, credentials.mask(text, more))
    error.args = (error.message,)


def _hint(error: TransferError, source: Location | None) -> None:
    if source is not None and not error.hint and isinstance(error, NotFound) and error.side == "source":
        error.hint = url.meant_literally(source)


def _places(operation: Operation) -> tuple[Location, ...]:
    if isinstance(operation, Transfer):
        return operation.sources + operation.destinations
    return (operation.target,)
