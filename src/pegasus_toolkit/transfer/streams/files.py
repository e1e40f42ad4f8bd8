"""Ends that are local files: written aside and renamed when whole, verified while they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, TransferError
from pegasus_toolkit.transfer.interface import Control, Data, Requirement, Sink, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK, StreamVerifier
from pegasus_toolkit.transfer.streams.disk import (
    aside,
    create,
    create_aside,
    failure,
    keep_mode,
    keep_time,
    make_parent,
    no_proof,
    open_source,
    room,
    standing,
    unchanged,
    write_all,
)

ANNOUNCED = 16 << 20  # bytes; smaller files are not worth asking for the free space


def discard(partials: Iterable[str]) -> None:
    """Removes partial files that sinks kept, but for those that another run is writing."""
    for partial in partials:
        with suppress(OSError):
            _discard(partial)


def _discard(partial: str) -> None:
    import fcntl

    fd = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(partial)  # noqa: PTH108
    finally:
        os.close(fd)


class FileSink:
    """A local file in the making, under a name aside until ``commit`` has verified it.

    ``partial`` is the path of what an aborted attempt keeps for the next one ("" for nothing). Unless
    it is to stay for a later run, it stands in ``control.partials``, too: the run ends with
    ``discard(control.partials)``. Its name holds what names the content and the journal (``control.notes``),
    so that nobody takes over what others have left: those bytes may have been lost with their machine.
    """

    def __init__(self, path: str, required: Requirement, control: Control) -> None:
        self.path = path
        self.partial = ""
        self.stored: tuple[str, ...] = ()
        self.check = StreamVerifier(path, required, control)
        self._control = control
        self._fd = -1
        self._temporary = ""  # "" also while a device is written to
        self._lent = False  # a tool was told the temporary name
        self.mode: int | None = None  # of the source, where it is known
        self._mode: int | None = None  # of the file that is replaced
        self.modified: int | None = None  # nanoseconds, as the server told with the content

    @property
    def size(self) -> int:
        return self.check.count

    @property
    def file(self) -> str | None:
        """A path for a tool to fill; it does not exist yet, its directory does."""
        if not self._lent:
            try:
                self._stand()
                make_parent(self.path)
            except (OSError, ValueError) as error:
                raise failure(error, self.path, "destination") from error
            self._temporary = aside(self.path, f"{self._control.run}-{os.urandom(4).hex()}")
            self._lent = True
        return self._temporary

    def extent(self) -> tuple[int, int | None]:
        return self.check.extent()

    def announce(self, size: int) -> None:
        self.check.announce(size)
        if size >= ANNOUNCED:
            try:
                room(self.path, size)
            except (OSError, ValueError) as error:
                raise failure(error, self.path, "destination") from error

    def expect(self, algorithm: str, digest: str) -> None:
        self.check.expect(algorithm, digest)

    def disputed(self) -> str:
        return "" if self._lent else self.check.disputed()  # a tool's file is read at ``commit``

    def resume(self, validator: str) -> int:
        try:
            if self._stand() is None:
                self._adopt(validator)
        except (OSError, ValueError) as error:
            raise failure(error, self.path, "destination") from error
        return self.check.count

    def restart(self) -> None:
        self.check.restart()
        if self._fd >= 0 and self._temporary:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.ftruncate(self._fd, 0)

    def write(self, data: Data) -> None:
        try:
            self.check.feed(data)
            if self._fd < 0:
                self._open()
            write_all(self._fd, data)
        except (OSError, ValueError) as error:
            raise failure(error, self.path, "destination") from error
        except Corrupted:
            self._spoil()
            raise

    def passed(self, n: int) -> None:
        self.check.control.spend(n)

    def commit(self) -> str:
        try:
            if self._lent:
                self._fd = os.open(self._temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                read_back(self._fd, self.check)
            elif self._fd < 0:
                self._open()
            digest = self.check.finish()
            if self._temporary:
                self._publish(digest)
            self._close()
        except (OSError, ValueError) as error:
            raise failure(error, self.path, "destination") from error
        except Corrupted:
            self._spoil()
            raise
        return digest

    def abort(self) -> None:
        if self.partial and not self.check.count:
            self._spoil()
        if self._temporary and not self.partial:
            with suppress(OSError):  # a tool did not make it, or its directory went
                os.unlink(self._temporary)  # noqa: PTH108
        self._temporary = ""
        self._close()

    def _spoil(self) -> None:
        """Nothing is kept for another attempt: what was written is wrong, or has its final name."""
        self._control.partials.discard(self.partial)
        self.partial = ""

    def _stand(self) -> str | None:
        """The device to write to, or ``None``; remembers the mode of a file to replace."""
        found = standing(self.path)
        if found is None:
            return None
        if stat.S_ISCHR(found.st_mode):
            if self.check.required.remote:
                raise no_proof(self.path)
            return self.path
        self._mode = stat.S_IMODE(found.st_mode) & 0o777
        return None

    def _open(self) -> None:
        made = self._control.made
        known_empty = self.path.rpartition("/")[0] in made and not self.path.endswith("/")
        if not known_empty and self._stand() is not None:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
            return
        mode = self._bits() | 0o400
        self._fd, self._temporary = create_aside(self.path, self._control.run, mode=mode, made=made)

    def _bits(self) -> int:
        """Permissions until it is published: no wider than those of a file that is replaced."""
        mode = self.mode if self._mode is None else self._mode
        return 0o666 if mode is None else mode & 0o777

    def _adopt(self, validator: str) -> None:
        """Takes over the partial file of an earlier attempt, or begins one, under its lock."""
        from hashlib import sha256

        name = f"{self._control.notes.name} {validator}".encode("utf-8", "surrogateescape")
        partial = aside(self.path, sha256(name).hexdigest()[:16], "partial")
        fd = locked(partial, self._bits() | 0o600)
        if fd < 0:
            return
        self._fd, self._temporary, self.partial = fd, partial, partial
        if not self._control.keep_partial:
            self._control.partials.add(partial)
        size = self.check.required.size
        if size is not None and os.fstat(fd).st_size > size:
            os.ftruncate(fd, 0)
        read_back(fd, self.check)

    def _publish(self, digest: str) -> None:
        stored = os.fstat(self._fd).st_size
        if stored != self.check.count:
            text = f"{stored} bytes are on the disk, {self.check.count} were written"
            raise Corrupted(text, url=self.path, side="destination")
        self.stored = ("size",)
        if self.check.required.remote:
            prove(self._temporary, self.check.required, digest, self.check.count, self.path)
            self.stored += ("read back",)
        if self._mode is not None:
            keep_mode(self._fd, self._mode)
        modified = self.check.required.modified
        if modified is not None:
            keep_time(self._fd, self.modified if self.modified is not None else modified)
        # Closing tells what a network file system could not write; a partial file stays open,
        # for its lock, until it has its final name.
        if self.partial:
            os.close(os.dup(self._fd))
        else:
            self._close()
        os.rename(self._temporary, self.path)  # noqa: PTH104
        self._temporary = ""
        self._spoil()

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def locked(partial: str, mode: int = 0o666) -> int:
    """The partial file, made when missing, for us alone; -1: another run has it, or we did not make it."""
    import fcntl

    try:
        fd = create(partial, os.O_RDWR, mode)
    except FileExistsError:
        try:
            fd = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if trusted(fd, partial):
            return fd
    except OSError:
        pass
    os.close(fd)
    return -1


def trusted(fd: int, path: str) -> bool:
    """Whether the locked file is still the one at ``path``, and made by us: a plain file of one name."""
    info, there = os.fstat(fd), os.lstat(path)
    same = (info.st_dev, info.st_ino) == (there.st_dev, there.st_ino)
    return same and stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid() and info.st_nlink == 1


def read_back(fd: int, check: StreamVerifier) -> None:
    """Feeds what is in the file to ``check``; these bytes were moved before and do not count again."""
    buffer = memoryview(bytearray(BLOCK))
    while n := os.readv(fd, [buffer]):
        check.control.spend(0)
        check.take(buffer[:n])


def prove(written: str, required: Requirement, digest: str, size: int, name: str) -> None:
    """Reads back what was written and compares it with what came. Raises ``Corrupted``."""
    check = StreamVerifier(name, Requirement(required.algorithm, digest, size), Control())
    fd = os.open(written, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        read_back(fd, check)
    finally:
        os.close(fd)
    check.finish()


class FileSource:
    """A regular file to be read; opened at once. Raises ``NotFound``, ``Denied``, ``IsDirectory``.

    A file that changes while it is read is ``Corrupted`` (which may pass: a try later may find it quiet).
    """

    def __init__(self, path: str, required: Requirement, control: Control) -> None:
        self.path = path
        self.check = StreamVerifier(path, required, control)
        try:
            self._fd, self._info = open_source(path)
        except (OSError, ValueError) as error:
            raise failure(error, path, "source") from error
        self.size: int | None = self._info.st_size
        self.file: str | None = path
        self.mode: int | None = self._info.st_mode & 0o777
        self.digest = ""
        self._ended = False
        self._error: TransferError | None = None

    @property
    def control(self) -> Control:
        return self.check.control

    def extent(self) -> tuple[int, int | None]:
        return self.check.count, self.size

    def readinto(self, view: memoryview) -> int:
        if self._over():
            return 0
        try:
            n = os.readv(self._fd, [view])
            self._passed(view[:n], len(view))
        except (OSError, TransferError) as error:
            raise self._failed(error) from None
        return n

    def read(self, n: int = -1) -> bytes:
        if n < 0:
            return b"".join(self)
        if self._over():
            return b""
        try:
            data = os.read(self._fd, min(n, self._info.st_size - self.check.count + 1))
            self._passed(data, n)
        except (OSError, TransferError) as error:
            raise self._failed(error) from None
        return data

    def _over(self) -> bool:
        if self._error is not None:  # a reader that tries again must not take it for the end
            raise self._error
        return self._ended

    def _passed(self, data: Data, asked: int) -> None:
        """Checks what was read; all of it, when it was the last."""
        self.check.feed(data)
        count = self.check.count
        if count >= self._info.st_size or (asked and not data):
            unchanged(self._fd, self._info, count, self.check.name)
            self.digest = self.check.finish()
            self._ended = True

    def _failed(self, error: OSError | TransferError) -> TransferError:
        self._error = error if isinstance(error, TransferError) else failure(error, self.check.name, "source")
        return self._error

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK):
            yield block

    def passed(self, n: int) -> None:
        self.check.control.spend(n)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
        if not self._ended and self._error is None:
            self._error = Cancelled("closed before its end", url=self.check.name)


_sink: type[Sink] = FileSink
_source: type[Source] = FileSource
