"""The line of one node in a bundle."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from pegasus_toolkit.integrity import regular
from pegasus_toolkit.planner.model import NodeFile
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, Failed

VERSION = 1


class _Head(Struct):
    """What tells whether the rest can be understood."""

    node: str
    version: int = 0


def read(path: str, name: str) -> NodeFile:
    """What the worker is told of the node. Raises :class:`Failed`."""
    try:
        content = regular.read(path)
    except OSError as error:
        raise Failed(f"the bundle {path} cannot be read: {error.strerror}", EXIT_PERMANENT, "plan") from None
    found = None
    mark = msgspec.json.encode(name)
    for line in content.splitlines():
        if mark in line and (head := _head(line, path)).node == name:
            found = (line, head.version)
    if found is None:
        raise Failed(f"the bundle {path} says nothing of the node {name!r}", EXIT_PERMANENT, "plan")
    if found[1] != VERSION:
        raise Failed(
            f"{path}: {name}: version {found[1]} is not known here, {VERSION} is", EXIT_PERMANENT, "plan"
        )
    try:
        return msgspec.json.decode(found[0], type=NodeFile)
    except msgspec.DecodeError as error:
        raise Failed(f"{path}: {name}: {error}", EXIT_PERMANENT, "plan") from None


def _head(line: bytes, path: str) -> _Head:
    try:
        return msgspec.json.decode(line, type=_Head)
    except msgspec.DecodeError as error:
        raise Failed(f"{path}: not a line of a bundle: {error}", EXIT_PERMANENT, "plan") from None
