"""``.meta`` files: what digest and size each logical file must have.

A JSON list of ``{"_id": lfn, "_type": "file", "_attributes": {"checksum.type": "sha256",
"checksum.value": hex, "checksum.timing": seconds, "size": bytes}}``, as Pegasus writes them; all
values of attributes are strings there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pegasus_toolkit.integrity import digests, regular


class Expected(NamedTuple):
    """What a file must be: algorithm, lower-case hex, bytes (``None``: not told); seconds the digest took."""

    algorithm: str
    digest: str
    size: int | None = None
    seconds: float | None = None


class MetaError(ValueError):
    """No usable expectation, or a file that cannot be understood; names file, LFN and key."""


class _Claim(NamedTuple):
    """What one entry of one file says of an LFN: an expectation, or what is wrong with it."""

    file: str
    expected: Expected | None
    problem: str = ""


class Metadata(Mapping[str, Expected]):
    """What a set of ``.meta`` files says: LFN to expectation, where there is a checksum.

    Looking up an LFN raises :class:`MetaError`, also by ``get``, where two files disagree or an entry
    cannot be understood; ``KeyError`` (``get``: the default) where nothing is known.
    ``files``: all that were looked at; ``broken``: one line for each that is no ``.meta`` file. Such a
    file fails nothing by itself, as any program may call a file so; it is named when an LFN is not found.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self.broken: list[str] = []
        self._claims: dict[str, list[_Claim]] = {}

    def __getitem__(self, lfn: str) -> Expected:
        if lfn not in self:
            raise KeyError(lfn)
        return self.find(lfn)

    def __contains__(self, lfn: object) -> bool:
        claims = self._claims.get(lfn, []) if isinstance(lfn, str) else []
        return any(claim.expected is None or claim.expected.digest for claim in claims)

    def __iter__(self) -> Iterator[str]:
        return (lfn for lfn in self._claims if lfn in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def names(self, lfn: str) -> bool:
        """Whether any entry is about it, with a checksum or without."""
        return lfn in self._claims

    def find(self, lfn: str) -> Expected:
        """What the file must be.

        Raises :class:`MetaError` where nothing is said of it, or no checksum, or a wrong one, or two
        files disagree.
        """
        claims = self._claims.get(lfn, [])
        for claim in claims:
            if claim.expected is None:
                raise MetaError(f"{claim.file}: {lfn!r}: {claim.problem}")
        known = [(c.file, c.expected) for c in claims if c.expected is not None and c.expected.digest]
        if not known:
            raise MetaError(self._unknown(lfn, [c.file for c in claims]))
        file, found = known[0]
        for other, expected in known[1:]:
            if _contradict(found, expected):
                raise MetaError(f"{lfn!r} has one checksum in {file} and another in {other}")
            if found.size is None:
                found = found._replace(size=expected.size)
        return found

    def _unknown(self, lfn: str, files: list[str]) -> str:
        if files:
            return f"no checksum in the meta data for {lfn!r}: {', '.join(files)} names it without one"
        read = ", ".join(self.files) or "no .meta file is there"
        text = f"no checksum in the meta data for {lfn!r}; read: {read}"
        return f"{text}; broken: {'; '.join(self.broken)}" if self.broken else text

    def add(self, file: str, content: bytes) -> None:
        """Takes in one file's content; what is wrong with the whole file goes to ``broken``."""
        self.files.append(file)
        if not content.strip():
            return  # Pegasus leaves empty ones where a job has no outputs
        try:
            entries = json.loads(content)
        except (ValueError, RecursionError) as error:
            self.broken.append(f"{file} is not JSON: {error}")
            return
        if not isinstance(entries, list):
            self.broken.append(f"{file} is not a JSON list of entries")
            return
        for number, entry in enumerate(entries):
            self._take(file, number, entry)

    def _take(self, file: str, number: int, entry: object) -> None:
        lfn = entry.get("_id") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(lfn, str):
            self.broken.append(f"{file}: entry {number}: no text under the key '_id'")
            return
        if entry.get("_type", "file") != "file":
            return
        try:
            claim = _Claim(file, _expected(entry.get("_attributes", {})))
        except ValueError as error:
            claim = _Claim(file, None, str(error))
        self._claims.setdefault(lfn, []).append(claim)


def read(paths: Iterable[str | os.PathLike[str]]) -> Metadata:
    """Reads ``.meta`` files. One that cannot be opened is listed under ``broken``; raises nothing."""
    metadata = Metadata()
    for path in paths:
        name = os.fspath(path)
        try:
            content = regular.read(name)
        except OSError as error:
            metadata.files.append(name)
            metadata.broken.append(f"{name} cannot be read: {error.strerror}")
        else:
            metadata.add(name, content)
    return metadata


def read_directory(directory: str | os.PathLike[str]) -> Metadata:
    """Reads every ``*.meta`` file in it, by name. Raises ``OSError`` where it cannot be listed."""
    place = os.fspath(directory)
    names = sorted(name for name in os.listdir(place) if name.endswith(".meta") and not name.startswith("."))
    return read(names if place == "." else [f"{place}/{name}" for name in names])


def write(path: str | os.PathLike[str], expectations: Mapping[str, Expected]) -> None:
    """Writes a ``.meta`` file for these LFNs, whole or not at all. Raises ``OSError``."""
    entries = [
        {"_id": lfn, "_type": "file", "_attributes": _attributes(expected)}
        for lfn, expected in expectations.items()
    ]
    regular.replace(os.fspath(path), (json.dumps(entries, indent=1) + "\n").encode())


def _attributes(expected: Expected) -> dict[str, str]:
    attributes = {} if expected.size is None else {"size": str(expected.size)}
    if expected.digest:
        attributes |= {"checksum.type": expected.algorithm, "checksum.value": expected.digest}
        if expected.seconds is not None:
            attributes["checksum.timing"] = f"{expected.seconds:.3f}"
    return attributes


def _expected(attributes: object) -> Expected:
    """Raises ``ValueError`` naming the key."""
    if not isinstance(attributes, dict):
        raise ValueError("'_attributes' is not an object")
    size = _size(attributes.get("size"))
    value = attributes.get("checksum.value")
    if value is None:
        return Expected("", "", size)
    kind = attributes.get("checksum.type", "sha256")
    if not isinstance(kind, str) or not isinstance(value, str):
        raise ValueError("'checksum.type' and 'checksum.value' must be text")
    try:
        return Expected(*digests.normalise(kind, value), size)
    except digests.UnsupportedAlgorithm as error:
        raise ValueError(f"'checksum.type': {error}") from None
    except ValueError as error:
        raise ValueError(f"'checksum.value': {error}") from None


def _size(value: object) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("'size' is not a number of bytes")


def _contradict(a: Expected, b: Expected) -> bool:
    """Whether no file can be both. Digests in two algorithms cannot be compared, so they count as two.

    Sizes do not count: the digest decides.
    """
    return (a.algorithm, a.digest) != (b.algorithm, b.digest)
