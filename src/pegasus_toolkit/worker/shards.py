"""The last node of a large specification's run: adds up its shards, and writes down what is left.

What is left is ``left.json`` in the submit directory: a specification like the one that was given.
"""

# pathlib would cost start-up time
# ruff: noqa: PTH105, PTH120

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
from msgspec import Struct

from pegasus_toolkit.integrity import regular
from pegasus_toolkit.transfer.records.journal import Journal, JournalError
from pegasus_toolkit.transfer.records.outfile import OutFile
from pegasus_toolkit.transfer.spec.specification import Specification
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed
from pegasus_toolkit.worker.shard import read
from pegasus_toolkit.worker.work import Work

LEFT = "left.json"
SPEC = ".spec.json"


class _Record(Struct):
    """What counts of a shard's record here."""

    version: int
    exit: int
    run: str = ""
    receipt: dict[str, object] = {}


def run(work: Work) -> None:
    """Writes the receipt into the record. Raises :class:`Failed` where anything is left."""
    work.record.phase = "check"
    jobs, submit = os.path.dirname(work.bundle), os.path.dirname(work.start)
    names = sorted(name.removesuffix(SPEC) for name in os.listdir(jobs) if name.endswith(SPEC))
    sums: Counter[str] = Counter()
    shards: Counter[str] = Counter()
    with _Left(f"{submit}/{LEFT}") as left:
        for name in names:
            found = _record(work, name)
            receipt = found.receipt if found is not None else {}
            shards["not begun" if found is None else "failed" if found.exit else "done"] += 1
            sums.update({key: value for key, value in receipt.items() if isinstance(value, int)})
            if found is None or found.exit or receipt.get("left"):
                left.add(_left(work, f"{jobs}/{name}{SPEC}", name, receipt))
    work.record.receipt = {"shards": dict(shards), **sums, "left": left.count}
    if left.count:
        text = f"{left.count} entries are left to do, see {submit}/{LEFT}"
        raise Failed(text, EXIT_PERMANENT if sums["permanent"] else EXIT_RETRY, "incomplete")


def _record(work: Work, name: str) -> _Record | None:
    """``None`` for a shard that has not begun, or whose worker left nothing."""
    try:
        found = msgspec.json.decode(regular.read(f"{work.start}/{name}.json"), type=_Record)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.run == work.node.run else None


def _left(work: Work, path: str, name: str, receipt: dict[str, object]) -> Iterator[bytes]:
    """The entries of a shard that are not done; by its journal where no record tells."""
    operations = read(path, work)
    ids = receipt.get("left")
    if not isinstance(ids, list):
        ids = _by_journal(f"{work.start}/{name}.journal", operations)
    return (operations.raw(id) for id in ids)


def _by_journal(path: str, operations: Specification) -> Sequence[int]:
    try:
        journal = Journal(path, "look", look=True)
    except JournalError:
        return operations.ids
    try:
        return [one.id for one in operations if not journal.done(one)]
    finally:
        journal.close()


class _Left:
    """Writes entries to a specification, which is there as a whole or not at all.

    Readable by its owner alone, as URLs may hold secrets. Raises ``OSError``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._file = OutFile(f"{path}.part", flags, 0o600)

    def __enter__(self) -> _Left:
        self._file.write(b"[")
        return self

    def add(self, entries: Iterator[bytes]) -> None:
        while some := list(islice(entries, 1000)):
            self._file.write((b",\n" if self.count else b"\n") + b",\n".join(some))
            self.count += len(some)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.write(b"\n]\n")
        self._file.close()
        if self._file.error is not None:
            raise self._file.error
        if kind is None:
            os.replace(self._file.path, self.path)
