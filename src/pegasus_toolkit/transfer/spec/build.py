"""From an entry of the file to an operation, and back: what the keys mean together."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

from msgspec import UNSET, UnsetType

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.errors import BadSpecification
from pegasus_toolkit.transfer.model import Checksum, Location, Mkdir, Operation, Remove, Transfer
from pegasus_toolkit.transfer.spec.entries import (
    ChecksumEntry,
    FileEntry,
    MkdirEntry,
    RemoveEntry,
    RemoveTargetEntry,
    TargetEntry,
    TransferEntry,
    UrlEntry,
    integer,
)
from pegasus_toolkit.transfer.spec.problems import Collector, describe

_priority = attrgetter("priority")


def operation(entry: FileEntry, id: int, environ: Mapping[str, str], problems: Collector) -> Operation | None:
    """The operation that ``entry`` asks for; ``None`` when something about it is wrong."""
    made: Operation | None
    if isinstance(entry, TransferEntry):
        made = _transfer(entry, id, environ, problems)
    elif isinstance(entry, MkdirEntry):
        made = _mkdir(entry, id, environ, problems)
    else:
        made = _remove(entry, id, environ, problems)
    return None if problems.found else made


def _transfer(entry: TransferEntry, id: int, environ: Mapping[str, str], problems: Collector) -> Transfer:
    sources = _locations(entry.src_urls, "src_urls", environ, problems)
    destinations = _locations(entry.dest_urls, "dest_urls", environ, problems)
    _schemes(sources, destinations, problems)
    checksum, size = None, None
    if entry.checksum is not UNSET or entry.attributes is not UNSET or entry.size is not UNSET:
        attributes = {} if entry.attributes is UNSET else entry.attributes
        checksum = _checksum(entry.checksum, attributes, problems)
        size = _size(entry.size, attributes, problems)
    return Transfer(
        id=id,
        sources=sources,
        destinations=destinations,
        lfn=_line(entry.lfn, "", "lfn", problems),
        linkage=_line(entry.linkage, "unknown", "linkage", problems),
        checksum=checksum,
        size=size,
        manifest=_manifest(entry.manifest, environ, problems),
        generate_checksum=entry.generate_checksum is True,
        verify_checksum_remote=entry.verify_checksum_remote is True,
        verify_symlink_source=entry.verify_symlink_source is not False,
    )


def _mkdir(entry: MkdirEntry, id: int, environ: Mapping[str, str], problems: Collector) -> Mkdir | None:
    target = _location(entry.target.url, entry.target.site_label, environ, "target", problems)
    if target is None:
        return None
    if target.scheme == "moveto":
        problems.add("target.url", "moveto: is for the destination of a transfer")
    return Mkdir(id=id, target=target)


def _remove(entry: RemoveEntry, id: int, environ: Mapping[str, str], problems: Collector) -> Remove | None:
    target = _location(entry.target.url, entry.target.site_label, environ, "target", problems)
    if target is None:
        return None
    recursive = entry.target.recursive is True
    if target.scheme == "moveto":
        problems.add("target.url", "moveto: is for the destination of a transfer")
    elif recursive and target.scheme in LOCAL and not target.path.strip("/."):
        problems.add("target.url", f"expected a directory that may be removed, found {target.path!r}")
    return Remove(id=id, target=target, recursive=recursive)


def _locations(
    entries: tuple[UrlEntry, ...], key: str, environ: Mapping[str, str], problems: Collector
) -> tuple[Location, ...]:
    """In the order in which they are to be tried: by priority, equal ones as in the file."""
    found = []
    for n, entry in enumerate(entries):
        priority = 0 if entry.priority is UNSET else entry.priority
        type = "" if entry.type is UNSET else _line(entry.type, "", f"{key}[{n}].type", problems)
        try:
            found.append(urls.parse(entry.url, entry.site_label, environ, priority, type))
        except BadSpecification as error:
            problems.add(f"{key}[{n}].url", str(error))
    if not entries:
        problems.add(key, "expected at least one URL, found none")
    if len(found) > 1:
        found.sort(key=_priority, reverse=True)  # stable, also in reverse
    return tuple(found)


def _location(
    url: str, site: str, environ: Mapping[str, str], key: str, problems: Collector
) -> Location | None:
    try:
        return urls.parse(url, site, environ)
    except BadSpecification as error:
        problems.add(f"{key}.url", str(error))
        return None


def _schemes(sources: tuple[Location, ...], destinations: tuple[Location, ...], problems: Collector) -> None:
    """What ``symlink:`` and ``moveto:`` may stand with."""
    given = {location.scheme for location in sources}
    for location in destinations:
        if location.scheme == "moveto" and given - {"file"}:
            problems.add("dest_urls", f"moveto: takes a local file as its source, found {sources[0].url!r}")
        elif location.scheme != "symlink" and "symlink" in given:
            problems.add("src_urls", "a symlink: source goes to a symlink: destination; write file:")
    if "moveto" in given:
        problems.add("src_urls", "moveto: is for a destination")


def _line(value: str | UnsetType, default: str, key: str, problems: Collector) -> str:
    """Text that others print in lines of their own, and so must be one."""
    if value is UNSET:
        return default
    if urls.control(value):
        problems.add(key, f"expected text without control characters, found {describe(value)}")
    return value


def _manifest(value: str | UnsetType, environ: Mapping[str, str], problems: Collector) -> str:
    if value is UNSET or not value:
        return ""
    location = _location(value, "local", environ, "manifest", problems)
    if location is not None and location.scheme != "file":
        problems.add("manifest", f"expected a local file, found {describe(value)}")
    return location.path if location is not None else ""


def _checksum(
    entry: ChecksumEntry | UnsetType, attributes: Mapping[str, object], problems: Collector
) -> Checksum | None:
    """The expected digest. Two that differ are an error: one of them would never be checked."""
    own = theirs = None
    if entry is not UNSET:
        own = _digest(entry.type, entry.value, "checksum", problems)
    type, value = attributes.get("checksum.type"), attributes.get("checksum.value")
    if value is not None or type is not None:
        name = "sha256" if type is None else type
        theirs = _digest(name, value, "attributes", problems, ".checksum")
    if own is not None and theirs is not None and own != theirs:
        problems.add("checksum", f"{own.type} {own.value}, but attributes say {theirs.type} {theirs.value}")
    return own or theirs


def _digest(type: object, value: object, key: str, problems: Collector, dotted: str = "") -> Checksum | None:
    if not isinstance(type, str) or not isinstance(value, str):
        problems.add(f"{key}{dotted}", f"expected a type and a value in hex, found {describe(value)}")
        return None
    try:
        return Checksum(*digests.normalise(type, value))
    except ValueError as error:
        problems.add(f"{key}{dotted}", str(error))
        return None


def _size(value: int | UnsetType, attributes: Mapping[str, object], problems: Collector) -> int | None:
    """The expected size in bytes."""
    found = [("size", value)] if value is not UNSET else []
    if "size" in attributes:
        number = integer(attributes["size"])
        if number is None:
            problems.add("attributes.size", f"expected bytes, found {describe(attributes['size'])}")
        else:
            found.append(("attributes.size", number))
    for key, number in found:
        if number < 0:
            problems.add(key, f"expected bytes, found {number}")
    if len({number for _, number in found}) > 1:
        problems.add("size", f"{found[0][1]}, but attributes say {found[1][1]}")
    return found[0][1] if found else None


# --- and back ---------------------------------------------------------------------------------------


def entry(operation: Operation) -> FileEntry:
    """The entry that asks for ``operation``."""
    if isinstance(operation, Mkdir):
        target = operation.target
        return MkdirEntry(target=TargetEntry(site_label=target.endpoint.site, url=urls.text(target)))
    if isinstance(operation, Remove):
        target = operation.target
        return RemoveEntry(
            target=RemoveTargetEntry(
                site_label=target.endpoint.site,
                url=urls.text(target),
                recursive=operation.recursive or UNSET,
            )
        )
    checksum = operation.checksum
    return TransferEntry(
        lfn=operation.lfn or UNSET,
        linkage=operation.linkage if operation.linkage != "unknown" else UNSET,
        generate_checksum=operation.generate_checksum or UNSET,
        verify_checksum_remote=operation.verify_checksum_remote or UNSET,
        verify_symlink_source=UNSET if operation.verify_symlink_source else False,
        checksum=UNSET if checksum is None else ChecksumEntry(type=checksum.type, value=checksum.value),
        size=UNSET if operation.size is None else operation.size,
        manifest=urls.from_path(operation.manifest) if operation.manifest else UNSET,
        src_urls=tuple(_url_entry(location) for location in operation.sources),
        dest_urls=tuple(_url_entry(location) for location in operation.destinations),
    )


def _url_entry(location: Location) -> UrlEntry:
    return UrlEntry(
        site_label=location.endpoint.site,
        url=urls.text(location),
        priority=location.priority or UNSET,
        type=location.type or UNSET,
    )
