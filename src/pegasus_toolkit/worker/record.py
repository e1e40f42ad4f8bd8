"""The record of one node's work, and how it reaches the disk. The keys: docs/planner/records.md."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from pegasus_toolkit.integrity import regular
from pegasus_toolkit.records import VERSION, Checks, FileRecord, Record, TaskRecord, TransferRecord

__all__ = [
    "VERSION",
    "Checks",
    "FileRecord",
    "Record",
    "TaskRecord",
    "TransferRecord",
    "encode",
    "new",
    "write",
]


def new(node: str, environ: Mapping[str, str]) -> Record:
    """The record of a node that has just begun, as it stands should nobody come to change it."""
    return Record(
        node=node,
        host=os.uname().nodename,
        user=_user(environ),
        error="the worker was ended before it could tell what became of the node",
        failure="killed",
    )


def write(path: str, record: Record) -> None:
    """On one line, whole or not at all. Raises ``OSError``."""
    regular.replace(path, encode(record) + b"\n")


def encode(record: Record) -> bytes:
    """JSON on one line; half surrogates, which names that are not UTF-8 hold, as backslash escapes."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(_printable(msgspec.to_builtins(record)))


def _printable(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, (list, tuple)) else value


def _user(environ: Mapping[str, str]) -> str:
    """Who runs it; asking a directory server is left to a last resort."""
    name = environ.get("USER") or environ.get("LOGNAME")
    if name:
        return name
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
