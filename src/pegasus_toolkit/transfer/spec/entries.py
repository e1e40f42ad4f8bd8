"""Entries as they stand in the file: their keys and types, nothing of what they mean.

``read`` takes one entry's JSON. An entry that is spelt plainly, as nearly all are, goes straight
through msgspec; what is not (numbers and booleans as text, anything wrong) goes key by key through
``_Checked``, which brings it into the plain form or says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from pegasus_toolkit.transfer.spec.problems import Collector, describe, nearest

Integer = Annotated[int, msgspec.Meta(gt=-(10**18), lt=10**18)]


class UrlEntry(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One of ``src_urls`` and ``dest_urls``."""

    site_label: str
    url: str
    priority: Integer | UnsetType = UNSET
    type: str | UnsetType = UNSET
    checkpoint: str | bool | UnsetType = UNSET  # written by the planner, read by nobody


class TargetEntry(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """``target`` of a mkdir."""

    site_label: str
    url: str


class RemoveTargetEntry(TargetEntry, frozen=True, gc=False, forbid_unknown_fields=True):
    """``target`` of a remove."""

    recursive: bool | UnsetType = UNSET


class ChecksumEntry(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """``checksum`` of a transfer."""

    value: str
    type: str = "sha256"


class TransferEntry(
    Struct, tag_field="type", tag="transfer", frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True
):
    """``{"type": "transfer", ...}``."""

    lfn: str | UnsetType = UNSET
    linkage: str | UnsetType = UNSET
    id: Integer | str | UnsetType = UNSET
    generate_checksum: bool | UnsetType = UNSET
    verify_checksum_remote: bool | UnsetType = UNSET
    verify_symlink_source: bool | UnsetType = UNSET
    attributes: dict[str, Any] | UnsetType = UNSET
    checksum: ChecksumEntry | UnsetType = UNSET
    size: Integer | UnsetType = UNSET
    manifest: str | UnsetType = UNSET
    src_urls: tuple[UrlEntry, ...]
    dest_urls: tuple[UrlEntry, ...]


class MkdirEntry(
    Struct, tag_field="type", tag="mkdir", frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True
):
    """``{"type": "mkdir", ...}``."""

    id: Integer | str | UnsetType = UNSET
    target: TargetEntry


class RemoveEntry(
    Struct, tag_field="type", tag="remove", frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True
):
    """``{"type": "remove", ...}``."""

    id: Integer | str | UnsetType = UNSET
    target: RemoveTargetEntry


FileEntry = TransferEntry | MkdirEntry | RemoveEntry

_BOOLEANS = {
    "yes": True,
    "true": True,
    "t": True,
    "1": True,
    "no": False,
    "false": False,
    "f": False,
    "0": False,
}
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")


class Reader:
    """Reads entries. Holds the compiled decoders, so make one for a whole file."""

    def __init__(self) -> None:
        self._plain = msgspec.json.Decoder(FileEntry)
        self._encode = msgspec.json.Encoder().encode

    def read(self, data: bytes, problems: Collector) -> FileEntry | None:
        """The entry, as far as it can be made out; ``None`` where that is not at all."""
        try:
            entry: FileEntry = self._plain.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _checked(data, problems)
        # msgspec takes the last of two equal keys in silence; but then more quotes went in than come out.
        if b"\\" in data or data.count(b'"') != self._encode(entry).count(b'"'):
            return _checked(data, problems)
        return entry


def from_dict(entry: object, problems: Collector) -> FileEntry | None:
    """The entry that a decoded JSON value stands for; what is wrong goes to ``problems``."""
    if not isinstance(entry, dict):
        problems.add("", f"expected an object with the key 'type', found {describe(entry)}")
        return None
    kind = entry.get("type")
    keys = _KINDS.get(kind) if isinstance(kind, str) else None
    if keys is None:
        found = describe(kind) if "type" in entry else "no such key"
        problems.add("type", f"expected 'transfer', 'mkdir' or 'remove', found {found}")
        return None
    plain = _object(entry, "", problems, keys)
    for key in ("src_urls", "dest_urls") if kind == "transfer" else ():
        plain.setdefault(key, [])
    try:
        converted: FileEntry = msgspec.convert(plain, FileEntry)
    except msgspec.ValidationError:
        if not problems.found:  # a key that the table below takes and the types above do not
            raise
        return None
    return converted


def _checked(data: bytes, problems: Collector) -> FileEntry | None:
    """The entry by the long way round, which knows all spellings and says all that is wrong."""
    import json

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            problems.add(twice, f"the key {twice!r} is there twice")
        return found

    try:
        entry = json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=_constant)
    except UnicodeDecodeError as error:
        problems.add("", f"expected UTF-8, found the byte 0x{data[error.start]:02x}")
        return None
    except (ValueError, RecursionError) as error:
        problems.add("", f"not JSON: {error}")
        return None
    return from_dict(entry, problems)


def _constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


# --- what each key may hold: from any accepted spelling to the plain one ---------------------------

StreamVerifier = Callable[[Any, str, Collector], object]


def _object(
    found: Mapping[str, Any],
    where: str,
    problems: Collector,
    keys: tuple[Mapping[str, StreamVerifier], tuple[str, ...]],
) -> dict[str, Any]:
    """Only what is right of ``found``."""
    checks, required = keys
    prefix = f"{where}." if where else ""
    plain = {}
    for key, value in found.items():
        check = checks.get(key)
        if check is None:
            problems.add(f"{prefix}{key}", f"unknown key; {nearest(key, checks)}")
            continue
        right = check(value, prefix + key, problems)
        if right is not UNSET:
            plain[key] = right
    for key in required:
        if key not in found:
            problems.add(prefix + key, "expected, but there is no such key")
    return plain


def _wrong(expected: str, value: object, key: str, problems: Collector) -> object:
    problems.add(key, f"expected {expected}, found {describe(value)}")
    return UNSET


def _text(value: Any, key: str, problems: Collector) -> object:
    return value if isinstance(value, str) else _wrong("text", value, key, problems)


def _identifier(value: Any, key: str, problems: Collector) -> object:
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    return _wrong("a number or text", value, key, problems)


def _boolean(value: Any, key: str, problems: Collector) -> object:
    if isinstance(value, bool):
        return value
    found = _BOOLEANS.get(str(value).lower()) if isinstance(value, int | str) else None
    return _wrong("true or false", value, key, problems) if found is None else found


def _number(value: Any, key: str, problems: Collector) -> object:
    number = integer(value)
    return _wrong("a whole number", value, key, problems) if number is None else number


def integer(value: object) -> int | None:
    """The whole number that ``value`` is or spells, of at most 18 digits."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int | str) and _INTEGER.fullmatch(str(value)):  # which True and False are not
        return int(value)
    return None


def _metadata(value: Any, key: str, problems: Collector) -> object:
    return value if isinstance(value, dict) else _wrong("an object", value, key, problems)


def _checksum(value: Any, key: str, problems: Collector) -> object:
    if not isinstance(value, dict):
        return _wrong('an object {"type": ..., "value": ...}', value, key, problems)
    plain = _object(value, key, problems, ({"type": _text, "value": _text}, ("value",)))
    return plain if "value" in plain else UNSET


def _urls(value: Any, key: str, problems: Collector) -> object:
    if not isinstance(value, list):
        return _wrong("a list of objects", value, key, problems)
    plain = []
    for n, item in enumerate(value):
        one: dict[str, Any] = {}
        if isinstance(item, dict):
            one = _object(item, f"{key}[{n}]", problems, (_URL, ("site_label", "url")))
        else:
            _wrong("an object", item, f"{key}[{n}]", problems)
        # What is missing has been told; something stands for it, so that the rest is looked at, too.
        plain.append({**_NOWHERE, **one})
    return plain


def _target(keys: Mapping[str, StreamVerifier]) -> StreamVerifier:
    def check(value: Any, key: str, problems: Collector) -> object:
        if not isinstance(value, dict):
            return _wrong("an object", value, key, problems)
        return {**_NOWHERE, **_object(value, key, problems, (keys, ("site_label", "url")))}

    return check


_NOWHERE = {"site_label": "", "url": "/"}
_URL: dict[str, StreamVerifier] = {
    "site_label": _text,
    "url": _text,
    "priority": _number,
    "type": _text,
    "checkpoint": _boolean,
}
_TARGET: dict[str, StreamVerifier] = {"site_label": _text, "url": _text}
_TRANSFER: dict[str, StreamVerifier] = {
    "type": _text,
    "id": _identifier,
    "lfn": _text,
    "linkage": _text,
    "generate_checksum": _boolean,
    "verify_checksum_remote": _boolean,
    "verify_symlink_source": _boolean,
    "attributes": _metadata,
    "checksum": _checksum,
    "size": _number,
    "manifest": _text,
    "src_urls": _urls,
    "dest_urls": _urls,
}
_KINDS: dict[str, tuple[Mapping[str, StreamVerifier], tuple[str, ...]]] = {
    "transfer": (_TRANSFER, ("src_urls", "dest_urls")),
    "mkdir": ({"type": _text, "id": _identifier, "target": _target(_TARGET)}, ("target",)),
    "remove": (
        {"type": _text, "id": _identifier, "target": _target({**_TARGET, "recursive": _boolean})},
        ("target",),
    ),
}
