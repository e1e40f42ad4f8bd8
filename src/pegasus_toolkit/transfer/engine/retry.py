"""When a failed operation is tried again: decided by the error's class, never by its text."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pegasus_toolkit.transfer.errors import Corrupted, Throttled, TransferError

PATIENCE = 60.0  # seconds: longer than the restart of a server


def patience(environ: Mapping[str, str]) -> float:
    """Seconds that ``PEGASUS_TRANSFER_PATIENCE`` says; else, and where that is no number, the default."""
    try:
        seconds = float(environ.get("PEGASUS_TRANSFER_PATIENCE", ""))
    except ValueError:
        return PATIENCE
    return seconds if 0 <= seconds < float("inf") else PATIENCE


class Retry(NamedTuple):
    """Exponential back-off with jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

    ``rounds``: how often every source is tried; ``first``, ``longest``: seconds; ``patience``: seconds
    that all delays of one file add up to at least, and for which a host that is not there, or that
    throttles, is waited for; ``chance`` gives numbers in [0, 1) (a parameter so that tests need no luck).
    """

    rounds: int = 3
    first: float = 1.0
    longest: float = 60.0
    patience: float = PATIENCE
    chance: Callable[[], float] = random.random

    def delay(self, round_: int, error: TransferError, moved: int = 0) -> float:
        """Seconds to wait after ``round_`` rounds (from 1) failed, the last with ``error``.

        What moved some bytes before it failed, or came with a wrong digest, is tried again soon. A server
        that gave nothing may be restarting: the first repetition is soon, the last comes after
        ``patience``. A server's Retry-After is honoured in full.
        """
        soon = min(self.longest, self.first * 2.0 ** (round_ - 1)) * (0.5 + 0.5 * self.chance())
        asked = error.retry_after or 0.0 if isinstance(error, Throttled) else 0.0
        if moved or isinstance(error, Corrupted):
            return asked + soon
        delays = self.rounds - 1
        ratio = (self.patience / self.first) ** (1 / (delays - 1)) if delays > 1 else 1.0
        later = self.first * ratio ** (round_ - 1) if delays > 1 else self.patience
        return asked + max(soon, min(self.patience, later))

    def pause(self, row: int) -> float:
        """Seconds that a host is left alone after its ``row``-th trouble (from 1) in a row."""
        longest = max(self.first, self.patience / 4)
        return min(longest, self.first * 2.0 ** (row - 1)) * (1.0 + 0.25 * self.chance())
