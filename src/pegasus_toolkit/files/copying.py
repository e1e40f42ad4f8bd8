"""From sources and a destination to what is to be copied where: the operations of one run.

Where a file goes, as ``cp -r`` has it, the same up and down:

* one file to a name: the destination is its name, unless that is a directory, or ends in "/";
* a directory: into the destination where that exists as a directory or ends in "/", else it becomes the
  destination; ``DIRECTORY/`` means what is in it;
* several sources: the destination must be a directory, or end in "/".

A wildcard that the shell left alone (``*``, ``?``, ``[...]``) stands for names in one directory, here or at a
server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, overload

from pegasus_toolkit.files import listing
from pegasus_toolkit.files.filters import Filters
from pegasus_toolkit.files.listing import Item, Tree
from pegasus_toolkit.files.places import (
    Found,
    Wrong,
    above,
    apart,
    ends_in_slash,
    expanded,
    inside,
    moved,
    place,
    shown,
    standing,
    without_slash,
)
from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import Unsupported
from pegasus_toolkit.transfer.interface import Entry
from pegasus_toolkit.transfer.model import Location, Mkdir, Operation, Remove, Transfer


class Copy(NamedTuple):
    """Files of one source. ``lfn``: what they are called in reports, before their own name."""

    source: Location
    target: Location
    items: list[Item]
    lfn: str = ""


class Link(NamedTuple):
    """A symbolic link to be made: ``text`` is what it says."""

    target: Location
    text: str


class Plan(Sequence[Operation]):
    """What one run does: empty directories, then files, then what is to be deleted. Operations are made when
    they are asked for, so that a million of them stay small.

    ``skipped``: names that are left out, and why; ``links``: to be made when all is copied.
    """

    def __init__(self, copies: Sequence[Copy], extra: Sequence[Remove] = ()) -> None:
        self.warnings: tuple[str, ...] = ()
        self.skipped: list[tuple[str, str]] = []
        self.links: list[Link] = []
        self.root: Location | None = None  # the directory that names at the destination are below
        self.unchanged = 0
        self._copies: list[Copy] = []
        self._folders: list[Location] = []
        self.extra = list(extra)
        for copy in copies:
            for item in copy.items:
                if item.directory:
                    self._folders.append(inside(copy.target, item.name))
                elif item.link:
                    self.links.append(Link(inside(copy.target, item.name), item.link))
            files = [item for item in copy.items if not item.directory and not item.link]
            self._copies.append(copy._replace(items=files))
        self._ends = list(accumulate(len(copy.items) for copy in self._copies))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Directories, files, removals."""
        return len(self._folders), self._ends[-1] if self._ends else 0, len(self.extra)

    @property
    def size(self) -> int:
        """Bytes in all, as far as they are known."""
        return sum(item.size or 0 for copy in self._copies for item in copy.items)

    @property
    def unsized(self) -> int:
        """How many files' sizes are not known."""
        return sum(item.size is None for copy in self._copies for item in copy.items)

    @property
    def expected(self) -> int | None:
        """Bytes of all files; ``None`` where some are not known."""
        return None if self.unsized else self.size

    @property
    def targets(self) -> list[Location]:
        """Where files go to: one for each source."""
        return [copy.target for copy in self._copies if copy.items]

    def __len__(self) -> int:
        return sum(self.counts)

    @overload
    def __getitem__(self, index: int) -> Operation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Operation]: ...
    def __getitem__(self, index: int | slice) -> Operation | list[Operation]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        index += len(self) if index < 0 else 0
        folders, files, removals = self.counts
        if not 0 <= index < folders + files + removals:
            raise IndexError(index)
        if index < folders:
            return Mkdir(id=index, target=self._folders[index])
        if index >= folders + files:
            removal = self.extra[index - folders - files]
            return Remove(id=index, target=removal.target, recursive=removal.recursive)
        return self._transfer(index, index - folders)

    def _transfer(self, index: int, number: int) -> Transfer:
        from bisect import bisect_right

        which = bisect_right(self._ends, number)
        copy = self._copies[which]
        item = copy.items[number - (self._ends[which - 1] if which else 0)]
        source = moved(copy.source, item.path) if item.path else inside(copy.source, item.name)
        lfn = f"{copy.lfn}/{item.name}" if copy.lfn and item.name else copy.lfn or item.name
        return Transfer(
            id=index,
            sources=(source,),
            destinations=(inside(copy.target, item.name),),
            lfn="" if urls.control(lfn) else lfn,
            size=item.size,
            modified=item.modified,
        )


class Choice(NamedTuple):
    """Which files of directories are meant."""

    filters: Filters = Filters()
    links: LinkRule = "inside"


def plan(sources: Sequence[str], destination: str, pool: Pool, choice: Choice) -> Plan:
    """What is to be copied. Raises :class:`Wrong` for what cannot be meant, ``TransferError`` for what is not
    there or does not answer."""
    target = place(destination)
    found = [one for text in sources for one in _found(text, pool)]
    try:
        there = standing(target, pool)
    except Unsupported:  # as in _found
        there = None
    into = ends_in_slash(target) or (there is not None and there.directory)
    if len(found) > 1 and not into:
        raise Wrong(f"several sources, but no directory: {destination}; end it with / to have it made")
    copies: list[Copy] = []
    skipped: list[tuple[str, str]] = []
    for one in found:
        if one.directory and there is not None and not there.directory:
            raise Wrong(f"a file stands where the directory is to be: {destination}")
        copy, left = _copy(one, target, into, pool, choice)
        copies.append(copy)
        skipped += left
    _distinct(found, copies)
    made = Plan(copies)
    made.skipped = skipped
    made.root = target if into or found[0].directory else above(target)
    return made


def _found(text: str, pool: Pool) -> Iterator[Found]:
    """What a source stands for. Where nobody can look (HPSS, FDT), a name is that of a file."""
    try:
        yield from expanded(text, pool)
    except Unsupported:
        where = place(text)
        if ends_in_slash(where):
            raise
        yield Found(where, Entry(where.path, None))


def _copy(
    one: Found, target: Location, into: bool, pool: Pool, choice: Choice
) -> tuple[Copy, list[tuple[str, str]]]:
    where = inside(target, one.name) if into and not (one.directory and one.contents) else target
    where = without_slash(where) if one.directory else where
    apart(one.place, where)
    if not one.directory:
        item = Item("", one.entry.size, one.entry.modified)
        return Copy(one.place, where, [item], one.name), []
    tree = listing.read(one.place, pool, choice.filters, choice.links)
    linkable(tree, target)
    if target.scheme not in LOCAL and pool.sample(target.endpoint).abilities.times:
        listing.ask_times(tree, pool)  # a download hears the time with the content
    items = list(tree.items.values())
    if not items and not tree.skipped and not tree.filtered:
        items = [Item("", directory=True)]  # an empty directory is one there, too
    named = [(f"{one.name}/{name}", why) for name, why in tree.skipped]
    return Copy(one.place, where, items, one.name), named


def linkable(tree: Tree, target: Location) -> None:
    """Raises :class:`Wrong` where links would have to be made at a server."""
    link = next((item for item in tree.items.values() if item.link), None)
    if link is not None and target.scheme not in LOCAL:
        name = shown(inside(tree.root, link.name))
        raise Wrong(f"--links copy makes links on this machine only, and {shown(target)} is not here: {name}")


def _distinct(found: Sequence[Found], copies: Sequence[Copy]) -> None:
    """Raises :class:`Wrong` where two sources would become one. Directories' contents may be joined."""
    if len(copies) < 2:
        return
    seen: dict[str, str] = {}
    for one, copy in zip(found, copies, strict=True):
        whole = [""] if one.directory and not one.contents else []
        for name in [*whole, *(item.name for item in copy.items)]:
            target, source = shown(inside(copy.target, name)), shown(inside(copy.source, name))
            if target in seen:
                raise Wrong(f"2 of the sources would become {target}: {seen[target]} and {source}")
            seen[target] = source


def make_links(links: Sequence[Link]) -> list[tuple[str, str]]:
    """Makes symbolic links on this machine, in place of links and files; what could not be made, and why."""
    import os

    failed: list[tuple[str, str]] = []
    for link in links:
        path = link.target.path
        try:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)  # noqa: PTH103, PTH120
            aside = f"{path}.{os.urandom(4).hex()}.part"
            os.symlink(link.text, aside)
            try:
                os.rename(aside, path)  # noqa: PTH104
            except OSError:
                os.unlink(aside)  # noqa: PTH108
                raise
        except OSError as error:
            failed.append((path, error.strerror or str(error)))
    return failed
