"""Directories made where they are missing: each once, whoever wants it, and parents first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pegasus_toolkit.transfer.errors import Denied, TransferError

Made = TransferError | Literal["made", "orphan"]
"""What became of making one directory; "orphan": its parent is missing."""

Then = Callable[[TransferError | None], None]


class Parents:
    """``start(path, told)`` asks the server for one directory and calls ``told`` when it has answered.

    Paths end with "/". ``known``: those that are there.
    """

    def __init__(self, start: Callable[[str, Callable[[Made], None]], None]) -> None:
        self.known: set[str] = {"/"}
        self._start = start
        self._waiting: dict[str, list[Then]] = {}

    def make(self, path: str, then: Then) -> None:
        """Makes it, and its parents where need be; calls ``then`` with what went wrong, or ``None``."""
        waiting = self._waiting.setdefault(path, [])
        waiting.append(then)
        if len(waiting) == 1:
            self._ask(path, first=True)

    def _ask(self, path: str, first: bool) -> None:
        """A refusal may only mean that somebody else makes the same one: the second answer counts."""

        def told(made: Made) -> None:
            if made == "made":
                over(None)
            elif not first:
                over(_orphaned(path) if made == "orphan" else made)
            elif made == "orphan" and parent(path) != "/":
                self.make(parent(path), lambda error: over(error) if error else self._ask(path, first=False))
            else:
                self._ask(path, first=False)

        def over(error: TransferError | None) -> None:
            if error is None:
                self.known.add(path)
            for then in self._waiting.pop(path):
                then(error)

        self._start(path, told)


def _orphaned(path: str) -> Denied:
    return Denied("a directory could not be made, though its parent is there", url=path)


def parent(path: str) -> str:
    """The directory that a path (raw, perhaps with a query) stands in, with a "/" at its end."""
    plain = path.partition("?")[0].rstrip("/")
    return plain.rpartition("/")[0] + "/"
