"""What the jobs themselves tell: their records, one line of ``provenance.jsonl`` for each attempt."""

# pathlib would cost start-up time
# ruff: noqa: PTH123

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from pegasus_toolkit.monitor import sources
from pegasus_toolkit.monitor.locate import Run
from pegasus_toolkit.records import Attempt, FileRecord, Record, TaskRecord, TransferRecord

LOG = "provenance.jsonl"
_SLACK = 2.0  # seconds by which the clocks that wrote the two logs may differ


def read(run: Run, offset: int, length: int) -> Record | None:
    """The record of the line there, with what the database leaves out; ``None`` if it is gone."""
    try:
        with open(f"{run.directory}/{LOG}", "rb") as stream:
            stream.seek(offset)
            return msgspec.json.decode(stream.read(length), type=Attempt).record
    except (OSError, msgspec.DecodeError):
        return None


def fill(connection: sqlite3.Connection, run: Run) -> None:
    """Takes in the lines that are new, and joins each to the attempt that it is of."""
    path = f"{run.directory}/{LOG}"
    at = sources.position(connection, "provenance", path)
    loose = connection.execute(
        "SELECT id, node, at FROM records WHERE attempt IS NULL ORDER BY id"
    ).fetchall()
    if at.offset == at.size and not loose:
        return
    filling = _Filling(connection)
    filling.join(loose)
    offset = at.offset
    if offset < at.size:
        offset = _lines(filling, path, offset)
    filling.write()
    sources.reached(connection, "provenance", offset, at.head)


def _lines(filling: _Filling, path: str, offset: int) -> int:
    """Reads from ``offset`` on; gives how far."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        for text in stream:
            if not text.endswith(b"\n"):
                break  # somebody is writing it
            filling.line(text, offset)
            offset += len(text)
    return offset


class _Open(NamedTuple):
    """An attempt that no record is joined to."""

    id: int
    submitted: float
    checked: float


class _Filling:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.decode = msgspec.json.Decoder(Attempt).decode
        self.nodes = dict(connection.execute("SELECT name, id FROM nodes"))
        self.next = 1 + (connection.execute("SELECT max(id) FROM records").fetchone()[0] or 0)
        self.open: dict[int, list[_Open]] = {}
        self.records: list[tuple[object, ...]] = []
        self.tasks: list[tuple[object, ...]] = []
        self.transfers: list[tuple[object, ...]] = []
        self.files: list[tuple[object, ...]] = []
        self._attempts()

    def _attempts(self) -> None:
        rows = self.connection.execute(
            "SELECT id, node, submitted, checked FROM attempts"
            " WHERE id NOT IN (SELECT attempt FROM records WHERE attempt IS NOT NULL) ORDER BY id"
        )
        for id, node, submitted, checked in rows:
            self.open.setdefault(node, []).append(_Open(id, submitted or 0.0, checked or float("inf")))

    def join(self, loose: Sequence[tuple[int, int, float]]) -> None:
        """Records (id, node, time) that were read before the event log told of their attempts."""
        for id, node, at in loose:
            attempt = self._attempt(node, at)
            if attempt is not None:
                self.connection.execute("UPDATE records SET attempt = ? WHERE id = ?", (attempt, id))

    def line(self, text: bytes, offset: int) -> None:
        """One line, ``offset`` its place; one that cannot be understood is passed over."""
        try:
            line = self.decode(text)
        except msgspec.DecodeError:
            return
        node = self.nodes.get(line.node)
        if node is None:
            return  # of another DAG in the same directory
        number, self.next = self.next, self.next + 1
        record = line.record
        attempt = self._attempt(node, line.at)
        place = (offset, len(text))
        self.records.append(_record((number, attempt, node), line, place))
        if record is None:
            return
        self.tasks += _tasks(number, record.tasks)
        self.transfers += _transfers(number, record.transfers)
        for made, files in ((0, record.inputs), (1, record.outputs)):
            self.files += _files(number, made, files)

    def _attempt(self, node: int, at: float) -> int | None:
        """Both logs hold a node's attempts in their order; some may be missing in either."""
        waiting = self.open.get(node, [])
        for place, one in enumerate(waiting):
            if one.submitted <= at + _SLACK and one.checked >= at - _SLACK:
                del waiting[: place + 1]
                return one.id
        return None

    def write(self) -> None:
        """Writes the rows that were gathered into the database."""
        for table, rows in (
            ("records", self.records),
            ("tasks", self.tasks),
            ("transfers", self.transfers),
            ("files", self.files),
        ):
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self.connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)


def _record(ids: tuple[int, int | None, int], line: Attempt, place: tuple[int, int]) -> tuple[object, ...]:
    record, missing = line.record, line.record is None
    told = record or Record(node=line.node, started=0.0)
    checks = told.checks
    return (
        *(*ids, line.at, line.attempt, line.returned, line.verdict, line.why, *place),
        *(told.kind, told.site, told.host, None if missing else told.started, told.seconds),
        *(None if missing else told.exit, told.phase, told.error, told.failure),
        *(told.bytes_in, told.bytes_out, checks.made, checks.failed, checks.missing, None),
    )


def _tasks(number: int, tasks: Sequence[TaskRecord]) -> Iterator[tuple[object, ...]]:
    encode = msgspec.json.encode
    for at, one in enumerate(tasks):
        yield (
            *(number, at, one.id, one.transformation, one.program, encode(one.arguments).decode()),
            *(one.container, one.started, one.seconds, one.exit, one.signal),
            *(one.user_seconds, one.system_seconds, one.max_rss),
        )


def _transfers(number: int, transfers: Sequence[TransferRecord]) -> Iterator[tuple[object, ...]]:
    for at, one in enumerate(transfers):
        yield (
            *(number, at, one.lfn, one.kind, one.source, one.destination, one.bytes, one.seconds),
            *(one.route, one.attempts, one.error),
        )


def _files(number: int, made: int, files: Sequence[FileRecord]) -> Iterator[tuple[object, ...]]:
    encode = msgspec.json.encode
    for one in files:
        places = encode(one.destinations).decode()
        yield (number, made, one.lfn, one.size, one.algorithm, one.digest, places)
