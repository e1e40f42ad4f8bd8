"""What a sync copies and deletes: a directory at the destination becomes what the source is.

A file that is there with the same size and time is left alone. Where a storage keeps no times (WebDAV, FTP),
the file there must be younger than the last change of the source. With ``checksum`` digests decide, whatever
the times.
"""

from __future__ import annotations

from typing import NamedTuple

from pegasus_toolkit.files import listing
from pegasus_toolkit.files.cache import Cache
from pegasus_toolkit.files.copying import Choice, Copy, Plan, linkable
from pegasus_toolkit.files.digesting import Digester, differ
from pegasus_toolkit.files.listing import Item, Tree
from pegasus_toolkit.files.places import (
    Wrong,
    apart,
    inside,
    last,
    look,
    moved,
    place,
    standing,
    without_slash,
)
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import NotFound
from pegasus_toolkit.transfer.interface import Entry
from pegasus_toolkit.transfer.model import Location, Remove

SECOND = 1_000_000_000  # nanoseconds
CLOSE = 1000  # nanoseconds: what a number with nine digits after the point may lose


class Sync(NamedTuple):
    """How: ``checksum`` by digests, of files here from the ``cache``; ``delete`` what is extra at the
    destination, after all else."""

    checksum: bool = False
    delete: bool = False
    cache: Cache | None = None


def plan(source: str, destination: str, pool: Pool, choice: Choice, how: Sync) -> Plan:
    """What is to be done. Raises :class:`Wrong` for what cannot be meant, ``TransferError``."""
    here, there = place(source), place(destination)
    if not look(here, pool).directory:
        raise Wrong(f"sync takes a directory, and this is a file: {source}; cp copies files")
    standing_there = standing(there, pool)
    if standing_there is not None and not standing_there.directory:
        raise Wrong(f"a file stands where the directory is to be: {destination}")
    apart(here, there)
    if how.delete:
        _outside(here, there)
    tree = listing.read(here, pool, choice.filters, choice.links)
    linkable(tree, there)
    old = _old(there, standing_there, pool, choice)
    if how.delete and not tree.items:
        raise Wrong(f"--delete with a source that has no file in it: {source}; rm -r removes directories")
    changed = _changed(tree, old, pool, how)
    target = without_slash(there)
    made = Plan([Copy(here, target, changed, last(here))], _extra(tree, old, pool) if how.delete else ())
    made.skipped = tree.skipped
    made.root = target
    made.unchanged = sum(not item.directory for item in tree.items.values()) - sum(
        not item.directory for item in changed
    )
    return made


def _outside(here: Location, there: Location) -> None:
    """The source must not be what is deleted."""
    try:
        apart(there, here)
    except Wrong:
        raise Wrong(
            f"--delete would remove the source, which is inside the destination: {here.url}"
        ) from None


def _old(there: Location, found: Entry | None, pool: Pool, choice: Choice) -> Tree:
    """What is at the destination. Links there are not followed: they would be replaced, and what they lead to
    is not ours to delete."""
    if found is None:
        return Tree(there)
    try:
        return listing.read(there, pool, choice.filters, "copy")
    except NotFound:
        return Tree(there)


def _changed(tree: Tree, old: Tree, pool: Pool, how: Sync) -> list[Item]:
    """Files that are not known to be the same at the destination, and empty directories that are missing."""
    changed: list[Item] = []
    alike: list[Item] = []
    there = old.items
    folders: set[str] | None = None
    for name, item in tree.items.items():
        other = there.get(name)
        if item.directory:
            folders = _folders(old) if folders is None else folders
            if name not in folders:
                changed.append(item)
        elif item.link:
            if other is None or other.link != item.link:
                changed.append(item)
        elif other is None or other.size != item.size or other.directory or other.link:
            changed.append(item)
        else:
            alike.append(item)
    if how.checksum:
        return changed + _by_digest(alike, tree, old, pool, how.cache)
    return changed + _by_time(alike, tree, old, pool)


def _by_digest(alike: list[Item], tree: Tree, old: Tree, pool: Pool, cache: Cache | None) -> list[Item]:
    digester = Digester(pool, cache)
    names = [item.name for item in alike]
    ours, theirs = digester.pairs(tree, old, names)
    if digester.reads:
        pool.settings.warn(
            f"{digester.reads} files were read at servers that tell no digests, to compare them"
        )
    return [item for item in alike if differ(ours.get(item.name), theirs.get(item.name))]


def _by_time(alike: list[Item], tree: Tree, old: Tree, pool: Pool) -> list[Item]:
    keeps = pool.sample(old.root.endpoint).abilities.times if alike else ""
    told = pool.sample(tree.root.endpoint).abilities.times if alike else ""
    there = old.items
    if not keeps:
        return [item for item in alike if not _put_after(there[item.name].modified, item)]
    if keeps == "asked":
        return _asked(alike, tree, old, pool, (told, keeps))
    coarse = tree.root.scheme not in LOCAL or old.root.scheme not in LOCAL
    changed = [item for item in alike if not _same(item.modified, there[item.name].modified, coarse)]
    if tree.root.scheme in LOCAL:
        return changed
    return _asked(changed, tree, old, pool, (told, keeps))


def _asked(items: list[Item], tree: Tree, old: Tree, pool: Pool, times: tuple[str, str]) -> list[Item]:
    """Of files whose listed times differ, those that differ, too, when the servers are asked for each."""
    names = [item.name for item in items]
    told, keeps = times
    unknown = [item.name for item in items if item.modified is None or told == "asked"]
    ours = listing.asked(tree, pool, unknown) if unknown and tree.root.scheme not in LOCAL else {}
    theirs = listing.asked(old, pool, names) if keeps == "asked" else {}
    changed = []
    for item in items:
        listed = old.items[item.name].modified
        mine = ours[item.name].modified if item.name in ours else item.modified
        yours = theirs[item.name].modified if item.name in theirs else listed
        same = _same(mine, yours, True)
        if not same and item.name in theirs and yours == listed:  # it tells only when it was put there
            same = _put_after(yours, item._replace(modified=mine))
        if not same:
            changed.append(item._replace(modified=mine))
    return changed


def _same(one: int | None, other: int | None, coarse: bool) -> bool:
    """``coarse``: one of them may be in whole seconds."""
    if one is None or other is None:
        return False
    if coarse and not (one % SECOND and other % SECOND):
        return one // SECOND == other // SECOND
    return -CLOSE < one - other < CLOSE


def _put_after(put: int | None, item: Item) -> bool:
    """Whether a file was put there after the last change of the source, of its name and place included."""
    return put is not None and item.modified is not None and put > max(item.modified, item.changed)


def _folders(tree: Tree) -> set[str]:
    """All directories that are there, as far as the listing tells."""
    found: set[str] = set()
    for name, item in tree.items.items():
        if item.directory:
            found.add(name)
        _add_above(name, found)
    return found


def _add_above(name: str, found: set[str]) -> None:
    above = name.rpartition("/")[0]
    while above and above not in found:
        found.add(above)
        above = above.rpartition("/")[0]


def _extra(tree: Tree, old: Tree, pool: Pool) -> list[Remove]:
    """What is at the destination and not in the source. A directory goes as a whole where nothing in it is
    kept, neither by the source, nor by a filter, nor as something that is no file."""
    kept = _folders(tree)
    for name in [*old.filtered, *tree.filtered, *(name for name, _ in (*tree.skipped, *old.skipped))]:
        kept.add(name)
        _add_above(name, kept)
    whole = pool.sample(old.root.endpoint).abilities.directories
    gone: dict[str, Remove] = {}
    for name, item in old.items.items():
        if name in tree.items or name in kept:
            continue
        top = _topmost(name, kept) if whole else name
        if top == name and not item.directory:
            target = moved(old.root, item.path) if item.path else inside(old.root, name)
            gone[name] = Remove(id=0, target=target)
        elif top not in gone:
            gone[top] = Remove(id=0, target=inside(old.root, top), recursive=True)
    return list(gone.values())


def _topmost(name: str, kept: set[str]) -> str:
    """The outermost directory of a file that is not kept; the file itself where all are."""
    at = name.find("/")
    while at >= 0:
        if name[:at] not in kept:
            return name[:at]
        at = name.find("/", at + 1)
    return name
