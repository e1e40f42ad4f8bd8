"""Reads submit descriptions: ``command = value`` lines with macros, for one job each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.dag.macros import expand, with_own
from pegasus_toolkit.dag.model import Variable
from pegasus_toolkit.dag.problems import DagError, Problem
from pegasus_toolkit.dag.words import Wrong

_ASSIGN = re.compile(r"(\+?[A-Za-z_][\w.]*)\s*=(.*)", re.DOTALL)
_BLOCK = re.compile(r"(\+?[A-Za-z_][\w.]*)\s*@=\s*(\S+)\s*")
_INCLUDE = re.compile(r"@?include\s*(?:(\w[^:]*)\s*)?:\s*(.*)", re.IGNORECASE)
_QUEUE = re.compile(r"queue\b\s*(.*)", re.IGNORECASE)
_Numbered = Iterator[tuple[int, str]]
_OTHERS = re.compile(r"(if|elif|else|endif|use)\b", re.IGNORECASE)


class Description(NamedTuple):
    """A submit description as it stands: each command's value by its lower-case name, and its line.

    ``+Attribute`` is ``my.attribute``. The order is that of the file.
    """

    file: str
    commands: Mapping[str, str]
    lines: Mapping[str, int]

    def expanded(self, variables: Iterable[Variable], environ: Mapping[str, str]) -> dict[str, str]:
        """All commands with macros expanded; variables before the file, or where they say so after it.

        Raises :class:`DagError` with the lines that cannot be.
        """
        variables = tuple(variables)
        macros = {one.key.lower(): one.value for one in variables if not one.append}
        for key, value in self.commands.items():
            # Not so for those that every job has: they are not there before.
            macros[key] = with_own(value, key, macros.get(key, ""))
        for one in variables:
            if one.append:
                macros[one.key.lower()] = with_own(one.value, one.key, macros.get(one.key.lower(), ""))
        found, problems = {}, []
        for key, value in macros.items():
            try:
                found[key] = expand(value, macros, environ)
            except Wrong as wrong:
                problems.append(Problem(self.file, self.lines.get(key, 0), f"{key}: {wrong}"))
        if problems:
            raise DagError(problems)
        return found


def read(file: str | Path) -> Description:
    """The description in ``file``, with what it includes. Raises :class:`DagError` with all that is wrong."""
    return _reading(str(file), None)


def parse(text: str, file: str) -> Description:
    """The description ``text``; ``file`` is where it stands."""
    return _reading(file, text)


def _reading(file: str, text: str | None) -> Description:
    reading = _Reading()
    reading.file(file, text)
    if not reading.queued and text is None and not reading.problems:
        reading.problems.append(Problem(file, 0, "there is no queue in it"))
    if reading.problems:
        raise DagError(reading.problems)
    return Description(file, reading.commands, reading.lines)


class _Reading:
    def __init__(self) -> None:
        self.commands: dict[str, str] = {}
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.including: list[str] = []
        self.queued = False

    def file(self, file: str, text: str | None = None) -> None:
        try:
            text = Path(file).read_bytes().decode("utf-8", "surrogateescape") if text is None else text
        except OSError as error:
            self.problems.append(Problem(file, 0, f"cannot be read: {error.strerror}"))
            return
        self.including.append(file)
        lines = enumerate(text.split("\n"), 1)
        for number, line in _joined(lines):
            try:
                self._line(file, number, line, lines)
            except Wrong as wrong:
                self.problems.append(Problem(file, number, str(wrong)))
        self.including.pop()

    def _line(self, file: str, number: int, line: str, lines: _Numbered) -> None:
        if self.queued:
            raise Wrong("nothing may follow queue")
        if match := _BLOCK.fullmatch(line):
            self._set(match[1], _block(lines, match[2]), number)
        elif match := _QUEUE.fullmatch(line):
            self.queued = True
            if match[1] not in ("", "1"):
                raise Wrong(f"only one job can be queued in a node, found: queue {match[1]}")
        elif match := _INCLUDE.fullmatch(line):
            self._include(file, match[1], match[2])
        elif _OTHERS.match(line) and not _ASSIGN.fullmatch(line):
            raise Wrong(f"{line.split(maxsplit=1)[0]} is not supported")
        elif match := _ASSIGN.fullmatch(line):
            self._set(match[1], match[2].strip(), number)
        else:
            raise Wrong(f"expected command = value, found {line!r}")

    def _set(self, name: str, value: str, number: int) -> None:
        key = f"my.{name[1:]}" if name.startswith("+") else name
        key = key.lower()
        self.commands[key] = with_own(value, key, self.commands[key]) if key in self.commands else value
        self.lines[key] = number

    def _include(self, file: str, how: str | None, name: str) -> None:
        kind = (how or "").strip().lower()
        if kind not in ("", "ifexist"):
            raise Wrong(f"include {kind} is not supported, only include : file and include ifexist : file")
        path = str(Path(file).parent / expand(name, self.commands, {}))
        if kind and not Path(path).exists():
            return
        if path in self.including:
            raise Wrong(f"{name} includes itself")
        self.file(path)


def _joined(lines: _Numbered) -> _Numbered:
    """Lines without comments; one that ends in a backslash goes on in the next."""
    first = 0
    found = ""
    for number, raw in lines:
        line = raw.strip()
        if line.startswith("#") or (not line and not found):
            continue
        first = first if found else number
        found += line
        if found.endswith("\\"):
            found = found[:-1]
            continue
        yield first, found
        found = ""
    if found:
        yield first, found


def _block(lines: _Numbered, tag: str) -> str:
    found: list[str] = []
    for _, line in lines:
        if line.strip() == f"@{tag}":
            return "\n".join(found)
        found.append(line)
    raise Wrong(f"the value has no end: @{tag}")
