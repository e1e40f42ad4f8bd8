"""How far a run is: short lines in a log, one live line on a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.transfer import redact, units
from pegasus_toolkit.transfer.model import Location, Operation, Outcome, Transfer

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.observer import Observer, Progress, UnderWay

MANY = 1000  # operations; a log of more is summarised
ALIKE = 10  # failures of one kind at one host that have a line each
INTERVAL = 30.0  # seconds between two summaries, at first ...
LONGEST_INTERVAL = 300.0  # ... and in a run of hours
SLOWEST = 3  # files under way that are named in a summary
WINDOW = 5.0  # seconds that the rate on a terminal is taken over


class Lines:
    """Failures always; each success in a log of up to ``MANY`` operations, and with -d; now and then how far
    the run is. Of a directory there is one line, with -d one for each of its files."""

    def __init__(self, console: Console, total: int, live: bool) -> None:
        self.console = console
        self.each = console.wants_debug or not (live or not console.wants_info or total > MANY)
        self.summaries = console.wants_info and not live
        self._next = INTERVAL
        self._alike: dict[tuple[str, str], int] = {}

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        good: list[str] = []
        for outcome in outcomes:
            if outcome.status == "failed":
                self._flush(good)
                self._failed(outcome)
            elif self.each and (self.console.wants_debug or not outcome.member):
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
            self._next = progress.seconds + max(INTERVAL, min(progress.seconds / 20, LONGEST_INTERVAL))
            self.console.info(summary_line(progress))
            for file in progress.active[:SLOWEST]:
                if file.seconds >= INTERVAL:
                    self.console.info(f"    under way for {units.span(file.seconds)}: {_file(file)}")

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
        self.console.status(live_line(progress, size / seconds if seconds > 0 else 0.0))


if TYPE_CHECKING:
    _: tuple[type[Observer], type[Observer]] = (Lines, Live)


def summary_line(progress: Progress) -> str:
    """How far it is, for a log."""
    rate = units.rate(progress.bytes, progress.seconds)
    text = f"{_count(progress)} files, {_bytes(progress)} in {units.span(progress.seconds)}, {rate}"
    left = _left(progress, progress.bytes / progress.seconds if progress.seconds else 0.0)
    return text + (f", {left} left" if left else "") + _troubles(progress)


def live_line(progress: Progress, rate: float) -> str:
    """How far it is, for a terminal; ``rate``: bytes a second of late. What matters most stands first, as
    narrow ones cut the rest."""
    filled = int(_share(progress) * 20)
    text = f"[{'#' * filled}{'.' * (20 - filled)}] {_count(progress)}  {_bytes(progress)}  "
    text += (units.size(rate) + "/s" if rate else "-") + _troubles(progress)
    left = _left(progress, rate)
    text += f"  {left} left" if left else ""
    if progress.active:
        more = f" (+{len(progress.active) - 1})" if len(progress.active) > 1 else ""
        file = progress.active[0]
        text += f"  {_file(file._replace(url=_end(file.url)))}{more}"
    return text


def _share(progress: Progress) -> float:
    """How much is done, from 0 to 1: of the bytes where all sizes are known, else of the files."""
    if progress.size is not None and not progress.listing:
        return min(1.0, progress.whole / progress.size) if progress.size else 1.0
    return min(1.0, progress.files / max(progress.known, 1))


def _count(progress: Progress) -> str:
    return f"{progress.files}/{progress.known}{'+' * progress.listing}"


def _bytes(progress: Progress) -> str:
    if progress.size is None or progress.listing:
        return units.size(progress.whole)
    return f"{units.size(progress.whole)} of {units.size(progress.size)} ({_share(progress) * 100:.0f} %)"


def _left(progress: Progress, rate: float) -> str:
    """How long it may still take, "" where nobody can tell."""
    if progress.listing or progress.seconds <= 2:
        return ""
    if progress.size is not None:
        return units.span((progress.size - progress.whole) / rate) if rate else ""
    over, known = progress.files, progress.known
    return units.span(progress.seconds / over * (known - over)) if 0 < over < known else ""


def _file(file: UnderWay) -> str:
    """A file under way: its destination, and how far it is."""
    text = redact.path(file.url)
    if file.bytes is None or not file.size:
        return text
    return f"{text} {file.bytes * 100 // file.size} % of {units.size(file.size)}"


def _end(url: str) -> str:
    """The last two parts of a path: its beginning is known, and would be all that a terminal shows."""
    path = redact.path(url).rstrip("/")
    return "/".join(path.split("/")[-2:])


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
