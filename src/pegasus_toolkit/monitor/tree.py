"""A run with its sub-workflows, each of which is a run with a database of its own."""

# pathlib would cost start-up time
# ruff: noqa: PTH113, PTH120

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pegasus_toolkit.dag.problems import DagError
from pegasus_toolkit.monitor.database import opened
from pegasus_toolkit.monitor.locate import Run


class Branch(NamedTuple):
    """A DAG in its place. ``path``: the nodes that lead to it, none for the whole."""

    path: tuple[str, ...]
    run: Run


def walk(
    run: Run, records: bool = False, note: Callable[[str], None] = lambda text: None, deep: bool = True
) -> Iterator[tuple[Branch, sqlite3.Connection]]:
    """The run, then if ``deep`` all that is below it and planned already, each before its own.

    A sub-workflow whose DAG cannot be read is left out, and ``note`` is told.
    """
    waiting, seen = [Branch((), run)], {run.dag}
    while waiting:
        branch = waiting.pop()
        try:
            with opened(branch.run, records, note) as connection:
                below = children(connection, branch) if deep else []
                yield branch, connection
        except (OSError, DagError) as error:
            if not branch.path:
                raise
            note(f"{branch.run.dag}: {error}")
            continue
        waiting += [one for one in reversed(below) if one.run.dag not in seen]
        seen |= {one.run.dag for one in below}


def children(connection: sqlite3.Connection, parent: Branch) -> list[Branch]:
    """The sub-workflows that are planned already."""
    rows = connection.execute("SELECT name, dag FROM nodes WHERE dag != '' ORDER BY id")
    return [
        Branch((*parent.path, name), Run(os.path.dirname(dag), dag))
        for name, dag in rows
        if os.path.isfile(dag)
    ]
