"""Digests of files on this machine, remembered from one run to the next.

A digest counts as long as path, inode, size, time of change of the content (mtime) and of the file (ctime)
are the same: whatever changes the content changes the ctime. A file that was changed within the last two
seconds is not remembered, as it may change again within one tick of the clock.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

Row = tuple[str, int, int, int, int, str]  # path, inode, size, mtime, ctime (nanoseconds), digest
Known = tuple[bytes, int, int, int, int, str]

_TABLE = """\
CREATE TABLE IF NOT EXISTS digests (
  algorithm TEXT NOT NULL, path BLOB NOT NULL, inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER,
  digest TEXT NOT NULL, PRIMARY KEY (algorithm, path)) WITHOUT ROWID"""


class Cache:
    """A file of digests. One that cannot be used is as good as none: ``warn`` is told why, once."""

    def __init__(self, path: str, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._path = path
        self._connection: sqlite3.Connection | None = None
        try:
            os.makedirs(os.path.dirname(path) or ".", 0o700, exist_ok=True)  # noqa: PTH103, PTH120
            self._connection = sqlite3.connect(path, timeout=5)
            self._connection.execute("PRAGMA synchronous=OFF")  # what a crash takes is only taken again
            self._connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def known(self, root: str, algorithm: str) -> dict[bytes, Known]:
        """All below a directory (``root`` ends in "/"), by the path's bytes."""
        if self._connection is None:
            return {}
        first = os.fsencode(root)
        last = first[:-1] + b"0"  # the byte after "/"
        asked = "SELECT path, inode, size, mtime, ctime, digest FROM digests"
        asked += " WHERE algorithm=? AND path>? AND path<?"
        try:
            rows = self._connection.execute(asked, (algorithm, first, last)).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return {}
        return {row[0]: row for row in rows}

    def add(self, algorithm: str, rows: Sequence[Row]) -> None:
        """Remembers them."""
        if self._connection is None or not rows:
            return
        put = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)"
        try:
            with self._connection:
                self._connection.executemany(
                    put, ((algorithm, os.fsencode(row[0]), *row[1:]) for row in rows)
                )
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _give_up(self, error: Exception) -> None:
        self._warn(f"the cache of digests cannot be used: {self._path}: {error}")
        self.close()


def usual_path(environ: Mapping[str, str]) -> str:
    """Where it stands: ``$XDG_CACHE_HOME``, else ``~/.cache``; "" where there is no home."""
    home = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    return f"{home}/pegasus-toolkit/digests.sqlite3" if home else ""
