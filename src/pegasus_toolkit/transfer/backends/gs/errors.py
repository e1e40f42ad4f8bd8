"""What an answer of Google Storage means, by its status and reason."""

from __future__ import annotations

from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    Throttled,
    TimedOut,
    TransferError,
    Unsupported,
)

_BY_REASON: dict[str, type[TransferError]] = {
    "accountDisabled": Denied,
    "backendError": ServerFault,
    "billingNotEnabled": Denied,
    "internalError": ServerFault,
    "invalidChecksum": Corrupted,
    "quotaExceeded": NoSpace,
    "dailyLimitExceeded": NoSpace,
    "rateLimitExceeded": Throttled,
    "userRateLimitExceeded": Throttled,
    "uploadBrokenConnection": ServerFault,
    "uploadTooLarge": Unsupported,
    "userProjectMissing": Denied,
}
_BY_STATUS: dict[int, type[TransferError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    408: TimedOut,
    409: ServerFault,
    410: ServerFault,  # an upload that is over
    412: ServerFault,  # another generation than was meant
    413: Unsupported,
    416: ServerFault,
    429: Throttled,
    503: Throttled,
}
_HINTS = {
    "accountDisabled": "have the account enabled again",
    "billingNotEnabled": "the bucket's project has no billing",
    "userProjectMissing": "the bucket's readers pay: name your project as user_project in section [gs://{host}]",
}


def failure(
    status: int,
    reason: str,
    message: str,
    *,
    url: str,
    host: str,
    who: str,
    retry_after: float | None = None,
) -> TransferError:
    """The error of ours for an answer that is not a success."""
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status)
    if kind is None:
        kind = ServerFault if status >= 500 else BadSpecification
    text = f"Google Storage answered {status}{f': {message}' if message else ''}"
    hint = _HINTS.get(reason, "").format(host=host)
    if kind is Denied and not hint:
        hint = f"{who} was shown: check what it may do" if who else "no credential was shown: name one in " \
            "GOOGLE_APPLICATION_CREDENTIALS"  # fmt: skip
    if 300 <= status < 400:
        kind, hint = BadSpecification, "the endpoint sends us elsewhere: correct it"
    if kind is Throttled:
        return Throttled(text, retry_after=retry_after, url=url, host=host, hint=hint)
    return kind(text, url=url, host=host, hint=hint)
