"""Uploads by SFTP: written aside with many writes in flight, renamed when every one is acknowledged."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from pegasus_toolkit.transfer.backends.ssh import sftp_wire as wire
from pegasus_toolkit.transfer.backends.ssh.sftp_batch import Batch, Transferring
from pegasus_toolkit.transfer.backends.ssh.sftp_errors import refused
from pegasus_toolkit.transfer.backends.ssh.sftp_session import BLOCK_HEAD
from pegasus_toolkit.transfer.errors import (
    Corrupted,
    IsDirectory,
    NoSpace,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Job, Source
from pegasus_toolkit.transfer.streams.disk import aside

WINDOW = 8 << 20  # bytes that were sent and are not acknowledged
MARGIN = 1 << 20  # bytes free, below which a failure to write is taken for a full disk
RENAMES = wire.string(wire.POSIX_RENAME)


class Puts(Batch[Source]):
    """The uploads under way on one connection."""

    def prepare(self) -> None:
        self.mark = os.urandom(4).hex()
        self.count = 0
        self.writing: deque[_Upload] = deque()  # those with a handle and bytes still to be sent
        self.unacknowledged = 0  # bytes
        self.made: set[str] = set()  # directories that were made just now, so that nothing is in them
        self.known: set[str] = set()  # directories that were asked for or written to
        self.missed = False  # a directory was missing: the next ones are made before they are missed
        self.renames = wire.POSIX_RENAME in self.session.offers
        self.making: dict[str, list[Callable[[], None]]] = {}  # directories, and who waits for them

    def begin(self, job: Job[Source]) -> None:
        self.count += 1
        _Upload(self, job, aside(job.path, f"{self.mark}-{self.count:x}"))

    def work(self) -> None:
        """Sends what the window and the blocks have room for, the oldest file's first."""
        while self.writing and self.unacknowledged < WINDOW:
            block = self.session.take_block()
            if block is None:
                return
            if self.writing[0].send(block):
                self.writing.popleft()

    def litter(self) -> list[str]:
        """Names aside that may still be there."""
        return [file.aside for file in self.files if isinstance(file, _Upload) and file.dirty]

    # -- directories -------------------------------------------------------------------------------

    def make(self, path: str, then: Callable[[], None]) -> None:
        """Makes a directory and its parents, and calls ``then``, whether it worked or not."""
        waiting = self.making.get(path)
        if waiting is not None:
            waiting.append(then)
            return
        self.making[path] = [then]
        self._mkdir(path, retried=False)

    def _mkdir(self, path: str, retried: bool) -> None:
        def made(kind: int, body: memoryview) -> None:
            parent = path.rpartition("/")[0]
            if wire.code(kind, body) in (wire.NO_SUCH_FILE, wire.NO_SUCH_PATH) and parent and not retried:
                self.make(parent, lambda: self._mkdir(path, retried=True))
                return
            if wire.code(kind, body) == wire.OK:
                self.made.add(path)
            for then in self.making.pop(path):
                then()

        self.session.request(wire.MKDIR, wire.encode(path) + wire.NO_ATTRIBUTES, made)


class _Upload(Transferring[Source]):
    """One file: STAT of what it replaces, OPEN aside, WRITEs, CLOSE, rename."""

    side = "source"
    __slots__ = (
        "aside", "batch", "dirty", "ended", "failure", "handle", "mode", "offset", "parent",
        "parents_made", "replaces", "target", "there", "waits",
    )  # fmt: skip

    def __init__(self, batch: Puts, job: Job[Source], aside_: str) -> None:
        super().__init__(batch, job)
        self.batch = batch
        self.parent = job.path.rpartition("/")[0]
        self.aside = aside_
        self.there, self.target = wire.encode(aside_), wire.encode(job.path)
        self.handle = b""
        self.dirty = False  # something may stand aside
        self.waits = 0  # answers that must come before the next step
        self.offset = 0  # bytes sent
        self.ended = False  # all is sent, and CLOSE
        self.parents_made = False
        self.failure: TransferError | None = None  # what the server said, while its reason is looked for
        self.replaces = False  # something stands at the destination
        self.mode: int | None = None  # of the file that is replaced
        self._begin()

    def _begin(self) -> None:
        if not self.job.path or self.job.path.endswith("/"):
            self.fail(IsDirectory("names a directory", url=self.name, side="destination"))
            return
        batch, parent = self.batch, self.parent
        if parent not in batch.known:
            batch.known.add(parent)
            if batch.missed and parent and parent not in batch.making:
                batch.make(parent, _nothing)
        self.waits = 1
        if parent not in batch.made:
            self.waits = 2
            batch.session.request(wire.STAT, self.target, self._standing)
        self._open()

    def _open(self) -> None:
        self.dirty = True
        body = self.there + wire.U32.pack(wire.NEW_FOR_WRITING) + self._attributes()
        self.batch.session.request(wire.OPEN, body, self._opened)

    def _attributes(self) -> bytes:
        """The mode bits of a local file, as ``scp`` gives them; the server's umask takes its part."""
        mode = self.job.end.mode
        return wire.NO_ATTRIBUTES if mode is None else wire.permissions(mode)

    def _standing(self, kind: int, body: memoryview) -> None:
        """What stands at the destination."""
        if kind == wire.ATTRS:
            self.replaces = True
            found, _ = wire.attributes(body)
            if found.directory:
                self.fail(IsDirectory("is a directory", url=self.name, side="destination"))
            elif not found.regular:
                message = "is neither a file nor a directory"
                self.fail(Unsupported(message, url=self.name, side="destination"))
            elif found.mode is not None:
                self.mode = found.mode & 0o777
        self._ready()

    def _opened(self, kind: int, body: memoryview) -> None:
        if kind == wire.HANDLE:
            self.handle, _ = wire.text(body)
        else:
            self.dirty = False
            missing = wire.code(kind, body) in (wire.NO_SUCH_FILE, wire.NO_SUCH_PATH)
            if missing and self.parent and not self.parents_made and not self.over:
                self.batch.missed = self.parents_made = True
                self.batch.make(self.parent, self._retry)
                return
            self._refused(kind, body, "make a file there")
        self._ready()

    def _retry(self) -> None:
        if self.over:
            self._ready()
        else:
            self._open()

    def _ready(self) -> None:
        self.waits -= 1
        if self.over:
            self.stop()
        elif not self.waits:
            if self.mode is not None:
                body = wire.string(self.handle) + wire.permissions(self.mode)
                self.waits += 1
                self.batch.session.request(wire.FSETSTAT, body, self._acknowledged)
            self.batch.writing.append(self)

    def send(self, block: bytearray) -> bool:
        """Sends the next bytes; whether nothing is left to be sent."""
        session = self.batch.session
        size = self.job.end.size
        count = 0
        if not self.over:
            try:
                count = self._fill(block, size)
            except (TransferError, OSError) as error:
                self.fail(error)
        if count:
            self.waits += 1
            self.batch.unacknowledged += count
            session.write(self.handle, self.offset, block, count, _Write(self, count))
            self.offset += count
        else:
            session.drop_block(block)
        if self.over:
            return True
        if count and (size is None or self.offset < size):
            return False
        self.ended = True
        self.waits += 1
        session.request(wire.CLOSE, wire.string(self.handle), self._acknowledged)
        return True

    def _fill(self, block: bytearray, size: int | None) -> int:
        """Reads the next bytes of the source into the block; 0 at its end."""
        room = self.batch.session.limits.write
        if size is not None:
            room = min(room, max(1, size - self.offset))
        count: int = self.job.end.readinto(memoryview(block)[BLOCK_HEAD : BLOCK_HEAD + room])
        if size is not None and (count > size if not size else not count):
            message = f"{self.offset + count} bytes came, {size} expected"
            raise Corrupted(message, url=self.name, side="source")
        return count

    def _acknowledged(self, kind: int, body: memoryview) -> None:
        """A write, the mode or the close is done; after the last of them comes the rename."""
        self.waits -= 1
        if wire.code(kind, body) != wire.OK:
            self._refused(kind, body, "write")
        if self.over:
            self.stop()
        elif self.ended and not self.waits and self.failure is None:
            self._rename()

    def written(self, count: int, kind: int, body: memoryview) -> None:
        """A write of so many bytes was answered."""
        self.batch.unacknowledged -= count
        self._acknowledged(kind, body)

    def _rename(self) -> None:
        session = self.batch.session
        names = self.there + self.target
        self.waits = 1
        if self.batch.renames:
            session.request(wire.EXTENDED, RENAMES + names, self._renamed)
            return
        if self.replaces:  # version 3 renames over nothing; between the two requests the name is missing
            session.request(wire.REMOVE, self.target, lambda kind, body: None)
        session.request(wire.RENAME, names, self._renamed)

    def _renamed(self, kind: int, body: memoryview) -> None:
        self.waits = 0
        if wire.code(kind, body) == wire.OK:
            self.dirty = False
            if self.over:  # given up at the last moment, but whole
                self.job.error = None
            self.finish()
            return
        self._refused(kind, body, "rename it to its name")

    def _refused(self, kind: int, body: memoryview, doing: str) -> None:
        """Fails by the server's answer; where that says no more than "failure", asks for the free space."""
        session = self.batch.session
        if self.over or self.failure is not None:
            return
        self.failure = refused(kind, body, self.name, "destination", doing)
        if wire.code(kind, body) != wire.FAILURE or wire.STATVFS not in session.offers:
            self.fail(self.failure)
            return
        self.waits += 1
        session.extended(wire.STATVFS, wire.encode(self.parent or "/"), self._space)

    def _space(self, kind: int, body: memoryview) -> None:
        self.waits -= 1
        assert self.failure is not None
        if kind == wire.EXTENDED_REPLY and wire.free_space(body) < max(MARGIN, self.job.end.size or 0):
            self.failure = NoSpace("no space left on the server", url=self.name, side="destination")
        self.fail(self.failure)
        self.stop()

    def stop(self) -> None:
        """Once nothing is awaited any more: closes, removes what stands aside, and is over."""
        if self.waits > 0:
            return
        session = self.batch.session
        if self.handle and not self.ended:
            self.ended = True
            session.request(wire.CLOSE, wire.string(self.handle), lambda kind, body: None)
        if self.dirty:
            self.waits = 1
            session.request(wire.REMOVE, self.there, self._removed)
        else:
            self.finish()

    def _removed(self, kind: int, body: memoryview) -> None:
        self.waits = 0
        self.dirty = False
        self.finish()


class _Write:
    """One WRITE on its way."""

    __slots__ = ("count", "file")

    def __init__(self, file: _Upload, count: int) -> None:
        self.file = file
        self.count = count

    def __call__(self, kind: int, body: memoryview) -> None:
        self.file.written(self.count, kind, body)


def _nothing() -> None:
    """Nobody waits for that directory."""
