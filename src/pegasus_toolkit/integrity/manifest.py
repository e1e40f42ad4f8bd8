"""Manifests in the format of ``sha256sum``: made for a directory, and a directory checked against one.

A name is relative to the directory. What coreutils escapes (backslash, line end) is escaped here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from pegasus_toolkit.integrity import digests, regular, tree

_LINE = re.compile(rb"(\\?)([0-9A-Fa-f]+) [ *](.+)", re.DOTALL)
_TAGGED = re.compile(rb"(\\?)([A-Za-z0-9-]+) \((.+)\) = ([0-9A-Fa-f]+)", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}

Identity = tuple[int, int]  # device and inode of a file


class ManifestError(ValueError):
    """A manifest that cannot be used; names the file and the line."""


class Difference(NamedTuple):
    """What is wrong with one file of a tree; ``detail`` is for people."""

    name: str
    kind: Literal["missing", "extra", "differs", "unreadable"]
    detail: str


def line(name: str, digest: str) -> bytes:
    """One line, with its end, as ``sha256sum`` writes it."""
    # To sha256sum a bare "-" is its standard input.
    raw = b"./-" if name == "-" else name.encode("utf-8", "surrogateescape")
    escaped = re.sub(rb"[\\\n\r]", lambda found: _ESCAPES[found[0]], raw)
    return b"%s%s  %s\n" % (b"\\" if escaped != raw else b"", digest.encode(), escaped)


def read(path: str | os.PathLike[str], algorithm: str = "sha256") -> dict[str, str]:
    """Name to digest (lower-case hex). Raises ``OSError`` and :class:`ManifestError`."""
    return parse(regular.read(path), os.fspath(path), algorithm)


def parse(content: bytes, origin: str, algorithm: str = "sha256") -> dict[str, str]:
    """The same from bytes; ``origin`` is the file's name in errors.

    Takes the text (two spaces) and the binary (space, asterisk) form and the tagged one
    (``SHA256 (name) = hex``). A name that leads out of the directory is refused.
    """
    found: dict[str, str] = {}
    for number, text in enumerate(content.split(b"\n"), start=1):
        if not text or text.startswith(b"#"):
            continue
        try:
            name, digest = _entry(text, algorithm)
            if found.setdefault(name, digest) != digest:
                raise ValueError(f"{name!r} for the second time, with another digest")
        except ValueError as error:
            raise ManifestError(f"{origin}, line {number}: {error}") from None
    return found


def _entry(text: bytes, algorithm: str) -> tuple[str, str]:
    """Name and digest of one line. Raises ``ValueError`` that says what is wrong."""
    if match := _LINE.fullmatch(text):
        escaped, value, raw = match.groups()
    elif match := _TAGGED.fullmatch(text):
        escaped, tag, raw, value = match.groups()
        if digests.canonical(tag.decode()) != digests.canonical(algorithm):
            raise ValueError(f"a {tag.decode()} where {algorithm} is expected")
    else:
        raise ValueError("neither 'DIGEST  NAME' nor 'ALGORITHM (NAME) = DIGEST'")
    name = _ESCAPE.sub(_unescaped, raw) if escaped else raw
    return _inside(name.decode("utf-8", "surrogateescape")), digests.normalise(algorithm, value.decode())[1]


def _unescaped(found: re.Match[bytes]) -> bytes:
    try:
        return _UNESCAPES[found[1]]
    except KeyError:
        raise ValueError(f"no escape {found[0]!r} is known") from None


def _inside(name: str) -> str:
    """The name without ``.`` and empty parts. Raises ``ValueError`` where it leads elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a file below the directory")
    return "/".join(parts)


def names(directory: str | os.PathLike[str], skip: Collection[Identity] = ()) -> Iterator[str]:
    """Every file below it, in the order of their names; files in ``skip`` are left out.

    Links are followed where they stay in the directory (``tree.walk``); those that do not, and what is no
    regular file, are left out: :func:`skipped` tells them. Raises
    ``OSError`` where a directory cannot be listed.
    """
    found = [
        node.name
        for node in tree.walk(os.fspath(directory))
        if node.status is not None and (node.status.st_dev, node.status.st_ino) not in skip
    ]
    yield from sorted(found, key=lambda name: name.split("/"))


def skipped(directory: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """What :func:`names` leaves out: its name, and why. Raises ``OSError``."""
    return ((node.name, node.skipped) for node in tree.walk(os.fspath(directory)) if node.skipped)


def verify(
    directory: str | os.PathLike[str],
    expected: Mapping[str, str],
    algorithm: str = "sha256",
    skip: Collection[Identity] = (),
) -> Iterator[Difference]:
    """All that differs between a tree and its manifest, by name; nothing where they agree.

    Raises ``OSError`` where a directory cannot be listed.
    """
    root = os.fspath(directory)
    present = set(names(root, skip))
    left_out = dict(skipped(root))
    for name in sorted(present | expected.keys()):
        if name not in expected:
            yield Difference(name, "extra", "is not in the manifest")
        elif name in left_out:
            yield Difference(name, "unreadable", f"is {left_out[name]}")
        elif name not in present:
            yield Difference(name, "missing", "is in the manifest and not there")
        else:
            try:
                found = digests.of_file(f"{root}/{name}", algorithm).digest
            except OSError as error:
                yield Difference(name, "unreadable", f"cannot be read: {error.strerror}")
                continue
            if found != expected[name]:
                yield Difference(name, "differs", f"{algorithm} is {found}, expected {expected[name]}")
