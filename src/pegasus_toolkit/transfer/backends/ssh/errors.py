"""What a server's answer means as an error of ours, by its code."""

from __future__ import annotations

from pegasus_toolkit.transfer.clients.sftp import wire
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    ServerFault,
    Side,
    TransferError,
    Unsupported,
)

BY_CODE: dict[int, tuple[type[TransferError], str]] = {
    wire.NO_SUCH_FILE: (NotFound, "no such file or directory"),
    wire.NO_SUCH_PATH: (NotFound, "no such directory"),
    wire.PERMISSION_DENIED: (Denied, "no permission"),
    wire.WRITE_PROTECTED: (Denied, "the file system is read-only"),
    wire.BAD_MESSAGE: (BadSpecification, "the server takes no such name"),
    wire.OP_UNSUPPORTED: (Unsupported, "the server cannot do that"),
    wire.NO_SPACE: (NoSpace, "no space left on the server"),
    wire.QUOTA_EXCEEDED: (NoSpace, "the quota on the server is used up"),
    wire.IS_A_DIRECTORY: (IsDirectory, "is a directory"),
}

MISSING = (wire.NO_SUCH_FILE, wire.NO_SUCH_PATH)


def refused(
    kind: int, body: memoryview | bytes, name: str, side: Side = "", doing: str = ""
) -> TransferError:
    """The error for an answer that is not the one hoped for; ``name``: URL of what it is about."""
    code = wire.code(kind, body)
    if code in BY_CODE:
        cls, message = BY_CODE[code]
        return cls(message, url=name, side=side)
    said = ""
    if kind == wire.STATUS and len(body) > 8:
        said = wire.text(body, 4)[0][:200].decode("utf-8", "replace")
    message = f"the server failed{f' to {doing}' if doing else ''}" + (f" ({said})" if said else "")
    return ServerFault(message, url=name, side=side)
