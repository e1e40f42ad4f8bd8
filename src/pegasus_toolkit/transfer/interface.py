"""The contract between the engine and the protocols: active backends, passive ends.

A backend owns its I/O loop in both directions: it moves bytes between its storage and a passive
end (a :class:`Sink` or a :class:`Source`) that the engine made for one attempt. Its verbs are
plural: they take a *live iterator* of jobs, keep many in flight, and yield each job when it is over.

The contract of a batch:

* A backend pulls the next job whenever it has room; the iterator ends when nothing is ready *now*.
* A job that fails gets ``job.error`` and is yielded; the others go on. What an end raises
  (``TransferError``) fails its own job only.
* An exception out of the generator fails every job that was taken and not yielded; the engine
  aborts their ends, closes this backend and opens another.
* A generator may be closed in the middle; it then leaves nothing half-done behind.
* ``get``: the engine commits the sink after the job was yielded without error.
* ``put``: the file is visible under its name only when whole, and only when its source was read to
  its end without an error (a source raises ``Corrupted`` *before* it hands out its last byte).
  A temporary name at a server is told to ``settings.notes.aside`` before it may exist: a run that is
  killed leaves it there, and the next run with the same journal removes it.

Who checks what: digest, length and cancellation live in the ends; retry, failover, slots in the
scheduler; a backend knows only its protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from msgspec import Struct, field

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.schemes import SCHEMES
from pegasus_toolkit.transfer.errors import BadSpecification, TransferError
from pegasus_toolkit.transfer.notes import Notes

Data = bytes | bytearray | memoryview


class Requirement(NamedTuple):
    """What must hold before a file becomes visible.

    ``algorithm``: digest taken from the stream ("sha256", "blake3", "" for none);
    ``digest``: expected value in lower-case hex, "" where none is known;
    ``size``: expected bytes, ``None`` where not known;
    ``remote``: the destination's storage must prove what it holds.
    ``md5`` and its like (``also``): further expected digests, (algorithm, hex), told by the
    specification in another algorithm than the one that is recorded. ``modified``: when the content was last
    changed, in nanoseconds since the epoch, which the copy is to tell as well, where a storage can keep it.
    """

    algorithm: str = "sha256"
    digest: str = ""
    size: int | None = None
    remote: bool = False
    also: tuple[tuple[str, str], ...] = ()
    modified: int | None = None

    @property
    def expectations(self) -> tuple[str, ...]:
        """What there is to compare with what is read: "digest", "size"."""
        digest = ("digest",) if self.digest or self.also else ()
        return digest + (("size",) if self.size is not None else ())


class Entry(NamedTuple):
    """What stands at a path: bytes, and whether it is a directory; digest where the server told it.

    ``modified``: nanoseconds since the epoch, as the server tells it. ``skipped``: why a listing leaves it
    out (a link, where links are not followed). ``link``: what a link says, where links are listed as links.
    """

    path: str
    size: int | None
    directory: bool = False
    digest: tuple[str, str] | None = None  # (algorithm, lower-case hex)
    modified: int | None = None
    skipped: str = ""
    link: str = ""


class Abilities(NamedTuple):
    """What a backend can do, as data.

    ``in_flight``: files that one instance keeps in flight on its own (the engine opens more
    instances, one a thread, until its limit is used);
    ``streams``: can move bytes to and from any end; ``False``: whole local files only (``end.file``);
    ``directories``: has real directories (an object store has none);
    ``quoted``: paths are percent-encoded, as in a web address;
    ``threads``: at most so many instances for one endpoint (0: as many as the limits allow);
    ``pipelined``: the files in flight share one connection, so that an instance takes one slot;
    ``times``: whether it keeps ``Requirement.modified``, and tells it in listings ("listed"), or only when it
    is asked of one file ("asked");
    ``waits``: the server may let files wait for minutes, and the backend itself sees to it that this ends.
    """

    in_flight: int = 1
    streams: bool = True
    directories: bool = True
    quoted: bool = False
    threads: int = 0
    pipelined: bool = False
    times: Literal["", "listed", "asked"] = ""
    waits: bool = False


class Sink(Protocol):
    """Where a ``get`` puts bytes, in order from the first to the last.

    ``mode``: permission bits of the source, set before the first byte by a backend that knows them;
    a new local file gets them, less the umask. ``modified``: nanoseconds since the epoch, where the server
    tells with the content when that was changed. ``stored``: after ``commit``, what it compared of what it
    stored ("size", "read back").
    """

    mode: int | None
    modified: int | None
    stored: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes that it holds so far (those kept of an earlier attempt included)."""

    @property
    def file(self) -> str | None:
        """Path of a local file that a whole-file tool may fill instead of calling ``write``."""

    def announce(self, size: int) -> None:
        """The server says how many bytes will come; raises at once where that cannot be right."""

    def expect(self, algorithm: str, digest: str) -> None:
        """A further digest (lower-case hex) that the whole must have; call before the first byte."""

    def disputed(self) -> str:
        """After the last byte, what of the further digests does not hold; "" for nothing, or where that is
        seen at ``commit`` only."""

    def resume(self, validator: str) -> int:
        """Bytes kept of an earlier attempt at the same content; call before the first ``write``.

        ``validator`` names the content (URL and strong ETag, say). 0: begin at the beginning.
        From here on a failure keeps what was written, for the next attempt.
        """

    def restart(self) -> None:
        """Forget what was kept: the next ``write`` is the first byte."""

    def write(self, data: Data) -> None:
        """Takes all or raises. Writable buffers are only lent; read-only ones may be kept."""

    def passed(self, n: int) -> None:
        """So many bytes more were put into ``file``, unseen: progress. Raises once the run is to stop."""

    def commit(self) -> str:
        """Verifies, publishes, returns the digest (hex, "" for none). Called by the engine."""

    def abort(self) -> None:
        """Leaves nothing behind (but what ``resume`` promised). Idempotent."""


class Source(Protocol):
    """Where a ``put`` takes bytes; a fresh one for each attempt.

    Every way of reading raises ``Corrupted`` before it hands out the last byte of wrong content.
    """

    @property
    def size(self) -> int | None:
        """Bytes in all; ``None`` where not known before the end."""

    @property
    def file(self) -> str | None:
        """Path of a local file that holds it all, for whole-file tools."""

    @property
    def mode(self) -> int | None:
        """Permission bits that a new copy should have, less the umask there; ``None``: not told."""

    @property
    def digest(self) -> str:
        """Lower-case hex of what was read, once it was read to the end."""

    @property
    def control(self) -> Control:
        """Where its bytes are accounted for; so are those that are read back to prove what was stored."""

    def readinto(self, view: memoryview) -> int:
        """Fills from the start of the view; 0 means end."""

    def read(self, n: int = -1) -> bytes:
        """Up to n bytes (-1: all that is left); b"" means end."""

    def __iter__(self) -> Iterator[bytes]:
        """The rest in blocks."""

    def passed(self, n: int) -> None:
        """So many bytes more were taken from ``file``, unseen: progress. Raises once the run is to stop."""

    def close(self) -> None:
        """Idempotent."""


E = TypeVar("E", covariant=False)


class Job(Generic[E]):
    """One attempt at one operation, handed to a backend.

    For the backend to read: ``path`` (at its endpoint, as in the URL), ``destination`` (path at the other
    end, for ``copy``), ``required``, ``end``. For it to fill: ``error``; for ``copy`` also ``size`` and
    ``digest``; ``proven`` when the server itself has checked the stored bytes against a digest
    that was computed on this side; ``through`` when a copy's bytes came through this machine after all;
    ``stored``: what was compared of the stored file: "size", "digest" (the server's own), "read back";
    ``compared``: which expectations were compared with what was read ("digest", "size"), where that is not
    all that ``required`` names, as with a link. ``task`` is the engine's own. ``type``: of a container image,
    as the specification has it, "" for none.
    """

    __slots__ = (
        "compared",
        "destination",
        "digest",
        "end",
        "error",
        "path",
        "proven",
        "required",
        "size",
        "stored",
        "task",
        "through",
        "type",
    )

    def __init__(self, path: str, destination: str, required: Requirement, end: E, task: Any = None) -> None:
        self.path = path
        self.destination = destination
        self.required = required
        self.end = end
        self.task = task
        self.error: TransferError | None = None
        self.size: int = 0
        self.digest: str = ""
        self.proven: bool = False
        self.through: bool = False
        self.stored: tuple[str, ...] = ()
        self.compared: tuple[str, ...] | None = None
        self.type: str = ""


class Backend(Protocol):
    """One endpoint with one credential; used by one thread at a time (``close`` by any)."""

    abilities: Abilities

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Moves each ``job.path`` into ``job.end``."""

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Moves each ``job.end`` to ``job.path``, making parent directories; visible only when whole."""

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it; what is not there counts as removed."""

    def mkdir(self, path: str) -> None:
        """Makes the directory (or bucket) and its parents; content if it is there already."""

    def stat(self, path: str) -> Entry:
        """Raises ``NotFound``."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below a directory, at any depth, with paths as ``get`` takes them; and its
        empty directories. Raises ``NotFound``."""

    def close(self) -> None:
        """From any thread; unblocks what is under way. Idempotent."""


@runtime_checkable
class Passive(Protocol):
    """Storage that another backend can read and write through ends (local files, memory).

    Where ``required.remote``, a sink reads back what it stored before it is seen, or raises.
    """

    def source(self, path: str, required: Requirement, control: Control) -> Source: ...
    def sink(self, path: str, required: Requirement, control: Control) -> Sink: ...


@runtime_checkable
class Copies(Protocol):
    """Server-side copies: the storage moves the bytes itself.

    A job that the storage will not or cannot copy gets ``job.error = CannotCopy(why)`` and is yielded, with
    nothing left of it at its destination. The engine then moves that file through this machine
    (direct, relay or staged), without using up an attempt, and does not ask again for that pair of
    source and destination. So a backend's ``copy`` never moves bytes through this machine by itself.
    """

    def copies(self, other: Backend, required: Requirement) -> bool:
        """Whether ``copy`` to paths of ``other`` works and can keep ``required``."""

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Copies ``job.path`` here to ``job.destination`` there; same promises as ``put``."""


@runtime_checkable
class Links(Protocol):
    """Symbolic links in place of copies."""

    def link(self, jobs: Iterator[Job[None]], control: Control, verify: bool) -> Iterator[Job[None]]:
        """Makes each destination a symbolic link to its path, in place of a file or link.

        ``verify``: the source must exist and be readable.
        """


@runtime_checkable
class Renames(Protocol):
    """Moves in place of copies."""

    def rename(self, jobs: Iterator[Job[None]], control: Control) -> Iterator[Job[None]]:
        """Moves ``job.path`` to ``job.destination``; the source is gone once the destination is whole."""


@runtime_checkable
class Inspects(Protocol):
    """The server's own account of what it stores."""

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the digest where the server can tell it in that algorithm."""


@runtime_checkable
class Measured(Protocol):
    """Knows how far it is: an end, or what moves a file without ends. Asked from other threads."""

    def extent(self) -> tuple[int, int | None]:
        """Bytes of the file that have passed, and those that it has in all, where that is known by now."""


@runtime_checkable
class InspectsMany(Protocol):
    """The same of many files, several at a time."""

    def inspect_many(
        self, paths: Iterable[str], algorithms: Sequence[str]
    ) -> Iterator[tuple[str, Entry | TransferError]]:
        """Size, time, and the digest in the first of ``algorithms`` that the server tells, if any."""


@runtime_checkable
class Scans(Protocol):
    """Lists one directory without what is below it."""

    def scan(self, path: str) -> Iterator[Entry]:
        """Files and directories in it, links followed. Raises ``NotFound``."""


@runtime_checkable
class HasLinks(Protocol):
    """Has symbolic links; ``links`` says what ``list`` does about them (``integrity.tree.LinkRule``)."""

    links: LinkRule


class Identity(NamedTuple):
    """Which credential opens an endpoint, told without telling it.

    ``kind``: "X.509 proxy", "access key", "anonymous", ...; ``origin``: file, section or variable that
    it comes from; ``expires``: seconds since the epoch, ``None`` where it has no end; ``scopes`` and
    ``audience``: what a token says of itself.
    """

    kind: str
    origin: str = ""
    expires: float | None = None
    scopes: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()


@runtime_checkable
class Identified(Protocol):
    """Can say which credential it uses."""

    def identity(self) -> Identity:
        """Without connecting."""


@runtime_checkable
class TellsRights(Protocol):
    """Can ask the server what the credential that it shows may do."""

    def lacks(self, reads: bool, writes: bool) -> str:
        """What it may not do, of what reading and writing need, in the service's words; "" for nothing."""


@runtime_checkable
class ServedBy(Protocol):
    """Reaches its protocol by something that people should be told of."""

    served_by: str  # "fsspec", say; part of the route's name in reports


@runtime_checkable
class Preconnects(Protocol):
    """Can begin to connect before there is work."""

    def begin(self) -> None:
        """Returns at once; what goes wrong is told by the first verb."""


@runtime_checkable
class ReportsFreeSpace(Protocol):
    """Can say how much room there is."""

    def free(self, path: str) -> int | None:
        """Bytes that may still be written below ``path`` (which need not exist yet); ``None``: not told."""


class Control:
    """What the ends of one batch share with the engine: whether to go on, and how far it is.

    ``bytes`` counts payload bytes moved (all attempts); the engine's watchdog and progress read it.
    ``check`` raises ``Cancelled`` (or the stall's ``TimedOut``) once ``stop`` is set; ``spend``
    is called by ends for each block and waits where a bandwidth limit says so. ``made``: local
    directories that were made for this batch, so that nothing is in them that could be replaced.
    ``single``: the file under way, set by who moves large files one by one, and without ends.
    ``notes``: what the next run with the same journal must know.
    """

    __slots__ = (
        "bytes",
        "keep_partial",
        "limited",
        "limiter",
        "made",
        "notes",
        "partials",
        "run",
        "single",
        "stop",
    )

    def __init__(
        self,
        run: str = "0",
        limiter: Limiter | None = None,
        keep_partial: bool = False,
        partials: set[str] | None = None,
        notes: Notes | None = None,
    ) -> None:
        self.bytes = 0
        self.notes = Notes() if notes is None else notes
        self.made: set[str] = set()
        self.run = run  # unique for each run; part of temporary names
        self.stop: TransferError | None = None
        self.single: Measured | None = None
        self.limiter = limiter
        self.limited = False  # waiting for bandwidth, which is not a stall
        self.keep_partial = keep_partial  # interrupted files stay for a later run (--journal)
        self.partials = set() if partials is None else partials  # what the run discards at its end, else

    def spend(self, n: int) -> None:
        """Accounts for n bytes about to be handed on. Raises what ``stop`` holds."""
        if self.stop is not None:
            raise self.stop
        self.bytes += n
        if self.limiter is not None:
            self.limiter.take(n, self)


class Limiter(Protocol):
    """A bandwidth limit shared by all batches."""

    def take(self, n: int, control: Control) -> None:
        """Waits until n bytes may pass; returns early once ``control.stop`` is set."""


_ADDRESS = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)(?::(\d{1,5}))?"


class Endpoint(NamedTuple):
    """One storage service as one user of one site: what a connection is made to.

    ``authority``: ``[user@]host[:port]`` as in the URL, "" for local files.
    """

    scheme: str
    authority: str
    site: str

    @property
    def host(self) -> str:
        """The name that limits and errors go by."""
        return self.authority.rpartition("@")[2] or "localhost"

    def address(self) -> tuple[str, int]:
        """Host, without brackets, and port (the scheme's own where none is written), for a connection.

        Raises ``BadSpecification``.
        """
        found = re.fullmatch(_ADDRESS, self.host)
        known = SCHEMES[self.scheme].port if self.scheme in SCHEMES else None
        port = int(found[2] or known or 0) if found is not None else 0
        if found is None or not 0 < port < 1 << 16:
            raise BadSpecification("not a host or host:port", url=f"{self.scheme}://{self.host}/")
        return found[1].strip("[]"), port


def _silent(text: str) -> None:
    """Nobody is told."""


class Settings(Struct, frozen=True):
    """What every backend may need to know; frozen, made once by the caller of the engine."""

    credentials: Credentials
    environ: Mapping[str, str] = {}  # only cli reads os.environ
    connect_timeout: float = 30.0  # seconds
    stall_timeout: float = 60.0  # seconds without a byte
    connections: int = 8  # files or parts in flight at one endpoint, at most
    streams: int = 4  # connections for one large file, at most
    memory: dict[str, dict[str, bytes]] = {}  # memory: store by authority and path
    notes: Notes = field(default_factory=Notes)  # one a run; the journal, where there is one
    warn: Callable[[str], None] = _silent  # tells the user, from any thread


class Opener(Protocol):
    """What a backend's module offers under the name that the table gives."""

    def __call__(self, endpoint: Endpoint, settings: Settings) -> Backend: ...
