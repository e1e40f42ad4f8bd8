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


def replace(path: str, content: bytes) -> None:
    """Writes aside and renames, so that nobody sees a part of it. Raises ``OSError``, leaving nothing."""
    aside = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with os.fdopen(
            os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb"
        ) as stream:
            stream.write(content)
        os.replace(aside, path)  # noqa: PTH105 - pathlib costs start-up time
    except BaseException:
        if os.path.lexists(aside):
            os.unlink(aside)  # noqa: PTH108
        raise
