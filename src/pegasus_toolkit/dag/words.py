"""How DAGMan takes a line apart: words, quotes, ``key=value`` pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PIECE = re.compile(r"""([^ \t\r"']+)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'""", re.DOTALL)
_PLAIN = re.compile(r"[^ \t\r]+")
_BARE = re.compile(r"""[ \t\r]*(?:([^ \t\r"']+)(?![^ \t\r])|\Z)""")  # without quotes, or the end
_SPACE = re.compile(r"[ \t\r]*")
_PAIR = re.compile(r"""[ \t\r]*([^ \t\r"'=]+)[ \t\r]*=[ \t\r]*(?=[^ \t\r=])""")
_SIMPLE = re.compile(r"""[ \t\r]*([^ \t\r"'=]+)="([^"\\]*)"(?![^ \t\r])""")  # most pairs
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class Wrong(Exception):
    """A line that DAGMan would refuse; the message says why."""


class Words:
    """The words of one line. A backslash escapes within quotes only; a quote may begin inside a word."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        # Most lines hold no quote: then their words are what stands between spaces.
        self._plain = None if '"' in text or "'" in text else _PLAIN.findall(text)
        self._count = 0

    def _settle(self) -> None:
        """From here on by ``at``."""
        if self._plain is not None:
            for match, _ in zip(_PLAIN.finditer(self.text), range(self._count), strict=False):
                self.at = match.end()
            self._plain = None

    def next(self, trim: bool = False) -> str:
        """The next word, "" at the end. Its quotes stay unless ``trim``; escapes in them are undone."""
        if self._plain is not None:
            self._count += 1
            return self._plain[self._count - 1] if self._count <= len(self._plain) else ""
        bare = _BARE.match(self.text, self.at)
        if bare is not None:
            self.at = bare.end()
            return bare[1] or ""
        text, found = self.text, []
        at = _space(text, self.at)
        while at < len(text) and text[at] not in " \t\r":
            match = _PIECE.match(text, at)
            if match is None:
                raise Wrong("a quote has no end")
            if match[1] is not None:
                found.append(match[1])
            else:
                quote = "" if trim else text[at]
                inner = match[2] if match[2] is not None else match[3]
                found.append(quote + _ESCAPE.sub(r"\1", inner) + quote)
            at = match.end()
        self.at = at
        return "".join(found)

    def wanted(self, what: str, trim: bool = False) -> str:
        """The next word; there must be one."""
        word = self.next(trim)
        if not word:
            raise Wrong(f"{what} is missing")
        return word

    def number(self, what: str, least: int | None = None, most: int | None = None) -> int:
        """The next word, which must be a whole number within these bounds."""
        word = self.wanted(what)
        try:
            value = int(word)
        except ValueError:
            raise Wrong(f"{what}: expected a number, found {word!r}") from None
        if (least is not None and value < least) or (most is not None and value > most):
            bounds = f"from {least}" if most is None else f"{least} to {most}"
            raise Wrong(f"{what}: expected {bounds}, found {value}")
        return value

    def peek(self) -> str:
        """The next word, which stays."""
        at, count = self.at, self._count
        word = self.next()
        self.at, self._count = at, count
        return word

    def rest(self) -> str:
        """All that is left, as it stands there."""
        self._settle()
        left = self.text[self.at :].strip()
        self.at = len(self.text)
        return left

    def end(self) -> None:
        """Nothing may be left."""
        word = self.next()
        if word:
            raise Wrong(f"unexpected: {word!r}")

    def pairs(self) -> Iterator[tuple[str, str]]:
        """``key=value`` as in ``VARS``, to the end of the line."""
        self._settle()
        while _space(self.text, self.at) < len(self.text):
            simple = _SIMPLE.match(self.text, self.at)
            if simple is not None:
                self.at = simple.end()
                yield simple[1], simple[2]
                continue
            match = _PAIR.match(self.text, self.at)
            if match is None:
                raise Wrong(f"expected key=value, found {self.text[self.at :].strip()!r}")
            self.at = match.end()
            yield match[1], self.next(trim=True)


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
