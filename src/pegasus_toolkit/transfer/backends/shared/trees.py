"""Directories: what is in them, removing and making them. Bounded in depth, pages and entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.transfer.backends.shared.files import Files, Found, Page, may
from pegasus_toolkit.transfer.backends.shared.runner import All, Steps
from pegasus_toolkit.transfer.backends.shared.upload import make_parents
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    ServerFault,
    TransferError,
    Transient,
)
from pegasus_toolkit.transfer.interface import Entry

DEPTH = 200  # directories below each other, at most: a server may show a circle
ENTRIES = 10_000_000  # in one directory, at most
PAGES = 1000  # without an entry, one after the other, at most
SIDE_BY_SIDE = 8  # directories listed at the same time


class Listing(NamedTuple):
    """One directory. ``wrong``: of an entry that was not understood, or whose name leads elsewhere: it is not
    among those ``found``, and fails alone."""

    found: list[Found]
    wrong: TransferError | None


class Pages:
    """Sees to it that a listing comes to an end: a page that repeats is an error, and so are too many empty
    ones."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ends: set[tuple[str, bool | None]] = set()
        self._empty = 0

    def turn(self, page: Page) -> None:
        """The next one. Raises ``ServerFault``."""
        self._empty = 0 if page.found else self._empty + 1
        last = page.found[-1][:2] if page.found else None
        if self._empty > PAGES or last in self._ends:
            raise ServerFault("the listing does not come to an end", url=self._url, side="source")
        if last is not None:
            self._ends.add(last)


def read(files: Files, path: str) -> Steps[Listing]:
    """All pages of one directory."""
    found: list[Found] = []
    wrong: TransferError | None = None
    page, pages = (yield from files.scan(path, None)), Pages(files.url(path))
    while True:
        try:
            pages.turn(page)
            for one in page.found:
                if sound(one.name):
                    found.append(one)
                else:
                    text = f"the listing has an entry with the name {one.name!r}"
                    wrong = ServerFault(text, url=files.url(path), side="source")
            wrong = page.wrong or wrong
            if len(found) > ENTRIES:
                raise ServerFault(f"more than {ENTRIES} entries in one directory", url=files.url(path))
        except TransferError:
            if page.more is not None:
                yield from files.leave(page.more)
            raise
        if page.more is None:
            return Listing(found, wrong)
        page = yield from files.scan(path, page.more)


def sound(name: str) -> bool:
    """Whether a name stays in its directory."""
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


class Place(NamedTuple):
    """A directory to be listed; ``real``: the same without links, "" where that is not told."""

    path: str
    real: str
    depth: int


def walk(files: Files, prefix: str, emit: Callable[[Entry], None], links: LinkRule = "follow") -> Steps[None]:
    """All files below, and the empty directories. Paths begin with ``prefix`` as it was given.

    ``links``: what is done about symbolic links (those that are to be told as links are only skipped). What
    is wrong with one entry is raised when all others were told.
    """
    plain, tail = files.split(prefix)
    top = plain.rstrip("/")
    rule = Rule(links, (yield from files.real(top + tail)))
    below = [Place(top, rule.top, 0)]
    worst: TransferError | None = None
    while below:
        some = [below.pop() for _ in range(min(SIDE_BY_SIDE, len(below)))]
        for place, seen in zip(some, (yield All(look(files, one, tail, rule) for one in some)), strict=True):
            if isinstance(seen, TransferError):
                worst = unread(seen, place.depth) or worst
                continue
            worst = seen.wrong or worst
            if not seen.found and not seen.skipped and seen.wrong is None and place.depth:
                emit(Entry(place.path + tail, None, True))
            for name, why in seen.skipped:
                emit(Entry(f"{place.path}/{name}{tail}", None, skipped=why))
            inside = [(f"{place.path}/{one.name}", one, real) for one, real in seen.found]
            deeper = [Place(path, real, place.depth + 1) for path, one, real in inside if one.directory]
            if deeper and place.depth >= DEPTH:
                text = f"directories go more than {DEPTH} deep"
                raise ServerFault(text, url=files.url(place.path), side="source")
            below += deeper
            for path, one, _ in inside:
                if not one.directory:
                    emit(Entry(path + tail, one.size, False, one.digest, one.modified, one.special))
    if worst is not None:
        raise worst


def unread(error: TransferError, depth: int) -> TransferError | None:
    """What to tell in the end of a directory that could not be read; nothing where it went meanwhile. Raises
    at once what may pass, and what is wrong with the top."""
    if not depth or isinstance(error, Transient):
        raise error
    return None if isinstance(error, NotFound) else error


class Rule(NamedTuple):
    """What is done about symbolic links below ``top``, a real path ("": not told)."""

    links: LinkRule = "follow"
    top: str = ""

    def refuses(self, real: str) -> str:
        """Why a link to that real path ("": not told) is not followed."""
        if self.links != "inside" or (real and f"{real}/".startswith(self.top.rstrip("/") + "/")):
            return ""
        return "a link that leads out of the directory" if real else "a link that leads nobody knows where"


class _Seen(NamedTuple):
    """A directory whose links were followed: each entry, with its real path ("": not told); and those that
    were not: the name, and why."""

    found: list[tuple[Found, str]]
    wrong: TransferError | None
    skipped: list[tuple[str, str]]


def look(files: Files, place: Place, tail: str, rule: Rule = Rule()) -> Steps[_Seen]:  # noqa: B008  frozen
    """What is in a directory, links followed; one that leads nowhere counts as a file without a size."""
    listed, wrong = yield from read(files, place.path + tail)
    inside = place.real.rstrip("/") + "/" if place.real else ""
    seen = [(one, f"{inside}{one.name}" if inside else "") for one in listed]
    unknown = [n for n, one in enumerate(listed) if one.directory is None]
    gone: set[int] = set()
    skipped: list[tuple[str, str]] = []
    if unknown:
        followed = yield All(follow(files, place, listed[n], tail, rule) for n in unknown)
        for n, what in zip(unknown, followed, strict=True):
            if isinstance(what, BadSpecification) and rule.links == "follow":
                wrong = what
                gone.add(n)
            elif isinstance(what, str | BadSpecification):
                skipped.append((listed[n].name, what if isinstance(what, str) else what.message))
                gone.add(n)
            elif isinstance(what, TransferError):
                special = "a link that leads nowhere"
                seen[n] = (listed[n]._replace(directory=False, size=None, special=special), "")
            else:
                seen[n] = what
    return _Seen([one for n, one in enumerate(seen) if n not in gone] if gone else seen, wrong, skipped)


def follow(files: Files, place: Place, one: Found, tail: str, rule: Rule) -> Steps[tuple[Found, str] | str]:
    """What a link leads to; or why it is not followed. Raises ``BadSpecification`` where that is a directory
    that it stands in."""
    path = f"{place.path}/{one.name}{tail}"
    if one.link and rule.links in ("skip", "copy"):
        return "a symbolic link"
    there = yield from files.stat(path)
    asked = one.link and rule.links == "inside"
    real = (yield from files.real(path)) if asked or (there.directory and place.real) else ""
    if asked and (why := rule.refuses(real)):
        return why
    if there.directory and real and f"{place.real}/".startswith(real.rstrip("/") + "/"):
        raise BadSpecification("symbolic links lead in a circle", url=files.url(path), side="source")
    return there._replace(name=one.name), real


def remove(files: Files, path: str, recursive: bool) -> Steps[None]:
    """A file or a link, or where ``recursive`` a directory with all in it. What is not there counts as
    removed."""
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
        found = yield from files.lstat(path)
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
        for folder, found in zip(levels[-1], listed, strict=True):
            if isinstance(found, TransferError):
                worst = worst if isinstance(found, NotFound) else found
                continue
            worst = found.wrong or worst
            for one in found.found:
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
    """A directory and those above it. Raises ``Permanent`` where something else stands there.

    Where there are no directories that is all: a name that others begin with comes with the first of them.
    """
    plain, tail = files.split(path)
    files.check(path)
    folder = plain.rstrip("/")
    if not folder or not files.traits.directories:
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
