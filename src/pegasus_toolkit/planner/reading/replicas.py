"""``replicas.yml``: where the input files are."""

from __future__ import annotations

import re
from typing import Any

from pegasus_toolkit.planner.catalogs import Path, Pfn, Replica, ReplicaCatalog
from pegasus_toolkit.planner.reading.reader import Reader

_KEYS = frozenset(("lfn", "pfns", "checksum", "metadata", "regex"))
_PLACE = frozenset(("site", "pfn"))


def read(reader: Reader, tree: Any, at: Path = ()) -> ReplicaCatalog:
    """The catalog; entries of one LFN are joined. ``at``: where it stands in its file."""
    top = reader.mapping(tree, at, ("pegasus", "replicas"))
    entries: dict[str, Replica] = {}
    patterns = []
    for n, item in enumerate(reader.items(top, "replicas", at)):
        replica = _replica(reader, item, (*at, "replicas", n))
        if replica.regex:
            try:
                patterns.append((re.compile(replica.lfn), replica))
            except re.error as error:
                reader.wrong((*replica.at, "lfn"), f"not a regular expression: {error}")
        elif replica.lfn in entries:
            entries[replica.lfn] = _joined(reader, entries[replica.lfn], replica)
        else:
            entries[replica.lfn] = replica
    return ReplicaCatalog(entries=entries, patterns=tuple(patterns))


def _replica(reader: Reader, item: Any, path: Path) -> Replica:
    owner = reader.mapping(item, path, _KEYS)
    pfns = []
    for n, one in enumerate(reader.items(owner, "pfns", path)):
        here = (*path, "pfns", n)
        place = reader.mapping(one, here, _PLACE)
        pfns.append(Pfn(reader.text(place, "site", here) or "local", reader.url(place, "pfn", here)))
    if not pfns:
        reader.wrong((*path, "pfns"), "expected at least one place")
    metadata = reader.table(owner, "metadata", path)
    size = metadata.get("size", "")
    return Replica(
        lfn=reader.text(owner, "lfn", path, required=True),
        pfns=tuple(pfns),
        checksum=reader.checksum(owner, path) or _flat(reader, owner, path),
        size=int(size) if size.isdecimal() else None,
        regex=reader.flag(owner, "regex", path, False),
        metadata=metadata,
        file=reader.file,
        at=path,
    )


def _flat(reader: Reader, owner: dict[str, Any], path: Path) -> Any:
    """The checksum that stands in the meta data, as registered files have it."""
    metadata = reader.table(owner, "metadata", path)
    value = metadata.get("checksum.value")
    if not value:
        return None
    kind = metadata.get("checksum.type", "sha256")
    return reader.checksum({"checksum": {kind: value}}, (*path, "metadata"))


def _joined(reader: Reader, first: Replica, second: Replica) -> Replica:
    if first.checksum and second.checksum and first.checksum != second.checksum:
        reader.wrong((*second.at, "checksum"), f"{second.lfn!r} has another checksum in an entry before")
    return first.joined(second)
