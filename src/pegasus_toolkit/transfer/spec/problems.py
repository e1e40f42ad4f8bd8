"""What is wrong with a specification: all of it at once, each by entry and key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import BadSpecification

SHOWN = 50  # problems printed; ``problems`` holds all


class Problem(Struct, frozen=True):
    """One thing that is wrong.

    ``index``: of the entry, from 0, or -1 for the file as a whole; ``key``: where in the entry, such
    as ``src_urls[0].url``; ``message``: what is expected and what is there; ``line``: in the text
    form, from 1, else 0.
    """

    index: int
    key: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        """One line, whatever letters the specification holds."""
        entry = f"entry {self.index}" if self.index >= 0 else ""
        line = f"line {self.line}" if self.line else ""
        where = f"{entry} ({line})" if entry and line else entry or line
        text = ": ".join(part for part in (where, self.key, self.message) if part)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class SpecificationError(BadSpecification):
    """A specification that is not carried out. ``problems`` holds all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = str(self.problems[0]) if self.problems else "bad specification"
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(first + more)

    def __str__(self) -> str:
        """One line a problem, at most ``SHOWN`` of them."""
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more")
        return "\n".join(lines)


class Collector:
    """Gathers the problems of one entry; the first for each key counts."""

    __slots__ = ("found", "index", "line")

    def __init__(self, index: int, line: int = 0) -> None:
        self.index = index
        self.line = line
        self.found: dict[str, Problem] = {}

    def add(self, key: str, message: str) -> None:
        """One more, unless that key has one already."""
        self.found.setdefault(key, Problem(self.index, key, message, self.line))


def describe(value: object) -> str:
    """A value as a person would name it, shortened, without secrets."""
    if isinstance(value, str):
        value = redact.url(value)
        return f"text {value!r}" if len(value) <= 60 else f"text {value[:60]!r}..."
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"number {value!s:.40}"
    return "a list" if isinstance(value, Sequence) else "an object"


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean ...?``, or the list of what is known."""
    from difflib import get_close_matches

    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
