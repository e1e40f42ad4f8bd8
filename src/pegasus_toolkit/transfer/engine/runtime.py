"""Time, chance and threads, as the engine uses them: the one seam by which a test can hold them all.

Whatever in the engine waits, tells the time, draws a number or starts a thread does so through a
``Runtime``. ``tests/simulation`` has one whose time passes only when all its threads wait.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable


class Runtime:
    """This machine's clock, its threads, and chance."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = time.monotonic  # seconds that only ever grow
        self.chance: Callable[[], float] = random.random  # in [0, 1)
        self.sleep: Callable[[float], None] = time.sleep
        self._epoch = time.time() - time.monotonic()

    def since_epoch(self, at: float) -> float:
        """A time of ``monotonic`` in seconds since the epoch, for records."""
        return self._epoch + at

    def lock(self) -> threading.RLock:
        """A lock that its holder may take again."""
        return threading.RLock()

    def event(self) -> threading.Event:
        """A flag that a thread can wait for."""
        return threading.Event()

    def condition(self) -> threading.Condition:
        """A lock with changes that a thread can wait for."""
        return threading.Condition()

    def thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        """A thread that does ``work`` once it is started, and does not hold up the end of the process."""
        return threading.Thread(target=work, name=name, daemon=True)
