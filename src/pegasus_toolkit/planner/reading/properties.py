"""``pegasus.properties``: a Java properties file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pegasus_toolkit.planner.catalogs import Profiles
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.reading.reader import CONTROL, lowered

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_.]*)\}")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.S)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_SPACES = ("env", "condor", "dagman", "globus", "pegasus", "selector")
_ONCE = {"dagman.retry": "0"}
MODES: Mapping[str, Mapping[str, str]] = {
    "production": {"dagman.retry": "3"},
    "development": {**_ONCE, "pegasus.integrity.checking": "none"},
    "debug": {**_ONCE, "pegasus.integrity.checking": "none"},
    "tutorial": _ONCE,
}
"""``pegasus.mode``: what each says where no property says otherwise."""
_NOT_PROFILES = re.compile(
    r"pegasus\.(catalog|selector|dir|transfer|file|data|integrity|clusterer|monitord|log|metrics|home|mode|code|"
    r"register|parser|schema|dashboard|aws|condor|toolkit|workflow|credential)\b"
)


def read(file: str, text: str, environ: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """Keys and values, ``${NAME}`` replaced by properties or the environment; and what is wrong."""
    found: dict[str, str] = {}
    problems = []
    for line, logical in _lines(text):
        key, value = _split(logical)
        if not key:
            problems.append(Problem(file, (), "expected key = value", line))
            continue
        if key in found and found[key] != value:
            problems.append(Problem(file, (key,), "there is another value for this key before", line))
        for name in _VARIABLE.findall(value):
            if name not in found and not environ.get(name):
                problems.append(Problem(file, (key,), f"the variable ${{{name}}} is not set or empty", line))
        if not value.isprintable() and CONTROL.search(value):
            message = f"expected text without control characters, found {value!r}"
            problems.append(Problem(file, (key,), message, line))
        found[key] = _VARIABLE.sub(lambda m: found.get(m[1], environ.get(m[1], "")), value)
    return found, problems


def with_mode(properties: Mapping[str, str]) -> dict[str, str]:
    """With what the mode implies, below all else."""
    return {**MODES.get(properties.get("pegasus.mode", ""), {}), **properties}


def profiles(properties: Mapping[str, str]) -> Profiles:
    """Those properties that are profiles of every job: ``condor.request_memory``, ``env.X``, ..."""
    found: dict[str, dict[str, str]] = {}
    for key, value in properties.items():
        space, dot, name = key.partition(".")
        if dot and space in _SPACES and not _NOT_PROFILES.match(key):
            found.setdefault(space, {})[name] = value
    return {space: lowered(space, table) for space, table in found.items()}


def _lines(text: str) -> list[tuple[int, str]]:
    """Logical lines with the number of their first one; comments and empty ones left out."""
    found: list[tuple[int, str]] = []
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.lstrip()
        if not pending and (not line or line[0] in "#!"):
            continue
        start = start if pending else number
        slashes = len(line) - len(line.rstrip("\\"))
        if slashes % 2:
            pending += line[:-1]
            continue
        found.append((start, pending + line))
        pending = ""
    return [*found, (start, pending)] if pending else found


def _split(line: str) -> tuple[str, str]:
    match = re.match(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", line, re.S)
    return (_plain(match[1]), _plain(match[2]).rstrip()) if match else ("", "")


def _plain(text: str) -> str:
    def letter(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 5 else _LETTERS.get(code, code)

    return _ESCAPE.sub(letter, text)
