"""What is below a directory, here or at a server: by name, with size and time, filters and links heeded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pegasus_toolkit.files.filters import Filters
from pegasus_toolkit.files.places import inside, lent, quoted
from pegasus_toolkit.integrity import tree
from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.engine.directories import relative
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import BadSpecification, NotFound, from_oserror
from pegasus_toolkit.transfer.interface import Entry, HasLinks, InspectsMany
from pegasus_toolkit.transfer.model import Location


class Item(NamedTuple):
    """One file below a directory, or an empty directory.

    ``size`` in bytes and ``modified`` in nanoseconds since the epoch, ``None`` where not told; ``changed``
    (nanoseconds) and ``inode`` of a file on this machine; ``link``: what a link says, where links are copied
    as links; ``path``: at the server, where it is spelled in another way than its name.
    """

    name: str
    size: int | None = None
    modified: int | None = None
    changed: int = 0
    inode: int = 0
    directory: bool = False
    link: str = ""
    path: str = ""


class Tree:
    """A directory's files by name. ``skipped``: names that are no files to be moved, and why;
    ``filtered``: names that a filter leaves out."""

    def __init__(self, root: Location) -> None:
        self.root = root
        self.items: dict[str, Item] = {}
        self.skipped: list[tuple[str, str]] = []
        self.filtered: list[str] = []

    @property
    def size(self) -> int:
        """Bytes in all, as far as they are told."""
        return sum(item.size or 0 for item in self.items.values())


def read(
    root: Location,
    pool: Pool,
    filters: Filters,
    links: LinkRule = "inside",
    seen: Callable[[int], None] | None = None,
) -> Tree:
    """All that is below ``root``. ``seen``: told now and then how many files there are so far.

    Raises ``TransferError`` for what cannot be listed, or is not understood.
    """
    found = Tree(root)
    if root.scheme in LOCAL:
        _local(found, filters, links)
    else:
        _remote(found, pool, filters, links, seen)
    return found


def asked(tree: Tree, pool: Pool, names: Iterable[str], algorithms: Sequence[str] = ()) -> dict[str, Entry]:
    """What the server says of each file when it is asked for it: size, time, and a digest where it tells one
    of ``algorithms``. What is not there any more, or not told, is left out. Raises ``TransferError``."""
    root = tree.root
    paths = {tree.items[name].path or inside(root, name).path: name for name in names}
    found: dict[str, Entry] = {}
    with lent(pool, root, pool.settings.connections) as backend:
        if not isinstance(backend, InspectsMany):
            return found
        for path, told in backend.inspect_many(iter(paths), algorithms):
            if isinstance(told, Entry):
                found[paths[path]] = told
            elif not isinstance(told, NotFound):
                raise told
    return found


def ask_times(tree: Tree, pool: Pool) -> None:
    """Exact times, where a listing tells only when a file was put there."""
    if not tree.items or pool.sample(tree.root.endpoint).abilities.times != "asked":
        return
    files = [item.name for item in tree.items.values() if not item.directory]
    for name, told in asked(tree, pool, files).items():
        tree.items[name] = tree.items[name]._replace(modified=told.modified)


def _local(found: Tree, filters: Filters, links: LinkRule) -> None:
    items, every = found.items, not filters
    try:
        for name, status, directory, link, skipped in tree.walk(found.root.path, links):
            if not every and not filters.keeps(name):
                found.filtered.append(name)
            elif status is not None:
                items[name] = Item(
                    name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
                )
            elif skipped:
                found.skipped.append((name, skipped))
            elif every or not directory:
                items[name] = Item(name, directory=directory, link=link)
    except tree.Circle as error:
        text = "symbolic links lead in a circle"
        raise BadSpecification(text, url=error.filename, side="source") from None
    except OSError as error:
        raise from_oserror(error, url=error.filename or found.root.path, side="source") from None


def _remote(
    found: Tree, pool: Pool, filters: Filters, links: LinkRule, seen: Callable[[int], None] | None
) -> None:
    root, encoded = found.root, quoted(found.root)
    top, query = urls.folder(root)
    with lent(pool, root) as backend:
        if isinstance(backend, HasLinks):
            backend.links = links
        for entry in backend.list(top + query):
            name = relative(top, entry, encoded, query)
            if filters and not filters.keeps(name):
                found.filtered.append(name)
            elif entry.skipped:
                found.skipped.append((name, entry.skipped))
            elif not entry.directory or not filters:
                path = "" if entry.path == inside(root, name).path else entry.path
                size, modified = entry.size, entry.modified
                found.items[name] = Item(name, size, modified, 0, 0, entry.directory, entry.link, path)
                if seen is not None and not len(found.items) % 1000:
                    seen(len(found.items))
