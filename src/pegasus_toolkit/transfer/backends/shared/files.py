"""What a protocol gives to the stories: its primitives, each as its wire has it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from pegasus_toolkit.transfer.backends.shared.runner import Steps, Wait
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Side,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Settings, Sink, Source

NAME_MAX = 255  # bytes in a file's name, on every file system in use
NAMINGS = (".{name}.{mark}.part", "{name}.{mark}.tmp")  # some servers refuse names that begin or end so


class CannotRename(Unsupported):
    """The server has no rename at all, or none that replaces a file (``traits`` then tell which)."""


class Stored(NamedTuple):
    """What the server says of a file that was written. ``size``: bytes; ``None`` where it does not tell.

    ``proven``: it has itself compared what it stored with a digest that was computed here.
    """

    size: int | None
    proven: bool = False


class Found(NamedTuple):
    """What stands at a name, as ``stat`` tells it, or a listing.

    ``directory`` is ``None`` where it is not told (a symbolic link, which may lead to either); ``size`` in
    bytes, ``None`` for what has none: a directory, a device. ``digest``: (algorithm, lower-case hex).
    ``modified``: nanoseconds since the epoch. ``link``: it is known to be a symbolic link. ``special``: why
    it is no file to be read (a FIFO, a device).
    """

    name: str  # as it is spelled in paths; "" from ``stat``
    directory: bool | None
    size: int | None = None
    digest: tuple[str, str] | None = None
    modified: int | None = None
    link: bool = False
    special: str = ""


class Page(NamedTuple):
    """One page of a directory's listing; ``more`` is what the next is asked for with, ``None`` at the end.

    ``wrong``: of an entry that was not understood. It fails the listing, but only after all others came.
    """

    found: list[Found]
    more: Any = None
    wrong: TransferError | None = None


Noted = Callable[[str, str], None]  # final path, name aside


def _silent(text: str) -> None:
    """Tells nobody."""


def _nowhere(path: str, name: str) -> None:
    """Notes nothing."""


class Traits:
    """What is known of a server, for all batches of a backend; what is not known is found out and noted.

    ``renames``: it can rename; ``replaces``: a rename may replace a file (``None``: not known);
    ``unlink_tells``: its unlink refuses directories, so that nobody needs to look first;
    ``directories``: it has some, which must be made before files are put there;
    ``asks_first``: a missing directory is told before anything of the source is read;
    ``naming``: which of ``NAMINGS`` it takes; ``known``: directories that are there.
    """

    def __init__(
        self,
        *,
        renames: bool = True,
        replaces: bool | None = True,
        directories: bool = True,
        unlink_tells: bool = False,
        asks_first: bool = False,
    ) -> None:
        self.renames = renames
        self.replaces = replaces
        self.directories = directories
        self.unlink_tells = unlink_tells
        self.asks_first = asks_first or not directories
        self.naming = 0
        self.warned = False  # of what is given up where the server cannot rename
        self.greeted = False
        self.known: set[str] = set()
        self.missed = False  # a directory was missing: the next ones are made before they are missed

    def choose(self, names: str) -> None:
        """What a site's ``temporary_names`` says: "hidden", "plain", "none", "" for nothing."""
        self.naming = 1 if names == "plain" else 0
        if names == "none":
            self.renames, self.warned = False, True


class Sending:
    """What is sent of one job: knows whether it can be sent once more, and how much was sent (bytes).

    ``side``: whose fault it is when a digest is not the demanded one.
    """

    side: Side = "destination"

    def __init__(self, job: Job[Source]) -> None:
        self.job = job
        self.source = job.end
        self.sent = 0
        self.name = ""  # under which it is written

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent again although it was sent (it is in memory)."""
        return False

    def rewind(self) -> bool:
        """Back to the start; whether that was possible."""
        return not self.sent

    def require_whole(self, url: str) -> None:
        """All was read: raises ``Corrupted`` where the source ended before its time, or after it."""
        size = self.source.size if self.source.size is not None else self.job.required.size
        if size is not None and size != self.sent:
            raise Corrupted(f"{self.sent} bytes came, {size} expected", url=url, side="source")

    def accounts(self) -> Control:
        """Where what is read back is accounted for."""
        return Control() if self.source is None else self.source.control

    def demanded(self) -> list[tuple[str, str | None]]:
        """What is to be proven of the stored bytes: algorithm, and digest (lower-case hex; ``None``: it is
        only to be told)."""
        required = self.job.required
        return [(required.algorithm, self.source.digest)] if required.remote else []

    def close(self) -> None:
        """The source is not read any more. Idempotent."""


class Files(Protocol):
    """One server's files, for one runner. Paths are raw, as in the URL; directories have no "/" at the end.

    Primitives raise ``NotFound``, ``IsDirectory``, ``CannotRename``, any ``TransferError``. What the server
    refused for a reason that it did not tell exactly says with :func:`perhaps` what may be behind it:

    * "parent": the directory is missing; "name": it likes no such name; "exists": something stands there;
    * "directory": it is a directory, not a file.
    """

    traits: Traits
    noted: Noted  # told of a name aside, and where it goes, before that name may exist
    warn: Callable[[str], None]  # the user is told
    making: dict[str, Wait]  # directories that some story of this runner makes
    greeting: Wait | None  # under way

    def url(self, path: str) -> str:
        """For errors: no secret is in it."""

    def check(self, path: str) -> None:
        """Raises for names that the wire cannot carry."""

    def split(self, path: str) -> tuple[str, str]:
        """The path itself, and what follows it (a query)."""

    def aside(self, path: str, naming: int) -> str:
        """A name of our own beside the path, unique for each run and attempt."""

    def greet(self, name: str) -> Steps[None]:
        """Asked once, before the first file that cannot be sent twice: have the server ask for a password."""

    def sending(self, job: Job[Source]) -> Sending:
        """What is to be sent. Raises what the source raises, where it is read at once."""

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """All of it, under that name. ``sending.job.path`` is where it goes in the end."""

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """All of a file; announces its size where the server tells it."""

    def stat(self, path: str) -> Steps[Found]:
        """Links are followed. Raises ``NotFound``."""

    def lstat(self, path: str) -> Steps[Found]:
        """The same, but of a link itself, which is no directory (``False``, or ``None``)."""

    def real(self, path: str) -> Steps[str]:
        """The path with no link in it, "" where that is not told: how circles of links are found."""

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        """The server's own digest in lower-case hex, "" where it tells none."""

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """``replace``: in place of a file that stands there. Without it something there is a refusal."""

    def unlink(self, path: str) -> Steps[None]:
        """A file or a link, never what it leads to."""

    def make(self, path: str) -> Steps[bool]:
        """One directory; ``False`` where something is there already. ``NotFound``: its parent is missing."""

    def rmdir(self, path: str) -> Steps[None]:
        """An empty directory."""

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """One page of one directory, the first where ``more`` is ``None``. Raises ``NotFound`` for a file."""

    def leave(self, more: Any) -> Steps[None]:
        """A listing is given up before its last page."""

    def clear(self, path: str) -> Steps[bool]:
        """A directory with all that is in it, at once; ``False`` where the server does no such thing."""


class PlainFiles:
    """What most protocols have in common; the rest is theirs to give."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.noted: Noted = _nowhere  # a backend gives it ``partial(settings.notes.aside, endpoint)``
        self.warn: Callable[[str], None] = _silent  # a backend gives it ``settings.warn``
        self.making: dict[str, Wait] = {}
        self.greeting: Wait | None = None
        self._mark = os.urandom(8).hex()  # of this connection, in names aside
        self._asides = 0

    def check(self, path: str) -> None:
        """Every name can be asked for."""

    def split(self, path: str) -> tuple[str, str]:
        """No query."""
        return path, ""

    def aside(self, path: str, naming: int) -> str:
        """In the same directory, cut to what fits."""
        plain, tail = self.split(path)
        self._asides += 1
        return beside(plain, naming, f"{self._mark}-{self._asides:x}") + tail

    def greet(self, name: str) -> Steps[None]:
        """Nothing to be said."""
        yield from ()

    def sending(self, job: Job[Source]) -> Sending:
        """The source as it is."""
        return Sending(job)

    def stat(self, path: str) -> Steps[Found]:
        """The protocol's own."""
        raise NotImplementedError

    def lstat(self, path: str) -> Steps[Found]:
        """There are no links."""
        return (yield from self.stat(path))

    def real(self, path: str) -> Steps[str]:
        """Not told."""
        yield from ()
        return ""

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        """None is told."""
        yield from ()
        return ""

    def make(self, path: str) -> Steps[bool]:
        """The protocol's own; nothing where there are no directories."""
        if self.traits.directories:
            raise NotImplementedError
        yield from ()
        return True

    def rmdir(self, path: str) -> Steps[None]:
        """The same."""
        if self.traits.directories:
            raise NotImplementedError
        yield from ()

    def leave(self, more: Any) -> Steps[None]:
        """Nothing is held open."""
        yield from ()

    def clear(self, path: str) -> Steps[bool]:
        """No command does that."""
        yield from ()
        return False


def temporary_names(endpoint: Endpoint, settings: Settings) -> str:
    """What the endpoint's section says of names aside, for ``Traits.choose``. Raises ``BadSpecification``."""
    told = settings.credentials.options(endpoint.scheme, endpoint.authority, endpoint.site)
    names = told["temporary_names"].reveal().lower() if "temporary_names" in told else ""
    if names not in ("", "hidden", "plain", "none"):
        url = f"{endpoint.scheme}://{endpoint.host}"
        raise BadSpecification("temporary_names is none of hidden, plain and none", url=url)
    return names


def perhaps(error: TransferError, *why: str) -> TransferError:
    """A refusal of the server's, and what may be behind it."""
    error.perhaps = why
    return error


def may(error: TransferError, why: str) -> bool:
    """Whether a refusal may be for that reason."""
    return why in error.perhaps


def parent(path: str) -> str:
    """The directory that a path without a query stands in; "" for the top, or where a login begins."""
    return path.rstrip("/").rpartition("/")[0]


def beside(path: str, naming: int, mark: str) -> str:
    """A name next to ``path`` for what is not whole yet; ``mark`` tells it from all others."""
    folder, slash, name = path.rpartition("/")
    room = NAME_MAX - len(mark) - 8
    if len(name) > room // 4 and len(os.fsencode(name)) > room:
        name = "pegasus"  # cut anywhere it might end in the middle of a character
    return folder + slash + NAMINGS[naming].format(name=name, mark=mark)
