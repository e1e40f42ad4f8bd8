"""Which files of a directory are meant: ``--include``, ``--exclude`` and filter files, by rclone's rules.

A pattern is matched against the name below the directory: ``*`` and ``?`` stand for anything but "/", ``**``
for anything, ``[a-z]`` and ``{this,that}`` as usual, ``{{...}}`` for a regular expression. A pattern that
begins with "/" starts at the directory, any other at the beginning of any part of the name; one that ends in
"/" means all that is in directories of that name. The first rule that fits decides; what none fits is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.files.places import Wrong


class Rule(NamedTuple):
    """``keep``: what fits is taken; else it is left out."""

    keep: bool
    pattern: re.Pattern[str]


class Filters:
    """Rules in their order."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)

    def __bool__(self) -> bool:
        return bool(self.rules)

    def keeps(self, name: str) -> bool:
        """Whether a file with that name below the directory is meant."""
        for keep, pattern in self.rules:
            if pattern.search(name):
                return keep
        return True


def read(given: Iterable[tuple[str, str]]) -> Filters:
    """Rules out of what was given, in its order: ("include" | "exclude", pattern) or ("filter-from", file).

    After an "include" everything else is left out. Raises :class:`Wrong` with the file and the line.
    """
    rules: list[Rule] = []
    only = False
    for kind, text in given:
        if kind == "filter-from":
            rules += _from_file(text)
            continue
        try:
            rules.append(Rule(kind == "include", compiled(text)))
        except ValueError as error:
            raise Wrong(f"--{kind} {text!r}: {error}") from None
        only = only or kind == "include"
    if only:
        rules.append(Rule(False, compiled("**")))
    return Filters(rules)


def _from_file(path: str) -> list[Rule]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise Wrong(f"cannot read the filter file {path!r}: {why}") from error
    rules: list[Rule] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if stripped == "!":
            rules.clear()
            continue
        sign, pattern = stripped[:2], stripped[2:].strip()
        if sign not in ("+ ", "- ") or not pattern:
            text = f"{path}, line {number}: expected '+ PATTERN' or '- PATTERN', found {line!r}"
            raise Wrong(text)
        try:
            rules.append(Rule(sign == "+ ", compiled(pattern)))
        except ValueError as error:
            raise Wrong(f"{path}, line {number}: {error}") from None
    return rules


def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern. Raises ``ValueError`` for one that is none."""
    anchored = pattern.startswith("/")
    text = pattern.removeprefix("/")
    if not text:
        raise ValueError("an empty pattern")
    if text.endswith("/"):
        text += "**"
    body = _translated(text)
    try:
        return re.compile(("^" if anchored else "(?:^|/)") + body + r"\Z", re.DOTALL)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no pattern: {error}") from None


_TOKEN = re.compile(
    r"(?P<regexp>\{\{.*?\}\})|(?P<set>\[[!^]?\]?[^\]]*\])|\\(?P<literal>.)|(?P<special>\*\*|[*?{},\[])|(?P<plain>.)",
    re.DOTALL,
)
_SPECIAL = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}


def _translated(text: str) -> str:
    made, depth = "", 0
    for token in _TOKEN.finditer(text):
        kind, found = token.lastgroup, token[0]
        if kind == "regexp":
            made += f"(?:{found[2:-2]})"
        elif kind == "set":
            inner = found[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            made += "[" + ("^" + inner[1:] if inner[:1] in "!^" else inner) + "]"
        elif kind != "special" or (found == "," and not depth):
            made += re.escape(token["literal"] or found)
        else:
            depth += {"{": 1, "}": -1}.get(found, 0)
            if found == "[" or depth < 0:
                raise ValueError(f"{text!r}: a {found} without its {'{' if found == '}' else ']'}")
            made += _SPECIAL[found]
    if depth:
        raise ValueError(f"{text!r}: a {{ without its }}")
    return made
