"""Directories by SFTP: what is there, making and removing; many requests in flight."""

from __future__ import annotations

import stat as stat_
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple, TypeVar

from pegasus_toolkit.transfer.backends.ssh import sftp_wire as wire
from pegasus_toolkit.transfer.backends.ssh.sftp_errors import refused
from pegasus_toolkit.transfer.backends.ssh.sftp_session import Session
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Entry

WIDTH = 64  # tasks in flight

T = TypeVar("T")
Task = Generator[tuple[int, bytes], tuple[int, bytes], T]
"""A task yields a request (kind, body) and is sent its answer (kind, body); it returns its result."""

MISSING = (wire.NO_SUCH_FILE, wire.NO_SUCH_PATH)


def run(session: Session, tasks: Iterable[Task[T]], width: int = WIDTH) -> Iterator[T]:
    """Runs tasks side by side, yields the result of each when it is over, in any order."""
    waiting, done, open_ = iter(tasks), [], 0
    more = True

    def step(task: Task[T], answer: tuple[int, bytes] | None) -> None:
        nonlocal open_
        try:
            kind, body = next(task) if answer is None else task.send(answer)
        except StopIteration as over:
            open_ -= 1
            done.append(over.value)
            return
        session.request(kind, body, lambda kind, body: step(task, (kind, bytes(body))))

    while more or open_ or done:
        while more and open_ < width:
            task = next(waiting, None)
            if task is None:
                more = False
                break
            open_ += 1
            step(task, None)
        if done:
            yield done.pop(0)
        elif open_:
            session.turn()


def one(session: Session, task: Task[T]) -> T:
    """Runs one task to its result."""
    return next(run(session, [task], 1))


def stat(path: str, name: str) -> Task[Entry | TransferError]:
    """What stands there, links followed."""
    kind, body = yield wire.STAT, wire.encode(path)
    if kind != wire.ATTRS:
        return refused(kind, body, name)
    found, _ = wire.attributes(body)
    return Entry(path, None if found.directory else found.size, found.directory)


def mkdir(path: str, name: str) -> Task[TransferError | None]:
    """Makes it and its parents; content when it is there."""
    kind, body = yield wire.MKDIR, wire.encode(path) + wire.NO_ATTRIBUTES
    parent = path.rstrip("/").rpartition("/")[0]
    if wire.code(kind, body) in MISSING and parent:
        error = yield from mkdir(parent, name)
        if error is not None:
            return error
        kind, body = yield wire.MKDIR, wire.encode(path) + wire.NO_ATTRIBUTES
    if wire.code(kind, body) == wire.OK:
        return None
    found, is_ = yield wire.STAT, wire.encode(path)
    if found == wire.ATTRS:
        if wire.attributes(is_)[0].directory:
            return None
        return Permanent("no directory, and in the way of one", url=name, side="destination")
    return refused(kind, body, name, "destination", "make the directory")


def remove(path: str, name: str) -> Task[tuple[str, TransferError | None]]:
    """Removes a file or a link; what is not there counts as removed."""
    kind, body = yield wire.LSTAT, wire.encode(path)
    if wire.code(kind, body) in MISSING:
        return path, None
    if kind == wire.ATTRS and wire.attributes(body)[0].directory:
        return path, IsDirectory("is a directory", url=name, hint="removed with recursive only")
    return path, (yield from _unlink(path, name, wire.REMOVE))


def _unlink(path: str, name: str, how: int) -> Task[TransferError | None]:
    kind, body = yield how, wire.encode(path)
    if wire.code(kind, body) in (wire.OK, *MISSING):
        return None
    return refused(kind, body, name, "destination", "remove it")


def remove_tree(session: Session, path: str, name: str) -> TransferError | None:
    """Removes all that is below a directory, and it; links are removed, not followed."""
    target = path.rstrip("/")
    if target.rpartition("/")[2] in ("", ".", ".."):
        return Denied("refused to remove this directory", url=name, side="destination")
    (_, error) = one(session, remove(target, name))
    if not isinstance(error, IsDirectory):
        return error
    levels = [[target]]
    worst: TransferError | None = None
    while levels[-1]:
        deeper: list[str] = []
        files: list[str] = []
        for found in run(session, [_split(path, name) for path in levels[-1]]):
            if isinstance(found, TransferError):
                worst = worst if isinstance(found, NotFound) else found
            else:
                deeper += found[0]
                files += found[1]
        for error in run(session, (_unlink(file, name, wire.REMOVE) for file in files)):
            worst = error or worst
        levels.append(deeper)
    for level in reversed(levels):
        for error in run(session, (_unlink(path, name, wire.RMDIR) for path in level)):
            worst = worst or error
    return worst


def _split(path: str, name: str) -> Task[tuple[list[str], list[str]] | TransferError]:
    """The directories and the other things in a directory."""
    found = yield from entries(path, name)
    if isinstance(found, TransferError):
        return found
    both: tuple[list[str], list[str]] = ([], [])
    for entry, attrs in found:
        both[not attrs.directory].append(f"{path}/{entry}")
    return both


class Place(NamedTuple):
    """A directory to be listed: the path as asked for, and the one without links."""

    path: str
    real: str


def walk(session: Session, top: str, url: str) -> Iterator[Entry]:
    """All files below ``top``, through symbolic links, and its empty directories.

    Raises ``NotFound``; ``BadSpecification`` for links that lead in a circle.
    """
    real = one(session, _real(top, url + top))
    if isinstance(real, TransferError):
        raise real
    level = [Place(top.rstrip("/"), real)]
    while level:
        deeper: list[Place] = []
        for found in run(session, [_list(place, url + (place.path or "/")) for place in level]):
            if isinstance(found, TransferError):
                raise found
            place, listed, below = found
            if not listed and not below and place.path != top.rstrip("/"):
                yield Entry(place.path, None, True)
            yield from listed
            deeper += below
        level = deeper


def _list(place: Place, name: str) -> Task[tuple[Place, list[Entry], list[Place]] | TransferError]:
    """The files of a directory, and the directories in it."""
    found = yield from entries(place.path, name)
    if isinstance(found, TransferError):
        return found
    files: list[Entry] = []
    below: list[Place] = []
    for entry, listed in sorted(found):
        path, real, attrs = f"{place.path}/{entry}", f"{place.real.rstrip('/')}/{entry}", listed
        if attrs.link or attrs.mode is None:
            kind, body = yield wire.STAT, wire.encode(path)
            attrs = wire.attributes(body)[0] if kind == wire.ATTRS else wire.Attributes(mode=stat_.S_IFIFO)
            if attrs.directory:
                target = yield from _real(path, name)
                if isinstance(target, TransferError):
                    return target
                real = target
                if f"{place.real}/".startswith(real.rstrip("/") + "/"):
                    return BadSpecification("symbolic links lead in a circle", url=name, side="source")
        if attrs.directory:
            below.append(Place(path, real))
        else:
            files.append(Entry(path, attrs.size if attrs.regular else None))
    return place, files, below


def _real(path: str, name: str) -> Task[str | TransferError]:
    """The path without links."""
    kind, body = yield wire.REALPATH, wire.encode(path or "/")
    if kind != wire.NAME:
        return refused(kind, body, name)
    return wire.names(body)[0][0]


def entries(path: str, name: str) -> Task[list[tuple[str, wire.Attributes]] | TransferError]:
    """Names and attributes of all that is in a directory."""
    kind, body = yield wire.OPENDIR, wire.encode(path or "/")
    if kind != wire.HANDLE:
        return refused(kind, body, name, doing="list the directory")
    handle, _ = wire.text(body)
    found: list[tuple[str, wire.Attributes]] = []
    while True:
        kind, body = yield wire.READDIR, wire.string(handle)
        if kind != wire.NAME:
            break
        found += [entry for entry in wire.names(body) if entry[0] not in (".", "..")]
    yield wire.CLOSE, wire.string(handle)
    if wire.code(kind, body) != wire.EOF:
        return refused(kind, body, name, doing="list the directory")
    return found
