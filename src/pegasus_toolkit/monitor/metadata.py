"""Metadata of a run: what users have said of workflow, jobs and files, and what the run itself has found."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import NamedTuple

from pegasus_toolkit.monitor.locate import Run

Table = dict[str, str]


class Task(NamedTuple):
    """A job of the abstract workflow; ``metadata`` of its last attempt."""

    id: str
    metadata: Table


def workflow(connection: sqlite3.Connection) -> Table:
    """What is said of the workflow, then when its last run began, how long it took, how it ended."""
    row = connection.execute(
        "SELECT started, ended - started, status FROM runs ORDER BY id DESC LIMIT 1"
    ).fetchone()
    started, seconds, status = row or (None, None, None)
    return {
        **_said(connection, "workflow", ""),
        **_known(started=_moment(started), seconds=_seconds(seconds), exit=status),
    }


def task(connection: sqlite3.Connection, id: str) -> Task | None:
    """A job of the abstract workflow; ``None`` where nothing is known of such a one."""
    said = _said(connection, "task", id)
    row = connection.execute(
        "SELECT t.transformation, t.started, t.seconds, t.exit, t.signal, t.max_rss, r.host, r.site, n.name"
        " FROM tasks t JOIN records r ON r.id = t.record JOIN nodes n ON n.id = r.node WHERE t.id = ?"
        " ORDER BY t.record DESC LIMIT 1",
        (id,),
    ).fetchone()
    if row is None:
        return Task(id, said) if said else None
    transformation, started, seconds, exit, signal, memory, host, site, node = row
    found = _known(
        transformation=transformation,
        started=_moment(started),
        seconds=_seconds(seconds),
        exit=exit,
        signal=signal,
        max_rss=memory,
        host=host,
        site=site,
        node=node,
    )
    return Task(id, {**found, **said})


def files(connection: sqlite3.Connection) -> dict[str, Table]:
    """By LFN: all that anything is said of, and all that jobs have staged in or made."""
    found: dict[str, Table] = {}
    query = "SELECT DISTINCT name FROM metadata WHERE kind = 'file' UNION SELECT lfn FROM files ORDER BY 1"
    for (lfn,) in connection.execute(query):
        found[lfn] = _said(connection, "file", lfn)
    # The node that made it tells when and where; those that staged it out, where it is now.
    rows = connection.execute(
        "SELECT f.lfn, f.size, f.algorithm, f.digest, f.places, f.made, r.kind, r.host, r.site,"
        " r.started + r.seconds, n.name FROM files f JOIN records r ON r.id = f.record"
        " JOIN nodes n ON n.id = r.node WHERE r.verdict = 0 ORDER BY r.id"
    )
    for lfn, size, algorithm, digest, places, made, kind, host, site, at, node in rows:
        known = {"size": size, "checksum.type": algorithm or None, "checksum.value": digest or None}
        if made and kind == "compute":
            known |= {"ctime": _moment(at), "host": host, "site": site, "made_by": node}
        if made and kind in ("stage_out", "stage_in") and (urls := json.loads(places)):
            known["pfn"] = urls[0]
        found[lfn] = {**found[lfn], **_known(**known)}
    return found


def maker(connection: sqlite3.Connection, run: Run, lfn: str) -> str:
    """The id of the job that made the file; "" where none did, or its node cannot tell which."""
    row = connection.execute(
        "SELECT r.id, n.name, n.bundle FROM files f JOIN records r ON r.id = f.record"
        " JOIN nodes n ON n.id = r.node WHERE f.lfn = ? AND f.made AND r.kind = 'compute' AND r.verdict = 0"
        " ORDER BY r.id DESC LIMIT 1",
        (lfn,),
    ).fetchone()
    if row is None:
        return ""
    record, node, bundle = row
    ids = [id for (id,) in connection.execute("SELECT id FROM tasks WHERE record = ?", (record,))]
    if len(ids) > 1:
        tasks = run.planned(bundle, node).get("tasks", ())
        ids = [str(one["id"]) for one in tasks if lfn in one.get("outputs", ())]
    return ids[0] if len(ids) == 1 else ""


def _said(connection: sqlite3.Connection, kind: str, name: str) -> Table:
    query = "SELECT key, value FROM metadata WHERE kind = ? AND name = ? ORDER BY key"
    return dict(connection.execute(query, (kind, name)))


def _known(**values: object) -> Table:
    return {key: str(value) for key, value in values.items() if value is not None}


def _moment(at: float | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at))


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
