"""Regular files, opened so that a FIFO is refused and never waited for, and replaced whole."""

from __future__ import annotations

import errno
import os
import stat


def open_read(path: str | os.PathLike[str]) -> tuple[int, os.stat_result]:
    """A descriptor for reading and its status. Raises ``OSError``, also for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))


def read(path: str | os.PathLike[str]) -> bytes:
    """All of it. Raises ``OSError``."""
    descriptor, _ = open_read(path)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def replaceable(path: str) -> bool:
    """Whether a file may be put there by rename; else it is a device or a FIFO, to be written to.

    Raises ``OSError`` for a directory, and for what output has no business in (a disk, a socket).
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise OSError(errno.EINVAL, "Not a regular file", path)
    return stat.S_ISREG(mode)


def open_output(path: str, flags: int, mode: int = 0o666) -> int:
    """A descriptor for writing to ``path`` in place. Raises ``OSError`` as :func:`replaceable` does.

    A FIFO that nobody reads is an error, and not waited for.
    """
    if replaceable(path):
        return os.open(path, flags | os.O_CLOEXEC, mode)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def replace(path: str, content: bytes, mode: int = 0o666) -> None:
    """Writes aside and renames, so that nobody sees a part of it. Raises ``OSError``, leaving nothing.

    A symbolic link stays, and what it points to is replaced; a device or a FIFO is written to.
    """
    if not replaceable(path):
        with os.fdopen(open_output(path, os.O_WRONLY), "wb") as stream:
            stream.write(content)
        return
    path = os.path.realpath(path)
    aside = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(aside, flags, mode), "wb") as stream:
            stream.write(content)
        os.replace(aside, path)  # noqa: PTH105 - pathlib costs start-up time
    except BaseException:
        if os.path.lexists(aside):
            os.unlink(aside)  # noqa: PTH108
        raise
