"""An operation on its way: which source and destination it is at, and what was tried."""

from __future__ import annotations

from time import time

from msgspec.structs import replace

from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, NoSpace, Permanent, Side, TransferError
from pegasus_toolkit.transfer.interface import Requirement
from pegasus_toolkit.transfer.model import Attempt, Location, Operation, Outcome, Status, Transfer


class Task:
    """Mutable state of one operation; owned by one thread at a time."""

    __slots__ = (
        "attempts",
        "dead",
        "destination",
        "large",
        "operation",
        "parent",
        "position",
        "required",
        "round",
        "source",
        "started",
        "uncopied",
    )  # fmt: skip

    def __init__(self, operation: Operation, required: Requirement) -> None:
        self.operation = operation
        self.required = required
        self.parent: Parent | None = None  # the directory that it is a member of
        self.attempts: tuple[Attempt, ...] = ()
        self.dead: frozenset[tuple[int, int]] = frozenset()  # pairs that failed for good
        self.position = 0  # index into the pairs of sources and destinations
        self.round = 1
        self.large = False  # known not to fit a spool in memory
        self.uncopied: frozenset[int] = frozenset()  # positions at which the storage would not copy
        self.started = 0.0
        self.source: Location | None
        if isinstance(operation, Transfer):
            self.source, self.destination = operation.sources[0], operation.destinations[0]
        else:
            self.source, self.destination = None, operation.target

    def begin(self) -> None:
        """An attempt starts now."""
        self.started = time()

    def tried(self, route: str, size: int, error: TransferError | None) -> None:
        """Notes the attempt that is over."""
        started = self.started or time()
        attempt = Attempt(
            self.source, self.destination, route, started, max(0.0, time() - started), size, error
        )
        self.attempts = (*self.attempts, attempt)
        self.started = 0.0

    def cannot_copy(self) -> None:
        """The storage will not copy from here to there: not to be asked again. Not an attempt."""
        self.uncopied |= {self.position}
        self.started = 0.0

    @property
    def through_here(self) -> bool:
        """Whether its bytes must pass through this machine, as the storage would not copy them."""
        return self.position in self.uncopied

    def advance(self, error: TransferError, rounds: int) -> str:
        """What comes after ``error``: "next" pair at once, "later" (a new round), or "never".

        A permanent error rules out its source, its destination, or only the pair, by ``side``.
        """
        if isinstance(error, Cancelled):
            return "never"
        pairs = self._pairs()
        if isinstance(error, (Permanent, NoSpace)):
            here = pairs[self.position]
            self.dead |= {p for p in pairs if self._same(p, here, error.side)}
        for position in range(self.position + 1, len(pairs)):
            if pairs[position] not in self.dead:
                self._go_to(position, pairs)
                return "next"
        alive = [i for i, pair in enumerate(pairs) if pair not in self.dead]
        if not alive or self.round >= rounds:
            return "never"
        self.round += 1
        self._go_to(alive[0], pairs)
        return "later"

    def _pairs(self) -> list[tuple[int, int]]:
        if not isinstance(self.operation, Transfer):
            return [(0, 0)]
        sources, destinations = len(self.operation.sources), len(self.operation.destinations)
        return [(s, d) for d in range(destinations) for s in range(sources)]

    @staticmethod
    def _same(pair: tuple[int, int], here: tuple[int, int], side: Side) -> bool:
        if side == "source":
            return pair[0] == here[0]
        if side == "destination":
            return pair[1] == here[1]
        return pair == here

    def _go_to(self, position: int, pairs: list[tuple[int, int]]) -> None:
        self.position = position
        if isinstance(self.operation, Transfer):
            source, destination = pairs[position]
            self.source = self.operation.sources[source]
            self.destination = self.operation.destinations[destination]

    def verdict(self) -> TransferError:
        """The error to tell: one that another run may mend, if there is any; else the last."""
        errors = [a.error for a in self.attempts if a.error is not None]
        hopeful = [e for e in errors[-len(self._pairs()) :] if not isinstance(e, Permanent)]
        return (hopeful or errors)[-1]

    def failed(self, status: Status = "failed") -> Outcome:
        """The outcome after the last attempt."""
        error = self.verdict()
        return Outcome(
            operation=self.operation,
            status="cancelled" if isinstance(error, Cancelled) else status,
            route=self.attempts[-1].route,
            attempts=self.attempts,
            error=error,
            member=self.parent is not None,
        )

    def done(self, route: str, size: int, digest: str, remote: bool = False, files: int = 1) -> Outcome:
        """The outcome of success; ``remote``: the destination proved what it stores."""
        required = self.required
        checked: tuple[str, ...] = ()
        if required.digest or required.also:
            checked += ("digest",)
        if required.size is not None:
            checked += ("size",)
        if remote:
            checked += ("remote",)
        return Outcome(
            operation=self.operation,
            status="done",
            size=size,
            algorithm=required.algorithm if digest else "",
            digest=digest,
            route=route,
            verified=checked,
            files=files,
            attempts=self.attempts,
            member=self.parent is not None,
        )


class Parent:
    """A directory transfer: what became of its files so far. Touched under the scheduler's lock."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.listed = False  # no more files will be added
        self.open = 0
        self.files = 0
        self.size = 0
        self.errors: list[TransferError] = []
        self.failures = 0
        self.unlisted = 0  # files that a manifest did not name

    def settle(self, outcome: Outcome) -> None:
        """Counts one file's outcome."""
        self.open -= 1
        if outcome.error is not None:
            self.failures += 1
            if len(self.errors) < 10:
                self.errors.append(outcome.error)
        elif outcome.kind == "transfer":
            self.files += 1
            self.size += outcome.size

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.listed and self.open == 0

    def outcome(self) -> Outcome:
        """The directory's own outcome."""
        task = self.task
        if self.failures:
            worst = max(self.errors, key=lambda e: (isinstance(e, Cancelled), e.exit_code))
            task.tried("directory", self.size, worst)
            detail = f"{self.failures} of {self.failures + self.files} files failed"
            return _with(task.failed(), files=self.files, size=self.size, detail=detail)
        task.tried("directory", self.size, None)
        detail = f"{self.unlisted} files are not in the manifest" if self.unlisted else ""
        return _with(task.done("directory", self.size, "", files=self.files), detail=detail)


def _with(outcome: Outcome, **changes: object) -> Outcome:
    return replace(outcome, **changes)


def blame(error: TransferError, verb: str) -> TransferError:
    """The error with ``side`` set, where the backend that raised it could not know it."""
    if not error.side:
        if isinstance(error, Corrupted) or verb in ("get", "list"):
            error.side = "source"
        elif verb in ("put", "mkdir", "remove", "remove-tree"):
            error.side = "destination"
    return error
