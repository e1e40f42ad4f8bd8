"""Local files below the ends: names aside, what stands at a destination, errors as ours.

What becomes of what stands at a destination:

* nothing: a new file, mode bits less the umask;
* a regular file: replaced by rename, keeping its mode bits (``cp`` truncates it and keeps them too);
* a symbolic link: replaced by the file. ``cp`` would write through it; here what a link points to,
  perhaps the archive's copy that an earlier run linked, is never touched;
* a directory: ``IsDirectory``;
* a character device such as ``/dev/null``: written to; any other kind of file is refused.

Nothing is synced to the disk, as with ``cp``: after a crash of the machine (not of the program) a
new name may hold less than was written.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    IsDirectory,
    NoSpace,
    Permanent,
    Side,
    TransferError,
    Unsupported,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Data, Entry

NAME_MAX = 255  # bytes in a file's name, on every file system in use


def failure(error: OSError | ValueError, path: str, side: Side = "") -> TransferError:
    """The error of ours for what ``os`` raises; it answers a NUL in a name with ``ValueError``."""
    if isinstance(error, TransferError):
        return error
    if isinstance(error, OSError):
        return from_oserror(error, url=path, side=side)
    return BadSpecification(str(error), url=path, side=side)


def aside(path: str, mark: str, end: str = "part") -> str:
    """A name next to ``path`` for what is not whole yet: ``.name.mark.end``, cut to what fits."""
    parent, slash, name = path.rpartition("/")
    room = NAME_MAX - len(mark) - len(end) - 3
    while len(name) * 4 > room and len(os.fsencode(name)) > room:
        name = name[:-1]
    return f"{parent}{slash}.{name}.{mark}.{end}"


def standing(path: str, dir_fd: int | None = None, name: str = "") -> os.stat_result | None:
    """What stands at a destination: ``None`` for nothing, or for a link to a file, which is replaced.

    ``name`` is what errors call it.

    Raises ``IsDirectory``, ``Unsupported`` for what a file must not replace; ``OSError``.
    """
    if path.endswith("/"):
        raise IsDirectory("the name ends in /", url=name or path, side="destination")
    try:
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        link = stat.S_ISLNK(found.st_mode)
        if link:
            found = os.stat(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        return None if link else found
    if stat.S_ISCHR(found.st_mode):
        return found
    if stat.S_ISDIR(found.st_mode):
        raise IsDirectory("is a directory", url=name or path, side="destination")
    raise Unsupported("is neither a file nor a directory", url=name or path, side="destination")


def no_proof(path: str) -> Unsupported:
    """The error for a device whose content is to be verified."""
    text = "is a device: what it got cannot be read back to verify it"
    return Unsupported(text, url=path, side="destination")


def open_source(path: str, dir_fd: int | None = None, name: str = "") -> tuple[int, os.stat_result]:
    """A descriptor of a regular file and what it is; a FIFO is refused, never waited for.

    ``name`` is what errors call it.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    info = os.fstat(fd)
    if stat.S_ISREG(info.st_mode) and (info.st_size or not os.pread(fd, 1, 0)):
        return fd, info
    os.close(fd)
    if stat.S_ISDIR(info.st_mode):
        raise IsDirectory("is a directory", url=name or path, side="source")
    if stat.S_ISREG(info.st_mode):
        raise Unsupported("has no size of its own, as files of /proc", url=name or path, side="source")
    raise Unsupported("is not a regular file", url=name or path, side="source")


def unchanged(fd: int, before: os.stat_result, count: int, path: str) -> None:
    """Raises ``Corrupted`` when the file is not what it was when it was opened."""
    now = os.fstat(fd)
    if count != before.st_size or now.st_size != count or now.st_mtime_ns != before.st_mtime_ns:
        raise Corrupted("changed while it was read", url=path, side="source")


def write_all(fd: int, data: Data) -> None:
    """Writes all of it; ``os.write`` takes at most 2 GiB and may take less."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])


def keep_time(fd: int, modified: int) -> None:
    """The file tells when its content was last changed (nanoseconds), where that can be kept."""
    with suppress(OSError, OverflowError):
        os.utime(fd, ns=(os.stat(fd).st_atime_ns, modified))


def keep_mode(fd: int, mode: int) -> None:
    """The permissions of the file that is replaced, where they can be kept: some file systems have none, or
    set them for nobody."""
    with suppress(OSError):
        os.fchmod(fd, mode)


def make_parent(path: str) -> None:
    """Makes the directory that ``path`` is to stand in, and that one's parents."""
    parent = path.rpartition("/")[0]
    if parent:
        make_directory(parent)


def make_directory(path: str) -> None:
    """Makes a directory and its parents; content if it is there. Raises ``Permanent`` for a file there."""
    try:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
    except FileExistsError:
        raise Permanent("no directory, and in the way of one", url=path, side="destination") from None


def room(path: str, size: int) -> None:
    """Raises ``NoSpace`` when the file system of ``path`` (or of its first parent there is) is too full."""
    parent = path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")
    while True:
        try:
            found = os.statvfs(parent)
            break
        except FileNotFoundError:
            parent = parent.rpartition("/")[0] or ("/" if path.startswith("/") else ".")
    free = found.f_bfree * found.f_frsize
    if found.f_blocks and free < size:  # some network file systems tell nothing
        raise NoSpace(f"{size} bytes wanted, {free} free", url=path, side="destination")


def create(
    path: str,
    access: int = os.O_WRONLY,
    mode: int = 0o666,
    dir_fd: int | None = None,
    made: set[str] | None = None,
) -> int:
    """A new file, its parents made when they are missing. Raises ``FileExistsError``.

    ``made`` gets the directory that it stands in, if that was missing.
    """
    flags = access | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode, dir_fd=dir_fd)
    except FileNotFoundError:
        if dir_fd is not None:
            raise
        make_parent(path)
        if made is not None:
            made.add(path.rpartition("/")[0])
        return os.open(path, flags, mode)


def create_aside(
    path: str,
    run: str,
    access: int = os.O_WRONLY,
    mode: int = 0o666,
    dir_fd: int | None = None,
    *,
    made: set[str] | None = None,
) -> tuple[int, str]:
    """A new file next to ``path`` and its name, which is unique for each run and attempt."""
    temporary = aside(path, run)
    try:
        return create(temporary, access, mode, dir_fd, made), temporary
    except FileExistsError:  # another attempt at the same file is not over yet
        temporary = aside(path, f"{run}-{os.urandom(4).hex()}")
        return create(temporary, access, mode, dir_fd), temporary


def stat_of(path: str) -> Entry:
    """Size, or that it is a directory; follows links. Raises ``NotFound``."""
    try:
        info = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        raise failure(error, path) from None
    if stat.S_ISDIR(info.st_mode):
        return Entry(path, None, True)
    size = info.st_size if stat.S_ISREG(info.st_mode) else None
    return Entry(path, size, modified=info.st_mtime_ns)
