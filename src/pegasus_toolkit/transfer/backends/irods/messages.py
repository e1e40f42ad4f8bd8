"""Requests that the client library has no call for, or needs several for: small objects whole in one, as the
iCommands send them; what is at a path; a rename that never goes into a collection.

They are written out here, since the library's classes take longer to build one than a server takes to do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import irods.exception as irods_errors
from irods import keywords
from irods.api_number import api_number
from irods.message import ET, iRODSMessage

RENAME_DATA_OBJECT = 11
COLLECTION = 2  # the type of object that a server tells
INPUT = (
    "<DataObjInp_PI><objPath>{}</objPath><createMode>0</createMode><openFlags>0</openFlags>"
    "<offset>0</offset><dataSize>{}</dataSize><numThreads>0</numThreads><oprType>{}</oprType>"
    "<KeyValPair_PI><ssLen>{}</ssLen>{}{}</KeyValPair_PI></DataObjInp_PI>"
)
BOTH = "<DataObjCopyInp_PI>{}{}</DataObjCopyInp_PI>"


class Told(NamedTuple):
    """Of a data object or collection. ``modified``: seconds since 1970."""

    collection: bool
    size: int
    checksum: str
    modified: int


class _Body(NamedTuple):
    """As the library wants it: what can be packed."""

    text: str

    def pack(self) -> bytes:
        return self.text.encode()


def stat(connection: Any, path: str) -> Told:
    """Of its first replica that is not stale."""
    found = ET().fromstring(_asked(connection, "OBJ_STAT_AN", _input(path)).msg)

    def told(name: str) -> str:
        return found.findtext(name) or ""

    collection = int(told("objType")) == COLLECTION
    return Told(collection, int(told("objSize")), told("chksum"), int(told("modifyTime") or 0))


def put(connection: Any, path: str, data: bytes, options: Mapping[str, str]) -> None:
    """A new data object; the server refuses where there is one."""
    body = _input(path, len(data), {keywords.DATA_INCLUDED_KW: "", **options})
    _asked(connection, "DATA_OBJ_PUT_AN", body, data)


def get(connection: Any, path: str) -> bytes:
    """A data object of at most 32 MiB. Larger ones would be offered over further connections."""
    answer = _asked(connection, "DATA_OBJ_GET_AN", _input(path))
    if answer.int_info > 0:
        connection.release(True)  # it waits for us to take part
        raise irods_errors.NetworkException("the data object is larger than it was")
    return bytes(answer.bs or b"")


def rename(connection: Any, old: str, new: str) -> None:
    """Over nothing."""
    both = (_input(path, kind=RENAME_DATA_OBJECT) for path in (old, new))
    _asked(connection, "DATA_OBJ_RENAME_AN", BOTH.format(*both))


def _input(path: str, size: int = 0, options: Mapping[str, str] | None = None, kind: int = 0) -> str:
    options = options or {}
    words = "".join(f"<keyWord>{word}</keyWord>" for word in options)
    values = "".join(f"<svalue>{escape(value)}</svalue>" for value in options.values())
    return INPUT.format(escape(path), size, kind, len(options), words, values)


def _asked(connection: Any, what: str, body: str, data: bytes = b"") -> Any:
    connection.send(iRODSMessage("RODS_API_REQ", msg=_Body(body), bs=data, int_info=api_number[what]))
    return connection.recv()
