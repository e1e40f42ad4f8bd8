"""Transfer specifications, in the form that ``pegasus-transfer`` reads."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from pegasus_toolkit.planner.catalogs import Pfn
from pegasus_toolkit.planner.model import MakeDirectory, Move, Node, Operation
from pegasus_toolkit.transfer.spec.entries import (
    ChecksumEntry,
    FileEntry,
    MkdirEntry,
    RemoveEntry,
    RemoveTargetEntry,
    TargetEntry,
    TransferEntry,
    UrlEntry,
)
from pegasus_toolkit.transfer.url import literal


def specification(node: Node) -> bytes:
    """The operations of an auxiliary node, an entry a line."""
    encode = msgspec.json.Encoder().encode
    lines = [encode(_entry(node, n, one)) for n, one in enumerate(node.operations, 1)]
    return b"[\n" + b",\n".join(lines) + b"\n]\n"


def _entry(node: Node, id: int, one: Operation) -> FileEntry:
    if isinstance(one, Move):
        return _transfer(node, id, one)
    url = written(one.target.url)
    if isinstance(one, MakeDirectory):
        return MkdirEntry(id=id, target=TargetEntry(site_label=one.target.site, url=url))
    target = RemoveTargetEntry(
        site_label=one.target.site, url=url, recursive=True if one.recursive else UNSET
    )
    return RemoveEntry(id=id, target=target)


def _transfer(node: Node, id: int, move: Move) -> TransferEntry:
    checksum = move.checksum
    return TransferEntry(
        id=id,
        lfn=move.lfn,
        linkage=move.linkage,
        # What nobody knew before is recorded, for those who use the file.
        generate_checksum=True if node.kind == "stage_in" and checksum is None else UNSET,
        verify_checksum_remote=True if node.kind == "stage_out" else UNSET,
        checksum=UNSET if checksum is None else ChecksumEntry(type=checksum.type, value=checksum.value),
        size=UNSET if move.size is None else move.size,
        src_urls=tuple(map(_place, move.sources)),
        dest_urls=tuple(map(_place, move.destinations)),
    )


def _place(pfn: Pfn) -> UrlEntry:
    return UrlEntry(site_label=pfn.site, url=written(pfn.url), priority=pfn.priority or UNSET)


def written(url: str) -> str:
    """In a specification ``$`` and ``%`` mean something in a local URL; here they are letters."""
    return literal(url) if url.startswith("file:") else url
