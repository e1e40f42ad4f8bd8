"""How a node fails: with one line for people, a kind for programs, and whether another try may mend it."""

from __future__ import annotations

from pegasus_toolkit.records import Failure

EXIT_RETRY, EXIT_PERMANENT = 1, 2


class Failed(Exception):
    """The node's work cannot be done. ``exit``: 1 another try may mend it, 2 none will."""

    def __init__(self, message: str, exit: int, kind: Failure = "error") -> None:
        super().__init__(message)
        self.exit = exit
        self.kind: Failure = kind


class Stopped(Failed):
    """The node was told to end, by a signal. Another try may go through."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, EXIT_RETRY, "stopped")
