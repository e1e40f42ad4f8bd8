"""From a GridFTP server's reply to an error of ours.

Newer servers tell the number of the system's error (``GridFTP-Errno: 2``); else the reply's own
number counts. Where Globus gives only 500, for what goes wrong while bytes move, it repeats the C
library's fixed text after ``System error in``; that text is looked up as the number it stands for.
"""

from __future__ import annotations

import errno
import os
import re

from pegasus_toolkit.transfer.clients.gridftp.wire import Reply
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    Side,
    TransferError,
    Unsupported,
    from_oserror,
)

_ERRNO = re.compile(r"GridFTP-Errno:\s*(\d+)")
_SYSTEM = re.compile(r"System error in \w+: (.+)")
_TOLD = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.ENOENT, errno.EISDIR, errno.ENOTDIR,
    errno.EROFS, errno.ENAMETOOLONG,
)  # fmt: skip
_TEXTS = {os.strerror(number): number for number in _TOLD}
_BY_CODE: dict[int, type[TransferError]] = {
    430: Denied, 452: NoSpace, 501: BadSpecification, 502: Unsupported, 504: Unsupported, 530: Denied,
    532: Denied, 533: Denied, 534: Denied, 535: Denied, 550: NotFound, 552: NoSpace, 553: Denied,
}  # fmt: skip
PROTECTION = frozenset({533, 534, 536, 537})  # data connections are not protected as the server insists


def number(reply: Reply) -> int:
    """The system's error on the server, 0 where it does not tell."""
    for line in reply.lines:
        if found := _ERRNO.search(line):
            return int(found[1])
    for line in reply.lines:
        if (system := _SYSTEM.search(line)) and system[1].strip() in _TEXTS:
            return _TEXTS[system[1].strip()]
    return 0


def failure(
    reply: Reply, url: str, host: str, *, side: Side = "", other: type[TransferError] = ServerFault
) -> TransferError:
    """The error that it stands for; ``other`` for a number that says nothing in particular."""
    if code := number(reply):
        error = from_oserror(OSError(code, os.strerror(code)), url=url, host=host, side=side)
        if type(error) is not TransferError and error.kind != "transient":
            return error
    kind = _BY_CODE.get(reply.code, ServerFault if reply.code < 500 else other)
    what = f"the server says {reply.code} {reply.text}"
    return kind(what, url=url, host=host, side=side, hint=hint(reply))


def hint(reply: Reply) -> str:
    """The way out, where the server wants data connections protected otherwise."""
    if reply.code not in PROTECTION:
        return ""
    return "in the server's section: data_channel_protection = private encrypts what data connections carry"
