"""What an answer of an S3 service means, by its status and S3 code."""

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

_BY_CODE: dict[str, type[TransferError]] = {
    "AccessDenied": Denied,
    "AuthorizationHeaderMalformed": Denied,
    "BadDigest": Corrupted,
    "BucketAlreadyExists": Denied,
    "EntityTooLarge": Unsupported,
    "ExpiredToken": Denied,
    "IncompleteBody": ServerFault,
    "InvalidAccessKeyId": Denied,
    "InvalidBucketName": BadSpecification,
    "InvalidDigest": Corrupted,
    "InvalidObjectState": Denied,
    "InvalidToken": Denied,
    "KeyTooLongError": BadSpecification,
    "NoSuchBucket": NotFound,
    "NoSuchKey": NotFound,
    "NoSuchUpload": ServerFault,
    "OperationAborted": ServerFault,
    "QuotaExceeded": NoSpace,
    "RequestTimeTooSkewed": Denied,
    "RequestTimeout": TimedOut,
    "SignatureDoesNotMatch": Denied,
    "SlowDown": Throttled,
    "TooManyRequests": Throttled,
    "XAmzContentSHA256Mismatch": Corrupted,
    "XMinioStorageFull": NoSpace,
}
_BY_STATUS: dict[int, type[TransferError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    405: Unsupported,
    408: TimedOut,
    409: ServerFault,
    412: Corrupted,
    413: Unsupported,
    416: Corrupted,
    429: Throttled,
    501: Unsupported,
    503: Throttled,
    507: NoSpace,
}
_HINTS = {
    "RequestTimeTooSkewed": "set this machine's clock",
    "ExpiredToken": "get a new session token for {who}",
    "InvalidAccessKeyId": "check {who}",
    "SignatureDoesNotMatch": "check {who}",
    "AuthorizationHeaderMalformed": "set the bucket's region in {who}",
    "InvalidObjectState": "the object is in an archive and must be restored first",
    "BucketAlreadyExists": "bucket names are shared by all users: choose another",
}


def failure(
    status: int, code: str, *, url: str, host: str, who: str, retry_after: float | None = None
) -> TransferError:
    """The error of ours for an answer that is not a success."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if kind is None:
        kind = ServerFault if status >= 500 else BadSpecification
    if code == "NoSuchBucket":
        text = "no such bucket"
    elif status == 412:
        text = "changed while it was read"
    else:
        text = f"S3 answered {status} {code}".rstrip()
    hint = _HINTS.get(code, "").format(who=who)
    if kind is Denied and not hint:
        hint = f"check what {who} may do"
    if 300 <= status < 400:
        hint = f"the bucket is in another region: set region (and endpoint) for {who}"
    if kind is Throttled:
        return Throttled(text, retry_after=retry_after, url=url, host=host, hint=hint)
    return kind(text, url=url, host=host, hint=hint)
