"""The file as bytes, and the JSON list in it taken apart into entries."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Protocol

import msgspec

from pegasus_toolkit.transfer.errors import from_oserror
from pegasus_toolkit.transfer.spec.problems import Problem, SpecificationError

_BETWEEN = b" \t\r\n,"
_EXPLAINED = 64 << 20  # bytes; above, a syntax error is told by its offset alone


class Readable(Protocol):
    """A stream, such as ``sys.stdin.buffer``."""

    def read(self) -> bytes | str:
        """All that is left."""


def fetch(source: str | os.PathLike[str] | bytes | bytearray | memoryview | Readable) -> bytes:
    """All of a file (by its path), of a stream, or the bytes given.

    Raises ``NotFound``, ``Denied`` or ``IsDirectory`` when it cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    try:
        if isinstance(source, str | os.PathLike):
            return Path(source).read_bytes()
        data = source.read()
    except OSError as error:
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the specification"
        raise from_oserror(error, url=name) from error
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data


class Entries:
    """The JSON of each entry, cut out of the whole when asked for: 16 bytes an entry."""

    __slots__ = ("_data", "_ends", "_starts")

    def __init__(self, data: bytes, parts: Iterable[Sized]) -> None:
        """``parts``: as many bytes each as the entry has, in order."""
        self._data = data
        self._starts: array[int] = array("Q")
        self._ends: array[int] = array("Q")
        end = data.index(b"[") + 1
        for part in parts:
            while data[end] in _BETWEEN:
                end += 1
            self._starts.append(end)
            end += len(part)
            self._ends.append(end)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> bytes:
        return self._data[self._starts[index] : self._ends[index]]


def split(data: bytes) -> Entries:
    """The entries of the list, not yet decoded. Raises ``SpecificationError``."""
    try:
        return Entries(data, map(memoryview, msgspec.json.decode(data, type=list[msgspec.Raw])))
    except msgspec.ValidationError:
        found = "an object" if data.lstrip()[:1] == b"{" else "a single value"
        raise _error(f"expected a list of operations, found {found}") from None
    except RecursionError:
        raise _error("lists or objects nested too deep") from None
    except msgspec.DecodeError as error:
        raise _error(_explained(data, str(error))) from None


def _explained(data: bytes, message: str) -> str:
    """What is wrong with the syntax, and where; ``message`` is msgspec's account: only the offset."""
    if not data.strip():
        return "the specification is empty; expected a JSON list"
    if data[:3] == b"\xef\xbb\xbf":
        return "expected UTF-8 without a byte order mark"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        return "expected UTF-8, found UTF-16 or UTF-32"
    return f"not JSON: {_located(data, message) if len(data) < _EXPLAINED else message}"


def _located(data: bytes, message: str) -> str:
    """The account of the standard library, which has line and column."""
    import json

    try:
        text = data.decode()
        json.loads(text, parse_constant=_constant)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line} has the byte 0x{data[error.start]:02x}, which is not UTF-8"
    except json.JSONDecodeError as error:
        end = " (the file ends too early)" if error.pos >= len(text.rstrip()) else ""
        return f"{error}{end}"
    except (ValueError, RecursionError) as error:
        return str(error)
    # What json takes and msgspec does not; msgspec calls it truncated.
    return "half of a surrogate pair in an escape \\uXXXX" if b"\\ud" in data.lower() else message


def _constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _error(message: str) -> SpecificationError:
    return SpecificationError([Problem(-1, "", message)])
