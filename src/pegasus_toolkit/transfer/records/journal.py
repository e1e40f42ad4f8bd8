"""The journal: what earlier runs have finished, so that a killed run can be taken up again.

An append-only text file::

    pegasus-transfer journal 1
    run <name>                          a run begins
    <key> <bytes> <algorithm:digest>    an operation is done ("-": no digest)
    mark <key>                          a fact that only a killed run leaves to be asked for (``Notes.mark``)
    keep <key> <JSON>                   the value of a fact, "" once it is forgotten (``Notes.keep``)
    aside <key> <JSON>                  a temporary name at a server: scheme, authority, site, path
    gone <key> ...                      these temporary names were published, or removed
    end <name>                          the run went to its end and left nothing behind

``key`` is a hash of the operation's content, not of its place, so an edited or reordered
specification finds its entries again; for a local destination it covers the size that stood there
when the operation was over, so a destination that went or changed its size is moved again. Entries
are handed to the kernel once a batch: they survive the end of the process, not a crash of the machine.
Marks and temporary names are handed over before what they tell of is done.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer.interface import Endpoint
from pegasus_toolkit.transfer.model import Location, Mkdir, Operation, Outcome, Transfer
from pegasus_toolkit.transfer.notes import Notes, key
from pegasus_toolkit.transfer.records.outfile import OutFile

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.observer import Observer, Progress

MAGIC = b"pegasus-transfer journal 1\n"
_ENTRY = re.compile(rb"([0-9a-f]{24}) ([0-9]+) (?:-|([a-z0-9]+):([0-9a-f]+))")
_RUN = re.compile(rb"(run|end) ([A-Za-z0-9-]{1,64})")
_MARK = re.compile(rb"mark ([0-9a-f]{24})")
_KEEP = re.compile(rb'keep ([0-9a-f]{24}) (".*")')
_ASIDE = re.compile(rb"aside ([0-9a-f]{24}) (\[.*\])")
_GONE = re.compile(rb"gone((?: [0-9a-f]{24})+)")
DIRECTORY = -1  # stands for the size of a directory


class JournalError(Exception):
    """The journal cannot be used; one line that says why and what to do. ``busy``: another run has it."""

    def __init__(self, message: str, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


class Aside(NamedTuple):
    """A temporary name that a killed run may have left at a server."""

    endpoint: Endpoint
    path: str


class Record(NamedTuple):
    """Where to, size in bytes, and digest (lower-case hex) of what was moved in an earlier run."""

    operation: Operation
    destination: Location
    size: int
    algorithm: str
    digest: str


class Journal(Notes):
    """An observer that notes what is done, and remembers what was.

    ``previous_runs``: names of earlier runs that did not go to their end; ``damaged``: lines that
    could not be read, and were left out (their operations are done again); ``asides``: by key,
    temporary names that earlier runs may have left at servers.
    """

    lasting = True

    def __init__(self, path: str, run: str, look: bool = False) -> None:
        """Opens or makes ``path`` and locks it. Raises ``JournalError``.

        ``look``: only reads, so that ``done`` can be asked; the file must be there and stays as it is.
        """
        super().__init__(run)
        self.run = run
        self.asides: dict[int, Aside] = {}
        self._under_way: dict[int, int] = {}  # destination to its latest temporary name, by keys
        self.previous_runs: tuple[str, ...] = ()
        self.damaged = 0
        self._known: set[int] = set()
        try:
            flags = os.O_RDONLY if look else os.O_RDWR | os.O_CREAT | os.O_APPEND
            self.file = OutFile(path, flags | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise JournalError(f"journal {path!r}: {error.strerror or error}") from error
        try:
            self._lock(path, look)
            self._load(path, look)
        except BaseException:
            self.file.close()
            raise

    def begin(self) -> None:
        """Notes that the run begins: from here on it may leave temporary files behind."""
        self.file.write(f"run {self.run}\n".encode())

    def done(self, operation: Operation) -> bool:
        """Whether an earlier run has finished ``operation`` and, if local, the result still stands."""
        if not self._known:
            return False
        for destination in _destinations(operation):
            size = _standing(operation, destination)
            if size is not None and _key(operation, destination, size) in self._known:
                return True
        return False

    def mark(self, *fact: str | int) -> None:
        number = key(*fact)
        if number not in self._marks:
            self._marks.add(number)
            self.file.write(f"mark {number:024x}\n".encode())

    def keep(self, value: str, *fact: str | int) -> None:
        super().keep(value, *fact)
        self.file.write(f"keep {key(*fact):024x} {json.dumps(value)}\n".encode())

    def aside(self, endpoint: Endpoint, path: str, name: str) -> None:
        if not self._under_way:
            with suppress(OSError):  # an older journal may be open to others, and a path hold a signature
                os.fchmod(self.file.fd, 0o600)
        number = key(*endpoint, name)
        self._under_way[key(*endpoint, path)] = number
        self.file.write(f"aside {number:024x} {json.dumps([*endpoint, name])}\n".encode())

    def removed(self, numbers: Iterable[int]) -> None:
        """Notes that these of the ``asides`` are gone."""
        for number in numbers:
            self.asides.pop(number, None)
            self.file.write(f"gone {number:024x}\n".encode())

    def recall(self, operations: Iterable[Operation]) -> Iterator[Record]:
        """What was noted of each of the ``operations`` that is done and has a digest, in no order."""
        wanted: dict[int, tuple[Operation, Location]] = {}
        for operation in operations:
            for destination in _destinations(operation):
                size = _standing(operation, destination)
                if size is not None:
                    wanted[_key(operation, destination, size)] = (operation, destination)
        if not wanted:
            return
        with Path(self.file.path).open("rb") as lines:
            for line in lines:
                entry = _ENTRY.fullmatch(line, 0, len(line) - 1)
                if entry is None or entry[4] is None:
                    continue
                found = wanted.pop(int(entry[1], 16), None)
                if found is not None:
                    yield Record(*found, int(entry[2]), entry[3].decode(), entry[4].decode())

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        done = [outcome for outcome in outcomes if outcome.status == "done"]
        text = "".join(map(_line, done))
        if self._under_way and (gone := list(self._published(done))):
            text += f"gone {' '.join(gone)}\n"
        self.file.write(text.encode())

    def _published(self, outcomes: Iterable[Outcome]) -> Iterator[str]:
        """The temporary names that became these outcomes' files; those of failed attempts stay noted."""
        for outcome in outcomes:
            if outcome.attempts:
                last = outcome.attempts[-1].destination
                number = self._under_way.pop(key(*last.endpoint, last.path), None)
                if number is not None:
                    yield f"{number:024x}"

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def finish(self) -> None:
        """Notes that this run, and the cleaning after earlier ones, came to its end."""
        self.file.write("".join([f"end {run}\n" for run in (*self.previous_runs, self.run)]).encode())
        self.file.close()

    def close(self) -> None:
        """Lets go of the file without saying that the run is over."""
        self.file.close()

    def _lock(self, path: str, look: bool) -> None:
        if not stat.S_ISREG(os.fstat(self.file.fd).st_mode):
            raise JournalError(f"journal {path!r} is not a regular file")
        if look:
            return
        try:
            fcntl.flock(self.file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise JournalError(f"journal {path!r} cannot be locked: {error.strerror}") from error
            text = f"journal {path!r} is in use by another run; wait for it, or give this one its own"
            raise JournalError(text, busy=True) from None

    def _load(self, path: str, look: bool) -> None:
        open_runs: dict[str, None] = {}
        with os.fdopen(os.dup(self.file.fd), "rb") as lines:
            lines.seek(0)
            first = lines.readline(len(MAGIC))
            if first != MAGIC:
                if not MAGIC.startswith(first) or lines.read(1):
                    raise JournalError(f"{path!r} is not a journal of pegasus-transfer; it is left as it is")
                whole = 0  # empty, or killed while the first line was written
            else:
                whole = self._read(lines, open_runs)
        if not look:
            os.ftruncate(self.file.fd, whole)
            self.file.write(b"" if whole else MAGIC)
        self.previous_runs = tuple(open_runs)

    def _read(self, lines: Iterable[bytes], open_runs: dict[str, None]) -> int:
        """Takes in the lines; the length of all that are whole, in bytes."""
        whole, first = len(MAGIC), ""
        for line in lines:
            if not line.endswith(b"\n"):
                break  # killed while it was written
            whole += len(line)
            entry = _ENTRY.fullmatch(line, 0, len(line) - 1)
            if entry is not None:
                self._known.add(int(entry[1], 16))
            elif (named := _RUN.fullmatch(line, 0, len(line) - 1)) is None:
                self.damaged += not self._note(line)
            elif named[1] == b"run":
                open_runs[named[2].decode()] = None
                first = first or named[2].decode()
            else:
                open_runs.pop(named[2].decode(), None)
        self.name = first or self.name
        return whole

    def _note(self, line: bytes) -> bool:
        """Takes in a line of the other kinds; whether it could be read."""
        end = len(line) - 1
        if found := _MARK.fullmatch(line, 0, end):
            self._marks.add(int(found[1], 16))
        elif found := _GONE.fullmatch(line, 0, end):
            for number in found[1].split():
                self.asides.pop(int(number, 16), None)
        elif found := _KEEP.fullmatch(line, 0, end):
            try:
                self._kept[int(found[1], 16)] = str(json.loads(found[2]))
            except ValueError:
                return False
        elif found := _ASIDE.fullmatch(line, 0, end):
            try:
                scheme, authority, site, path = json.loads(found[2])
            except ValueError:
                return False
            self.asides[int(found[1], 16)] = Aside(Endpoint(scheme, authority, site), path)
        return bool(found)


if TYPE_CHECKING:
    _: type[Observer] = Journal


def leftovers(operations: Iterable[Operation], runs: Sequence[str], temporary: str) -> Iterator[str]:
    """What the given (dead) runs left: temporary files beside the local destinations of ``operations``,
    and private directories below ``temporary``.

    Directories that cannot be read are passed over: what is in them could not be removed either.
    """
    if not runs:
        return
    names = "|".join(re.escape(run) for run in runs)
    yield from _matching(temporary, re.compile(rf"pegasus-transfer-(?:{names})-.*", re.DOTALL))
    ours = re.compile(rf"\..*\.(?:{names})(?:-[0-9a-f]+)?\.part", re.DOTALL)
    seen: set[str] = set()
    for operation in operations:
        for destination in operation.destinations if isinstance(operation, Transfer) else ():
            if destination.scheme in LOCAL:
                for directory in _around(destination.path):
                    if directory not in seen:
                        seen.add(directory)
                        yield from _matching(directory, ours)


def _around(path: str) -> Iterator[str]:
    """The directory that ``path`` stands in; where it is one itself, all below it."""
    yield path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")
    for directory, _, _ in os.walk(path):
        yield directory


def _matching(directory: str, names: re.Pattern[str]) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            found = [
                entry.path for entry in entries if names.fullmatch(entry.name) and not entry.is_symlink()
            ]
    except OSError:
        return
    yield from found


def _destinations(operation: Operation) -> tuple[Location, ...]:
    return operation.destinations if isinstance(operation, Transfer) else (operation.target,)


def _standing(operation: Operation, destination: Location) -> int | None:
    """Size of what stands at a local destination, ``None`` for nothing; 0 where that is not asked."""
    if destination.scheme not in LOCAL or not isinstance(operation, (Transfer, Mkdir)):
        return 0
    try:
        info = os.stat(destination.path)  # noqa: PTH116 - one for each operation
    except (OSError, ValueError):
        return None
    return DIRECTORY if stat.S_ISDIR(info.st_mode) else info.st_size


def _key(operation: Operation, destination: Location, size: int) -> int:
    """96 bits of a hash: a chance of 10^-17 that any two of a million operations share one."""
    parts = [type(operation).__name__, destination.url, destination.endpoint.site, str(size)]
    if isinstance(operation, Transfer):
        for source in operation.sources:
            parts += (source.url, source.endpoint.site)
        parts += (operation.lfn, operation.manifest)
        if operation.checksum is not None:
            parts += operation.checksum
        parts.append(f"{operation.size} {operation.verify_checksum_remote} {operation.generate_checksum}")
        if operation.modified is not None:  # a source that changed is another one
            parts.append(str(operation.modified))
    else:
        parts.append(str(getattr(operation, "recursive", False)))
    return key(*parts)


def _line(outcome: Outcome) -> str:
    """The entry of one finished operation; nothing when its result is gone already, or when it is a
    directory that was moved file by file: each of these has its own, and the list may change."""
    if outcome.route == "directory":
        return ""
    destination = (
        outcome.attempts[-1].destination if outcome.attempts else _destinations(outcome.operation)[0]
    )
    size = _standing(outcome.operation, destination)
    if size is None:
        return ""
    digest = f"{outcome.algorithm}:{outcome.digest}" if outcome.digest else "-"
    return f"{_key(outcome.operation, destination, size):024x} {outcome.size} {digest}\n"
