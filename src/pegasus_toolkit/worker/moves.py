"""Files moved by the transfer engine, each told in the node's record."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from msgspec.structs import replace

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.planner.catalogs import Pfn
from pegasus_toolkit.records import Failure
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer import redact, url
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.engine.retry import patience
from pegasus_toolkit.transfer.errors import BadSpecification, Corrupted, NotFound, TransferError
from pegasus_toolkit.transfer.interface import Settings
from pegasus_toolkit.transfer.model import Location, Operation, Outcome, Transfer
from pegasus_toolkit.transfer.observer import Observer, Progress
from pegasus_toolkit.transfer.records.journal import Journal, JournalError
from pegasus_toolkit.transfer.records.leftovers import clean
from pegasus_toolkit.worker import machine
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed
from pegasus_toolkit.worker.record import FileRecord, TransferRecord
from pegasus_toolkit.worker.work import Work

_THREADS = 8
_KINDS = {"mkdir": "mkdir", "remove": "remove"}


class _Gather:
    """Keeps what the engine tells."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""


_: type[Observer] = _Gather


def run(
    work: Work,
    operations: Sequence[Operation],
    direction: str,
    catalogued: Collection[int] = (),
    optional: Collection[int] = (),
) -> list[Outcome]:
    """Runs the operations; ``direction``: ``in``, ``out`` or ``move``, seen from this node.

    All are tried, and all are in the record. ``catalogued``: ids of those whose expected digest stands in
    a catalog, so that another try would find them as wrong. ``optional``: ids of those whose source
    need not be there. Raises :class:`Failed` if any failed.
    """
    if not operations:
        return []
    try:
        settings = Settings(Credentials.load(work.environ), work.environ, warn=warn)
    except CredentialError as error:
        raise Failed(str(error), EXIT_PERMANENT, "denied") from None
    gather = _Gather()
    with _noted(work, operations, settings) as noted:
        options = Options(
            concurrency=threads(work.environ),
            algorithm=work.algorithm,
            directory=work.start,
            patience=patience(work.environ),
        )
        engine = Engine(options, noted, [gather])
        with work.stop.by(engine.cancel):
            summary = engine.run(operations)
            work.abandoned += summary.abandoned
            _tell(work, gather.outcomes, direction, catalogued)
    gone = [
        one for one in gather.outcomes if isinstance(one.error, NotFound) and one.operation.id in optional
    ]
    failed = [one for one in gather.outcomes if one.error is not None and not one.member and one not in gone]
    if failed:
        worst = max(failed, key=lambda one: _exit(work, one, catalogued))
        raise Failed(_reason(work, worst, len(failed)), _exit(work, worst, catalogued), kind(worst.error))
    if summary.exit_code and not gone:
        raise Failed("the transfer was broken off", summary.exit_code, "stopped")
    return gather.outcomes


@contextmanager
def _noted(work: Work, operations: Sequence[Operation], settings: Settings) -> Iterator[Settings]:
    """With notes of what may be left at servers, for the next attempt, which removes it first.

    Only where that attempt finds them: among the records, not in a sandbox that goes with the job.
    """
    if not work.shared or not any(map(_sends, operations)):
        yield settings
        return
    path = f"{work.start}/{work.node.node}.notes"
    try:
        journal = Journal(path, os.urandom(6).hex())
    except JournalError as error:
        raise Failed(str(error), EXIT_RETRY, "machine") from None
    try:
        if journal.asides:
            clean((), journal, settings, warn)
        yield replace(settings, notes=journal)
        if not journal.asides and not work.abandoned:
            os.unlink(path)  # noqa: PTH108  whatever was aside is under its name, or was removed
    finally:
        journal.close()


def _sends(operation: Operation) -> bool:
    return isinstance(operation, Transfer) and any(one.scheme not in LOCAL for one in operation.destinations)


def warn(text: str) -> None:
    """Into the job's error output."""
    print(f"pegasus-worker: {text}", file=sys.stderr)


def kind(error: TransferError | None) -> Failure:
    """Why a transfer failed, as records tell it."""
    return cast(Failure, error.kind) if error is not None else ""


def place(pfn: Pfn) -> Location:
    """Where a file of the plan is; in the plan ``$`` and ``%`` are letters. Raises :class:`Failed`."""
    text = url.literal(pfn.url) if pfn.url.startswith("file:") else pfn.url
    try:
        return url.parse(text, pfn.site, {}, pfn.priority)
    except BadSpecification as error:
        raise Failed(str(error), EXIT_PERMANENT, "plan") from None


def here(path: str, site: str) -> Location:
    """A file on this machine, whatever letters its path has."""
    return Location(url.from_path(path), url.endpoint("file", "", site), path)


def told(location: Location) -> str:
    """Its URL for the record, without secrets; as in the plan, ``$`` and ``%`` are letters there."""
    return redact.url(url.plain(location.url) if location.scheme in LOCAL else location.url)


def file(lfn: str, outcome: Outcome) -> FileRecord:
    """What was moved, for the record."""
    return FileRecord(lfn=lfn, size=outcome.size, algorithm=outcome.algorithm, digest=outcome.digest)


def threads(environ: Mapping[str, str]) -> int:
    """How many files are in flight."""
    text = environ.get("PEGASUS_TRANSFER_THREADS", "")
    return min(int(text), 64) if text.isdecimal() and int(text) > 0 else _THREADS


def _tell(work: Work, outcomes: Sequence[Outcome], direction: str, catalogued: Collection[int]) -> None:
    record = work.record
    for outcome in outcomes:
        if outcome.member:
            continue
        record.transfers.append(transfer_record(outcome, direction))
        if isinstance(outcome.operation, Transfer):
            expected = outcome.operation.checksum is not None
            wrong = isinstance(outcome.error, Corrupted)
            if outcome.error is not None and outcome.error.side != "destination":
                if expected and wrong and outcome.operation.id not in catalogued:
                    record.damaged.append(outcome.operation.lfn)
                elif isinstance(outcome.error, NotFound):
                    record.lost.append(outcome.operation.lfn)
            if outcome.error is None or wrong:
                record.checks.made += expected
                record.checks.failed += expected and wrong
            if outcome.error is None:
                record.bytes_in += outcome.size if direction in ("in", "move") else 0
                record.bytes_out += outcome.size if direction in ("out", "move") else 0


def transfer_record(outcome: Outcome, direction: str) -> TransferRecord:
    """What a node's record tells of one operation."""
    operation, attempts = outcome.operation, outcome.attempts
    last = attempts[-1] if attempts else None
    if isinstance(operation, Transfer):
        source: Location | None = operation.sources[0]
        destination = operation.destinations[0]
    else:
        source, destination = None, operation.target
    if last is not None:
        source, destination = last.source or source, last.destination
    return TransferRecord(
        lfn=getattr(operation, "lfn", ""),
        kind=_KINDS.get(outcome.kind, direction),
        source=told(source) if source is not None else "",
        destination=told(destination),
        bytes=outcome.size,
        seconds=round(last.started + last.seconds - attempts[0].started, 6) if last is not None else 0.0,
        route=outcome.route,
        attempts=len(attempts),
        verified=outcome.verified,
        error=redact.message(str(outcome.error)) if outcome.error is not None else "",
        failure=kind(outcome.error),
    )


def _exit(work: Work, outcome: Outcome, catalogued: Collection[int]) -> int:
    error = outcome.error
    assert error is not None
    if isinstance(error, Corrupted) and error.side != "destination" and outcome.operation.id in catalogued:
        return EXIT_PERMANENT
    if error.exit_code != EXIT_PERMANENT:
        return EXIT_RETRY
    return EXIT_PERMANENT if _path(outcome) is None else machine.exit_code(work)


def _path(outcome: Outcome) -> str | None:
    """The file of this machine that is at fault; ``None`` where it is none."""
    error, last = outcome.error, outcome.attempts[-1] if outcome.attempts else None
    if last is None or error is None or error.exit_code != EXIT_PERMANENT:
        return None
    ends = {"destination": last.destination, "source": last.source}
    for side in (error.side,) if error.side else ends:
        one = ends[side]
        if one is not None and one.scheme in LOCAL and (error.side or error.url in ("", one.url)):
            return one.path
    return None


def _reason(work: Work, worst: Outcome, count: int) -> str:
    lfn = getattr(worst.operation, "lfn", "")
    path = _path(worst)
    text = redact.message(str(worst.error)) + (f" {machine.here(work, path)}" if path is not None else "")
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{lfn!r}: {text}{more}" if lfn else text + more
