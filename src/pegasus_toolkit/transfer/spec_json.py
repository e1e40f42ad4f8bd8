"""The file as bytes, and the JSON list in it taken apart into entries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import msgspec

from pegasus_toolkit.transfer.errors import from_oserror
from pegasus_toolkit.transfer.spec_problems import Problem, SpecificationError, describe

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


def split(data: bytes) -> list[msgspec.Raw]:
    """The entries of the list, not yet decoded. Raises ``SpecificationError``."""
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        found = describe(msgspec.json.decode(data)) if len(data) < _EXPLAINED else "something else"
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
    return f"not JSON: {_located(data) if len(data) < _EXPLAINED else message}"


def _located(data: bytes) -> str:
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
    return "half of a surrogate pair in an escape \\uXXXX"  # json takes that, msgspec does not


def _constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _error(message: str) -> SpecificationError:
    return SpecificationError([Problem(-1, "", message)])
