"""The specification: the list of operations to carry out, read and checked as a whole.

    for operation in load("spec.json", os.environ): ...

All that is wrong is told at once, before anything moves. Entries stay as they stand in the file and
become operations when asked for, so that a million of them fit into memory.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, overload

import msgspec

from pegasus_toolkit.transfer import url
from pegasus_toolkit.transfer.model import Mkdir, Operation, Remove, Transfer
from pegasus_toolkit.transfer.spec import build as spec_build
from pegasus_toolkit.transfer.spec import json as spec_json
from pegasus_toolkit.transfer.spec import text as spec_text
from pegasus_toolkit.transfer.spec.conflicts import Conflicts
from pegasus_toolkit.transfer.spec.entries import FileEntry, Reader, from_dict
from pegasus_toolkit.transfer.spec.problems import Collector, Problem, SpecificationError

__all__ = ["Problem", "Specification", "SpecificationError", "encode", "load", "mkdir", "remove", "transfer"]

KEPT = 20_000  # so many operations stay in memory (about 1 KB each); more are read again when asked for
MANY = 1000  # entries, whose check takes longer than to begin something else
WARNINGS = 100  # lines kept; what is more is counted

_KINDS: dict[type[Operation], int] = {Mkdir: 0, Transfer: 1, Remove: 2}  # in the order of execution


class Specification(Sequence[Operation]):
    """Operations in the order of execution: mkdirs, transfers, removes; each kind as in the file.

    ``operation.id`` is the entry's index in the file, from 0. Entries that only repeat an earlier one
    are left out. ``counts``: mkdirs, transfers, removes. ``warnings``: one line each. ``expected``: bytes
    of all files, ``None`` where some are not known.
    """

    __slots__ = ("_operation", "_order", "_raw", "counts", "expected", "warnings")

    def __init__(
        self, count: int, operation: Callable[[int], Operation], raw: Callable[[int], bytes]
    ) -> None:
        """Checks all ``count`` entries; the callables give the operation and the JSON of each."""
        kinds, dropped, self.warnings, self.expected = _check(count, operation)
        self._operation = operation
        self._raw = raw
        self._order = array("I")
        counts = [0, 0, 0]
        for kind in range(3):
            self._order.extend(i for i, k in enumerate(kinds) if k == kind and i not in dropped)
            counts[kind] = len(self._order) - sum(counts)
        self.counts: tuple[int, int, int] = (counts[0], counts[1], counts[2])

    @staticmethod
    def of(operations: Iterable[Operation]) -> Specification:
        """A specification of operations made in Python; each gets its place as its ``id``.

        Raises ``SpecificationError`` for two different sources of one destination.
        """
        kept = [msgspec.structs.replace(one, id=index) for index, one in enumerate(operations)]
        return Specification(len(kept), kept.__getitem__, lambda id: _entry(kept[id]))

    @property
    def ids(self) -> Sequence[int]:
        """Of all operations, in the order of execution; told without making them."""
        return self._order

    def raw(self, id: int) -> bytes:
        """The entry with that index as JSON: as it stands in the file, or as it would."""
        return self._raw(id)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Operation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Operation]: ...
    def __getitem__(self, index: int | slice) -> Operation | list[Operation]:
        if isinstance(index, slice):
            return [self._operation(id) for id in self._order[index]]
        return self._operation(self._order[index])

    def __iter__(self) -> Iterator[Operation]:
        return map(self._operation, self._order)


def load(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | spec_json.Readable,
    environ: Mapping[str, str],
    first: Callable[[Operation], None] | None = None,
) -> Specification:
    """Reads and checks a specification: JSON, or the older text form that begins ``# src``.

    ``source``: the path of a file, its bytes, or a stream. ``environ``: for ``$NAME`` in local paths.
    ``first``: told of the first entry, before the others are checked, where these are ``MANY``.
    Raises ``SpecificationError`` with all that is wrong; ``NotFound``, ``Denied`` or ``IsDirectory``
    when the file cannot be read.
    """
    data = spec_json.fetch(source)
    entries: list[bytes] | spec_json.Entries
    if spec_text.is_text(data):
        entries, lines = spec_text.read(data)
    else:
        entries, lines = spec_json.split(data), array("I")  # no lines to tell
    environ = dict(environ)
    reader = Reader()

    def operation(index: int) -> Operation:
        problems = Collector(index, lines[index] if lines else 0)
        return _built(reader.read(entries[index], problems), environ, problems)

    if len(entries) <= KEPT:
        operation = cache(operation)
    if first is not None and len(entries) >= MANY:
        with suppress(SpecificationError):  # told with all others that are wrong
            first(operation(0))
    return Specification(len(entries), operation, entries.__getitem__)


def encode(operations: Iterable[Operation]) -> bytes:
    """A JSON specification, an entry a line, that ``load`` reads back to these operations.

    Variables in local paths are in it as they were expanded.
    """
    return b"[\n" + b",\n".join(map(_entry, operations)) + b"\n]\n"


def transfer(
    source_url: str | os.PathLike[str],
    destination_url: str | os.PathLike[str],
    *,
    source_site: str = "local",
    destination_site: str = "local",
    id: int = 0,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> Transfer:
    """One transfer. ``options`` are keys of an entry: ``lfn``, ``checksum={"value": ...}``, ``size``, ...

    A ``Path`` is taken as it is, with whatever letters; in text, ``$NAME`` is looked up in
    ``environ``. Raises ``SpecificationError``.
    """
    entry = {
        "type": "transfer",
        "src_urls": [{"site_label": source_site, "url": _url(source_url)}],
        "dest_urls": [{"site_label": destination_site, "url": _url(destination_url)}],
        **options,
    }
    made = _from_dict(entry, id, environ)
    assert isinstance(made, Transfer)
    return made


def mkdir(
    target_url: str | os.PathLike[str],
    *,
    site: str = "local",
    id: int = 0,
    environ: Mapping[str, str] | None = None,
) -> Mkdir:
    """Make a directory or bucket. Raises ``SpecificationError``."""
    entry = {"type": "mkdir", "target": {"site_label": site, "url": _url(target_url)}}
    made = _from_dict(entry, id, environ)
    assert isinstance(made, Mkdir)
    return made


def remove(
    target_url: str | os.PathLike[str],
    *,
    site: str = "local",
    recursive: bool = False,
    id: int = 0,
    environ: Mapping[str, str] | None = None,
) -> Remove:
    """Remove a file, or with ``recursive`` a directory. Raises ``SpecificationError``."""
    target = {"site_label": site, "url": _url(target_url), "recursive": recursive}
    made = _from_dict({"type": "remove", "target": target}, id, environ)
    assert isinstance(made, Remove)
    return made


def _check(
    count: int, operation: Callable[[int], Operation]
) -> tuple[bytearray, set[int], tuple[str, ...], int | None]:
    """Each entry's kind, those to leave out, warnings, bytes of all. Raises ``SpecificationError``."""
    expected: int | None = 0
    kinds = bytearray()
    problems: list[Problem] = []
    conflicts = Conflicts()
    for index in range(count):
        try:
            one = operation(index)
        except SpecificationError as error:
            problems.extend(error.problems)
            continue
        kinds.append(_KINDS[type(one)])
        conflicts.see(one)
        if expected is not None and isinstance(one, Transfer):
            whole = one.size is None or any(source.path.endswith("/") for source in one.sources)
            expected = None if whole else expected + (one.size or 0)
    dropped, more = conflicts.settle(operation)
    problems.extend(more)
    if problems:
        raise SpecificationError(sorted(problems, key=lambda problem: problem.index))
    warnings = conflicts.warnings
    if len(warnings) > WARNINGS:
        warnings[WARNINGS:] = [f"... and {len(warnings) - WARNINGS} more"]
    return kinds, dropped, tuple(warnings), None if dropped else expected


def _built(entry: FileEntry | None, environ: Mapping[str, str], problems: Collector) -> Operation:
    made = spec_build.operation(entry, problems.index, environ, problems) if entry is not None else None
    if made is None:
        raise SpecificationError(problems.found.values())
    return made


def _from_dict(entry: Mapping[str, Any], id: int, environ: Mapping[str, str] | None) -> Operation:
    problems = Collector(id)
    return _built(from_dict(dict(entry), problems), environ or {}, problems)


def _entry(operation: Operation) -> bytes:
    return msgspec.json.encode(spec_build.entry(operation))


def _url(given: str | os.PathLike[str]) -> str:
    return given if isinstance(given, str) else url.from_path(os.fspath(given))
