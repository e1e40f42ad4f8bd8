"""What a run took: tasks, jobs and retries, time, bytes moved, checks. Terms as Pegasus defines them.

A *task* is a job of the abstract workflow, a *job* a node of the DAG, the final one too; a sub-workflow
counts by itself. *Retries* are attempts after a job's first. A job's wall time is what its worker
measured, with files fetched and brought; *seen from the submit side* it is from HTCondor's start to its
end. *Badput* is the wall time of attempts that failed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from pegasus_toolkit.monitor.locate import Run
from pegasus_toolkit.monitor.status import alive
from pegasus_toolkit.monitor.tables import Cell, Table

_SUBMIT_SIDE = "coalesce(attempts.ended - attempts.started, 0)"


class Count(NamedTuple):
    """Of tasks, jobs or sub-workflows; ``retries``: attempts after the first."""

    succeeded: int = 0
    failed: int = 0
    incomplete: int = 0
    retries: int = 0

    @property
    def total(self) -> int:
        """Without the retries."""
        return self.succeeded + self.failed + self.incomplete

    def plus(self, other: Count) -> Count:
        """Of two DAGs together."""
        return Count._make(one + two for one, two in zip(self, other, strict=True))


class Took(NamedTuple):
    """Seconds and bytes, and comparisons of digests; of all attempts together."""

    cumulative: float = 0.0
    cumulative_submit: float = 0.0
    badput: float = 0.0
    badput_submit: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    checks: int = 0
    mismatches: int = 0
    unchecked: int = 0
    check_seconds: float = 0.0


class Summary(NamedTuple):
    """``wall``: seconds from the beginning to the end of each of DAGMan's runs, all together."""

    tasks: Count
    jobs: Count
    workflows: Count
    wall: float
    took: Took

    def plus(self, other: Summary) -> Summary:
        """Of two DAGs; the wall time stays the first one's, which is around the other's."""
        return Summary(
            self.tasks.plus(other.tasks),
            self.jobs.plus(other.jobs),
            self.workflows.plus(other.workflows),
            self.wall,
            Took._make(one + two for one, two in zip(self.took, other.took, strict=True)),
        )


def summary(connection: sqlite3.Connection, run: Run, now: float) -> Summary:
    """Of one DAG; its sub-workflows are counted, what is in them is not."""
    one = connection.execute
    submit, lost_submit = one(
        f"SELECT sum({_SUBMIT_SIDE}), sum({_SUBMIT_SIDE} * coalesce(failed, 0)) FROM attempts"
        " JOIN nodes ON nodes.id = node WHERE nodes.kind != 'subworkflow'"
    ).fetchone()
    seconds, lost, *rest = one(
        "SELECT sum(seconds), sum(seconds * (verdict != 0)), sum(bytes_in), sum(bytes_out), sum(checks),"
        " sum(mismatches), sum(unchecked), sum(check_seconds) FROM records"
    ).fetchone()
    took = Took._make(value or 0 for value in (seconds, submit, lost, lost_submit, *rest))
    jobs, workflows = _nodes(connection, "!="), _nodes(connection, "=")
    return Summary(_tasks(connection, run), jobs, workflows, _wall(connection, run, now), took)


def _wall(connection: sqlite3.Connection, run: Run, now: float) -> float:
    """A run that was killed lasted until the last that is known of it."""
    runs = connection.execute("SELECT started, ended, pid FROM runs ORDER BY id").fetchall()
    found = 0.0
    for at, (started, ended, pid) in enumerate(runs):
        if ended is not None:
            found += ended - started
        elif at == len(runs) - 1 and pid is not None and alive(run, pid):
            found += now - started
        else:
            later = runs[at + 1][0] if at + 1 < len(runs) else now
            found += max(0.0, min(_last(connection, started, later), later) - started)
    return found


def _last(connection: sqlite3.Connection, since: float, until: float) -> float:
    """When the last thing happened to an attempt that was begun in this time."""
    moment = "max(max(submitted, coalesce(started, 0), coalesce(ended, 0)))"
    query = f"SELECT {moment} FROM attempts WHERE submitted BETWEEN ? AND ?"
    return float(connection.execute(query, (since, until)).fetchone()[0] or since)


def _tasks(connection: sqlite3.Connection, run: Run) -> Count:
    """Each task by its last attempt; those that never ran are known from the plan."""
    rows = connection.execute(
        'SELECT max(records.id), tasks."exit", count(*) FROM tasks'
        " JOIN records ON records.id = tasks.record GROUP BY tasks.id"
    ).fetchall()
    good = sum(code == 0 for _, code, _ in rows)
    known = run.plan().get("tasks")
    planned = known if isinstance(known, int) else len(rows)
    retries = sum(tries - 1 for _, _, tries in rows)
    return Count(good, len(rows) - good, max(0, planned - len(rows)), retries)


def _nodes(connection: sqlite3.Connection, sign: str) -> Count:
    rows = connection.execute(
        "SELECT state, count(*), sum(max(tries, 1) - 1) FROM (SELECT nodes.state,"
        " (SELECT count(*) FROM attempts WHERE node = nodes.id) AS tries"
        f" FROM nodes WHERE kind {sign} 'subworkflow') GROUP BY state"
    ).fetchall()
    of = {state: count for state, count, _ in rows}
    done, failed = of.get("done", 0), of.get("failed", 0)
    return Count(done, failed, sum(of.values()) - done - failed, sum(retries for _, _, retries in rows))


def jobs(connection: sqlite3.Connection, name: str) -> Table:
    """Every attempt of every job: where, how long it waited, ran and was checked, how it ended."""
    rows = connection.execute(
        "SELECT nodes.name, row_number() OVER (PARTITION BY attempts.node ORDER BY attempts.id),"
        " coalesce(records.site, ''), coalesce(nullif(records.host, ''), attempts.host, ''),"
        " attempts.started - attempts.submitted, attempts.ended - attempts.started, records.seconds,"
        " attempts.checked - attempts.ended, coalesce(-attempts.signal, attempts.status),"
        " CASE WHEN records.verdict != 0 THEN records.phase ELSE '' END"
        " FROM attempts JOIN nodes ON nodes.id = attempts.node"
        " LEFT JOIN records ON records.attempt = attempts.id ORDER BY nodes.id, attempts.id"
    )
    columns = ("job", "try", "site", "host", "queued", "runtime", "worker", "post", "exit", "phase")
    return Table("jobs", f"jobs of {name}", columns, [tuple(row) for row in rows])


def transformations(connections: Iterable[sqlite3.Connection]) -> Table:
    """By transformation and success: how often, and what it took; staging and the like by their kind."""
    found: dict[tuple[str, str], list[float]] = {}
    for connection in connections:
        for query in (_TASKS, _AUXILIARY):
            for name, good, *numbers in connection.execute(query):
                _merge(found.setdefault((name, "successful" if good else "failed"), []), numbers)
    columns = ("transformation", "type", "count", "min", "max", "mean", "total", "max_rss_MiB", "cpu_percent")
    rows: list[tuple[Cell, ...]] = []
    for (name, type_), (count, low, high, total, memory, cpu, wall) in sorted(found.items()):
        used = 100.0 * cpu / wall if wall else None
        peak = memory / 2**20 if memory else None
        rows.append((name, type_, int(count), low, high, total / count, total, peak, used))
    return Table("breakdown", "transformations, runtimes in seconds", columns, rows)


_TASKS = (
    'SELECT transformation, coalesce("exit", 1) = 0, count(*), min(seconds), max(seconds), sum(seconds),'
    " max(max_rss), sum(user_seconds + system_seconds), sum(seconds) FROM tasks GROUP BY 1, 2"
)
_AUXILIARY = (
    "SELECT 'pegasus::' || kind, verdict = 0, count(*), min(seconds), max(seconds), sum(seconds), 0, 0, 0"
    " FROM records WHERE kind NOT IN ('compute', '') GROUP BY 1, 2"
)


def _merge(known: list[float], new: list[float]) -> None:
    """count, min, max, total, memory, cpu, wall."""
    if not known:
        known[:] = [value or 0 for value in new]
        return
    known[0] += new[0]
    known[1], known[2] = min(known[1], new[1]), max(known[2], new[2])
    known[3] += new[3]
    known[4] = max(known[4], new[4])
    known[5] += new[5]
    known[6] += new[6]


def times(connections: Iterable[sqlite3.Connection], form: str) -> Table:
    """Jobs and their wall time by date (``form`` as ``strftime`` takes it, local time) and host."""
    found: dict[tuple[str, str], list[float]] = {}
    for connection in connections:
        for date, host, count, seconds in connection.execute(
            "SELECT strftime(?, started, 'unixepoch', 'localtime'), host, count(*), sum(seconds) FROM records"
            " WHERE started IS NOT NULL GROUP BY 1, 2",
            (form,),
        ):
            entry = found.setdefault((date, host), [0, 0.0])
            entry[0] += count
            entry[1] += seconds
    rows: list[tuple[Cell, ...]] = [
        (date, host, int(count), float(total)) for (date, host), (count, total) in sorted(found.items())
    ]
    return Table("time", "jobs by date and host", ("date", "host", "count", "runtime"), rows)


def integrity(connections: Iterable[sqlite3.Connection]) -> Table:
    """Digests that were compared, by the kind of job that did it."""
    found: dict[str, list[float]] = {}
    for connection in connections:
        for kind, *numbers in connection.execute(
            "SELECT kind, sum(checks), sum(mismatches), sum(unchecked), sum(coalesce(check_seconds, 0))"
            " FROM records WHERE checks OR unchecked OR mismatches GROUP BY kind"
        ):
            entry = found.setdefault(kind, [0] * 4)
            entry[:] = [one + two for one, two in zip(entry, numbers, strict=True)]
    columns = ("jobs", "checks", "failed", "no_digest", "seconds")
    rows: list[tuple[Cell, ...]] = [
        (kind, int(made), int(failed), int(missing), seconds or None)
        for kind, (made, failed, missing, seconds) in sorted(found.items())
    ]
    return Table("integrity", "integrity checks", columns, rows)


def counted(one: Summary, title: str) -> Table:
    """The table that a summary begins with."""
    columns = ("type", "succeeded", "failed", "incomplete", "total", "retries", "total+retries")
    rows: list[tuple[Cell, ...]] = [
        (name, *count[:3], count.total, count.retries, count.total + count.retries)
        for name, count in (("tasks", one.tasks), ("jobs", one.jobs), ("sub-workflows", one.workflows))
    ]
    return Table("workflow", title, columns, rows)
