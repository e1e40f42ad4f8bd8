"""``--protocols``: what works here, by which library or program, and what brings the rest.

All of it is told by the table of schemes and by what is installed: no protocol's module is imported.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from typing import NamedTuple

from pegasus_toolkit.schemes import BRINGS, SCHEMES, Scheme

OURS = "pegasus-toolkit"
OTHERS = Scheme("fsspec_any", "fsspec")  # whatever is not in the table
PATIENCE = 5.0  # seconds that a program may take to tell its version
_PACKAGE = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_VERSION = re.compile(r"\d+(?:[._]\d+)+\w*")
_ASKED = {"java": "-version", "ssh": "-V"}  # others take --version


class Part(NamedTuple):
    """A library or a program. ``version``: "" where it does not tell."""

    name: str
    version: str


class Protocol(NamedTuple):
    """What one module serves. ``by``: what is there of what it uses; ``missing``: what is not;
    ``bring``: commands for that. ``works``: without them as well."""

    schemes: tuple[str, ...]
    works: bool
    writes: bool
    by: tuple[Part, ...]
    missing: tuple[str, ...]
    bring: tuple[str, ...]


class Installed:
    """What is here, each asked for once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._path = environ.get("PATH")
        self._programs: dict[str, Part | None] = {}
        self._extras: dict[str, list[str]] = {}
        with suppress(metadata.PackageNotFoundError):
            for line in metadata.requires(OURS) or ():
                name, extra = _PACKAGE.match(line), _EXTRA.search(line)
                if name is not None and extra is not None:
                    self._extras.setdefault(extra[1], []).append(name[0])

    def packages(self, extra: str) -> dict[str, str]:
        """The packages of an extra with their versions, "" for one that is not here."""
        found = dict.fromkeys(self._extras.get(extra, ()), "")
        for name in found:
            with suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
        return found

    def program(self, name: str) -> Part | None:
        """A command, with its version; ``None`` where it is not on PATH."""
        if name not in self._programs:
            path = shutil.which(name, path=self._path)
            self._programs[name] = Part(name, _version(path, name)) if path else None
        return self._programs[name]


def _version(path: str, name: str) -> str:
    try:
        asked = [path, _ASKED.get(name, "--version")]
        told = subprocess.run(
            asked, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = _VERSION.search((told.stdout + told.stderr)[:4096].decode(errors="replace"))
    return found[0] if found is not None else ""


def _module(name: str) -> Part | None:
    """A module of the system's Python, in a process of its own as where it is used."""
    from pegasus_toolkit.transfer.clients.gfal.process import PYTHONS

    code = f"import {name}; print(getattr({name}, '__version__', ''))"
    for python in PYTHONS:
        with suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run(
                [python, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            if told.returncode == 0:
                return Part(name, told.stdout.strip())
    return None


def look(environ: Mapping[str, str]) -> list[Protocol]:
    """All of them, in the order of the table."""
    installed = Installed(environ)
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, scheme in SCHEMES.items():
        if scheme.module:
            key = (scheme.module, scheme.extra, scheme.writes, scheme.programs)
            groups.setdefault(key, []).append(name)
    found = [_protocol(tuple(names), SCHEMES[names[0]], installed) for names in groups.values()]
    return [*found, _protocol(("all that fsspec knows",), OTHERS, installed)]


def _protocol(names: tuple[str, ...], scheme: Scheme, installed: Installed) -> Protocol:
    packages = installed.packages(scheme.extra)
    by = [Part(name, version) for name, version in packages.items() if version]
    missing = [name for name, version in packages.items() if not version]
    libraries = not missing
    bring = [f"pip install '{OURS}[{scheme.extra}]'"] if missing else []
    if scheme.tool and (tool := _module(scheme.tool)) is not None:
        by.append(tool)
    elif scheme.tool:
        libraries = False
        missing.append(scheme.tool)
        bring.append(BRINGS.get(scheme.tool, f"install {scheme.tool}"))
    programs = [part for name in scheme.programs if (part := installed.program(name)) is not None]
    by += programs
    if scheme.programs and not programs:
        missing.append(" or ".join(scheme.programs))
        bring += [BRINGS[name] for name in scheme.programs if name in BRINGS][:1]
    either = scheme.requires == "either"
    works = (libraries or bool(programs)) if either else libraries
    if scheme.requires == "program":
        works = works and bool(programs)
    if either and works:  # one will do
        missing, bring = [], []
    return Protocol(names, works, scheme.writes, tuple(by), tuple(missing), tuple(bring))


def tell(environ: Mapping[str, str], as_json: bool) -> int:
    """Prints it; 0."""
    found = look(environ)
    if as_json:
        told = [{**one._asdict(), "by": [part._asdict() for part in one.by]} for one in found]
        text = json.dumps(told, indent=1)
    else:
        text = "\n".join(_lines(found))
    with suppress(BrokenPipeError):
        print(text, file=sys.stdout)
    return 0


def _lines(found: list[Protocol]) -> list[str]:
    """A line each; a second one for what is missing."""
    names = [", ".join(one.schemes) for one in found]
    width = max(map(len, names))
    lines = []
    for name, one in zip(names, found, strict=True):
        by = ", ".join(f"{part.name} {part.version}".strip() for part in one.by) or "itself"
        state = "works" if one.works else "MISSING"
        reads = "" if one.writes else "  (read only)"
        told = f"by {by}{reads}" if one.works else f"needs {', '.join(one.missing)}"
        lines.append(f"{name:<{width}}  {state:<7}  {told}")
        if one.bring:
            more = "" if not one.works else f"better with {', '.join(one.missing)}: "
            lines.append(f"{'':<{width}}           {more}{'; '.join(one.bring)}")
    return lines
