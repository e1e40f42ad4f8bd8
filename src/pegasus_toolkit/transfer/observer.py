"""What is told of a run: the types of those who tell it and of those who hear it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.model import Location, Outcome


class UnderWay(NamedTuple):
    """A file that moves: seconds since its attempt began, bytes so far and in all, ``None`` if unknown."""

    url: str  # of the destination
    seconds: float
    bytes: int | None = None
    size: int | None = None
    member: bool = False  # of a directory


class Progress(NamedTuple):
    """A look at a run: operations, payload bytes (all attempts), seconds; ``waiting`` in back-off.

    ``files``: operations that are over, with the members of directories in place of those; ``known``: all
    that were found so far, more of them to come while ``listing``. ``whole``: bytes of files that are over,
    and of those under way so far; ``size``: bytes of all, ``None`` where that is not known (yet).
    ``active``: files under way, the slowest first.
    """

    total: int
    done: int
    failed: int
    bytes: int
    seconds: float
    active: tuple[UnderWay, ...]
    waiting: int
    files: int = 0
    known: int = 0
    listing: bool = False
    whole: int = 0
    size: int | None = None


class Summary(NamedTuple):
    """A run that is over. ``exit_code``: 0 all done, 1 another run may mend what failed, 2 it can't.

    ``abandoned``: threads that did not come back from a blocking call; the process should end by
    ``os._exit`` once all is written. ``problems``: why digests that ``generate_checksum`` asked for could
    not be recorded, a line each; ``unrecorded``: how many, as no file for them is named.
    """

    done: int
    skipped: int
    failed: int
    cancelled: int
    bytes: int
    seconds: float
    attempts: int
    exit_code: int
    abandoned: int = 0
    problems: tuple[str, ...] = ()
    unrecorded: int = 0


class Plan(NamedTuple):
    """What would be done with an operation."""

    route: str
    why: str
    source: Location | None
    destination: Location
    error: TransferError | None


class Observer(Protocol):
    """Told of a run, always from the thread that called ``run``."""

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Operations that are over, in batches."""

    def tick(self, progress: Progress) -> None:
        """About ten times a second."""
