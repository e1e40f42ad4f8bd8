"""A shard of a large specification: done with a journal, so that no attempt moves again what another did.

The journal ``NAME.journal`` is in the start directory: the submit host's ``records``, or a sandbox that
HTCondor brings it into and takes it out of. The record tells what is done over all attempts, and
which entries are left, by their indices in the shard's specification.
"""

# pathlib would cost start-up time
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.integrity.meta import Expected
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.engine.retry import patience
from pegasus_toolkit.transfer.errors import Corrupted, TransferError
from pegasus_toolkit.transfer.interface import Settings
from pegasus_toolkit.transfer.model import Operation, Outcome, Transfer
from pegasus_toolkit.transfer.observer import Observer, Progress
from pegasus_toolkit.transfer.records.journal import Journal, JournalError
from pegasus_toolkit.transfer.records.leftovers import clean
from pegasus_toolkit.transfer.spec.specification import Specification, load
from pegasus_toolkit.worker import moves
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed
from pegasus_toolkit.worker.shard_progress import Reports
from pegasus_toolkit.worker.work import Work

TOLD = 100  # failures that the record describes; it has the indices of all


class Tally:
    """What is done over all attempts, and what is left.

    ``sums``: transfers, mkdirs, removes (operations done), files, bytes, digests (taken), verified (against
    a digest, a size or the server), failed, permanent (failures that no other attempt mends).
    """

    def __init__(self, work: Work, operations: Specification, journal: Journal) -> None:
        self.sums: Counter[str] = Counter()
        self.worst: TransferError | None = None
        self._work, self._operations, self._journal = work, operations, journal
        self._over = bytearray(max(operations.ids, default=-1) + 1)
        self._skipped = bytearray(len(self._over))

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.member:
                continue
            if outcome.status == "done":
                self._work.record.bytes_out += outcome.size
                self._done(outcome.operation, outcome.files)
                self.sums["verified"] += bool(outcome.verified)
                self._content(outcome.operation, outcome.size, outcome.algorithm, outcome.digest)
                self._work.record.checks.made += bool({"digest", "remote"} & set(outcome.verified))
            elif outcome.status == "skipped":
                self._skipped[outcome.operation.id] = 1
                self._done(outcome.operation, 1)
            else:
                self._failed(outcome)

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def finish(self) -> None:
        """Adds what earlier attempts have moved, as the journal tells, and writes all into the record."""
        if any(self._skipped):
            skipped = (one for one in self._operations if self._skipped[one.id])
            for told in self._journal.recall(skipped):
                self._content(told.operation, told.size, told.algorithm, told.digest)
        left = [id for id in self._operations.ids if not self._over[id]]
        self._work.record.receipt = {**self.sums, "left": left}

    def _done(self, operation: Operation, files: int) -> None:
        self._over[operation.id] = 1
        if not isinstance(operation, Transfer):
            self.sums[f"{type(operation).__name__.lower()}s"] += 1
            return
        self.sums.update(transfers=1, files=files)

    def _content(self, operation: Operation, size: int, algorithm: str, digest: str) -> None:
        if isinstance(operation, Transfer):
            self.sums.update(bytes=size, digests=int(bool(digest)))
            if operation.generate_checksum and operation.lfn and digest:
                self._work.meta[operation.lfn] = Expected(algorithm, digest, size)

    def _failed(self, outcome: Outcome) -> None:
        record, error = self._work.record, outcome.error
        if len(record.transfers) < TOLD:
            record.transfers.append(moves.transfer_record(outcome, "move"))
        self.sums["failed"] += 1
        if error is None:
            return
        self.sums["permanent"] += error.exit_code == EXIT_PERMANENT
        record.checks.made += isinstance(error, Corrupted)
        record.checks.failed += isinstance(error, Corrupted)
        # As long as anything may be mended, another attempt is worth it.
        if self.worst is None or error.exit_code < self.worst.exit_code:
            self.worst = error


_: type[Observer] = Tally


def run(work: Work) -> None:
    """Does what no attempt before has done. Raises :class:`Failed`."""
    work.record.phase = "push"
    operations = read(os.path.join(os.path.dirname(work.bundle), work.node.specification), work)
    try:
        settings = Settings(Credentials.load(work.environ), work.environ)
        journal = Journal(f"{work.start}/{work.node.node}.journal", os.urandom(6).hex())
    except (CredentialError, JournalError) as error:
        raise Failed(
            str(error),
            EXIT_PERMANENT if isinstance(error, CredentialError) else EXIT_RETRY,
            "denied" if isinstance(error, CredentialError) else "machine",
        ) from None
    try:
        tally = _move(work, operations, settings, journal)
    finally:
        journal.close()
    if count := tally.sums["failed"]:
        text = redact.message(str(tally.worst)) if tally.worst is not None else "not done"
        more = f" (and {count - 1} more)" if count > 1 else ""
        exit = tally.worst.exit_code if tally.worst is not None else EXIT_RETRY
        raise Failed(
            text + more, EXIT_PERMANENT if exit == EXIT_PERMANENT else EXIT_RETRY, moves.kind(tally.worst)
        )
    if problem := journal.file.complaint("the journal"):
        raise Failed(problem, EXIT_RETRY, "machine")


def read(path: str, work: Work) -> Specification:
    """A shard's specification. Raises :class:`Failed`."""
    try:
        return load(path, work.environ)
    except TransferError as error:
        raise Failed(f"{path}: {'; '.join(str(error).splitlines())}", EXIT_PERMANENT, "plan") from None


def _move(work: Work, operations: Specification, settings: Settings, journal: Journal) -> Tally:
    settings = replace(settings, notes=journal)
    tally = Tally(work, operations, journal)
    clean(operations, journal, settings, moves.warn)
    options = Options(
        concurrency=moves.threads(work.environ),
        algorithm=work.algorithm,
        keep_partial=True,
        run=journal.run,
        directory=work.start,
        patience=patience(work.environ),
    )
    reports = Reports(work.start, work.node.node, work.environ)
    engine = Engine(options, settings, [journal, tally, reports])
    journal.begin()
    try:
        with work.stop.by(engine.cancel):
            summary = engine.run(operations, journal.done)
            work.abandoned += summary.abandoned
    finally:
        tally.finish()
    if not summary.abandoned:
        journal.finish()
    return tally
