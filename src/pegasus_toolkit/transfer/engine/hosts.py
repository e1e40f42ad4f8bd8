"""What is known of each host: how many files may be in flight there, and until when none may begin.

Throttling and being away are the host's affair, not the file's: one pause for all that goes there, fewer
connections, and no attempt of a file used up while there is hope. This machine, when it runs out of
open files or memory, is treated the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pegasus_toolkit.transfer.engine.retry import Retry
from pegasus_toolkit.transfer.errors import Throttled, TransferError, Unreachable

GROWTH = 10.0  # times the first delay: how long a limit that was found is kept before one more is tried ...
GROWTH_AT_MOST = 320.0  # ... twice as long after each refusal, up to this
LENT = 4  # so many times the limit, at most, when slots of silent workers are lent to others
LONG = 10.0  # times the first delay: for so long a pause nobody waits who can go elsewhere

# "borne": no attempt of the file is used up; "counts": it is; "away": none of those that wait need try.
Verdict = Literal["borne", "counts", "away"]


class Host:
    """One host, of whose ``most`` connections fewer may be used after it refused some.

    Call under the scheduler's lock, but for ``paused`` and ``succeeded``.
    """

    def __init__(self, name: str, most: int, retry: Retry, lends: bool = False) -> None:
        self.name = name
        self.most = most
        self.lends = lends  # whether ``most`` is no more than the overall limit
        self.lent = 0  # slots of silent workers
        self.limit = most  # files that may be in flight now
        self.used = 0  # slots that workers hold
        self.error: TransferError | None = None  # its last trouble
        self.paused_until = 0.0
        self._away_until = 0.0  # what comes until then fails at once
        self._retry = retry
        self._paused_at = float("-inf")
        self._since: float | None = None  # of the trouble that no success has ended
        self._row = 0  # pauses since the last success
        self.good_at = float("-inf")  # of the last success
        self.strained = False  # whether success is to be told, for there was trouble
        self._ceiling = most  # up to here the limit grows with every few successes, beyond it by time
        self._proven = 0  # in flight without a refusal
        self._calm = 0  # successes at this limit
        self._growth = GROWTH * retry.first / 2
        self._grow_at = 0.0

    @property
    def free(self) -> int:
        """Slots that can be had now; those of silent workers, too, unless the host itself sets the limit."""
        lent = min(self.lent, (LENT - 1) * self.limit) if self.lends and self.limit == self.most else 0
        return self.limit - self.used + lent

    def paused(self, now: float) -> bool:
        """Whether nothing may begin."""
        return self.paused_until > now

    def away(self, now: float) -> bool:
        """Whether what comes need not even be tried."""
        return self._away_until > now

    def shunned(self, now: float) -> bool:
        """Whether who can go elsewhere should, rather than wait for the end of the pause."""
        long = self.paused_until - now > LONG * self._retry.first
        return self.paused(now) and (long or isinstance(self.error, Unreachable))

    def troubled(self, error: TransferError, began: float, now: float, crowded: bool) -> Verdict:
        """It throttles or cannot be reached, says a job that ``began`` then.

        ``crowded``: others of ours are in flight there, so it is neither away nor without mercy.
        """
        self.error, self.strained = error, True
        asked = error.retry_after or 0.0 if isinstance(error, Throttled) else 0.0
        if began >= self._paused_at:  # all that was in flight at that pause tells the same story
            self._row += 1
            pause = max(asked + 0.1 * self._retry.pause(1), self._retry.pause(self._row))
            self._paused_at = now
            self.paused_until = max(self.paused_until, now + pause)
            self._shrink(not isinstance(error, Unreachable))
        else:
            self.paused_until = max(self.paused_until, now + asked)
        self._note(now, crowded)
        return self._verdict(error, now, crowded)

    def stalled(self, error: TransferError, now: float, crowded: bool) -> Verdict:
        """A job got nothing for too long: its own affair, unless that is all that the host does."""
        self.error, self.strained = error, True
        self._note(now, crowded)
        if self._since is None or now - self._since < self._retry.patience:
            return "counts"
        self._away_until = now + self._retry.first
        return "away"

    def _note(self, now: float, crowded: bool) -> None:
        if crowded:
            self._since = None
        elif self._since is None:
            self._since = now

    def _verdict(self, error: TransferError, now: float, crowded: bool) -> Verdict:
        served = now - self.good_at < self._retry.patience
        patient = self._retry.rounds > 1 or (not isinstance(error, Unreachable) and (served or crowded))
        waited = now - self._since if self._since is not None else 0.0
        if patient and waited < self._retry.patience:
            return "borne"
        if served or crowded:
            return "counts"
        self._away_until = now + self._retry.first
        return "away"

    def _shrink(self, refused: bool) -> None:
        base = min(self.limit, self.used) or self.limit
        if refused:
            self._ceiling = max(1, base - 1)
            self._growth = min(GROWTH_AT_MOST * self._retry.first, self._growth * 2)
            self._grow_at = self.paused_until + self._growth
        self.limit = self._proven if 0 < self._proven < base else max(1, base // 2)
        self._proven = self._calm = 0

    def succeeded(self, now: float) -> bool:
        """A job went well; whether the limit grew for that."""
        self.good_at = now
        if self._since is not None or self._row:
            self._since, self._row = None, 0
            self._away_until = 0.0
        self.strained = self.limit < self.most
        if not self.strained:
            return False
        self._calm += 1
        if self._calm < self.limit:
            return False
        self._proven, self._calm = self.limit, 0
        if self.limit >= self._ceiling:
            if now < self._grow_at:
                return False
            self._ceiling = self.limit + 1
            self._grow_at = now + self._growth
        self.limit += 1
        return True


class Hosts:
    """All that are known, by name, and ``machine``: this one, with its overall limit."""

    def __init__(self, overall: int, per_host: int, retry: Retry) -> None:
        self.machine = Host("this machine", overall, retry, lends=True)
        self._per_host = per_host or overall
        self._lends = not per_host
        self._retry = retry
        self._known: dict[str, Host] = {}

    def of(self, names: Iterable[str]) -> tuple[Host, ...]:
        """What is known of those hosts. Call under the scheduler's lock."""
        for name in names:
            if name not in self._known:
                self._known[name] = Host(name, self._per_host, self._retry, self._lends)
        return tuple(self._known[name] for name in names)
