"""The engine: runs operations to their outcomes, within limits, until all are over or it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.engine.hosts import Hosts
from pegasus_toolkit.transfer.engine.intake import Intake
from pegasus_toolkit.transfer.engine.limits import Bandwidth
from pegasus_toolkit.transfer.engine.movers import move
from pegasus_toolkit.transfer.engine.planning import Planner
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.retry import PATIENCE, Retry
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.scheduler import Found, Scheduler
from pegasus_toolkit.transfer.engine.watch import Watch
from pegasus_toolkit.transfer.errors import Cancelled, TransferError
from pegasus_toolkit.transfer.interface import Control, Opener, Settings
from pegasus_toolkit.transfer.model import Expects, Mkdir, Operation, Ordered, Outcome, Transfer
from pegasus_toolkit.transfer.observer import Observer, Plan, Progress, Summary, UnderWay
from pegasus_toolkit.transfer.streams.files import discard

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.records.receipts import Receipts

REMOVALS = 2  # the third phase
TICK = 0.1  # seconds between looks at progress, stalls and what is due
LOOKED_AT = 4  # files of each worker, at each tick
SHOWN = 8
FIRST_TICK = 0.005  # seconds: short runs should not wait for a tick


def unique_name() -> str:
    """A name that no other run has, for temporary files."""
    return os.urandom(4).hex()


class Options(Struct, frozen=True):
    """How a run is done.

    ``attempts``: rounds over all sources of one operation; ``concurrency``: files in flight, overall;
    ``per_host``: at one host (0: as overall); ``algorithm``: digest of every stream ("" for none);
    ``symlink``: link local files of one site instead of copying; ``bandwidth``: bytes per second over
    all (0: no limit); ``min_rate``: bytes per second below which a connection is cut after the stall
    time-out (0: none is); ``keep_partial``: interrupted downloads stay for a later run; ``run``: unique
    name, part of temporary file names; ``directory``: where relative names and ``.meta`` files are;
    ``patience``: seconds for which a server that is away, fails or throttles is waited for.
    """

    attempts: int = 3
    concurrency: int = 8
    per_host: int = 0
    algorithm: str = "sha256"
    symlink: bool = False
    bandwidth: int = 0
    min_rate: int = 0
    keep_partial: bool = False
    run: str = field(default_factory=unique_name)
    directory: str = "."
    first_delay: float = 1.0  # seconds of back-off after the first round
    patience: float = PATIENCE
    careful: bool = False  # nothing is removed once something failed


class Settled:
    """Files that are over, and their bytes."""

    def __init__(self, expected: int | None = None) -> None:
        """``expected``: bytes of all operations, where none is a directory and all sizes are known."""
        self.left = expected
        self.members = self.others = self.directories = 0
        self.member_bytes = self.other_bytes = 0

    def add(self, outcome: Outcome) -> None:
        """One more is over."""
        if outcome.route == "directory":
            self.directories += 1
            return
        if outcome.member:
            self.members += 1
            self.member_bytes += outcome.size
        else:
            self.others += 1
            self.other_bytes += outcome.size
            if self.left is not None and isinstance(outcome.operation, Transfer):
                self.left -= outcome.operation.size or 0

    def of(
        self, total: int, found: Found, active: Sequence[UnderWay]
    ) -> tuple[int, int, bool, int, int | None]:
        """The last fields of ``Progress``: with what was found and is under way, how far the run is."""
        others = total - found.directories - self.directories
        alone = [file for file in active if not file.member]
        whole = self.member_bytes + self.other_bytes + sum(file.bytes or 0 for file in active)
        size: int | None = None
        waiting = others - self.others - len(alone)
        if self.left is not None:
            size = self.other_bytes + self.left
        elif waiting <= 0 and not found.unsized and all(file.size is not None for file in alone):
            size = found.bytes + self.other_bytes + sum(file.size or 0 for file in alone)
        return self.members + self.others, others + found.files, found.listing > 0, whole, size


class Engine:
    """Runs operations. One ``run`` at a time; ``cancel`` from a signal handler or any thread."""

    def __init__(
        self,
        options: Options,
        settings: Settings,
        observers: Sequence[Observer] = (),
        opener: Opener = open_backend,
        *,
        pool: Pool | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """``pool``: where something was opened already, with the same settings; closed by ``run``."""
        self.options = options
        self.settings = settings
        self.observers = observers
        self.pool = pool or Pool(settings, opener)
        self.runtime = runtime or Runtime()
        self.limiter = Bandwidth(options.bandwidth) if options.bandwidth else None
        self.partials: set[str] = set()  # of interrupted files, until the end of the run
        self.cancelled: Cancelled | None = None
        self.counts = {"done": 0, "skipped": 0, "failed": 0, "cancelled": 0}
        self.settled = Settled()
        self.exit_code = 0
        self.receipts: Receipts | None = None  # made when the first operation asks for one
        self.tries = 0
        self.gone = 0  # bytes of workers that ended
        self.abandoned = 0
        self.began = self.runtime.monotonic()

    def cancel(self, reason: str) -> None:
        """Ends the run soon: what is under way is undone, what waits is reported as cancelled."""
        self.cancelled = Cancelled(reason)

    def plan(self, operation: Operation) -> Plan:
        """The route that would be taken, and why; or the error. Nothing is moved."""
        planner = self._planner(None)
        task = planner.task(operation)
        if isinstance(task, Outcome):
            attempt = task.attempts[-1]
            if task.error is not None:
                self._make_tellable(task)
            return Plan("none", "", attempt.source, attempt.destination, task.error)
        try:
            route = planner.lane(planner.key(task), task).route
        except TransferError as error:
            from pegasus_toolkit.transfer.engine import telling

            telling.mask(error, self.settings.credentials)
            return Plan("none", "", task.source, task.destination, error)
        return Plan(route.kind, route.why, task.source, task.destination, None)

    def run(
        self, operations: Sequence[Operation], done: Callable[[Operation], bool] | None = None
    ) -> Summary:
        """Runs mkdirs, then transfers, then removes; ``done`` tells what an earlier run has finished."""
        self.began = self.runtime.monotonic()
        options = self.options
        if isinstance(operations, Expects):
            self.settled = Settled(operations.expected)
        retry = Retry(
            options.attempts, options.first_delay, patience=options.patience, chance=self.runtime.chance
        )
        scheduler = Scheduler(
            planner=self._planner(done),
            pool=self.pool,
            hosts=Hosts(options.concurrency, options.per_host, retry),
            retry=retry,
            move=move,
            control=self._control,
            runtime=self.runtime,
        )
        watch = Watch(scheduler, self.settings.stall_timeout, self.runtime, options.min_rate)
        try:
            for kind, indices in enumerate(phases(operations)):
                if kind == REMOVALS and options.careful and self.exit_code:
                    break
                scheduler.begin(operations, indices)
                self._phase(scheduler, watch, len(operations))
        finally:
            if self.cancelled is None and not scheduler.intake.over:  # an observer raised
                scheduler.cancel(Cancelled("the run was broken off"))
            self.abandoned = watch.abandoned
            if self.receipts is not None:
                self.receipts.finish()
            self.pool.close()
            discard(self.partials)
        return self._summary()

    def close(self) -> None:
        """Closes what is open; for those who only plan."""
        self.pool.close()

    def _planner(self, done: Callable[[Operation], bool] | None) -> Planner:
        options = self.options
        return Planner(
            self.pool,
            self.runtime,
            algorithm=options.algorithm,
            symlink=options.symlink,
            directory=options.directory,
            done=done,
        )

    def _control(self) -> Control:
        options = self.options
        return Control(options.run, self.limiter, options.keep_partial, self.partials, self.settings.notes)

    def _phase(self, scheduler: Scheduler, watch: Watch, total: int) -> None:
        intake, pause = scheduler.intake, FIRST_TICK
        while not intake.over and self.cancelled is None:
            due = scheduler.advance(lambda: self.cancelled is not None)
            intake.wake.wait(pause if due is None else max(0.0, min(pause, due)))
            intake.wake.clear()
            pause = min(TICK, pause * 2)
            self._tell(intake)
            watch.look()
            self._tick(scheduler, total)
        if self.cancelled is not None:
            watch.stop(self.cancelled, lambda: self._tell(intake))
            self._tick(scheduler, total)

    def _tell(self, intake: Intake) -> None:
        while batch := intake.take():
            for outcome in batch:
                self.tries += len(outcome.attempts)
                if outcome.error is not None or len(outcome.attempts) > 1:
                    self._make_tellable(outcome)
                if self.receipts is None and getattr(outcome.operation, "generate_checksum", False):
                    self.receipts = self._receipts()
                self.settled.add(outcome)
                if outcome.member:
                    continue
                self.counts[outcome.status] += 1
                if outcome.error is not None:
                    self.exit_code = max(self.exit_code, outcome.error.exit_code)
            if self.receipts is not None:
                self.receipts.settled(batch)
            for observer in self.observers:
                observer.settled(batch)

    def _receipts(self) -> Receipts:
        from pegasus_toolkit.transfer.records.receipts import Receipts

        return Receipts(self.settings.environ.get("KICKSTART_INTEGRITY_DATA", ""), self.settings.notes)

    def _make_tellable(self, outcome: Outcome) -> None:
        from pegasus_toolkit.transfer.engine import telling  # a run that goes well does not need it

        telling.finish(outcome, self.settings.credentials)

    def _tick(self, scheduler: Scheduler, total: int) -> None:
        self.gone = scheduler.moved
        counts, now = self.counts, self.runtime.monotonic()
        active = [file for worker in scheduler.workers() for file in worker.under_way(LOOKED_AT, now)]
        active.sort(key=lambda file: -file.seconds)
        progress = Progress(
            total,
            counts["done"] + counts["skipped"],
            counts["failed"] + counts["cancelled"],
            self.gone,
            now - self.began,
            tuple(active[:SHOWN]),
            scheduler.waiting,
            *self.settled.of(total, scheduler.found, active),
        )
        for observer in self.observers:
            observer.tick(progress)

    def _summary(self) -> Summary:
        counts, receipts = self.counts, self.receipts
        problems = tuple(receipts.errors) if receipts is not None else ()
        return Summary(
            counts["done"],
            counts["skipped"],
            counts["failed"],
            counts["cancelled"],
            self.gone,
            self.runtime.monotonic() - self.began,
            self.tries,
            max(self.exit_code, 1 if counts["cancelled"] or self.cancelled or problems else 0),
            self.abandoned,
            problems,
            receipts.unrecorded if receipts is not None else 0,
        )


def phases(operations: Sequence[Operation]) -> Iterator[Iterator[int]]:
    """Indices in the order of the work: directories are made, then files moved, then removed."""
    kinds = [array_of(operations, kind) for kind in (0, 1, 2)]
    for indices in kinds:
        yield iter(indices)


def array_of(operations: Sequence[Operation], kind: int) -> Sequence[int]:
    """The indices of one kind of operation (0 mkdir, 1 transfer, 2 remove)."""
    if isinstance(operations, Ordered):
        start = sum(operations.counts[:kind])
        return range(start, start + operations.counts[kind])
    return [i for i, operation in enumerate(operations) if _kind(operation) == kind]


def _kind(operation: Operation) -> int:
    if isinstance(operation, Transfer):
        return 1
    return 0 if isinstance(operation, Mkdir) else 2
