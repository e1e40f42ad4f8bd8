"""Listing and removing on an XRootD server, step by step (see ``xrootd_loop``)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pegasus_toolkit.transfer.backends.xrootd.errors import FS_ERROR, NOT_FOUND
from pegasus_toolkit.transfer.backends.xrootd.loop import Steps, Task
from pegasus_toolkit.transfer.backends.xrootd.moves import is_directory
from pegasus_toolkit.transfer.backends.xrootd.site import Site, flags
from pegasus_toolkit.transfer.errors import IsDirectory, NotFound
from pegasus_toolkit.transfer.interface import Entry

Entries = list[Entry]

WIDTH = 32  # removals under way in one directory


def remove(site: Site, task: Task, recursive: bool) -> Steps:
    """A file, or with ``recursive`` a tree; what is not there is gone already."""
    path: str = task.item
    if not recursive:
        task.call(site.files.rm, site.path(path))
        _, status, _ = yield
        if status.ok or status.errno == NOT_FOUND:
            return
        error = site.error(status, path)
        if status.errno != FS_ERROR:
            raise error
    task.call(site.files.stat, site.path(path))
    _, status, stat = yield
    if not status.ok:
        if status.errno == NOT_FOUND:
            return
        raise site.error(status, path)
    if not recursive:
        raise IsDirectory("a directory", url=site.url(path)) if is_directory(stat) else error
    if is_directory(stat):
        yield from _remove_tree(site, task, path)
        return
    task.call(site.files.rm, site.path(path))
    _, status, _ = yield
    if not status.ok and status.errno != NOT_FOUND:
        raise site.error(status, path)


def _remove_tree(site: Site, task: Task, path: str) -> Steps:
    """From the leaves up. A link is removed, not followed: ``rm`` is tried first where that may be one."""
    entries = yield from entries_of(site, task, path)
    for entry in entries:
        if entry.directory:
            yield from _remove_tree(site, task, entry.path)
    files = [entry.path for entry in entries if not entry.directory]
    while files or task.waiting:
        while files and task.waiting < WIDTH:
            file = files.pop()
            task.call(site.files.rm, site.path(file), tag=file)
        tag, status, _ = yield
        if not status.ok and status.errno != NOT_FOUND:
            raise site.error(status, tag)
    task.call(site.files.rmdir, site.path(path))
    _, status, _ = yield
    if not status.ok and status.errno != NOT_FOUND:
        raise site.error(status, path)


def entries_of(site: Site, task: Task, path: str) -> Generator[None, tuple[Any, Any, Any], Entries]:
    """What stands in one directory. Raises ``NotFound`` where it is none."""
    task.call(site.files.dirlist, site.path(path), flags.DirListFlags.STAT)
    _, status, listing = yield
    if not status.ok:
        if status.errno == FS_ERROR:
            raise NotFound("not a directory", url=site.url(path))
        raise site.error(status, path)
    plain, mark, query = path.partition("?")
    below = plain.rstrip("/")
    found = []
    for one in listing:
        name = str(one.name)
        if not name or "/" in name or name in (".", ".."):
            raise NotFound("the server lists a name that can be none", url=site.url(path))
        stat = one.statinfo
        directory = stat is not None and is_directory(stat)
        size = int(stat.size) if stat is not None and not directory else None
        found.append(Entry(f"{below}/{name}{mark}{query}", size, directory))
    return found
