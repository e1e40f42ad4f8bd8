"""``pegasus-transfer SOURCE... DESTINATION``: a specification out of plain words.

Where a file goes, as ``cp -r`` has it, the same up and down:

* one file to a name: the destination is its name, unless that is a directory, or ends in "/";
* a directory: into the destination where that exists as a directory or ends in "/", else it becomes the
  destination; ``DIRECTORY/`` means what is in it;
* several sources: the destination must be a directory, or end in "/".

A wildcard that the shell left alone (``*``, ``?``, ``[...]``) stands for names in one directory, here or at a
server.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from pegasus_toolkit.cli.options import Arguments
from pegasus_toolkit.cli.outputs import Refused
from pegasus_toolkit.schemes import LOCAL, SCHEMES
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import NotFound, TransferError
from pegasus_toolkit.transfer.interface import Settings
from pegasus_toolkit.transfer.model import Location

SITE = "local"  # the label of a place that is named by no catalog


class Found(NamedTuple):
    """A source that is there. ``contents``: what is in the directory is meant, not it."""

    place: Location
    directory: bool
    contents: bool = False

    @property
    def name(self) -> str:
        """The last part of its path, as people write it."""
        last = self.place.path.partition("?")[0].rstrip("/").rpartition("/")[2]
        return unquote(last) if _quoted(self.place) else last


def specification(arguments: Arguments, settings: Settings) -> bytes:
    """The JSON of what is to be moved. Raises ``Refused`` for what cannot be meant."""
    try:
        with closing(Pool(settings, open_backend)) as pool:
            entries = _entries(arguments.sources, arguments.destination, pool)
    except TransferError as error:
        raise Refused(str(error)) from error
    return json.dumps(entries).encode()


def _entries(sources: Sequence[str], destination: str, pool: Pool) -> list[dict[str, Any]]:
    target = place(destination)
    found = [one for text in sources for one in _expanded(text, pool)]
    into = _is_directory(target, pool)
    if len(found) > 1 and not into:
        raise Refused(f"several sources, but no directory: {destination}; end it with / to have it made")
    entries = [_entry(number, one, target, into) for number, one in enumerate(found, 1)]
    names = [entry["dest_urls"][0]["url"] for entry in entries]
    for name, count in Counter(names).items():
        if count > 1:
            raise Refused(f"{count} of the sources would become {name}")
    return entries


def place(text: str) -> Location:
    """A URL, or a path on this machine as it stands: the shell has expanded what was to be expanded."""
    scheme, found, _ = text.partition("://")
    if found and scheme.replace("+", "").replace("-", "").isalnum():
        return urls.parse(text, SITE, {})
    return urls.parse(urls.from_path(text), SITE, {})


def _expanded(text: str, pool: Pool) -> Iterator[Found]:
    """The source itself; or the names that its wildcard stands for."""
    where = place(text)
    contents = where.path.partition("?")[0].endswith("/")
    try:
        yield Found(where, _stat(where, pool), contents)
        return
    except NotFound:
        folder, _, pattern = where.path.rstrip("/").rpartition("/")
        if _wild(folder, where):
            raise Refused(f"a wildcard can only stand in the last part of a path: {text}") from None
        if not _wild(pattern, where):
            raise
    names = sorted(_matching(where._replace(path=folder or "/"), pattern, pool))
    if not names:
        raise Refused(f"nothing matches {text}")
    for name, directory in names:
        path = f"{folder}/{quote(name) if _quoted(where) else name}"
        yield Found(_moved(where, path), directory)


def _matching(folder: Location, pattern: str, pool: Pool) -> set[tuple[str, bool]]:
    """Names in a directory, and whether each is a directory."""
    if folder.scheme in LOCAL:
        with os.scandir(folder.path or ".") as entries:
            return {(one.name, one.is_dir()) for one in entries if _fits(one.name, pattern)}
    backend = pool.lend(folder.endpoint, 1)
    found = set()
    top = folder.path.rstrip("/") + "/"
    for entry in backend.list(top):
        name, slash, _ = entry.path[len(top) :].partition("/")
        name = unquote(name) if _quoted(folder) else name
        if _fits(name, pattern):
            found.add((name, bool(slash) or entry.directory))
    pool.give_back(folder.endpoint, 1, backend)
    return found


def _fits(name: str, pattern: str) -> bool:
    """As a shell does it: a leading dot must be written."""
    return fnmatch.fnmatchcase(name, pattern) and (name[:1] != "." or pattern[:1] == ".")


def _wild(text: str, where: Location) -> bool:
    known = SCHEMES.get(where.scheme)
    return any(c in text for c in ("*" if known is not None and known.web else "*?["))


def _entry(number: int, one: Found, target: Location, into: bool) -> dict[str, Any]:
    path = target.path
    if into and not (one.directory and one.contents):
        path = f"{path.rstrip('/')}/{quote(one.name) if _quoted(target) else one.name}"
    source = one.place
    if one.directory:
        path = path.rstrip("/") + "/"
        source = _moved(source, source.path.rstrip("/") + "/")
    where = _moved(target, path)
    _apart(source, where)
    return {
        "type": "transfer",
        "id": number,
        "lfn": one.name or "/",
        "src_urls": [{"site_label": SITE, "url": urls.text(source)}],
        "dest_urls": [{"site_label": SITE, "url": urls.text(where)}],
    }


def _apart(source: Location, target: Location) -> None:
    """Raises ``Refused`` for a copy onto itself, or into itself."""
    if source.endpoint != target.endpoint:
        return
    here, there = source.path, target.path
    if source.scheme in LOCAL:
        here, there = os.path.realpath(here), os.path.realpath(there)
    if here.rstrip("/") == there.rstrip("/"):
        raise Refused(f"source and destination are the same: {urls.text(source)}")
    if there.startswith(here.rstrip("/") + "/"):
        raise Refused(f"the destination is inside the source: {urls.text(target)}")


def _stat(where: Location, pool: Pool) -> bool:
    """Whether it is a directory. Raises ``NotFound``."""
    backend = pool.lend(where.endpoint, 1)
    known = SCHEMES.get(where.scheme)
    web = known is not None and known.web  # where the slash tells a directory's page
    entry = backend.stat(where.path if web else where.path.rstrip("/") or "/")
    pool.give_back(where.endpoint, 1, backend)
    return entry.directory


def _is_directory(where: Location, pool: Pool) -> bool:
    if where.path.partition("?")[0].endswith("/"):
        return True
    with suppress(NotFound):
        return _stat(where, pool)
    return False


def _moved(where: Location, path: str) -> Location:
    """Another path at the same endpoint."""
    if where.scheme in LOCAL:
        return where._replace(path=path, url=urls.from_path(path, where.scheme))
    return where._replace(path=path, url=f"{where.scheme}://{where.endpoint.authority}{path}")


def _quoted(where: Location) -> bool:
    known = SCHEMES.get(where.scheme)
    return known is not None and known.quoted
