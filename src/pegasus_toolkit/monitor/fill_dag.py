"""Nodes and edges, from the ``.dag`` file."""

# pathlib would cost start-up time
# ruff: noqa: PTH116, PTH118, PTH123

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

import msgspec

from pegasus_toolkit.dag.model import Dag, Node
from pegasus_toolkit.dag.read import read
from pegasus_toolkit.monitor.locate import Run
from pegasus_toolkit.planner.model import Metadata

_SOURCE = "dag"


def changed(connection: sqlite3.Connection, run: Run) -> bool:
    """Whether the DAG is another than that which the database is of."""
    row = connection.execute("SELECT head FROM sources WHERE name = ?", (_SOURCE,)).fetchone()
    return row is None or row[0] != _identity(run)


def _identity(run: Run) -> bytes:
    status = os.stat(run.dag)
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def fill(connection: sqlite3.Connection, run: Run) -> None:
    """Into empty tables. Raises ``DagError`` for a DAG that nobody can run."""
    mark = _identity(run)
    dag = read(run.dag)
    number = {name: at for at, name in enumerate(dag.nodes, 1)}
    rows = (_row(number[node.name], node, run) for node in dag.nodes.values())
    connection.executemany(f"INSERT INTO nodes VALUES ({', '.join('?' * 15)})", rows)
    connection.executemany("INSERT OR IGNORE INTO edges VALUES (?, ?)", sorted(set(_edges(dag, number))))
    connection.executemany("INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?)", _metadata(run))
    connection.execute("INSERT OR REPLACE INTO sources VALUES (?, 0, ?)", (_SOURCE, mark))


def _metadata(run: Run) -> Iterator[tuple[str, str, str, str]]:
    """What users have said: kind (workflow, task, file), id or LFN, key, value."""
    try:
        with open(f"{run.directory}/metadata.json", "rb") as stream:
            told = msgspec.json.decode(stream.read(), type=Metadata)
    except (OSError, msgspec.DecodeError):
        return
    for kind, tables in (("workflow", {"": told.workflow}), ("task", told.tasks), ("file", told.files)):
        for name, table in tables.items():
            for key, value in table.items():
                yield kind, name, key, value


def _row(number: int, node: Node, run: Run) -> tuple[object, ...]:
    bundle = next((one.value for one in node.variables if one.key == "bundle"), "")
    subdag = os.path.join(run.directory, node.directory, node.subdag) if node.subdag else ""
    return (
        number,
        node.name,
        _kind(node, bundle),
        node.submit,
        bundle,
        os.path.normpath(subdag) if subdag else "",
        node.pre is not None,
        node.post is not None,
        node.done,
        node.retries,
        node.unless_exit,
        node.abort_on[0] if node.abort_on else None,
        "done" if node.done else "waiting",
        0.0,
        0,
    )


def _kind(node: Node, bundle: str) -> str:
    """``final``, ``subworkflow``, else what the planner's bundle is of; ``job`` where there is none."""
    if node.kind == "FINAL":
        return "final"
    if node.kind == "SUBDAG":
        return "subworkflow"
    kind = bundle.partition("-")[0]
    return kind if kind in ("compute", "auxiliary") else "job"


def _edges(dag: Dag, number: dict[str, int]) -> Iterator[tuple[int, int]]:
    for edge in dag.edges:
        parents = [number[name] for name in edge.parents]
        for child in edge.children:
            at = number[child]
            for parent in parents:
                yield at, parent
