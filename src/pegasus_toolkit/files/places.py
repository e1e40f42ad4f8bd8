"""Places as people write them: a URL, or a path on this machine; and what stands there."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote, unquote

from pegasus_toolkit.schemes import LOCAL, SCHEMES
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import BadSpecification, NotFound
from pegasus_toolkit.transfer.interface import Backend, Entry, Scans
from pegasus_toolkit.transfer.model import Location

SITE = "local"  # the label of a place that is named by no catalog


class Wrong(BadSpecification):
    """What was asked for cannot be meant: nothing was moved."""


class Found(NamedTuple):
    """A source that is there. ``contents``: what is in the directory is meant, not it; ``matched``: by a
    wildcard."""

    place: Location
    entry: Entry
    contents: bool = False
    matched: bool = False

    @property
    def directory(self) -> bool:
        return self.entry.directory

    @property
    def name(self) -> str:
        """The last part of its path, as people write it."""
        return last(self.place)


def place(text: str) -> Location:
    """A URL, or a path on this machine as it stands: the shell has expanded what was to be expanded."""
    scheme, found, _ = text.partition("://")
    if found and scheme.replace("+", "").replace("-", "").isalnum():
        return urls.parse(text, SITE, {})
    return urls.parse(urls.from_path(text), SITE, {})


def shown(where: Location) -> str:
    """As people write it: a path on this machine, or a URL."""
    return where.path if where.scheme in LOCAL else where.url


def quoted(where: Location) -> bool:
    """Whether its paths are percent-encoded."""
    known = SCHEMES.get(where.scheme)
    return known is not None and known.quoted


def spelled(name: str, where: Location) -> str:
    """A name as paths at that place have it."""
    return quote(name, errors="surrogateescape") if quoted(where) else name


def last(where: Location) -> str:
    """The last part of a path, as people write it."""
    name = urls.parted(where)[0].rstrip("/").rpartition("/")[2]
    return unquote(name) if quoted(where) else name


def moved(where: Location, path: str) -> Location:
    """Another path at the same endpoint."""
    if where.scheme in LOCAL:
        return where._replace(path=path, url=urls.from_path(path, where.scheme))
    return where._replace(path=path, url=f"{where.scheme}://{where.endpoint.authority}{path}")


def inside(where: Location, name: str) -> Location:
    """What is called ``name`` in a directory; ``name`` "": the place itself."""
    top, query = urls.folder(where)
    return moved(where, f"{top}{spelled(name, where)}{query}") if name else where


def without_slash(where: Location) -> Location:
    """The same directory, as one that has no name below it yet."""
    path, query = urls.parted(where)
    return moved(where, (path.rstrip("/") or "/") + query)


def above(where: Location) -> Location:
    """The directory that it stands in."""
    path, query = urls.parted(where)
    head = path.rstrip("/").rpartition("/")[0]
    return moved(where, (head or ("/" if path.startswith("/") else ".")) + query)


def ends_in_slash(where: Location) -> bool:
    """Whether it is written as a directory."""
    return urls.parted(where)[0].endswith("/")


@contextmanager
def lent(pool: Pool, where: Location, connections: int = 1) -> Iterator[Backend]:
    """A backend for that place; kept for the next who asks unless something goes wrong."""
    backend = pool.lend(where.endpoint, connections)
    try:
        yield backend
    except BaseException:
        backend.close()
        raise
    pool.give_back(where.endpoint, connections, backend)


def look(where: Location, pool: Pool) -> Entry:
    """What stands there. Raises ``NotFound``."""
    known = SCHEMES.get(where.scheme)
    web = known is not None and known.web  # where the slash tells a directory's page
    backend = pool.lend(where.endpoint, 1)
    try:
        return backend.stat(where.path if web else where.path.rstrip("/") or "/")
    finally:
        pool.give_back(where.endpoint, 1, backend)


def standing(where: Location, pool: Pool) -> Entry | None:
    """The same; ``None`` where nothing is."""
    try:
        return look(where, pool)
    except NotFound:
        return None


def children(folder: Location, pool: Pool) -> Iterator[tuple[str, Entry]]:
    """What is in a directory, by the names that people write."""
    top, query = urls.folder(folder)
    seen: set[str] = set()
    with lent(pool, folder) as backend:
        entries: Iterable[Entry] = (
            backend.scan(top + query) if isinstance(backend, Scans) else backend.list(top + query)
        )
        for entry in entries:
            name, deeper, _ = entry.path[len(top) :].removesuffix(query).rstrip("/").partition("/")
            if name and name not in seen:
                seen.add(name)
                plain = unquote(name) if quoted(folder) else name
                yield plain, Entry(top + name, None, True) if deeper else entry


def expanded(text: str, pool: Pool) -> Iterator[Found]:
    """The place itself; or the names that its wildcard stands for. Raises ``NotFound``, :class:`Wrong`."""
    where = place(text)
    try:
        yield Found(where, look(where, pool), ends_in_slash(where))
        return
    except NotFound as error:
        plain, query = urls.parted(where)
        folder, _, pattern = plain.rstrip("/").rpartition("/")
        if _wild(folder, where) and standing(above(where), pool) is None:
            raise Wrong(f"a wildcard can only stand in the last part of a path: {text}") from None
        if not _wild(pattern, where):
            raise NotFound(_nothing(where), url=shown(where), host=error.host, side="source") from error
    names = sorted((name, entry) for name, entry in children(above(where), pool) if _fits(name, pattern))
    if not names:
        raise Wrong(f"nothing matches {text}")
    head = f"{folder}/" if folder or where.path.startswith("/") else ""
    for name, entry in names:
        yield Found(moved(where, head + spelled(name, where) + query), entry, matched=True)


def apart(source: Location, target: Location) -> None:
    """Raises :class:`Wrong` for a copy onto itself, or into itself."""
    if source.endpoint != target.endpoint:
        return
    here, there = source.path, target.path
    if source.scheme in LOCAL:
        here, there = os.path.realpath(here), os.path.realpath(there)
    if here.rstrip("/") == there.rstrip("/"):
        raise Wrong(f"source and destination are the same: {shown(source)}")
    if there.startswith(here.rstrip("/") + "/"):
        raise Wrong(f"the destination is inside the source: {shown(target)}")


def _nothing(where: Location) -> str:
    dangling = where.scheme in LOCAL and os.path.lexists(where.path)
    return "a link that leads nowhere" if dangling else "nothing is there"


def _fits(name: str, pattern: str) -> bool:
    """As a shell does it: a leading dot must be written."""
    return fnmatch.fnmatchcase(name, pattern) and (name[:1] != "." or pattern[:1] == ".")


def _wild(text: str, where: Location) -> bool:
    known = SCHEMES.get(where.scheme)
    return any(c in text for c in ("*" if known is not None and known.web else "*?["))
