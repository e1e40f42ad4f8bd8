"""ClassAds, as HTCondor hands them to a file-transfer plugin and reads them back.

Read are all ads, of which literals, lists and nested ads are understood; any other expression is kept
as its text (:class:`Expression`). HTCondor writes bytes that are not ASCII as they are or in octal: names
that are not UTF-8 come through as Python's surrogates, and go out again as the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn


class AdError(ValueError):
    """Not a ClassAd; one line that says where."""


class Expression(NamedTuple):
    """What would have to be evaluated."""

    text: str


Ad = dict[str, Any]
"""Attributes by their names in lower case, which is what HTCondor compares."""

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*|/\*.*?\*/)+)
      | "(?P<string>(?:[^"\\]|\\.)*)"
      | '(?P<quoted>(?:[^'\\]|\\.)*)'
      | (?P<number>-?[0-9][0-9a-zA-Z_.]*(?:(?<=[eE])[+-][0-9]+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\([0-3][0-7]{2}|[0-7]{1,2}|.)", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
_WORDS = {"true": True, "false": False, "undefined": None}
_OPENING, _CLOSING = "[{(", "]})"


def read(data: bytes) -> list[Ad]:
    """All ads of a file in the new form, one after the other. Raises ``AdError``."""
    reading = _Reading(data.decode("latin-1"))
    ads = []
    while not reading.over:
        ads.append(reading.ad())
        if reading.mark in (",", ";"):
            reading.take()
    return ads


def read_lines(data: bytes) -> Ad:
    """The literal attributes of an ad in the old form, a line each (the job's ad in its sandbox)."""
    found: Ad = {}
    for line in data.decode("latin-1").splitlines():
        name, equals, text = line.partition("=")
        text = text.strip()
        if equals and len(text) > 1 and text[0] == text[-1] == '"':
            found[name.strip().lower()] = _decoded(text[1:-1].replace('\\"', '"'))
        elif equals:
            found[name.strip().lower()] = _literal(text)
    return found


def write(value: object) -> str:
    """``value`` in the new form: mappings are ads, sequences lists, ``None`` is undefined."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(map(_escaped, value)) + '"'
    if isinstance(value, Mapping):
        return "[ " + "".join(f"{name} = {write(one)}; " for name, one in value.items()) + "]"
    if isinstance(value, Sequence):
        return "{ " + ", ".join(map(write, value)) + " }"
    return "undefined"


def encode(ads: Sequence[Mapping[str, object]]) -> bytes:
    """A file of ads in the new form."""
    return "".join(f"{write(ad)}\n" for ad in ads).encode("utf-8", "surrogateescape")


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    # Half a surrogate pair that is no escaped byte cannot be written at all.
    if "\ud800" <= character <= "\udfff" and not "\udc80" <= character <= "\udcff":
        return "?"
    # Always three digits, so that a digit that follows stays one of its own.
    return f"\\{ord(character):03o}" if ord(character) < 32 or character == "\x7f" else character


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


class _Reading:
    """Where we are in the text: at the token ``at``, which is not yet taken."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.at = self._next()

    @property
    def over(self) -> bool:
        return self.at.kind == "end"

    @property
    def mark(self) -> str:
        """The mark that comes next, "" for anything else."""
        return self.at.text if self.at.kind == "mark" else ""

    def take(self) -> _Token:
        token, self.at = self.at, self._next()
        return token

    def _next(self) -> _Token:
        while found := _TOKEN.match(self.text, self.position):
            self.position = found.end()
            kind = found.lastgroup or ""
            if kind != "space":
                return _Token(kind, found[kind], found.start(), found.end())
        return _Token("end", "", self.position, self.position)

    def _expect(self, mark: str) -> None:
        if self.mark != mark:
            self._wrong(repr(mark))
        self.take()

    def _wrong(self, expected: str) -> NoReturn:
        line = self.text.count("\n", 0, self.at.start) + 1
        found = repr(self.text[self.at.start : self.at.end]) if not self.over else "the end"
        raise AdError(f"line {line}: expected {expected}, found {found}")

    def ad(self) -> Ad:
        """``[ name = value; ... ]``"""
        self._expect("[")
        found: Ad = {}
        while self.mark != "]":
            if self.mark == ";":
                self.take()
                continue
            if self.at.kind not in ("word", "quoted"):
                self._wrong("the name of an attribute")
            name = self.take()
            self._expect("=")
            found[_unescaped(name.text).lower()] = self.value()
            if self.mark != "]":
                self._expect(";")
        self.take()
        return found

    def value(self) -> Any:
        """Up to the ``;``, ``,`` or closing bracket that ends it."""
        first = self.at
        simple: Any = None
        if self.mark == "[":
            simple = self.ad()
        elif self.mark == "{":
            simple = self._list()
        elif first.kind == "string":
            simple = _unescaped(self.take().text)
        elif first.kind in ("number", "word"):
            simple = _literal(self.take().text)
        if self.mark in (";", ",", "]", "}"):
            return simple
        return self._skip(first)

    def _list(self) -> list[Any]:
        self.take()
        found = []
        while self.mark != "}":
            found.append(self.value())
            if self.mark != "}":
                self._expect(",")
        self.take()
        return found

    def _skip(self, first: _Token) -> Expression:
        """The rest of an expression, whatever is in it."""
        depth, end = 0, self.at.start
        while not self.over and (depth or self.mark not in (";", ",", "]", "}")):
            depth += (self.mark in _OPENING and self.mark != "") - (self.mark in _CLOSING and self.mark != "")
            end = self.take().end
        return Expression(self.text[first.start : end])


def _literal(text: str) -> Any:
    word = text.lower()
    if word in _WORDS:
        return _WORDS[word]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return Expression(text)


def _unescaped(text: str) -> str:
    if "\\" in text:
        text = _ESCAPE.sub(_letter, text)
    return _decoded(text)


def _letter(found: re.Match[str]) -> str:
    escape = found[1]
    if escape[0] in "01234567":
        return chr(int(escape, 8) & 0xFF)
    return _LETTERS.get(escape, escape)


def _decoded(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")
