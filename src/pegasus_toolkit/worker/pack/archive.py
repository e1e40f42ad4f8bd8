"""The archive itself: the same bytes for the same content, whenever and wherever it is made."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import zipfile
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from pegasus_toolkit.worker.pack.sources import (
    CannotPack,
    Library,
    compiled,
    downloaded,
    installed,
    interpreters,
    ours,
    requirements,
)

_SHEBANG = b"#!/usr/bin/env python3\n"
_START = Path(__file__).with_name("start.py")
_ALWAYS = "msgspec"
# Runs a file of its own by another Python: it has to be unpacked.
_HELPERS = ("pegasus_toolkit.transfer.backends.srm",)
_MINE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def pack(path: str, extras: Sequence[str] = (), pythons: Sequence[str] = ()) -> None:
    """Writes the packed worker. Raises :class:`CannotPack`, and ``OSError`` where it cannot be written.

    ``extras``: as ``pip install 'pegasus-toolkit[...]'`` takes them; ``pythons``: versions (``3.12``) that
    it is to run on, this one where none is named. Libraries for others than this one come through pip.
    """
    from pegasus_toolkit.integrity import regular

    regular.replace(path, build(extras, pythons))
    os.chmod(path, 0o755)  # noqa: PTH101


def build(extras: Sequence[str] = (), pythons: Sequence[str] = ()) -> bytes:
    """The packed worker."""
    for one in pythons:
        if not re.fullmatch(r"3\.\d{1,2}", one) or int(one[2:]) < 10:
            raise CannotPack(f"{one!r} is not a version of Python that it runs on: 3.10 or later, as 3.12")
    names = requirements(sorted(set(extras)))
    libraries = installed(names)
    mine = ours()
    files: dict[str, bytes] = {}
    packed: dict[str, Any] = {}
    for version, interpreter in interpreters(sorted(set(pythons), key=lambda one: int(one[2:]))):
        fitting = libraries if version == _MINE else downloaded(names, libraries, version)
        tag, facts = _facts(version, fitting)
        packed[tag] = facts
        files |= _members(facts, fitting, mine, interpreter)
    start = b"PACKED = %s\n" % repr(packed).encode() + _START.read_bytes()
    return _zipped({"__main__.py": start, **files})


def _facts(version: str, libraries: Sequence[Library]) -> tuple[str, dict[str, Any]]:
    """What the start has to know of one version; PACKED in start.py."""
    numbers = tuple(map(int, version.split(".")))
    tag = re.sub(r"cpython-\d+", "cpython-" + version.replace(".", ""), EXTENSION_SUFFIXES[0]).strip(".")[:-3]
    modules = {module: one.name for one in libraries for module in one.modules}
    return tag, {
        "python": numbers,
        "glibc": max((one.glibc for one in libraries), default=()),
        "code": "code" + version.replace(".", ""),
        "always": [_ALWAYS],
        "modules": {**modules, **{name: name for name in _HELPERS}},
        "groups": {},
    }


def _members(
    facts: dict[str, Any], libraries: Sequence[Library], mine: dict[str, bytes], interpreter: str
) -> dict[str, bytes]:
    """The archive's members for one version; ``groups`` in its facts grows.

    Files of libraries are called by their digest, as several versions share many.
    """
    found = {f"{facts['code']}/{path}": data for path, data in _ready(mine, interpreter, 2).items()}
    groups = {one.name: _ready(one.files, interpreter) for one in libraries}
    for helper in _HELPERS:
        folder = helper.replace(".", "/") + "/"
        groups[helper] = {path: data for path, data in mine.items() if path.startswith(folder)}
    for name, files in groups.items():
        members = {path: f"lib/{hashlib.sha256(data).hexdigest()[:32]}" for path, data in files.items()}
        facts["groups"][name] = dict(sorted(members.items()))
        found.update((members[path], data) for path, data in files.items())
    return found


def _ready(files: dict[str, bytes], interpreter: str, optimize: int = 0) -> dict[str, bytes]:
    """Compiled, where there is an interpreter of that version to do it."""
    sources = {path: data for path, data in files.items() if path.endswith(".py")}
    if not interpreter or not sources:
        return files
    rest = {path: data for path, data in files.items() if path not in sources}
    return {**rest, **compiled(sources, interpreter, optimize)}


def _zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO(_SHEBANG)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, files[name], compresslevel=6)
    return out.getvalue()


def key(extras: Sequence[str]) -> str:
    """Names what :func:`build` would make here, for this Python, without making it."""
    taken = hashlib.sha256(EXTENSION_SUFFIXES[0].encode() + sys.version.encode())
    for name, content in ours().items():
        taken.update(b"%d %s\0" % (len(content), name.encode()) + content)
    taken.update(_START.read_bytes() + Path(__file__).read_bytes())
    for one in _versions(requirements(sorted(set(extras)))):
        taken.update(one.encode() + b"\0")
    return taken.hexdigest()


def _versions(names: Sequence[str]) -> list[str]:
    from importlib import metadata

    found = []
    for text in names:
        match = re.match(r"[\w.-]+", text)
        assert match is not None
        try:
            found.append(f"{match[0]}=={metadata.version(match[0])}")
        except metadata.PackageNotFoundError:
            raise CannotPack(f"{match[0]} is not installed here; pip install '{text}'") from None
    return found
