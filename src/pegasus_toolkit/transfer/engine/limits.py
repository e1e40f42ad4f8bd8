"""A bandwidth limit shared by all that moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pegasus_toolkit.transfer.interface import Control


class Bandwidth:
    """A token bucket: at most ``rate`` bytes a second on average over any few seconds.

    A block is paid for after the fact, by waiting until the bucket is out of debt, so that blocks
    of any size pass. Waiting ends early once the batch is told to stop. A ``rate`` of 0 is no limit.
    """

    SLICE = 0.1  # seconds: how soon a waiting end notices that it should stop

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = rate
        self.clock = clock
        self.sleep = sleep
        self.lock = threading.Lock()
        self.free_at = clock()

    def change(self, rate: float) -> None:
        """Another rate from now on; what is owed is paid at that one."""
        with self.lock:
            now, old = self.clock(), self.rate
            owed = max(0.0, self.free_at - now) * old
            self.free_at = now + (owed / rate if rate else 0.0)
            self.rate = rate

    def take(self, n: int, control: Control) -> None:
        """Waits until n more bytes fit under the rate."""
        rate = self.rate
        if not rate:
            return
        with self.lock:
            self.free_at = max(self.free_at, self.clock() - self.SLICE) + n / rate
            until = self.free_at
        control.limited = True
        while control.stop is None and (wait := until - self.clock()) > 0:
            self.sleep(min(wait, self.SLICE))
            if self.rate != rate:  # who waits in the line of before goes on
                break
        control.limited = False
