"""What has to be known of a million entries to share them out, and the entries as each shard gets them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import Pfn
from pegasus_toolkit.planner.shards import Entries
from pegasus_toolkit.schemes import LOCAL, only
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.model import Location, Operation, Transfer
from pegasus_toolkit.transfer.spec import build
from pegasus_toolkit.transfer.spec.specification import Specification

# Only this machine has these. "memory:" is not even on its disks.
HERE = only(remote=False)
_AT_ONCE = 1000  # entries


class _Place(Struct, gc=False):
    site_label: str
    url: str


class _Entry(Struct, gc=False):
    """The few keys that count here; four times as quick as the whole."""

    size: int | UnsetType = UNSET
    src_urls: tuple[_Place, ...] = ()
    dest_urls: tuple[_Place, ...] = ()
    target: _Place | None = None
    attributes: dict[str, object] | UnsetType = UNSET
    manifest: str | UnsetType = UNSET


class Cut:
    """A specification taken apart. ``entries`` tells of all, ``raw`` gives those of one shard."""

    def __init__(
        self, operations: Specification, cwd: str, *, shared: bool = False, alone: bool = False
    ) -> None:
        """``cwd``: where relative names begin; ``shared``: all machines have the files of this one;
        ``alone``: there are no others."""
        self._operations = operations
        self._cwd = cwd
        self._named = bytearray(len(operations))  # those that name something of this machine
        self._known: dict[tuple[Pfn, ...], int] = {}
        sizes, places = array("q"), array("I")
        decoder = msgspec.json.Decoder(_Entry)
        for position, id in enumerate(operations.ids):
            size, found = self._look(position, operations.raw(id), decoder)
            sizes.append(size)
            places.append(self._known.setdefault(found, len(self._known)))
        here = self._named
        if shared or alone:
            here = bytearray([alone]) * len(operations)
        self.entries = Entries(operations.counts, sizes, here, places, list(self._known))

    @property
    def here(self) -> int:
        """How many entries can be done on this machine alone."""
        return sum(self.entries.here)

    @property
    def size(self) -> int | None:
        """Bytes of all transfers, ``None`` where one entry does not say its own."""
        directories, transfers, _ = self.entries.counts
        sizes = self.entries.sizes[directories : directories + transfers]
        return None if any(size < 0 for size in sizes) else sum(sizes)

    def raw(self, positions: Iterable[int]) -> Iterator[bytes]:
        """A shard's specification, in pieces. What is named here is named as from anywhere."""
        yield b"["
        some: list[bytes] = []
        mark = b"\n"
        for position in positions:
            some.append(self._entry(position))
            if len(some) == _AT_ONCE:
                yield mark + b",\n".join(some)
                some, mark = [], b",\n"
        yield (mark + b",\n".join(some) if some else b"") + b"\n]\n"

    def _look(
        self, position: int, raw: bytes, decoder: msgspec.json.Decoder[_Entry]
    ) -> tuple[int, tuple[Pfn, ...]]:
        try:
            entry = decoder.decode(raw)
        except msgspec.MsgspecError:  # spelt in an unusual way; that it is right was seen before
            return self._looked_again(position)
        places = (*entry.src_urls, *entry.dest_urls, *(() if entry.target is None else (entry.target,)))
        found = tuple(pfn for one in places if (pfn := base(one.url, one.site_label)))
        if len(found) < len(places) or entry.attributes is not UNSET or entry.manifest is not UNSET:
            return self._looked_again(position)
        return -1 if entry.size is UNSET else entry.size, found

    def _looked_again(self, position: int) -> tuple[int, tuple[Pfn, ...]]:
        operation = self._operations[position]
        locations = list(_locations(operation))
        manifest = isinstance(operation, Transfer) and operation.manifest
        self._named[position] = bool(manifest) or any(one.scheme in HERE for one in locations)
        size = operation.size if isinstance(operation, Transfer) else None
        found = tuple(
            base(one.url, one.endpoint.site) or Pfn(one.endpoint.site, "file:") for one in locations
        )
        return -1 if size is None else size, found

    def _entry(self, position: int) -> bytes:
        if not self._named[position]:
            raw = self._operations.raw(self._operations.ids[position])
            return raw if b"\n" not in raw else b" ".join(raw.splitlines())
        return msgspec.json.encode(build.entry(self._absolute(self._operations[position])))

    def _absolute(self, operation: Operation) -> Operation:
        if not isinstance(operation, Transfer):
            return replace(operation, target=self._from_anywhere(operation.target))
        manifest = operation.manifest
        return replace(
            operation,
            sources=tuple(map(self._from_anywhere, operation.sources)),
            destinations=tuple(map(self._from_anywhere, operation.destinations)),
            manifest=f"{self._cwd}/{manifest}" if manifest and manifest[0] != "/" else manifest,
        )

    def _from_anywhere(self, one: Location) -> Location:
        if one.scheme not in LOCAL or one.path[0] == "/":
            return one
        path = f"{self._cwd}/{one.path}"
        return one._replace(path=path, url=urls.from_path(path, one.scheme))


def base(url: str, site: str) -> Pfn | None:
    """Server and site that a credential is looked up for; ``None`` for what is no server's."""
    scheme, found, rest = url.partition("://")
    if not found or not scheme.isidentifier() or scheme.lower() in HERE:
        return None
    return Pfn(site, f"{scheme.lower()}://{rest.partition('/')[0]}")


def _locations(operation: Operation) -> Iterator[Location]:
    if isinstance(operation, Transfer):
        yield from operation.sources
        yield from operation.destinations
    else:
        yield operation.target
