"""ClassAd constraints as ``condor_q -constraint`` takes them: comparisons with ``&&``, ``||``, ``!``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

Value = str | int | float | bool | None
Constraint = Callable[[Mapping[str, Value]], Value]

_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w.]*)'
    r"|(?P<symbol>=\?=|=!=|==|!=|<=|>=|&&|\|\||[<>!()]))"
)
_CONSTANTS: Mapping[str, Value] = {"true": True, "false": False, "undefined": None}
_ORDERED = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class _Token(NamedTuple):
    kind: str
    text: str


def parse(text: str) -> Constraint:
    """What tells of an ad (names in lower case) whether it holds; None is "undefined", so it does not.

    Raises ``ValueError`` for what is no such expression.
    """
    reader = _Reader(_tokens(text))
    constraint = reader.either()
    if reader.tokens:
        raise ValueError(f"{reader.tokens[0].text!r} is not expected there")
    return constraint


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"{text[at:].strip()!r} is not understood")
        found.append(_Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class _Reader:
    """Takes tokens from the front; methods from the loosest binding to the tightest."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens

    def either(self) -> Constraint:
        sides = [self.both()]
        while self._next("||"):
            sides.append(self.both())
        return sides[0] if len(sides) == 1 else lambda ad: _any([one(ad) for one in sides])

    def both(self) -> Constraint:
        sides = [self.comparison()]
        while self._next("&&"):
            sides.append(self.comparison())
        return sides[0] if len(sides) == 1 else lambda ad: _not(_any([_not(one(ad)) for one in sides]))

    def comparison(self) -> Constraint:
        left = self.term()
        for symbol in (*_ORDERED, "=?=", "=!="):
            if self._next(symbol):
                right = self.term()
                return lambda ad: _compared(symbol, left(ad), right(ad))
        return left

    def term(self) -> Constraint:
        if self._next("!"):
            negated = self.term()
            return lambda ad: _not(negated(ad))
        if self._next("("):
            inner = self.either()
            if not self._next(")"):
                raise ValueError("a bracket is not closed")
            return inner
        if not self.tokens or self.tokens[0].kind == "symbol":
            raise ValueError("a name or a value is missing")
        return _value(self.tokens.pop(0))

    def _next(self, symbol: str) -> bool:
        if self.tokens and self.tokens[0] == ("symbol", symbol):
            self.tokens.pop(0)
            return True
        return False


def _value(token: _Token) -> Constraint:
    if token.kind == "name":
        name = token.text.lower()
        return (lambda ad: _CONSTANTS[name]) if name in _CONSTANTS else (lambda ad: ad.get(name))
    value: Value = re.sub(r"\\(.)", r"\1", token.text[1:-1]) if token.kind == "text" else float(token.text)
    return lambda ad: value


def _compared(symbol: str, left: Value, right: Value) -> Value:
    if symbol in ("=?=", "=!="):
        return ((type(left) is str) == (type(right) is str) and left == right) == (symbol == "=?=")
    if left is None or right is None or isinstance(left, str) != isinstance(right, str):
        return None
    if isinstance(left, str) and isinstance(right, str):  # ClassAds compare without regard to case
        left, right = left.lower(), right.lower()
    return bool(_ORDERED[symbol](left, right))


def _not(value: Value) -> Value:
    return None if value is None else not value


def _any(values: list[Value]) -> Value:
    return True if any(values) else None if None in values else False
