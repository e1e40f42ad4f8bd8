"""What Rucio's errors mean, by their class; its own words are told."""

from __future__ import annotations

import requests
from rucio.common import exception as theirs

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
)

LOGIN = "look at auth_type and what belongs to it in rucio.cfg or section [rucio] of credentials.conf"
QUOTA = "erase data there, take another RSE, or ask for more: rucio account limit list ACCOUNT"
EXISTS = (theirs.DataIdentifierAlreadyExists, theirs.FileReplicaAlreadyExists, theirs.Duplicate)
DIFFERS = (theirs.FileConsistencyMismatch,)

_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[TransferError], str], ...] = (
    ((theirs.DataIdentifierNotFound, theirs.ScopeNotFound, theirs.ReplicaNotFound), NotFound, ""),
    (
        (theirs.RSENotFound, theirs.InvalidRSEExpression),
        BadSpecification,
        "rucio rse list tells which there are",
    ),
    ((theirs.CannotAuthenticate, theirs.IdentityError, theirs.NoAuthInformation), Denied, LOGIN),
    ((theirs.CannotAuthorize,), Denied, "get a new token"),
    (
        (theirs.AccessDenied, theirs.ScopeAccessDenied, theirs.RSEAccessDenied),
        Denied,
        "ask Rucio's operators",
    ),
    (
        (
            theirs.InsufficientAccountLimit,
            theirs.RSEOverQuota,
            theirs.FullStorage,
            theirs.InsufficientTargetRSEs,
        ),
        NoSpace,
        QUOTA,
    ),
    ((theirs.RSEWriteBlocked,), Denied, "take another RSE, or wait until it is opened again"),
    ((*EXISTS, *DIFFERS), Denied, "a DID is never replaced: take another name"),
    (
        (theirs.InvalidObject, theirs.InputValidationError, theirs.InvalidPath, theirs.NameTypeError),
        BadSpecification,
        "",
    ),
    (
        (theirs.RSEProtocolNotSupported, theirs.RSEOperationNotSupported, theirs.UnsupportedOperation),
        Unsupported,
        "",
    ),
    ((theirs.ServerConnectionException, requests.ConnectionError), Unreachable, "look at rucio_host"),
    ((requests.Timeout,), TimedOut, ""),
    ((Exception,), ServerFault, ""),
)


def failure(error: Exception, *, url: str, host: str) -> TransferError:
    """The error of ours for one of the library's."""
    kind, hint = next((kind, hint) for sort, kind, hint in _MEANINGS if isinstance(error, sort))
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError):
        kind = Unreachable if isinstance(error, requests.ConnectTimeout) else Denied
        hint = (
            "look at rucio_host" if kind is Unreachable else "ca_cert or X509_CERT_DIR names who is trusted"
        )
    return kind(f"Rucio: {words(error)}", url=url, host=host, hint=hint)


def words(error: Exception) -> str:
    """What it says, in a line."""
    told = "" if isinstance(error, requests.RequestException) else " ".join(str(error).split())
    return redact.message(told)[:300] or type(error).__name__
