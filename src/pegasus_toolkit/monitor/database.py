"""The run's database: opened, brought up to date from the run's files, or made anew in memory.

Nothing in it is precious but the history of attempts before the last rescue, whose log HTCondor overwrites:
it can be deleted at any time and is then filled again. Several commands may do so at once; each waits for
the other's transaction and goes on where that one ended.
"""

# pathlib would cost start-up time
# ruff: noqa: PTH108

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from pegasus_toolkit.monitor import fill_dag, fill_log, fill_records, schema
from pegasus_toolkit.monitor.locate import Run

_PATIENCE = 60.0  # seconds to wait for another command that fills the database


@contextmanager
def opened(
    run: Run, records: bool = False, note: Callable[[str], None] = lambda text: None
) -> Iterator[sqlite3.Connection]:
    """The database, as new as the run's files; ``records``: with what is in the jobs' records, too.

    Where it cannot be written (a directory of somebody else), it is a copy in memory, and ``note`` is told.
    """
    with closing(_connected(run, records, note)) as connection:
        yield connection


def refresh(connection: sqlite3.Connection, run: Run, records: bool = False) -> None:
    """Takes in what was written to the run's files since the last time."""
    connection.execute("BEGIN IMMEDIATE")
    # Nothing here refers to itself; looking for what does takes a third of the time where there is much.
    collecting = gc.isenabled()
    gc.disable()
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != schema.VERSION:
            _begin(connection)
        if fill_dag.changed(connection, run):
            _begin(connection)
            fill_dag.fill(connection, run)
        fill_log.fill(connection, run)
        if records:
            fill_records.fill(connection, run)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    finally:
        if collecting:
            gc.enable()
    connection.execute("COMMIT")


def _connected(run: Run, records: bool, note: Callable[[str], None]) -> sqlite3.Connection:
    try:
        return _refreshed(sqlite3.connect(run.database, _PATIENCE, isolation_level=None), run, records)
    except sqlite3.OperationalError as error:
        note(f"{run.database}: {error}; a copy in memory is used")
    except sqlite3.DatabaseError as error:  # not a database, or a broken one
        note(f"{run.database}: {error}; it is made anew")
        try:
            os.unlink(run.database)
            return _refreshed(sqlite3.connect(run.database, _PATIENCE, isolation_level=None), run, records)
        except (OSError, sqlite3.OperationalError) as again:
            note(f"{run.database}: {again}; a copy in memory is used")
    return _refreshed(_copy(run.database), run, records)


def _refreshed(connection: sqlite3.Connection, run: Run, records: bool) -> sqlite3.Connection:
    try:
        # What a crash of the machine may spoil can be made again; a killed process spoils nothing.
        connection.execute("PRAGMA synchronous = OFF")
        refresh(connection, run, records)
    except BaseException:
        connection.close()
        raise
    return connection


def _copy(path: str) -> sqlite3.Connection:
    """A database in memory, with what the one at ``path`` holds if that can be read."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with closing(sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True)) as known:
            known.backup(memory)
    except sqlite3.Error:  # none there, or unreadable: filled from the beginning
        memory.close()
        memory = sqlite3.connect(":memory:", isolation_level=None)
    return memory


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _begin(connection: sqlite3.Connection) -> None:
    """Empty tables, whatever was there."""
    rows = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for kind in ("view", "table"):
        for of, name in rows:
            if of == kind:
                connection.execute(f'DROP {kind} "{name}"')
    for statement in schema.TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
