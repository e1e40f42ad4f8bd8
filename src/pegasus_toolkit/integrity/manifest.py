"""Manifests in the format of ``sha256sum``: made for a directory, and a directory checked against one.

A name is relative to the directory. What coreutils escapes (backslash, line end) is escaped here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from pegasus_toolkit.integrity import digests, regular

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

    Links to files count as files; links to directories are not followed and left out. Raises
    ``OSError`` for a directory that cannot be listed.
    """
    yield from _walk(os.fspath(directory), "", skip)


def _walk(root: str, below: str, skip: Collection[Identity]) -> Iterator[str]:
    with os.scandir(f"{root}/{below}" if below else root) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        name = below + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, name + "/", skip)
        elif not (entry.is_symlink() and entry.is_dir()) and not _skipped(entry, skip):
            yield name


def _skipped(entry: os.DirEntry[str], skip: Collection[Identity]) -> bool:
    if not skip:
        return False
    status = entry.stat(follow_symlinks=False)
    return (status.st_dev, status.st_ino) in skip


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
    for name in sorted(present | expected.keys()):
        if name not in expected:
            yield Difference(name, "extra", "is not in the manifest")
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
