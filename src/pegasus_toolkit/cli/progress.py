"""How far a run is: short lines in a log, one live line on a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.transfer import redact, units
from pegasus_toolkit.transfer.model import Location, Operation, Outcome, Transfer

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.engine.engine import Observer, Progress

MANY = 1000  # operations; a log of more is summarised
ALIKE = 10  # failures of one kind at one host that have a line each
INTERVAL = 30.0  # seconds between two summaries
WINDOW = 5.0  # seconds that the rate on a terminal is taken over


class Lines:
    """Failures always; each success in a log of up to ``MANY`` operations, and with -d."""

    def __init__(self, console: Console, total: int, live: bool) -> None:
        self.console = console
        self.each = console.wants_debug or not (live or not console.wants_info or total > MANY)
        self.summaries = not (self.each or live or not console.wants_info)
        self._next = INTERVAL
        self._alike: dict[tuple[str, str], int] = {}

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        good: list[str] = []
        for outcome in outcomes:
            if outcome.status == "failed":
                self._flush(good)
                self._failed(outcome)
            elif self.each:
                good += _success(outcome, self.console.wants_debug)
        self._flush(good)

    def _failed(self, outcome: Outcome) -> None:
        """A line, unless there were many like it: these are counted at the end."""
        alike = group(outcome)
        self._alike[alike] = count = self._alike.get(alike, 0) + 1
        if count <= ALIKE or self.console.wants_debug or outcome.route == "directory":
            self.console.lines("ERROR", _failure(outcome, self.console.wants_debug))
        elif count == ALIKE + 1:
            kind, host = alike
            self.console.error(f"more failures like these ({kind} at {host}) are only counted")

    def tick(self, progress: Progress) -> None:
        if self.summaries and progress.seconds >= self._next:
            self._next = progress.seconds + INTERVAL
            self.console.info(summary_line(progress))

    def _flush(self, good: list[str]) -> None:
        self.console.lines("INFO", good)
        good.clear()


class Live:
    """One line at the bottom of a terminal, drawn anew with each tick."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._samples: deque[tuple[float, int]] = deque(maxlen=200)

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing: the next tick tells."""

    def tick(self, progress: Progress) -> None:
        samples = self._samples
        samples.append((progress.seconds, progress.bytes))
        while progress.seconds - samples[0][0] > WINDOW and len(samples) > 1:
            samples.popleft()
        seconds, size = progress.seconds - samples[0][0], progress.bytes - samples[0][1]
        self.console.status(live_line(progress, units.rate(size, seconds)))


if TYPE_CHECKING:
    _: tuple[type[Observer], type[Observer]] = (Lines, Live)


def summary_line(progress: Progress) -> str:
    """How far it is, for a log."""
    text = f"{progress.done + progress.failed} of {progress.total} operations, {units.size(progress.bytes)}"
    text += f" in {units.span(progress.seconds)}, {units.rate(progress.bytes, progress.seconds)}"
    return text + _troubles(progress)


def live_line(progress: Progress, rate: str) -> str:
    """How far it is, for a terminal; what matters most stands first, as narrow ones cut the rest."""
    over, total = progress.done + progress.failed, max(progress.total, 1)
    filled = over * 20 // total
    text = f"[{'#' * filled}{'.' * (20 - filled)}] {over}/{progress.total}  "
    text += f"{units.size(progress.bytes)}  {rate}{_troubles(progress)}"
    if 0 < over < total and progress.seconds > 2:
        text += f"  {units.span(progress.seconds / over * (total - over))} left"
    if progress.active:
        more = f" (+{len(progress.active) - 1})" if len(progress.active) > 1 else ""
        text += f"  {redact.path(progress.active[0])}{more}"
    return text


def name(operation: Operation) -> str:
    """What an operation is called in a line: its lfn, else its destination."""
    if not isinstance(operation, Transfer):
        return redact.url(operation.target.url)
    return operation.lfn or redact.url(operation.destinations[0].url)


def pair(source: Location | None, destination: Location) -> str:
    """The URLs of an attempt."""
    target = redact.url(destination.url)
    return f"{redact.url(source.url)} -> {target}" if source is not None else target


def group(outcome: Outcome) -> tuple[str, str]:
    """What failures are counted by: the kind of the error, and the host where it happened."""
    error = outcome.error
    if error is None:
        return outcome.status, ""
    last = outcome.attempts[-1] if outcome.attempts else None
    host = error.host
    if not host and last is not None:
        place = last.source if error.side == "source" and last.source is not None else last.destination
        host = place.endpoint.host
    return error.kind, host or "this machine"


def brief(outcome: Outcome) -> str:
    """One failure: its name and its error."""
    return f"{name(outcome.operation)}: {redact.message(str(outcome.error))}"


def _troubles(progress: Progress) -> str:
    text = f"  {progress.failed} failed" if progress.failed else ""
    return text + (f"  {progress.waiting} waiting to be tried again" if progress.waiting else "")


def _success(outcome: Outcome, debug: bool) -> Iterator[str]:
    """A done, skipped or cancelled operation."""
    words = [outcome.status, outcome.route if outcome.kind == "transfer" else outcome.kind]
    if outcome.status == "done" and outcome.kind == "transfer":
        seconds = outcome.attempts[-1].seconds if outcome.attempts else 0.0
        words += [units.size(outcome.size), units.rate(outcome.size, seconds)]
    words.append(name(outcome.operation))
    if outcome.files != 1:
        words.append(f"({outcome.files} files)")
    if len(outcome.attempts) > 1:
        words.append(f"(attempt {len(outcome.attempts)})")
    if outcome.detail:
        words.append(f"({redact.message(outcome.detail)})")
    yield "  ".join(word for word in words if word)
    if debug:
        yield from _attempts(outcome)


def _failure(outcome: Outcome, debug: bool) -> Iterator[str]:
    error = outcome.error
    what = outcome.route if outcome.kind == "transfer" else outcome.kind
    words = ["failed", what, name(outcome.operation)]
    text = "  ".join(word for word in words if word)
    if error is not None:
        text += f": {error.kind}: {redact.message(str(error))}"
    if len(outcome.attempts) > 1:
        text += f" ({len(outcome.attempts)} attempts)"
    if outcome.detail:
        text += f" ({redact.message(outcome.detail)})"
    yield text
    if debug:
        yield from _attempts(outcome)
        if error is not None and error.__cause__ is not None:
            yield from _trace(error.__cause__)


def _attempts(outcome: Outcome) -> Iterator[str]:
    for number, attempt in enumerate(outcome.attempts, 1):
        ending = redact.message(str(attempt.error)) if attempt.error is not None else "good"
        ends = pair(attempt.source, attempt.destination)
        yield f"    attempt {number}: {attempt.route}, {ends}, {attempt.seconds:.3f} s: {ending}"
    if outcome.digest:
        checked = ", ".join(outcome.verified) or "nothing to compare with"
        yield f"    {outcome.algorithm} {outcome.digest}; checked: {checked}"


def _trace(cause: BaseException) -> Iterator[str]:
    import traceback

    for block in traceback.format_exception(cause):
        for line in block.rstrip("\n").split("\n"):
            yield "    " + redact.message(line)
