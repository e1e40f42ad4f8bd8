"""What errors of the client library stand for."""

from __future__ import annotations

import ssl

import irods.exception as irods_errors

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import (
    Corrupted,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
)


def _named(*names: str) -> tuple[type[Exception], ...]:
    return tuple(getattr(irods_errors, name) for name in names)


EXISTS = _named(
    "CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME", "OVERWRITE_WITHOUT_FORCE_FLAG", "CAT_NAME_EXISTS_AS_COLLECTION",
    "CAT_NAME_EXISTS_AS_DATAOBJ",
)  # fmt: skip
LOGIN = "iinit, or the password in the environment file (irodsPassword), in credentials.conf (password)"
ALL = (irods_errors.iRODSException, irods_errors.PycommandsException, OSError)  # that the library raises

# In the order in which they are looked for: ours, what is said, and what to do.
MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[TransferError], str, str], ...] = (
    (
        _named("DoesNotExist", "CAT_UNKNOWN_COLLECTION", "CAT_UNKNOWN_FILE", "CAT_NO_ROWS_FOUND")
        + _named("OBJ_PATH_DOES_NOT_EXIST", "USER_FILE_DOES_NOT_EXIST"),
        NotFound, "no such data object or collection", "",
    ),
    (EXISTS, Denied, "something of that name is there", ""),
    (
        _named("CAT_INVALID_AUTHENTICATION", "CAT_INVALID_USER", "CAT_PASSWORD_EXPIRED")
        + _named("PAM_AUTH_PASSWORD_FAILED"),
        Denied, "the login failed: {name}", LOGIN,
    ),
    (
        _named("CAT_NO_ACCESS_PERMISSION", "CAT_INSUFFICIENT_PRIVILEGE_LEVEL", "SYS_NO_API_PRIV"),
        Denied, "no permission", "",
    ),
    (_named("SYS_RESC_QUOTA_EXCEEDED"), NoSpace, "the quota of the resource is exceeded", ""),
    (_named("USER_CHKSUM_MISMATCH"), Corrupted, "the server's checksum is not that of what was sent", ""),
    (
        (ssl.SSLError,), Denied, "TLS: {told}",
        "irods_ssl_ca_certificate_file in the environment file names who is trusted",
    ),
    ((TimeoutError,), TimedOut, "no answer in time", ""),
    ((irods_errors.NetworkException, OSError), Unreachable, "{told}", ""),
    ((Exception,), ServerFault, "{name}: {told}", ""),
)  # fmt: skip


def translated(error: Exception, url: str, host: str) -> TransferError:
    """Ours in place of the library's."""
    told, name = redact.message(str(error)), type(error).__name__
    _, kind, text, hint = next(one for one in MEANINGS if isinstance(error, one[0]))
    ours = kind(text.format(told=told or name, name=name), url=url, hint=hint)
    ours.host = host
    return ours
