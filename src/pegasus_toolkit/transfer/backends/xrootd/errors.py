"""What the XRootD client library's statuses stand for, told apart by their numbers."""

from __future__ import annotations

from typing import Any

from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
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
    Unsupported,
)

FS_ERROR = 3005  # of any kind: the server found no better number
NOT_FOUND = 3011
EXISTS = 3018
TLS_ERROR = 110

# The server's answers (kXR_...).
_BY_ERRNO: dict[int, type[TransferError]] = {
    3000: BadSpecification,  # ArgInvalid
    3001: BadSpecification,  # ArgMissing
    3002: BadSpecification,  # ArgTooLong
    3009: NoSpace,
    3010: Denied,  # NotAuthorized
    NOT_FOUND: NotFound,
    3013: Unsupported,
    3016: IsDirectory,
    3019: Corrupted,  # ChkSumErr
    3021: NoSpace,  # overQuota
    3024: Throttled,  # Overloaded
    3025: Denied,  # fsReadOnly
    3028: Denied,  # TLSRequired
    3030: Denied,  # AuthFailed
    3034: TimedOut,  # ReqTimedOut
    3035: TimedOut,  # TimerExpired
}

# The library's own (err...).
_BY_CODE: dict[int, type[TransferError]] = {
    9: BadSpecification,  # InvalidArgs
    13: Unsupported,  # NotSupported
    14: Corrupted,  # DataError
    101: Unreachable,  # InvalidAddr
    102: Unreachable,  # SocketError
    103: TimedOut,  # SocketTimeout
    108: Unreachable,  # ConnectionError
    TLS_ERROR: Denied,
    203: Denied,  # LoginFailed
    204: Denied,  # AuthFailed
    206: TimedOut,  # OperationExpired
    207: Cancelled,  # OperationInterrupted
    305: Corrupted,  # CheckSumError
}

_TEXTS = {
    101: "the host's name cannot be resolved",
    102: "the connection failed",
    103: "the server went silent",
    107: "the connection broke off",
    108: "no connection",
    TLS_ERROR: "no TLS, or a certificate that is not trusted",
    206: "no answer in time",
}


def of(status: Any, url: str, host: str, secret: str = "", hint: str = "") -> TransferError:
    """The error of ours; ``secret`` is taken out of its text, ``hint`` is for what was denied."""
    number = int(status.errno or 0)
    code = int(status.code)
    kind = _BY_ERRNO.get(number) or _BY_CODE.get(code) or ServerFault
    text = _TEXTS.get(code) or _text(str(status.message)) or "the server failed"
    if code == TLS_ERROR:
        hint = "X509_CERT_DIR names the directory of trusted authorities"
    if secret:
        text = text.replace(secret, "***")
    return kind(text, url=url, host=host, hint=hint if kind is Denied else "")


def _text(message: str) -> str:
    """Without the words that the library puts before what the server said."""
    return message.removeprefix("[ERROR] ").removeprefix("[FATAL] ").strip().rpartition("] ")[2]
