"""How far each of the run's files has been read, and whether it is still the same file."""

# pathlib would cost start-up time
# ruff: noqa: PTH123

from __future__ import annotations

import os
import sqlite3
from typing import NamedTuple

_HEAD = 512  # bytes at a file's beginning that tell it from another; a log begins with a time and an id


class Position(NamedTuple):
    """Where to go on: at ``offset``. ``size``: of the file now; 0 where there is none."""

    offset: int
    size: int
    head: bytes


def position(connection: sqlite3.Connection, name: str, path: str) -> Position:
    """Of the file ``path``, known as ``name``. A file that was cut or replaced is read from the beginning."""
    try:
        with open(path, "rb") as stream:
            size, head = os.fstat(stream.fileno()).st_size, stream.read(_HEAD)
    except OSError:
        return Position(0, 0, b"")
    row = connection.execute("SELECT offset, head FROM sources WHERE name = ?", (name,)).fetchone()
    if row is None or row[0] > size or not head.startswith(row[1]):
        return Position(0, size, head)
    return Position(row[0], size, head)


def reached(connection: sqlite3.Connection, name: str, offset: int, head: bytes) -> None:
    """Notes that the file is read as far as ``offset``."""
    row = (name, offset, head[: min(offset, _HEAD)])
    connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", row)
