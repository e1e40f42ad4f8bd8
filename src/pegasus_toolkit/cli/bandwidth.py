"""``--bandwidth``: one rate, a timetable of the day, or a file that holds one of both and may change."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pegasus_toolkit.transfer import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pegasus_toolkit.transfer.engine.limits import Bandwidth
    from pegasus_toolkit.transfer.model import Outcome
    from pegasus_toolkit.transfer.observer import Observer, Progress

LOOK = 1.0  # seconds between two looks at the clock and the file
OFF = ("off", "0")


class Change(NamedTuple):
    """From this minute of the day on, ``rate`` bytes a second; 0: no limit."""

    minute: int
    rate: int


class Timetable(NamedTuple):
    """Rates by time of day, in order; a single rate is one change at midnight."""

    changes: tuple[Change, ...]

    def rate(self, minute: int) -> int:
        """At that minute of the day; before the first change that of the last holds, from the day before."""
        begun = [change for change in self.changes if change.minute <= minute]
        return (begun or self.changes)[-1].rate


def parse(text: str) -> Timetable:
    """``10M``, ``off``, or ``08:00,512k 19:00,10M 23:00,off``. Raises ``ValueError`` with what is wrong."""
    words = text.split()
    if len(words) <= 1 and "," not in text:
        return Timetable((Change(0, _rate(text.strip())),))
    changes = sorted(_change(word) for word in words)
    if len({change.minute for change in changes}) < len(changes):
        raise ValueError(f"{text!r} names a time twice")
    return Timetable(tuple(changes))


def _change(word: str) -> Change:
    clock, _, rate = word.partition(",")
    hours, _, minutes = clock.partition(":")
    if not (len(hours) == len(minutes) == 2 and hours.isdecimal() and minutes.isdecimal() and rate):
        raise ValueError(f"{word!r} is not a time and a rate such as 08:00,10M")
    if int(hours) > 23 or int(minutes) > 59:
        raise ValueError(f"{clock!r} is no time of day")
    return Change(int(hours) * 60 + int(minutes), _rate(rate))


def _rate(text: str) -> int:
    return 0 if text in OFF else units.parse(text)


def read(wanted: str) -> Timetable:
    """What an argument means; ``@FILE`` is read. Raises ``ValueError``."""
    if not wanted.startswith("@"):
        return parse(wanted)
    try:
        return parse(Path(wanted[1:]).read_text("utf-8"))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ValueError(f"cannot read the rate from {wanted[1:]!r}: {reason}") from None


class Throttle:
    """An observer that keeps the limit as the timetable, or the file, says."""

    def __init__(
        self,
        wanted: str,
        limit: Bandwidth,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``tell`` gets a line where the rate changes, or the file holds none. Raises ``ValueError``."""
        self._wanted = wanted
        self._timetable = read(wanted)
        self._limit = limit
        self._tell = tell
        self._clock = clock
        self._next = 0.0
        self._wrong = ""
        limit.change(self._rate())

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """A timetable goes by the clock, whatever was moved."""

    def tick(self, progress: Progress) -> None:
        if progress.seconds < self._next:
            return
        self._next = progress.seconds + LOOK
        if self._wanted.startswith("@"):
            self._read_again()
        rate = self._rate()
        if rate != self._limit.rate:
            self._limit.change(rate)
            self._tell(f"bandwidth from now on: {units.size(rate) + '/s' if rate else 'no limit'}")

    def _read_again(self) -> None:
        try:
            self._timetable, self._wrong = read(self._wanted), ""
        except ValueError as error:  # half written, perhaps: what held still holds
            if str(error) != self._wrong:
                self._wrong = str(error)
                self._tell(f"bandwidth stays as it was: {error}")

    def _rate(self) -> int:
        now = time.localtime(self._clock())
        return self._timetable.rate(now.tm_hour * 60 + now.tm_min)


if TYPE_CHECKING:
    _: type[Observer] = Throttle
