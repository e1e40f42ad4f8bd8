"""Digests for others to check by: records for kickstart, and manifests as ``sha256sum`` writes them.

Both tell of every file that a run has moved, those that an earlier run with the same journal has
moved included. What could not be told is remembered, and the run does not end as a success.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pegasus_toolkit.integrity import kickstart, manifest
from pegasus_toolkit.schemes import LOCAL, SCHEMES
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.model import Location, Outcome, Transfer
from pegasus_toolkit.transfer.notes import Notes
from pegasus_toolkit.transfer.records.outfile import OutFile

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.observer import Observer, Progress


class Moved(NamedTuple):
    """A file that stands at its destination, and its digest ("" where none was taken)."""

    operation: Transfer
    source: Location
    destination: Location
    size: int
    algorithm: str
    digest: str


class Receipts:
    """Adds a record to kickstart's file for each ``lfn`` that asks for ``generate_checksum``.

    ``path`` "": no file; those who ask are counted in ``unrecorded``. ``errors``: one line each.
    """

    def __init__(self, path: str, notes: Notes | None = None) -> None:
        self.path = path
        self.errors: list[str] = []
        self.unrecorded = 0
        self._notes = notes
        self._skipped: list[Transfer] = []
        self._told: dict[str, Moved] = {}  # by lfn

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        fresh: list[Moved] = []
        for outcome in outcomes:
            operation = outcome.operation
            if isinstance(operation, Transfer) and operation.generate_checksum:
                if outcome.status == "skipped":
                    self._skipped.append(operation)
                elif moved := _moved(outcome):
                    fresh.append(moved)
        self._record(fresh)

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def finish(self) -> None:
        """Records what earlier runs have moved, too."""
        self._record(list(_recalled(self._notes, self._skipped)))
        for operation in self._skipped:
            if self.path and operation.lfn not in self._told:
                self.errors.append(f"no digest to record of {operation.lfn!r}: its transfer was skipped")

    def _record(self, files: Sequence[Moved]) -> None:
        if not self.path:
            self.unrecorded += len(files)
            return
        text = "".join(self._texts(files))
        if not text:
            return
        try:
            kickstart.append(self.path, text)
        except OSError as error:
            self.errors.append(f"digests cannot be recorded in {self.path!r}: {error.strerror or error}")

    def _texts(self, files: Sequence[Moved]) -> Iterator[str]:
        for moved in files:
            lfn = moved.operation.lfn
            known = self._told.setdefault(lfn, moved)
            if known is not moved:
                if (known.algorithm, known.digest, known.size) != (moved.algorithm, moved.digest, moved.size):
                    self.errors.append(_contradiction(known, moved))
                continue
            if moved.algorithm != "sha256":
                self.errors.append(f"no sha256 to record of {lfn!r}")
                continue
            name, status = _local_side(moved)
            try:
                yield kickstart.record(lfn, name, moved.digest, moved.size, 0.0, status)
            except ValueError as error:
                self.errors.append(str(error))


class Manifest:
    """Writes a line for each file moved to this machine, or from it to a server.

    A file that was uploaded is called as it is here, so that ``sha256sum -c`` finds it. Names below the
    manifest's own directory are relative to it, others absolute. ``without``: files that have no digest
    (links, renamed files), and so no line; nor has what went from one server to another.
    """

    def __init__(self, path: str, notes: Notes | None = None) -> None:
        """Raises ``OSError``."""
        self.file = OutFile(path)
        self.without = 0
        self.root: Location | None = None  # names are those below it at the destination
        self._parent = os.path.realpath(path).rpartition("/")[0] + "/"
        self._notes = notes
        self._skipped: list[Transfer] = []

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.status == "skipped" and isinstance(outcome.operation, Transfer):
                self._skipped.append(outcome.operation)
        self._write([moved for moved in map(_moved, outcomes) if moved])

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def finish(self) -> None:
        """Adds what earlier runs have moved, and closes the file."""
        self._write(list(_recalled(self._notes, self._skipped)))
        self.file.close()

    def _write(self, files: Sequence[Moved]) -> None:
        if self.root is not None:
            named = [(_below(self.root, moved.destination), moved.digest) for moved in files]
            self.without += sum(not digest for _, digest in named)
            self.file.write(b"".join([manifest.line(name, digest) for name, digest in named if digest]))
            return
        local = [(place.path, moved.digest) for moved in files if (place := _here(moved)) is not None]
        self.without += sum(not digest for _, digest in local)
        text = b"".join([manifest.line(self._name(path), digest) for path, digest in local if digest])
        self.file.write(text)

    def _name(self, path: str) -> str:
        whole = os.path.abspath(path)  # noqa: PTH100 - pathlib does not fold ".."
        return whole.removeprefix(self._parent)


if TYPE_CHECKING:
    _: tuple[type[Observer], type[Observer]] = (Receipts, Manifest)


def _below(root: Location, destination: Location) -> str:
    """The name below a directory, as people write it; the last part of it for what is not below it."""
    top = root.path.rstrip("/") + "/"
    path = destination.path
    name = path[len(top) :] if path.startswith(top) else path.rpartition("/")[2]
    known = SCHEMES.get(destination.scheme)
    if known is not None and known.quoted:
        from urllib.parse import unquote

        return unquote(name)
    return name


def _here(moved: Moved) -> Location | None:
    """Which end of it is on this machine, the destination first."""
    return next((end for end in (moved.destination, moved.source) if end.scheme in LOCAL), None)


def _contradiction(one: Moved, other: Moved) -> str:
    """One LFN cannot be two contents; only the first was recorded."""
    first, second = (f"{moved.digest} at {redact.url(moved.destination.url)}" for moved in (one, other))
    return f"the LFN {one.operation.lfn!r} has two contents: {first} (recorded), and {second}"


def _moved(outcome: Outcome) -> Moved | None:
    """A file moved by this run; ``None`` for anything else, a directory as a whole included."""
    operation = outcome.operation
    if outcome.status != "done" or not isinstance(operation, Transfer) or outcome.route == "directory":
        return None
    last = outcome.attempts[-1] if outcome.attempts else None
    source = (last.source if last else None) or operation.sources[0]
    destination = last.destination if last else operation.destinations[0]
    return Moved(operation, source, destination, outcome.size, outcome.algorithm, outcome.digest)


def _recalled(notes: Notes | None, operations: Sequence[Transfer]) -> Iterator[Moved]:
    """Files moved by an earlier run."""
    if notes is None:
        return
    for record in notes.recall(operations):
        if isinstance(record.operation, Transfer):
            source = record.operation.sources[0]
            yield Moved(
                record.operation, source, record.destination, record.size, record.algorithm, record.digest
            )


def _local_side(moved: Moved) -> tuple[str, os.stat_result | None]:
    """The path on this machine and what stands there; the destination's URL where neither end is local."""
    end = _here(moved)
    if end is None:
        return redact.url(moved.destination.url), None
    try:
        return end.path, os.stat(end.path)  # noqa: PTH116
    except (OSError, ValueError):
        return end.path, None
