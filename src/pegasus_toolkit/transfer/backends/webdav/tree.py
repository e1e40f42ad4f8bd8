"""Collections: what is in them, making and removing them, and the room that is left."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from urllib.parse import quote, unquote, urlsplit

from pegasus_toolkit.transfer.backends.http.parents import Made, Parents, parent
from pegasus_toolkit.transfer.backends.http.uploads import SETTLE
from pegasus_toolkit.transfer.backends.webdav import xml as webdav_xml
from pegasus_toolkit.transfer.backends.webdav.put import made
from pegasus_toolkit.transfer.backends.webdav.steps import (
    NO_PROPFIND,
    Step,
    alone,
    nothing,
    propfind,
)
from pegasus_toolkit.transfer.backends.webdav.xml import Resource
from pegasus_toolkit.transfer.clients.curl.loop import PATIENCE, Loop
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.errors import IsDirectory, NotFound, ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Entry

REFUSES = frozenset({403, 405, 409, 500, 501})  # what servers say that remove no full collection
_UNENCODED = re.compile(r" |%(?![0-9A-Fa-f]{2})")
DEPTH = 100  # collections below each other, at most: a server may show a circle


def look(session: Session, loop: Loop, path: str) -> Resource | None:
    """One resource; ``None`` where the server has no PROPFIND. Raises ``NotFound``."""
    step = propfind(session, path, nothing)
    try:
        alone(loop, step)
    except TransferError:
        if step.status in NO_PROPFIND:
            return None
        raise
    found = step.resources()
    if not found:
        return None
    if found[0].status >= 400:
        assert step.head is not None
        step.head.status = found[0].status
        raise step.refusal()
    return found[0]


def walk(session: Session, loop: Loop, prefix: str) -> Iterator[Entry]:
    """All files below, and the empty directories, level by level. Raises ``NotFound``; ``Unsupported``
    where the server has no PROPFIND. Paths begin with ``prefix`` as it was given."""
    path, mark, query = prefix.partition("?")
    below = [(path.rstrip("/") + "/", 0)]
    while below:
        folder, depth = below.pop()
        members = _members(session, loop, folder, mark + query)
        if not members and depth:
            yield Entry(folder.rstrip("/"), None, True)
        for name, one in members:
            if not one.collection:
                yield Entry(folder + name, one.size)
            elif depth >= DEPTH:
                raise ServerFault(f"directories go more than {DEPTH} deep", url=session.url(folder))
            else:
                below.append((f"{folder}{name}/", depth + 1))


def _members(session: Session, loop: Loop, folder: str, query: str) -> list[tuple[str, Resource]]:
    """What is in one collection, by percent-encoded name."""
    step = propfind(session, folder + query, nothing, depth=1)
    try:
        alone(loop, step)
    except TransferError:
        if step.status in NO_PROPFIND:
            raise Unsupported("no PROPFIND here, to list a directory with", url=step.shown()) from None
        raise
    resources = step.resources()
    raw = any(_UNENCODED.search(one.href) for one in resources)  # XRootD writes names as they are
    found = [(_plain(one.href, raw), one) for one in resources]
    if not found:
        raise ServerFault("a listing without the directory itself", url=step.shown())
    here = _plain(step.url)
    own = here if any(path == here for path, _ in found) else min((path for path, _ in found), key=len)
    members = []
    for path, one in found:
        above, _, name = path.rpartition("/")
        if path != own and above == own and name not in ("", ".", ".."):
            members.append((quote(name, safe="", errors="surrogateescape"), one))
        elif path == own and not one.collection:
            raise NotFound("a file, not a directory", url=step.shown())
    return members


def _plain(href: str, raw: bool = False) -> str:
    """The path of a link, decoded and without a "/" at its end; ``raw``: it is not encoded."""
    if raw:
        return href.rstrip("/")
    path = urlsplit(href).path if "://" in href[:10] else href.partition("?")[0]
    return unquote(path, errors="surrogateescape").rstrip("/")


def make(session: Session, loop: Loop, path: str, known: set[str]) -> None:
    """MKCOL of it and of the parents that are missing. Raises where something else stands there."""
    wrong: list[TransferError | None] = []

    def ask(folder: str, told: Callable[[Made], None]) -> None:
        loop.start(Step(session, "MKCOL", folder, lambda step: told(made(step))), SETTLE)

    parents = Parents(ask)
    parents.known = known
    with loop.use():
        parents.make(path.partition("?")[0].rstrip("/") + "/", wrong.append)
        while not wrong:
            loop.step(PATIENCE)
    if wrong[0] is not None:
        raise wrong[0]
    found = look(session, loop, path)
    if found is not None and not found.collection:
        raise Unsupported("a file stands where the directory is to be", url=session.url(path))


def free(session: Session, loop: Loop, path: str) -> int | None:
    """The quota that is left (RFC 4331) in the nearest collection that is there; ``None``: not told."""
    folder = parent(path)
    while True:
        step = propfind(session, folder, nothing, ask=webdav_xml.ASK_ROOM)
        try:
            found = alone(loop, step).resources()
            return found[0].room if found else None
        except NotFound:
            if folder == "/":
                return None
            folder = parent(folder)
        except TransferError:
            if step.status in NO_PROPFIND:
                return None
            raise


class Removes:
    """One batch of removals: a look at each, since DELETE takes a collection with all that is in it."""

    def __init__(self, loop: Loop, side: Loop, recursive: bool, known: set[str]) -> None:
        self._loop = loop
        self._side = side
        self._recursive = recursive
        self._known = known
        self._ready: deque[tuple[str, TransferError | None]] = deque()
        self._full: set[str] = set()  # collections to be emptied first
        self._under_way = 0

    def run(self, paths: Iterable[str]) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it."""
        waiting = iter(paths)
        with self._loop.use():
            while self._fill(waiting):
                self._loop.step(PATIENCE)
                while self._ready:
                    self._under_way -= 1
                    path, error = self._ready.popleft()
                    yield path, self._empty(path) if path in self._full else error

    def _fill(self, waiting: Iterator[str]) -> bool:
        while self._under_way < self._loop.connections:
            path = next(waiting, None)
            if path is None:
                break
            self._under_way += 1
            self._loop.start(propfind(self._loop.session, path, partial(self._seen, path)), SETTLE)
        return self._under_way > 0

    def _seen(self, path: str, step: Step) -> None:
        error = step.failed()
        if error is not None and step.status not in NO_PROPFIND:
            return self._over(path, error)
        try:
            found = step.resources()
        except TransferError as wrong:
            return self._over(path, wrong)
        if found:
            return self._remove(path, found[0].collection)
        session = self._loop.session  # a server without PROPFIND: it redirects to a directory's "/"
        self._loop.start(
            Step(session, "HEAD", path, lambda step: self._redirected(path, step), limit=0), SETTLE
        )

    def _redirected(self, path: str, step: Step) -> None:
        if step.status == 404:
            self._over(path, None)
        else:
            self._remove(path, step.hops > 0 and step.url.partition("?")[0].endswith("/"))

    def _remove(self, path: str, collection: bool) -> None:
        session = self._loop.session
        if collection and not self._recursive:
            shown = session.url(path).partition("?")[0]
            return self._over(path, IsDirectory("a directory, and not asked for recursively", url=shown))
        plain, mark, query = path.partition("?")
        target = plain.rstrip("/") + ("/" if collection else "") + mark + query
        if collection:
            gone = plain.rstrip("/") + "/"
            self._known.difference_update([one for one in self._known if one.startswith(gone)])
        self._loop.start(Step(session, "DELETE", target, partial(self._removed, path, collection)), SETTLE)

    def _removed(self, path: str, collection: bool, step: Step) -> None:
        error = step.partly()
        if collection and step.status in REFUSES:
            self._full.add(path)
        self._over(path, error)

    def _empty(self, path: str) -> TransferError | None:
        """Removes what is in a collection, from the innermost out, and it."""
        session = self._loop.session
        self._full.discard(path)
        plain, mark, query = path.partition("?")
        names: list[str] = []
        folders = [plain.rstrip("/") + "/"]
        try:
            for folder in folders:  # grows
                for name, one in _members(session, self._side, folder, mark + query):
                    (folders if one.collection else names).append(f"{folder}{name}{'/' * one.collection}")
            for name in [*names, *reversed(folders)]:
                alone(self._side, Step(session, "DELETE", name + mark + query, nothing))
        except NotFound:
            return None
        except TransferError as error:
            return error
        return None

    def _over(self, path: str, error: TransferError | None) -> None:
        self._ready.append((path, None if isinstance(error, NotFound) else error))
