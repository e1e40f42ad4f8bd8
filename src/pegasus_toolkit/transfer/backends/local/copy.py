"""Local file to local file, in one pass: read, hash, write aside, rename.

A small file costs nine system calls: directories are held open for them as long as a batch takes.
A large one goes by its paths; where no digest is wanted the kernel moves it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.backends.local.copy_bytes import clone, feeder, move, stream
from pegasus_toolkit.transfer.errors import Corrupted, IsDirectory, TransferError
from pegasus_toolkit.transfer.interface import Control, Job
from pegasus_toolkit.transfer.streams.checked import BLOCK, StreamVerifier, mismatch
from pegasus_toolkit.transfer.streams.disk import (
    aside,
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
from pegasus_toolkit.transfer.streams.files import prove

HELD = 64  # directories held open at each side
SHORT = 40  # characters of a name that leave room for what is put around it
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Directories:
    """Descriptors of directories, and whether we made them (then nothing stands in them yet)."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, bool]] = {}

    def of(self, path: str) -> tuple[int, bool]:
        """The directory ``path``. Raises ``FileNotFoundError``."""
        held = self._held.get(path)
        return held if held is not None else self._hold(path, False)

    def made(self, path: str) -> tuple[int, bool]:
        """The directory ``path``, made when it is missing."""
        try:
            return self.of(path)
        except FileNotFoundError:
            make_parent(path)
        try:
            os.mkdir(path)  # noqa: PTH102
        except FileExistsError:
            return self._hold(path, False)
        return self._hold(path, True)

    def forget(self, path: str) -> None:
        """It may not be what it was: the next to ask looks again."""
        held = self._held.pop(path, None)
        if held is not None:
            os.close(held[0])

    @property
    def held(self) -> int:
        """How many are open."""
        return len(self._held)

    def close(self) -> None:
        """Forgets them all."""
        for path in list(self._held):
            self.forget(path)

    def _hold(self, path: str, new: bool) -> tuple[int, bool]:
        if len(self._held) >= HELD:
            self.forget(next(iter(self._held)))
        held = os.open(path or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), new
        self._held[path] = held
        return held


class Copier:
    """Copies the files of one batch."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._end = f".{control.run}.part"
        self._from = Directories()
        self._to = Directories()
        self._buffer: memoryview | None = None

    def close(self) -> None:
        """Gives the directories back."""
        self._from.close()
        self._to.close()

    def copy(self, job: Job[None]) -> None:
        """Copies one file; sets the job's size and digest. Raises ``TransferError``."""
        try:
            fd, info = self._open(job.path)
        except (OSError, ValueError) as error:
            raise failure(error, job.path, "source") from None
        try:
            if info.st_size < BLOCK and not job.required.also and not job.required.remote:
                self._small(job, fd, info)
            else:
                self._large(job, fd, info)
        except Corrupted as error:
            error.side = error.side or "source"
            raise
        except (OSError, ValueError) as error:
            raise failure(error, job.destination, "destination") from None
        finally:
            os.close(fd)

    def again(self, job: Job[None], error: TransferError) -> None:
        """Once more, after ``error``, without the directories that are held open: they are a nicety."""
        job.error = error
        if self._from.held or self._to.held:
            self.close()
            job.error = None
            try:
                self.copy(job)
            except TransferError as second:
                job.error = second

    def _open(self, path: str) -> tuple[int, os.stat_result]:
        parent, slash, name = path.rpartition("/")
        try:
            return open_source(name, self._from.of(parent or slash)[0], path)
        except FileNotFoundError:
            self._from.forget(parent or slash)
            return open_source(path)

    def _small(self, job: Job[None], fd: int, info: os.stat_result) -> None:
        """One read, one write."""
        required, size = job.required, info.st_size
        try:
            data = os.read(fd, size + 1)
        except OSError as error:
            raise failure(error, job.path, "source") from None
        if len(data) != size:
            raise Corrupted("changed while it was read", url=job.path)
        if required.size is not None and required.size != size:
            raise Corrupted(f"{size} bytes came, {required.size} expected", url=job.path)
        self._control.spend(size)
        digest = ""
        if required.algorithm:
            hasher = digests.new(required.algorithm)
            hasher.update(data)
            digest = hasher.hexdigest()
            if required.digest and digest != required.digest:
                raise mismatch(job.path, required.algorithm, required.digest, digest)
        parent, slash, name = job.destination.rpartition("/")
        try:
            self._place(job, parent or slash, name, data, info)
        except FileNotFoundError:  # a directory that was held is gone
            self._to.forget(parent or slash)
            self._place(job, parent or slash, name, data, info)
        job.size = size
        job.digest = digest

    def _place(self, job: Job[None], parent: str, name: str, data: bytes, info: os.stat_result) -> None:
        path = job.destination
        if not name:
            raise IsDirectory("the name ends in /", url=path, side="destination")
        directory, new = self._to.made(parent)
        found = None if new else standing(name, directory, path)
        if found is not None:
            if same(found, info):
                return
            if stat.S_ISCHR(found.st_mode):
                write_device(path, data)
                return
        mode = (found or info).st_mode & 0o777
        try:
            temporary = f".{name}{self._end}" if len(name) < SHORT else aside(name, self._control.run)
            fd = os.open(temporary, NEW, mode, dir_fd=directory)
        except FileExistsError:
            fd, temporary = create_aside(name, self._control.run, mode=mode, dir_fd=directory)
        try:
            try:
                write_all(fd, data)
                if found is not None:
                    keep_mode(fd, mode)
                if job.required.modified is not None:
                    keep_time(fd, job.required.modified)
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise

    def _large(self, job: Job[None], fd: int, info: os.stat_result) -> None:
        check = StreamVerifier(job.path, job.required, self._control)
        check.announce(info.st_size)
        self._control.single = check
        found = standing(job.destination)
        if found is not None and same(found, info):
            job.digest = self._pass(fd, -1, info, check)
            self._proven(job)
        elif found is not None and stat.S_ISCHR(found.st_mode):
            if job.required.remote:
                raise no_proof(job.destination)
            out = open_device(job.destination)
            try:
                job.digest = self._pass(fd, out, info, check)
            finally:
                os.close(out)
        else:
            self._whole(job, fd, info, check, found)
        job.size = check.count
        self._control.single = None

    def _whole(
        self,
        job: Job[None],
        fd: int,
        info: os.stat_result,
        check: StreamVerifier,
        found: os.stat_result | None,
    ) -> None:
        """Through a name aside, which is gone whatever happens."""
        room(job.destination, min(info.st_size, info.st_blocks * 512))
        mode = (found or info).st_mode & 0o777
        out, temporary = create_aside(job.destination, self._control.run, os.O_RDWR, mode)
        try:
            try:
                if clone(fd, out):
                    job.digest = self._pass(out, -1, info, check)
                else:
                    job.digest = self._pass(fd, out, info, check)
                    os.ftruncate(out, info.st_size)  # a hole at the end
                unchanged(fd, info, check.count, job.path)
                if found is not None:
                    keep_mode(out, mode)
                if job.required.modified is not None:
                    keep_time(out, job.required.modified)
            finally:
                os.close(out)
            if job.required.remote:
                prove(temporary, job.required, job.digest, check.count, job.destination)
                self._proven(job)
            os.rename(temporary, job.destination)  # noqa: PTH104
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise

    @staticmethod
    def _proven(job: Job[None]) -> None:
        """What is stored was read, and has the digest that is told."""
        if job.required.remote:
            job.proven, job.stored = True, ("read back",)

    def _pass(self, fd: int, out: int, info: os.stat_result, check: StreamVerifier) -> str:
        """Moves and checks it all; ``out`` -1: checks only. The digest."""
        if check.hasher is None and not check.extra:
            if out >= 0:
                move(fd, out, info, check)
            else:
                check.count = info.st_size
                self._control.spend(info.st_size)
        else:
            if self._buffer is None:
                self._buffer = memoryview(bytearray(BLOCK))
            stream(fd, out, info, feeder(check, info.st_size, self._buffer))
        return check.finish()


def same(found: os.stat_result, info: os.stat_result) -> bool:
    """Whether both are one file; inode numbers alone repeat on other file systems."""
    return found.st_ino == info.st_ino and found.st_dev == info.st_dev


def open_device(path: str) -> int:
    """A character device to write to."""
    return os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)


def write_device(path: str, data: bytes) -> None:
    """Writes a small file to a character device."""
    fd = open_device(path)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)
