"""Directories: listing them as ``cp -L`` would read them, removing them as ``rm -r`` would."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from pegasus_toolkit.integrity import tree
from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, IsDirectory, TransferError
from pegasus_toolkit.transfer.interface import Entry
from pegasus_toolkit.transfer.streams.disk import failure, stat_of


def walk(top: str, links: LinkRule = "follow") -> Iterator[Entry]:
    """All files below ``top``, at any depth, and its empty directories; ``links``: of symbolic links.

    What cannot be read as a file (a dangling link, a FIFO) is told without a size, and fails when it
    is asked for. Raises ``NotFound``, ``Denied``, ``BadSpecification`` for links that lead in a circle.
    """
    stem = top.rstrip("/") + "/"
    try:
        for name, status, directory, link, skipped in tree.walk(top, links):
            if status is None:
                yield Entry(stem + name, None, directory, None, None, skipped, link)
            else:
                yield Entry(stem + name, status.st_size, False, None, status.st_mtime_ns)
    except tree.Circle as error:
        path = error.filename
        raise BadSpecification("symbolic links lead in a circle", url=path, side="source") from None
    except (OSError, ValueError) as error:
        inner = error.filename if isinstance(error, OSError) else None
        raise failure(error, inner if isinstance(inner, str) else top, "source") from None


def scan(top: str) -> Iterator[Entry]:
    """What is in one directory, links followed. Raises ``NotFound``, ``Denied``."""
    try:
        with os.scandir(top) as found:
            names = sorted(entry.name for entry in found)
    except (OSError, ValueError) as error:
        raise failure(error, top, "source") from None
    for name in names:
        path = f"{top.rstrip('/')}/{name}"
        try:
            yield stat_of(path)
        except TransferError:
            yield Entry(path, None, skipped="a link that leads nowhere")


def remove(path: str, recursive: bool, home: str = "") -> TransferError | None:
    """Removes a file or link, or with ``recursive`` a tree; what is not there counts as removed.

    A link to a directory is removed, never what it points to. Refuses the root, the home directory
    (``home`` and the one in the account database) and what is above it, and paths that end in ``.``
    or ``..``.
    """
    try:
        target = path.rstrip("/") or path
        if recursive:
            _refuse(target, home)
        try:
            os.unlink(target)  # noqa: PTH108
        except IsADirectoryError:
            if not recursive:
                raise IsDirectory("is a directory", url=path, hint="removed with recursive only") from None
            _remove_tree(target)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except TransferError as error:
        return error
    except (OSError, ValueError) as error:
        inner = error.filename if isinstance(error, OSError) else None
        return failure(error, inner if isinstance(inner, str) else path)
    return None


def _remove_tree(path: str) -> None:
    for _ in range(8):
        try:
            _rmtree(path)
            return
        except FileNotFoundError:  # someone else removes in it, too
            if not os.path.lexists(path):
                return
    _rmtree(path)


def _rmtree(path: str) -> None:
    """Raises ``OSError`` whose ``filename`` is the whole path of what could not be removed."""
    import shutil
    import sys

    def told(_: object, inner: str, raised: BaseException | tuple[object, BaseException, object]) -> None:
        error = raised[1] if isinstance(raised, tuple) else raised
        assert isinstance(error, OSError)
        error.filename = inner
        raise error

    shutil.rmtree(path, **{"onexc" if sys.version_info >= (3, 12) else "onerror": told})  # type: ignore[arg-type]


def _refuse(target: str, home: str) -> None:
    """Raises ``Denied`` for what nobody means to remove."""
    if target.rpartition("/")[2] in ("", ".", ".."):
        raise Denied("refused to remove this directory", url=target or "''")
    if os.path.islink(target):  # noqa: PTH114
        return
    real = os.path.realpath(target)
    for kept in map(os.path.realpath, {home, *_account_homes()} - {""}):
        if real == kept or kept.startswith(real.rstrip("/") + "/"):
            raise Denied("refused to remove the home directory or what holds it", url=target)


def _account_homes() -> set[str]:
    """Home in the account database: jobs and cron often have no ``HOME``, or another one."""
    import pwd

    homes = set()
    for uid in {os.getuid(), os.geteuid()}:
        with suppress(KeyError):
            homes.add(pwd.getpwuid(uid).pw_dir)
    # Accounts that are no persons' have "/" or a directory that is not there: that is no home to keep.
    return {home for home in homes if home != "/" and os.path.isdir(home)}  # noqa: PTH112
