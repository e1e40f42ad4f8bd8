"""Operations and outcomes: plain, frozen data that can go to other threads and processes."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Endpoint

Kind = Literal["transfer", "mkdir", "remove"]
Status = Literal["done", "skipped", "failed", "cancelled"]


class Location(NamedTuple):
    """One PFN: a URL at a site.

    ``path`` is what follows the authority, raw as in the URL (``/bucket/key``, ``/a%20b?c=d``);
    for local files it is the path on disk, variables expanded. ``priority``: higher is tried
    first; ``type``: of a container image, as upstream's planner writes it ("" for a file).
    """

    url: str
    endpoint: Endpoint
    path: str
    priority: int = 0
    type: str = ""

    @property
    def scheme(self) -> str:
        """In lower case, as the backends' table spells it."""
        return self.endpoint.scheme


class Checksum(NamedTuple):
    """An expected digest: algorithm and value in lower-case hex."""

    type: str
    value: str


class Transfer(Struct, frozen=True, gc=False, kw_only=True):
    """Move one file (or directory) from the best source to the best destination.

    Sources and destinations are in the order in which they are to be tried.
    ``checksum`` and ``size`` (bytes) are what the content must be, where known; ``modified``
    (nanoseconds since the epoch) is kept where a storage can keep it; ``manifest`` is a
    ``sha256sum``-format file of expected digests for a directory.
    """

    id: int
    sources: tuple[Location, ...]
    destinations: tuple[Location, ...]
    lfn: str = ""
    linkage: str = "unknown"
    checksum: Checksum | None = None
    size: int | None = None
    modified: int | None = None
    manifest: str = ""
    generate_checksum: bool = False
    verify_checksum_remote: bool = False
    verify_symlink_source: bool = True


class Mkdir(Struct, frozen=True, gc=False, kw_only=True):
    """Make a directory or bucket, with its parents."""

    id: int
    target: Location


class Remove(Struct, frozen=True, gc=False, kw_only=True):
    """Remove a file, or with ``recursive`` all that is below a directory, and it."""

    id: int
    target: Location
    recursive: bool = False


Operation = Transfer | Mkdir | Remove


@runtime_checkable
class Expects(Protocol):
    """Operations that know the bytes of all their files; ``None`` where some are not known."""

    @property
    def expected(self) -> int | None:
        """Asked once."""


@runtime_checkable
class Ordered(Protocol):
    """A sequence of operations that stand in the order of the work already."""

    counts: tuple[int, int, int]  # mkdirs, transfers, removes


class Attempt(NamedTuple):
    """One try of one operation. Times in seconds (``started`` since the epoch), sizes in bytes."""

    source: Location | None
    destination: Location
    route: str
    started: float
    seconds: float
    bytes: int
    error: TransferError | None


class Outcome(Struct, frozen=True, gc=False, kw_only=True):
    """What became of one operation.

    ``size`` and ``digest`` (hex, by ``algorithm``) are of the bytes that were moved;
    ``verified`` says which expectations were compared, and held: any of "digest", "size", "remote" (the
    demanded proof of what is stored), in that order, or nothing; of a directory, what held for all of its
    files. ``stored``: what was compared of the file at the destination: any of "size", "digest" (the
    server's own), "read back".
    ``files``: 1, or the number of files in a directory that were moved, ``failures`` those that failed;
    ``member``: one of those files, told for itself and counted within its directory's outcome (same
    ``operation.id``). ``detail``: one line for
    people, such as why an operation was skipped.
    """

    operation: Operation
    status: Status
    size: int = 0
    algorithm: str = ""
    digest: str = ""
    route: str = ""
    verified: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    files: int = 1
    failures: int = 0
    member: bool = False
    attempts: tuple[Attempt, ...] = ()
    error: TransferError | None = None
    detail: str = ""

    @property
    def kind(self) -> Kind:
        """Which sort of operation it was, as the specification spells it."""
        if isinstance(self.operation, Transfer):
            return "transfer"
        return "mkdir" if isinstance(self.operation, Mkdir) else "remove"
