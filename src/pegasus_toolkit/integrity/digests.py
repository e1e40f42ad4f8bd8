"""Digests: one small interface over hashlib, zlib, blake3 and crc32c.

Names are canonical lower case without a dash (``sha256``); values are lower-case hex of full length.
No library is imported before its algorithm is asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from pegasus_toolkit.integrity import regular

BLOCK = 1 << 20  # bytes; one reused buffer of this size is as fast as anything measured

HEX_LENGTH: dict[str, int] = {
    "sha256": 64,
    "blake3": 64,
    "sha512": 128,
    "sha384": 96,
    "sha224": 56,
    "sha1": 40,
    "md5": 32,
    "adler32": 8,
    "crc32": 8,
    "crc32c": 8,
}
"""Every algorithm known here, with the length of its value in hex digits."""


class Hasher(Protocol):
    """A digest in the making."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Takes the next bytes."""

    def hexdigest(self) -> str:
        """Lower-case hex of all that came so far."""


class FileDigest(NamedTuple):
    """What :func:`of_file` found: lower-case hex, bytes read, seconds taken."""

    digest: str
    size: int
    seconds: float


class UnsupportedAlgorithm(ValueError):
    """No such algorithm here. ``hint`` says what to install, or which are known."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


class _Checksum32:
    """A 32 bit checksum function of zlib's kind, as a hasher."""

    __slots__ = ("_function", "_value")

    def __init__(self, function: Callable[[bytes | bytearray | memoryview, int], int], start: int) -> None:
        self._function = function
        self._value = start

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = self._function(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def new(algorithm: str) -> Hasher:
    """A fresh hasher. Raises :class:`UnsupportedAlgorithm` for a name not known or not installed."""
    return _factory(algorithm)()


def canonical(algorithm: str) -> str:
    """The name as we spell it (``SHA-256`` is ``sha256``). Raises :class:`UnsupportedAlgorithm`."""
    name = algorithm.strip().lower().replace("-", "").replace("_", "")
    if name not in HEX_LENGTH:
        raise UnsupportedAlgorithm(
            f"no digest algorithm {algorithm!r} here", f"known are: {', '.join(HEX_LENGTH)}"
        )
    return name


def normalise(algorithm: str, value: str) -> tuple[str, str]:
    """Algorithm and value as we spell them. Raises ``ValueError`` that says what is expected.

    The length must be the algorithm's own, so that an md5 is never taken for a sha256.
    """
    name = canonical(algorithm)
    digest = value.strip().lower()
    length = HEX_LENGTH[name]
    if len(digest) != length or not set(digest) <= set("0123456789abcdef"):
        raise ValueError(f"a {name} has {length} hex digits, {_shown(value)} is not one")
    return name, digest


def of_file(path: str | os.PathLike[str], algorithm: str) -> FileDigest:
    """Digest of one regular file.

    Raises ``OSError`` where it cannot be read, is a directory, or is not a regular file (a FIFO is
    refused, never waited for), :class:`UnsupportedAlgorithm` for a name that is not known.
    """
    hasher = new(algorithm)
    start = time.perf_counter()
    descriptor, status = regular.open_read(path)
    try:
        size = _feed(descriptor, status.st_size, hasher)
    finally:
        os.close(descriptor)
    return FileDigest(hasher.hexdigest(), size, time.perf_counter() - start)


def _feed(descriptor: int, expected: int, hasher: Hasher) -> int:
    """Reads to the end; the number of bytes. A small file gets a small buffer: 1 MiB takes 20 µs to make."""
    view = memoryview(bytearray(min(expected + 1, BLOCK)))
    size = 0
    while n := os.readv(descriptor, [view]):
        hasher.update(view[:n])
        size += n
    return size


@cache
def _factory(algorithm: str) -> Callable[[], Hasher]:
    """What makes hashers for one algorithm; found once, as this is called for every small file."""
    name = canonical(algorithm)
    if name == "blake3":
        return _blake3()
    if name == "crc32c":
        return _crc32c()
    if name in ("adler32", "crc32"):
        import zlib

        return partial(_Checksum32, getattr(zlib, name), 1 if name == "adler32" else 0)
    import hashlib

    made: Callable[..., Hasher] = getattr(hashlib, name)
    # A machine in FIPS mode has these two only for uses other than security.
    return partial(made, usedforsecurity=False) if name in ("md5", "sha1") else made


def _blake3() -> Callable[[], Hasher]:
    try:
        from blake3 import blake3
    except ModuleNotFoundError:
        raise UnsupportedAlgorithm(
            "blake3 needs the Python package 'blake3', which is not installed",
            "pip install 'pegasus-toolkit[blake3]'",
        ) from None
    made: Callable[[], Hasher] = blake3
    return made


def _crc32c() -> Callable[[], Hasher]:
    try:
        crc32c = _extension("crc32c", "crc32c._crc32c").crc32c
    except ModuleNotFoundError:
        raise UnsupportedAlgorithm(
            "crc32c needs the Python package 'crc32c', which is not installed", "pip install crc32c"
        ) from None
    return partial(_Checksum32, crc32c, 0)


def _extension(package: str, name: str) -> Any:
    """The package's extension module without the rest of it, which looks for its own version as it is
    imported: that takes a quarter of the time of a run of small files. Raises ``ModuleNotFoundError``."""
    from importlib.machinery import PathFinder
    from importlib.util import find_spec, module_from_spec

    whole = find_spec(package)
    places = whole.submodule_search_locations if whole is not None else None
    found = PathFinder.find_spec(name, places) if places else None
    if found is None or found.loader is None:
        return import_module(package)
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _shown(value: str) -> str:
    """A value for an error's text: printable and short."""
    return repr(value if len(value) <= 140 else value[:60] + "...")
