"""What a signal does to a node's work: it ends soon, cleans up behind itself, and is recorded."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pegasus_toolkit.worker.failure import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Stopping:
    """Turns signals into :class:`Stopped`, raised in the main thread where the work is, while open.

    Within ``by`` a signal calls a function in place of that; within ``held`` it waits for the end of it.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._act: Callable[[str], None] | None = self._raise
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises :class:`Stopped` if a signal came."""
        if self.reason:
            raise Stopped(self.reason)

    @contextmanager
    def by(self, act: Callable[[str], None]) -> Iterator[None]:
        """Inside, a signal calls ``act`` with the reason; :class:`Stopped` is raised at the end."""
        before, self._act = self._act, act
        try:
            self.check()
            yield
        finally:
            self._act = before
        self.check()

    @contextmanager
    def told(self) -> Iterator[int]:
        """Inside, a signal makes this descriptor readable; :class:`Stopped` is raised at the end."""
        read, write = os.pipe()
        try:
            with self.by(lambda reason: os.close(write)):
                yield read
        finally:
            os.close(read)
            if not self.reason:
                os.close(write)

    def hold(self) -> None:
        """From here on signals are only noted: what is left to do is short and must be done."""
        self._act = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = not self.reason
        self.reason = f"{signal.Signals(number).name} received"
        if first and self._act is not None:
            self._act(self.reason)

    @staticmethod
    def _raise(reason: str) -> None:
        raise Stopped(reason)
