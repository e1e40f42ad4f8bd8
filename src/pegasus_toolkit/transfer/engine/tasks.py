"""An operation on its way: which source and destination it is at, and what was tried."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from pegasus_toolkit.transfer.engine.hosts import Verdict
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, NoSpace, Permanent, Side, TransferError
from pegasus_toolkit.transfer.interface import Requirement
from pegasus_toolkit.transfer.model import Attempt, Location, Operation, Outcome, Transfer

Pair = tuple[int, int]  # indices of a source and a destination
Step = Literal["next", "wait", "later", "never"]
NO_PAIRS: frozenset[Pair] = frozenset()
NO_POSITIONS: frozenset[int] = frozenset()


class Task:
    """Mutable state of one operation; owned by one thread at a time."""

    __slots__ = (
        "attempts",
        "began",
        "borne",
        "counted",
        "counts",
        "dead",
        "destination",
        "errors",
        "large",
        "operation",
        "parent",
        "position",
        "required",
        "round",
        "runtime",
        "source",
        "uncopied",
    )

    def __init__(self, operation: Operation, required: Requirement, runtime: Runtime) -> None:
        self.operation = operation
        self.required = required
        self.runtime = runtime
        self.parent: Parent | None = None  # the directory that it is a member of
        self.attempts: tuple[Attempt, ...] = ()
        self.dead: frozenset[Pair] = NO_PAIRS  # pairs that are not to be tried again
        self.counts: dict[Pair, int] | None = None  # attempts used up, by pair
        self.errors: dict[Pair, TransferError] | None = None  # the last of each pair, in that order
        self.counted = False  # whether this round used up an attempt
        self.borne = 0  # failures that used up none
        self.position = 0  # index into the pairs of sources and destinations
        self.round = 1
        self.large = False  # known not to fit a spool in memory
        self.uncopied: frozenset[int] = NO_POSITIONS  # at which the storage would not copy
        self.began = 0.0
        self.source: Location | None
        if isinstance(operation, Transfer):
            self.source, self.destination = operation.sources[0], operation.destinations[0]
        else:
            self.source, self.destination = None, operation.target

    def begin(self) -> None:
        """An attempt starts now."""
        self.began = self.runtime.monotonic()

    def tried(self, route: str, size: int, error: TransferError | None) -> float:
        """Notes the attempt that is over; what time it is."""
        now = self.runtime.monotonic()
        began = self.began or now
        started = self.runtime.since_epoch(began)
        attempt = Attempt(self.source, self.destination, route, started, now - began, size, error)
        self.attempts = (*self.attempts, attempt)
        self.began = 0.0
        return now

    def cannot_copy(self) -> None:
        """The storage will not copy from here to there: not to be asked again. Not an attempt."""
        self.uncopied |= {self.position}
        self.began = 0.0

    @property
    def through_here(self) -> bool:
        """Whether its bytes must pass through this machine, as the storage would not copy them."""
        return self.position in self.uncopied

    def advance(self, error: TransferError, rounds: int, verdict: Verdict = "counts") -> Step:
        """What comes after ``error``.

        "next": another pair at once; "later": a new round, after a delay; "wait": the same, as soon as
        its host may be asked again; "never": it failed. A permanent error rules out its source, its
        destination, or only the pair, by ``side``; any other the pair, once it has used up ``rounds``
        attempts, or at once where its host is "away". What is "borne" uses up none.
        """
        if isinstance(error, Cancelled):
            return "never"
        pairs = self._pairs()
        self._note(pairs, error, rounds, verdict)
        for position in range(self.position + 1, len(pairs)):
            if pairs[position] not in self.dead:
                self._go_to(position, pairs)
                return "next"
        alive = [i for i, pair in enumerate(pairs) if pair not in self.dead]
        if not alive:
            return "never"
        self._go_to(alive[0], pairs)
        if not self.counted:
            return "wait"
        self.round += 1
        self.counted = False
        return "later"

    def _note(self, pairs: list[Pair], error: TransferError, rounds: int, verdict: Verdict) -> None:
        here = pairs[self.position]
        concerned = [here]
        if isinstance(error, (Permanent, NoSpace)):
            concerned = [pair for pair in pairs if self._same(pair, here, error.side)]
            self.dead |= set(concerned)
        elif verdict == "borne":
            self.borne += 1
        else:
            self.counts = self.counts or {}
            self.counts[here] = self.counts.get(here, 0) + 1
            self.counted = True
            if verdict == "away" or self.counts[here] >= rounds:
                self.dead |= {here}
        self.errors = self.errors or {}
        for pair in concerned:
            self.errors.pop(pair, None)
            self.errors[pair] = error

    @property
    def has_next(self) -> bool:
        """Whether another pair can still be tried in this round."""
        pairs = self._pairs()
        return any(pair not in self.dead for pair in pairs[self.position + 1 :])

    def _pairs(self) -> list[Pair]:
        if not isinstance(self.operation, Transfer):
            return [(0, 0)]
        sources, destinations = len(self.operation.sources), len(self.operation.destinations)
        return [(s, d) for d in range(destinations) for s in range(sources)]

    @staticmethod
    def _same(pair: Pair, here: Pair, side: Side) -> bool:
        if side == "source":
            return pair[0] == here[0]
        if side == "destination":
            return pair[1] == here[1]
        return pair == here

    def _go_to(self, position: int, pairs: list[Pair]) -> None:
        self.position = position
        if isinstance(self.operation, Transfer):
            source, destination = pairs[position]
            self.source = self.operation.sources[source]
            self.destination = self.operation.destinations[destination]

    def verdict(self) -> TransferError:
        """The error to tell: of the last words on each pair one that another run may mend; else the last."""
        last = [a.error for a in self.attempts if a.error is not None][-1]
        if isinstance(last, Cancelled) or not self.errors:
            return last
        hopeful = [e for e in self.errors.values() if not isinstance(e, Permanent)]
        return hopeful[-1] if hopeful else last

    def failed(self, error: TransferError | None = None) -> Outcome:
        """The outcome after the last attempt, with ``error`` where it is not one of the attempts'."""
        error = error or self.verdict()
        return Outcome(
            operation=self.operation,
            status="cancelled" if isinstance(error, Cancelled) else "failed",
            route=self.attempts[-1].route,
            attempts=self.attempts,
            error=error,
            member=self.parent is not None,
        )

    def done(
        self,
        route: str,
        size: int,
        digest: str,
        *,
        proven: bool = False,
        stored: tuple[str, ...] = (),
        compared: tuple[str, ...] | None = None,
    ) -> Outcome:
        """The outcome of success; ``proven``, ``stored``, ``compared`` as in ``Job``."""
        required = self.required
        checked = required.expectations if compared is None else compared
        if proven:
            stored = stored if {"digest", "read back"} & set(stored) else (*stored, "digest")
            checked += ("remote",) if required.remote else ()
        return Outcome(
            operation=self.operation,
            status="done",
            size=size,
            algorithm=required.algorithm if digest else "",
            digest=digest,
            route=route,
            verified=checked,
            stored=stored,
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
        self.held: tuple[set[str], set[str]] | None = None  # what was verified, and of what is stored, of all

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
            verified, stored = set(outcome.verified), set(outcome.stored)
            if self.held is not None:
                verified, stored = verified & self.held[0], stored & self.held[1]
            self.held = verified, stored

    @property
    def begun(self) -> bool:
        """Whether any of its files was found."""
        return bool(self.open or self.files or self.failures)

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.listed and self.open == 0

    def outcome(self) -> Outcome:
        """The directory's own outcome."""
        task, expected = self.task, self.task.required.size
        if expected is not None and expected != self.size and not self.failures:
            text = f"its files have {self.size} bytes, {expected} expected"
            wrong = Corrupted(text, url=task.source.url if task.source is not None else "", side="source")
            task.tried("directory", self.size, wrong)
            return _with(task.failed(wrong), files=self.files, size=self.size)
        if self.failures:
            worst = max(self.errors, key=lambda e: (isinstance(e, Cancelled), e.exit_code))
            task.tried("directory", self.size, worst)
            word = "were not done" if isinstance(worst, Cancelled) else "failed"
            detail = f"{self.failures} of {self.failures + self.files} files {word}"
            failed = task.failed(worst)
            return _with(failed, files=self.files, failures=self.failures, size=self.size, detail=detail)
        task.tried("directory", self.size, None)
        detail = f"{self.unlisted} files are not in the manifest" if self.unlisted else ""
        verified, stored = self.held or (set(), set())
        held = [word for word in ("digest", "size", "remote") if word in verified]
        if expected is not None and "size" not in held:
            held.insert(held.count("digest"), "size")
        done = task.done("directory", self.size, "", stored=tuple(sorted(stored)), compared=tuple(held))
        return _with(done, files=self.files, detail=detail)


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
