"""Directories: what is in them, removing and making them. Bounded in depth, pages and entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from pegasus_toolkit.transfer.backends.shared.files import Files, Found, may
from pegasus_toolkit.transfer.backends.shared.runner import All, Steps
from pegasus_toolkit.transfer.backends.shared.upload import make_parents
from pegasus_toolkit.transfer.errors import (
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    ServerFault,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Entry

DEPTH = 200  # directories below each other, at most: a server may show a circle
ENTRIES = 10_000_000  # in one directory, at most
SIDE_BY_SIDE = 8  # directories listed at the same time


class Listed(NamedTuple):
    """What is in a directory; ``wrong``: of an entry that was not understood, or leads elsewhere."""

    found: list[Found]
    wrong: TransferError | None


def read(files: Files, path: str) -> Steps[Listed]:
    """One directory, all its pages. A page that repeats is an error; a bad entry does not keep the others."""
    found: list[Found] = []
    wrong: TransferError | None = None
    page, last = (yield from files.scan(path, None)), None
    while True:
        wrong = page.wrong or wrong
        if page.found and page.found[-1] == last:
            if page.more is not None:
                yield from files.leave(page.more)
            raise ServerFault("a page of the listing came twice", url=files.url(path))
        for one in page.found:
            try:
                sound_name(files, path, one.name)
                found.append(one)
            except ServerFault as error:
                wrong = error
        if len(found) > ENTRIES:
            if page.more is not None:
                yield from files.leave(page.more)
            raise ServerFault(f"more than {ENTRIES} entries in one directory", url=files.url(path))
        if page.more is None:
            return Listed(found, wrong)
        last = page.found[-1] if page.found else last
        page = yield from files.scan(path, page.more)


def sound_name(files: Files, path: str, name: str) -> None:
    """Raises ``ServerFault`` for a name that would lead out of its directory."""
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ServerFault(f"the listing has an entry with the name {name!r}", url=files.url(path))


def walk(files: Files, prefix: str, emit: Callable[[Entry], None]) -> Steps[None]:
    """All files below, and the empty directories. Paths begin with ``prefix`` as it was given.

    An entry that was not understood is an error, which is raised when all others were handed out.
    """
    wrong: TransferError | None = None
    plain, tail = files.split(prefix)
    below = [(plain.rstrip("/"), 0)]
    top = True
    while below:
        some = [below.pop() for _ in range(min(SIDE_BY_SIDE, len(below)))]
        listed = yield All(look(files, folder, tail) for folder, _ in some)
        for (folder, depth), inside in zip(some, listed, strict=True):
            if isinstance(inside, NotFound) and not top:
                continue  # it went meanwhile
            if isinstance(inside, TransferError):
                raise inside
            wrong = wrong or inside.wrong
            if not inside.found and not inside.wrong and not top:
                emit(Entry(folder + tail, None, True))
            for one in inside.found:
                path = f"{folder}/{one.name}"
                if not one.directory:
                    emit(Entry(path + tail, one.size, False, one.digest))
                elif depth >= DEPTH:
                    raise ServerFault(f"directories go more than {DEPTH} deep", url=files.url(folder))
                else:
                    below.append((path, depth + 1))
        top = False
    if wrong is not None:
        raise wrong


def look(files: Files, folder: str, tail: str) -> Steps[Listed]:
    """What is in a directory, links followed; one that leads nowhere counts as a file without a size."""
    found, wrong = yield from read(files, folder + tail)
    unknown = [n for n, one in enumerate(found) if one.directory is None]
    if unknown:
        seen = yield All(files.stat(f"{folder}/{found[n].name}{tail}") for n in unknown)
        for n, there in zip(unknown, seen, strict=True):
            if isinstance(there, TransferError):
                found[n] = found[n]._replace(directory=False, size=None)
            else:
                found[n] = there._replace(name=found[n].name)
    return Listed(found, wrong)


def remove(files: Files, path: str, recursive: bool) -> Steps[None]:
    """A file, or where ``recursive`` a directory with all in it. What is not there counts as removed."""
    refused: TransferError | None = None
    plain, tail = files.split(path)
    path = (plain.rstrip("/") or "/") + tail
    try:
        if files.traits.unlink_tells:
            try:
                yield from files.unlink(path)
                return
            except TransferError as error:
                if not may(error, "directory"):
                    raise
                refused = error
        found = yield from files.stat(path)
        if not found.directory:
            if refused is not None:
                raise _existing(refused)
            yield from files.unlink(path)
        elif recursive:
            yield from remove_tree(files, path)
        else:
            text = "a directory, and not asked for recursively"
            raise IsDirectory(text, url=files.url(path), side="destination")
    except NotFound:
        return


def remove_tree(files: Files, path: str) -> Steps[None]:
    """At once where the server does that; else files first, then directories from the innermost out.

    A link is removed, not followed. One entry that cannot be removed does not keep the others.
    """
    plain, tail = files.split(path)
    top = plain.rstrip("/")
    if top.rpartition("/")[2] in ("", ".", ".."):
        raise Denied("refused to remove this directory", url=files.url(path), side="destination")
    known = files.traits.known
    known.difference_update([one for one in known if one == top or one.startswith(f"{top}/")])
    if (yield from files.clear(top + tail)):
        return
    levels, worst = [[top]], None
    while levels[-1]:
        if len(levels) > DEPTH:
            raise ServerFault(f"directories go more than {DEPTH} deep", url=files.url(path))
        inner: list[str] = []
        names: list[str] = []
        listed = yield All(read(files, folder + tail) for folder in levels[-1])
        for folder, inside in zip(levels[-1], listed, strict=True):
            if isinstance(inside, TransferError):
                worst = worst if isinstance(inside, NotFound) else inside
                continue
            worst = inside.wrong or worst
            for one in inside.found:
                (inner if one.directory else names).append(f"{folder}/{one.name}")
        worst = (yield from _every(files.unlink(name + tail) for name in names)) or worst
        levels.append(inner)
    for level in reversed(levels):
        wrong = yield from _every(files.rmdir(folder + tail) for folder in level)
        worst = worst or wrong  # a directory that is not empty fails for what is in it
    if worst is not None:
        raise worst


def _every(stories: Iterable[Steps[None]]) -> Steps[TransferError | None]:
    """All of them side by side; the last error, but of what is gone already."""
    worst: TransferError | None = None
    for wrong in (yield All(stories)):
        if isinstance(wrong, TransferError) and (may(wrong, "directory") or not isinstance(wrong, NotFound)):
            worst = _existing(wrong)
    return worst


def _existing(refused: TransferError) -> TransferError:
    """A refusal of what exists is no "not found"."""
    if isinstance(refused, NotFound):
        return Denied(refused.message, url=refused.url, host=refused.host, side=refused.side)
    return refused


def make(files: Files, path: str) -> Steps[None]:
    """A directory and those above it. Raises ``Permanent`` where something else stands there."""
    plain, tail = files.split(path)
    files.check(path)
    folder = plain.rstrip("/")
    if not folder:
        return
    yield from make_parents(files, folder, path)
    try:
        found = yield from files.stat(folder + tail)
    except NotFound:
        text = "the server says that it made the directory, but it is not there"
        raise ServerFault(text, url=files.url(path), side="destination") from None
    if found.directory is False:
        text = "a file stands where the directory is to be"
        raise Permanent(text, url=files.url(path), side="destination")
