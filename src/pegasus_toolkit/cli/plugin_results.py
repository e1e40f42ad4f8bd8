"""What became of each file, in the attributes that HTCondor reads.

The attributes of failures are those of HTCondor's *Transfer Error Data*: by them, and not by the text,
it may decide whether and where to try again.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from pegasus_toolkit import __version__
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Defect,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    Throttled,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.model import Attempt, Location, Outcome

TOLD = 10  # attempts of a file that are told one by one
NEVER, AT_ONCE = -1, 0  # Retryable


class Wish(NamedTuple):
    """One file as HTCondor asks for it. ``url``: as it was given, which the answer has to repeat."""

    url: str
    file: str
    upload: bool

    def ad(self, success: bool) -> dict[str, Any]:
        """What every answer says."""
        return {
            "TransferUrl": self.url,
            "TransferFileName": self.file,
            "TransferSuccess": success,
            "TransferType": "upload" if self.upload else "download",
            "TransferProtocol": self.url.partition("://")[0].rpartition("+")[2].lower(),
        }


class Names:
    """Whether a host's name is known, asked once for each."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def failure(self, host: str) -> str:
        """``Definitive``: there is no such name; ``PreContact``: nobody can tell; "" : it is known."""
        if host not in self._known:
            self._known[host] = _resolved(host)
        return self._known[host]


def _resolved(host: str) -> str:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        socket.getaddrinfo(name, None)
    except socket.gaierror as error:
        return "PreContact" if error.errno == socket.EAI_AGAIN else "Definitive"
    except UnicodeError:
        return "Definitive"
    return ""


def moved(wish: Wish, outcome: Outcome, names: Names) -> dict[str, Any]:
    """The answer for a file that the engine had."""
    attempts = outcome.attempts
    ad = wish.ad(outcome.status in ("done", "skipped"))
    if attempts:
        ad["TransferStartTime"] = int(attempts[0].started)
        ad["TransferEndTime"] = int(attempts[-1].started + attempts[-1].seconds)
        ad["ConnectionTimeSeconds"] = round(sum(one.seconds for one in attempts), 6)
    ad["TransferFileBytes"] = outcome.size
    # What went over the wire; a directory tells it of all its files.
    ad["TransferTotalBytes"] = max(sum(one.bytes for one in attempts), outcome.size)
    ad["TransferTries"] = len(attempts)
    ad["DeveloperData"] = _details(outcome)
    if outcome.error is not None or not ad["TransferSuccess"]:
        error = outcome.error or TransferError("not done")
        failed = [one for one in attempts if one.error is not None][-TOLD:]
        data = [_explained(one.error or error, _blamed(one), names, one) for one in failed]
        place = outcome.operation.destinations[0] if hasattr(outcome.operation, "destinations") else None
        ad["TransferError"] = message(error)
        ad["TransferErrorData"] = data or [_explained(error, place, names)]
    return ad


def refused(wish: Wish, error: TransferError, names: Names) -> dict[str, Any]:
    """The answer for a file that was not begun."""
    ad = wish.ad(False)
    ad |= {"TransferFileBytes": 0, "TransferTotalBytes": 0, "TransferTries": 0}
    return ad | {"TransferError": message(error), "TransferErrorData": [_explained(error, None, names)]}


def message(error: TransferError) -> str:
    """The line that the job's owner reads, as the reason why the job is held."""
    return f"{error.kind}: {redact.message(str(error))}"


def _details(outcome: Outcome) -> dict[str, Any]:
    """For people: HTCondor keeps it and does not look at it."""
    last = outcome.attempts[-1] if outcome.attempts else None
    remote = next((one for one in _ends(last) if one.endpoint.authority), None) if last else None
    details: dict[str, Any] = {"TransferLocalMachineName": socket.gethostname()}
    if remote is not None:
        details["TransferHostName"] = remote.endpoint.host
    if outcome.route:
        details["TransferRoute"] = outcome.route
    if outcome.digest:
        details["TransferDigest"] = f"{outcome.algorithm}:{outcome.digest}"
    if outcome.files != 1:
        details["TransferFiles"] = outcome.files
    return details


def _ends(attempt: Attempt) -> Iterator[Location]:
    if attempt.source is not None:
        yield attempt.source
    yield attempt.destination


def _blamed(attempt: Attempt) -> Location:
    """The end that an error is of: as it says, else the remote one."""
    ends = list(_ends(attempt))
    side = attempt.error.side if attempt.error is not None else ""
    if side:
        return ends[0] if side == "source" else ends[-1]
    return next((one for one in ends if one.endpoint.authority), ends[-1])


def _explained(
    error: TransferError, place: Location | None, names: Names, attempt: Attempt | None = None
) -> dict[str, Any]:
    """One entry of ``TransferErrorData``."""
    server = place.endpoint.host if place is not None and place.endpoint.authority else ""
    server = error.host or server or socket.gethostname()
    retryable = AT_ONCE if error.exit_code == 1 and not isinstance(error, Defect) else NEVER
    if isinstance(error, Throttled) and error.retry_after is not None:
        retryable = math.ceil(error.retry_after)
    details: dict[str, Any] = {"Kind": error.kind}
    if attempt is not None:
        details |= {"TransferRoute": attempt.route, "TransferBytes": attempt.bytes}
    return {
        "ErrorCode": error.exit_code,
        "ErrorString": message(error),
        "Retryable": retryable,
        "DeveloperData": details,
        **_classified(error, server, names),
    }


def _classified(error: TransferError, server: str, names: Names) -> dict[str, Any]:
    """``ErrorType`` and what belongs to it."""
    if isinstance(error, BadSpecification | Unsupported | Defect):
        return {"ErrorType": "Parameter", "PluginVersion": __version__, "PluginLaunched": True}
    if isinstance(error, Unreachable):
        if unknown := names.failure(server):
            return {"ErrorType": "Resolution", "FailedName": server, "FailureType": unknown}
        return {"ErrorType": "Contact", "FailedServer": server}
    if isinstance(error, Denied):
        found = {"ErrorType": "Authorization", "FailedServer": server}
        return found | {"FailureType": "Authorization", "ShouldRefresh": False}
    if isinstance(error, NotFound | IsDirectory):
        return {"ErrorType": "Specification", "FailedServer": server}
    why = "Unknown"
    for kind, word in ((NoSpace, "NoSpace"), (TimedOut, "TimedOut"), (Corrupted, "Corrupted")):
        why = word if isinstance(error, kind) else why
    return {"ErrorType": "Transfer", "FailedServer": server, "FailureType": why}
