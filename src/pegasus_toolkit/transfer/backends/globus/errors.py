"""What Globus' errors mean, by their codes; its own words are told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import globus_sdk

from pegasus_toolkit.credentials.globus import INIT
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.backends.shared.files import perhaps
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    ServerFault,
    Throttled,
    TimedOut,
    TransferError,
    Unreachable,
)

_OF_CONSENT = re.compile(r"/scopes/([0-9a-fA-F-]{36})/data_access")
NOTHING_LEFT = "settled"  # for ``perhaps``: Globus is done with it, so nothing more will be written

# The last word of a code of the API ("ExternalError.DirListingFailed.PermissionDenied").
_BY_WORD: dict[str, type[TransferError]] = {
    "PermissionDenied": Denied,
    "EndpointPermissionDenied": Denied,
    "AuthenticationFailed": Denied,
    "ConsentRequired": Denied,
    "Exists": Denied,
    "LoginFailed": Denied,
    "NotFound": NotFound,
    "IsADirectory": IsDirectory,
    "NotDirectory": NotFound,
    "NotADirectory": NotFound,
    "QuotaExceeded": NoSpace,
    "NoSpaceLeft": NoSpace,
}
# Of a task's event, or its end. What is not among them may pass: Globus goes on trying.
_BY_EVENT: dict[str, type[TransferError]] = {
    "FILE_NOT_FOUND": NotFound,
    "NOT_FOUND": NotFound,
    "PERMISSION_DENIED": Denied,
    "ENDPOINT_PERMISSION_DENIED": Denied,
    "AUTH": Denied,
    "CONSENT_REQUIRED": Denied,
    "EXPIRED": TimedOut,
    "IS_A_DIRECTORY": IsDirectory,
    "QUOTA_EXCEEDED": NoSpace,
    "NO_SPACE_LEFT": NoSpace,
    "CHECKSUM_MISMATCH": Corrupted,
    "VERIFY_CHECKSUM": Corrupted,
    "PAUSED": Denied,
    "PAUSED_BY_ADMIN": Denied,
    "GC_PAUSED": Denied,
    "ENDPOINT_DELETED": BadSpecification,
    "ENDPOINT_NOT_FOUND": BadSpecification,
}
PASSES = frozenset(("VERIFY_CHECKSUM", "CHECKSUM_MISMATCH"))  # while the task goes on: the file is sent again
_HINTS = {
    "PAUSED": "ask the collection's administrator, or wait until it is opened again",
    "PAUSED_BY_ADMIN": "ask the collection's administrator, or wait until it is opened again",
    "GC_PAUSED": "have Globus Connect Personal go on there",
    "CONSENT_REQUIRED": f"run {INIT} --collections COLLECTION",
}


def failure(error: globus_sdk.GlobusError, *, url: str, collection: str) -> TransferError:
    """The error of ours for one of the library's."""
    where: dict[str, Any] = {"url": url, "host": collection}
    if isinstance(error, globus_sdk.AuthAPIError):
        return _login(error, where)
    if isinstance(error, globus_sdk.GlobusAPIError):
        return _refusal(error, where, collection)
    if isinstance(error, globus_sdk.GlobusTimeoutError):
        return TimedOut("no answer from Globus in time", **where)
    if isinstance(error, globus_sdk.NetworkError):
        return Unreachable("Globus cannot be reached", hint="check this machine's network", **where)
    return ServerFault(f"Globus' library failed: {type(error).__name__}", **where)


def _login(error: globus_sdk.AuthAPIError, where: Mapping[str, Any]) -> TransferError:
    text = f"Globus gives no token ({error.http_status}: {_words(error.text) or error.code})"
    if error.http_status == 429 or error.http_status >= 500:
        return ServerFault(text, **where)
    return Denied(text, hint=f"the login is over, or was revoked: run {INIT}", **where)


def _refusal(error: globus_sdk.GlobusAPIError, where: Mapping[str, Any], collection: str) -> TransferError:
    code = error.code or ""
    text = f"Globus answered {error.http_status} {code}: {_words(error.message or '')}"
    if needs := error.info.consent_required:
        named = dict.fromkeys(_OF_CONSENT.findall(" ".join(needs.required_scopes or ())))
        which = " ".join(named) or collection
        return Denied(text, hint=f"consent is missing: run {INIT} --collections {which}", **where)
    if needed := error.info.authorization_parameters:
        domains = " ".join(needed.session_required_single_domain or ())
        more = f" --domains {domains}" if domains else ""
        return Denied(text, hint=f"another login is asked for: run {INIT}{more}", **where)
    word = code.rpartition(".")[2]
    kind = _BY_WORD.get(word)
    if kind is None:
        kind = ServerFault if error.http_status >= 500 or error.http_status == 408 else BadSpecification
    hint = f"run {INIT}" if error.http_status == 401 else ""
    if error.http_status == 429:
        return Throttled(text, retry_after=_seconds(error.headers.get("Retry-After")), **where)
    found = kind(text, hint=hint, **where)
    return perhaps(found, "exists") if word == "Exists" else found


def of_task(code: str, words: str, *, url: str, collection: str) -> TransferError:
    """What ended a task, or will."""
    text = f"Globus: {code}{f': {_words(words)}' if words else ''}"
    hint = _HINTS.get(code, "").replace("COLLECTION", collection)
    found = _BY_EVENT.get(code, ServerFault)(text, url=url, host=collection, hint=hint)
    return perhaps(found, NOTHING_LEFT)


def hopeless(code: str) -> bool:
    """Whether a task with that event cannot succeed any more."""
    return code in _BY_EVENT and code not in PASSES


def _words(text: str) -> str:
    """The first lines, without what may be a secret."""
    return redact.message(" ".join(text.split()))[:300]


def _seconds(told: Any) -> float | None:
    return float(told) if isinstance(told, str) and told.isdecimal() else None
