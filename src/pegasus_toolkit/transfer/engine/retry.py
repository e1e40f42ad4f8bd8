"""When a failed operation is tried again: decided by the error's class, never by its text."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from pegasus_toolkit.transfer.errors import Throttled, TransferError


class Retry(NamedTuple):
    """Exponential back-off with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

    ``rounds``: how often every source is tried; ``first``, ``longest``: seconds; ``chance`` gives
    numbers in [0, 1) (a parameter so that tests need no luck).
    """

    rounds: int = 3
    first: float = 1.0
    longest: float = 60.0
    chance: Callable[[], float] = random.random

    def delay(self, round_: int, error: TransferError) -> float:
        """Seconds to wait after ``round_`` rounds (from 1) failed, the last with ``error``.

        A server's Retry-After is honoured in full, with jitter on top so that not all come back at once.
        """
        ceiling = min(self.longest, self.first * 2.0 ** (round_ - 1))
        jitter = ceiling * (0.5 + 0.5 * self.chance())
        if isinstance(error, Throttled) and error.retry_after is not None:
            return error.retry_after + 0.1 * jitter
        return jitter
