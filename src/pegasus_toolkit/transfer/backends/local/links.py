"""``symlink:`` and ``moveto:``: a link or a rename in place of a copy."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from pegasus_toolkit.transfer.backends.local.copy import Copier, same
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    IsDirectory,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Control, Job
from pegasus_toolkit.transfer.streams.checked import StreamVerifier
from pegasus_toolkit.transfer.streams.disk import aside, failure, make_parent, open_source, standing
from pegasus_toolkit.transfer.streams.files import read_back


def link(job: Job[None], control: Control, verify: bool) -> None:
    """Makes ``job.destination`` a link to ``job.path``, absolute, replacing a file or a link in one step.

    ``verify``: the source must be there and readable, and be what is expected of its content; else
    nothing was compared. Raises ``TransferError``.
    """
    control.spend(0)
    job.compared = ()
    if verify:
        _readable(job.path)
        _compare(job, control)
    try:
        target = os.path.join(os.getcwd(), job.path)  # noqa: PTH118, PTH109
        if _same_name(job.path, job.destination):
            return
        _no_device(job.destination)
        temporary = aside(job.destination, f"{control.run}-{os.urandom(4).hex()}")
        try:
            os.symlink(target, temporary)
        except FileNotFoundError:
            make_parent(job.destination)
            os.symlink(target, temporary)
        _rename(temporary, job.destination)
    except (OSError, ValueError) as error:
        raise failure(error, job.destination, "destination") from None


def _compare(job: Job[None], control: Control) -> None:
    """The source with what is expected; reads it where that is a digest."""
    required = job.required
    if not (required.digest or required.also):
        required = required._replace(algorithm="")
    job.compared = required.expectations
    if job.compared:
        plain = Job[None](job.path, job.destination, required, None)
        _check(plain, control, job.path)
        job.digest, job.proven, job.stored = plain.digest, plain.proven, plain.stored


def _readable(path: str) -> None:
    """Raises unless the file (or directory) is there and can be read: reads a byte of it."""
    try:
        try:
            fd, _ = open_source(path)
        except IsDirectory:
            with os.scandir(path):
                return
        try:
            os.read(fd, 1)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        raise failure(error, path, "source") from None


def _same_name(path: str, to: str) -> bool:
    """Whether the link would take the place of the very file that it is to point to."""
    try:
        there = os.lstat(to)
        if same(os.lstat(path), there):
            return True
        return not stat.S_ISLNK(there.st_mode) and same(os.stat(path), there)  # noqa: PTH116
    except FileNotFoundError:
        return False


def _no_device(path: str) -> None:
    found = standing(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise Unsupported("is a device", url=path, side="destination")


def _rename(temporary: str, to: str) -> None:
    try:
        os.rename(temporary, to)  # noqa: PTH104
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def move(job: Job[None], copier: Copier, control: Control) -> None:
    """Moves ``job.path`` to ``job.destination``: by rename, or across file systems by a verified copy.

    What is wanted of the content is checked first. A source that is a link is copied from and then
    removed, so that the destination holds the content. A directory moves as a whole, onto nothing.
    Where the source is gone because a run that was killed has moved it, that is success. Sets the
    job's size and digest. Raises ``TransferError``.
    """
    control.spend(0)
    try:
        info = os.lstat(job.path)
    except FileNotFoundError as error:
        if _arrived(job, control):
            return
        raise _gone(job, error) from None
    except (OSError, ValueError) as error:
        raise failure(error, job.path, "source") from None
    if stat.S_ISREG(info.st_mode) and _move_file(job, control, info):
        return
    if stat.S_ISDIR(info.st_mode):
        _move_directory(job, control, info)
        return
    copier.copy(job)
    if not _one(job.path, job.destination):
        if control.notes.lasting:
            control.notes.mark(*_moved(job.destination, os.stat(job.destination)))  # noqa: PTH116
        _unlink(job.path)


def _moved(destination: str, info: os.stat_result) -> tuple[str | int, ...]:
    """By what a file is known again at its destination: a rename keeps all of it."""
    facts = ("moved", destination, info.st_dev, info.st_ino)
    return facts if stat.S_ISDIR(info.st_mode) else (*facts, info.st_size, info.st_mtime_ns)


def _arrived(job: Job[None], control: Control) -> bool:
    """Whether what stands at the destination is the source that a killed run has moved.

    The journal's note of that very file tells, or the digest that is expected.
    """
    try:
        info = os.lstat(job.destination)
    except OSError:
        return False
    noted = control.notes.marked(*_moved(job.destination, info))
    if stat.S_ISDIR(info.st_mode):
        return noted
    if not stat.S_ISREG(info.st_mode) or not (noted or job.required.digest or job.required.also):
        return False
    try:
        _check(job, control, job.destination)
    except Corrupted:
        if noted:
            raise
        return False
    return True


def _gone(job: Job[None], error: OSError) -> TransferError:
    told = failure(error, job.path, "source")
    if os.path.lexists(job.destination):
        told.hint = "the destination is there; runs with --journal know what an earlier one has moved"
    return told


def _move_file(job: Job[None], control: Control, info: os.stat_result) -> bool:
    """Whether a rename was enough."""
    _check(job, control, job.path)
    if control.notes.lasting:
        control.notes.mark(*_moved(job.destination, info))
    try:
        _no_device(job.destination)
        if _one(job.path, job.destination):
            if info.st_nlink > 1 and _names(job.path) != _names(job.destination):
                _unlink(job.path)
            return True
        try:
            os.rename(job.path, job.destination)  # noqa: PTH104
        except FileNotFoundError:
            make_parent(job.destination)
            os.rename(job.path, job.destination)  # noqa: PTH104
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise failure(error, job.destination, "destination") from None
    except ValueError as error:
        raise failure(error, job.destination, "destination") from None
    return True


def _check(job: Job[None], control: Control, path: str) -> None:
    """Digest and size of the file, as wanted, before it moves (or where it has moved to)."""
    try:
        fd, info = open_source(path)
    except (OSError, ValueError) as error:
        raise failure(error, path, "source") from None
    try:
        check = StreamVerifier(path, job.required, control)
        check.announce(info.st_size)
        if check.hasher is not None or check.extra:
            read_back(fd, check)
            job.digest = check.finish()
            if job.required.remote:  # a rename or a link leads to the very bytes that were read
                job.proven, job.stored = True, ("read back",)
    except TransferError as error:
        error.side = error.side or "source"
        raise
    finally:
        os.close(fd)
    job.size = info.st_size


def _move_directory(job: Job[None], control: Control, info: os.stat_result) -> None:
    if job.required.expectations:
        text = "checksum and size are those of a file, and the source is a directory"
        raise BadSpecification(text, url=job.path, side="source")
    if control.notes.lasting:
        control.notes.mark(*_moved(job.destination, info))
    try:
        try:
            os.rename(job.path, job.destination)  # noqa: PTH104
        except FileNotFoundError:
            make_parent(job.destination)
            os.rename(job.path, job.destination)  # noqa: PTH104
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST):
            raise IsDirectory("is a directory", url=job.path, side="source") from None
        raise failure(error, job.destination, "destination") from None


def _one(path: str, to: str) -> bool:
    try:
        return same(os.stat(path), os.lstat(to))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _names(path: str) -> str:
    parent, _, name = path.rpartition("/")
    return f"{os.path.realpath(parent or '.')}/{name}"


def _unlink(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError as error:
        raise failure(error, path, "source") from None
