"""What goes into a packed worker: our own modules, and the installed or downloaded libraries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

import pegasus_toolkit

PROJECT = "pegasus-toolkit"
ROOT = Path(pegasus_toolkit.__file__).parent
# Of the planner it needs the data that a bundle is made of, of the commands its own.
_OURS = (
    "__init__.py",
    "schemes.py",
    "cli/__init__.py",
    "cli/plugin*.py",
    "cli/worker.py",
    "planner/__init__.py",
    "planner/model.py",
    "records.py",
    "planner/catalogs.py",
    "worker/*.py",
    "integrity/**/*.py",
    "credentials/**/*.py",
    "transfer/**/*.py",
)
_LEFT_OUT = re.compile(r"(^|/)(__pycache__|tests?|testing)/|\.(pyi|pyc|a|h|hpp|c|pxd|pyx)$|(^|/)py\.typed$")
_OF_THE_INSTALLER = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)|manylinux(1|2010|2014)_")
_OLD_NAMES = {"1": (2, 5), "2010": (2, 12), "2014": (2, 17)}


class CannotPack(Exception):
    """One line: what is missing, and what to do."""


class Library(NamedTuple):
    """One distribution. ``files``: content by path, as on ``sys.path``; ``glibc``: oldest."""

    name: str
    version: str
    files: dict[str, bytes]
    glibc: tuple[int, ...]

    @property
    def modules(self) -> tuple[str, ...]:
        """What can be imported of it, by the first part of the name."""
        first = {path.partition("/")[0] for path in self.files}
        found = {re.sub(r"\.(py|abi3\.so|[\w-]+\.so|so)$", "", one) for one in first}
        return tuple(sorted(one for one in found if one.isidentifier()))


def ours() -> dict[str, bytes]:
    """Our own modules, by their path below ``sys.path``."""
    found = {path for pattern in _OURS for path in ROOT.glob(pattern)}
    return {f"{ROOT.name}/{path.relative_to(ROOT)}": path.read_bytes() for path in sorted(found)}


def requirements(extras: Iterable[str]) -> list[str]:
    """What we and these extras need, as it stands in our own description. Raises :class:`CannotPack`."""
    stated = [re.split(r"\s*;\s*", one, maxsplit=1) for one in metadata.requires(PROJECT) or ()]
    wanted = [one[0] for one in stated if len(one) == 1]
    known = {found[1] for one in stated if len(one) > 1 and (found := _extra(one[1]))}
    for extra in extras:
        if extra not in known:
            raise CannotPack(f"no extra {extra!r} is known; known are {', '.join(sorted(known))}")
        for name, *marker in stated:
            if marker and (found := _extra(marker[0])) and found[1] == extra:
                below = re.fullmatch(rf"{PROJECT}\[(.*)\]", name.strip())
                wanted += requirements(below[1].split(","))[1:] if below else [name]
    return list(dict.fromkeys(wanted))


def _extra(marker: str) -> re.Match[str] | None:
    return re.fullmatch(r"extra == [\"']([\w-]+)[\"']", marker.strip())


def installed(names: Iterable[str]) -> list[Library]:
    """These and what they need in turn, as installed here. Raises :class:`CannotPack`."""
    found: dict[str, Library] = {}
    left = [(name, True) for name in names]
    while left:
        text, needed = left.pop()
        name = _plain(text)
        if name in found:
            continue
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if needed:
                raise CannotPack(f"{name} is not installed here; pip install '{text}'") from None
            continue
        found[name] = _library(one)
        for line in one.requires or ():
            requirement, _, marker = line.partition(";")
            if "extra ==" not in marker:  # what depends on the Python or system is taken if it is there
                left.append((requirement.strip(), not marker))
    return [found[name] for name in sorted(found)]


def _library(one: metadata.Distribution) -> Library:
    files = {}
    for path in one.files or ():
        name = path.as_posix()
        if not _LEFT_OUT.search(name) and ".." not in path.parts and path.name not in _OF_THE_INSTALLER:
            files[name] = Path(str(path.locate())).read_bytes()
    if not files:
        raise CannotPack(f"{one.metadata['Name']} is not installed as files; pip install it again")
    tags = (one.read_text("WHEEL") or "").splitlines()
    return Library(_plain(one.metadata["Name"]), one.version, files, _glibc(files, "\n".join(tags)))


def _glibc(files: Iterable[str], tags: str) -> tuple[int, ...]:
    """The oldest C library it works with: by its tags, else, for what was built here, this machine's."""
    if not any(re.search(r"\.so(\.|$)", name) for name in files):
        return ()
    found = [
        (int(one[1]), int(one[2])) if one[1] else _OLD_NAMES[one[3]] for one in _MANYLINUX.finditer(tags)
    ]
    if found:
        return min(found)
    name = os.confstr("CS_GNU_LIBC_VERSION") or "glibc 0"
    return tuple(int(part) for part in name.split()[1].split("."))


def downloaded(names: Sequence[str], libraries: Sequence[Library], python: str) -> list[Library]:
    """What these requirements need on another Python, from the registry that pip asks.

    In the versions of ``libraries``, those installed here, if they are all there for that Python. Raises
    :class:`CannotPack`.
    """
    same = [f"{one.name}=={one.version}" for one in libraries]
    last = ""
    for wanted in (same, names):
        with tempfile.TemporaryDirectory() as target:
            done = subprocess.run(
                [*_pip(python, target), *wanted], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return [_wheel(path) for path in sorted(Path(target).glob("*.whl"))]
            last = (done.stderr.strip() or "pip failed").splitlines()[-1]
    raise CannotPack(f"libraries for Python {python} cannot be had: {last}")


def _pip(python: str, target: str) -> list[str]:
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-input"]
    machine = EXTENSION_SUFFIXES[0].split("-")[2]
    platforms = [f"manylinux2014_{machine}", f"manylinux_2_17_{machine}", f"manylinux_2_28_{machine}"]
    words += [word for one in platforms for word in ("--platform", one)]
    words += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", "--dest", target]
    return words


def _wheel(path: Path) -> Library:
    name, version, *_ = path.name.split("-")
    with zipfile.ZipFile(path) as archive:
        names = [one for one in archive.namelist() if not one.endswith("/") and not _LEFT_OUT.search(one)]
        names = [one for one in names if one.rpartition("/")[2] not in _OF_THE_INSTALLER]
        files = {re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", one): archive.read(one) for one in names}
    return Library(_plain(name), version, files, _glibc(files, path.name))


def _plain(text: str) -> str:
    """The name in a requirement, as registries compare names."""
    found = re.match(r"[\w.-]+", text)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def compiled(files: dict[str, bytes], python: str, optimize: int = 0) -> dict[str, bytes]:
    """Python files as code that need not be compiled again; the same bytes whenever it is asked.

    Names end with ``.pyc``, and the sources are not needed. ``python``: the interpreter that it is for;
    ``optimize``: as Python's ``-O``; 2 leaves out documentation strings.
    """
    with tempfile.TemporaryDirectory() as place:
        for n, content in enumerate(files.values()):
            Path(place, f"{n}.py").write_bytes(content)
        Path(place, "names").write_text("\n".join(files))
        environment = {"PYTHONHASHSEED": "0"}  # the order within sets is part of the code
        done = subprocess.run(
            [python, "-S", "-c", _COMPILE, place, str(optimize)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotPack(f"{python} cannot compile: {done.stderr.strip().splitlines()[-1:]}")
        return {f"{name}c": Path(place, f"{n}.pyc").read_bytes() for n, name in enumerate(files)}


# Marshalled without references (version 2), since which objects are shared differs from run to run; with the
# flags of code that is never compared with its source.
_COMPILE = """
import importlib.util, marshal, os, sys
place, optimize = sys.argv[1], int(sys.argv[2])
for n, name in enumerate(open(os.path.join(place, "names")).read().split("\\n")):
    with open(os.path.join(place, "%d.py" % n), "rb") as file:
        code = compile(file.read(), name, "exec", dont_inherit=True, optimize=optimize)
    with open(os.path.join(place, "%d.pyc" % n), "wb") as file:
        file.write(importlib.util.MAGIC_NUMBER + b"\\1\\0\\0\\0" + bytes(8) + marshal.dumps(code, 2))
"""


def interpreters(pythons: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each version with an interpreter of it on this machine, "" where there is none."""
    from pegasus_toolkit.worker.pack.start import is_python

    mine = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for one in pythons or [mine]:
        path = sys.executable if one == mine else shutil.which(f"python{one}") or ""
        fits = path and is_python(path, tuple(map(int, one.split("."))))
        yield one, path if fits else ""
