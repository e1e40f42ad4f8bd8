"""Conditions on metadata: ``KEY=VALUE`` and the like, as options give them."""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Callable, Mapping

Condition = Callable[[Mapping[str, str]], bool]

HELP = "whose metadata KEY is VALUE; also !=, <, <=, >, >=, =~ (a regular expression), or KEY alone: has it"
_FORM = re.compile(r"([^=!<>]+?)\s*(=~|!=|<=|>=|=|<|>)\s*(.*)", re.S)
_ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def condition(text: str) -> Condition:
    """What tells of metadata whether it holds; for argparse. Without the key only ``!=`` does."""
    match = _FORM.fullmatch(text)
    if match is None:
        if not text or any(letter in text for letter in "=!<>"):
            raise argparse.ArgumentTypeError(f"expected KEY=VALUE, found {text!r}")
        return lambda table: text in table
    key, how, value = match[1].strip(), match[2], match[3]
    if how == "=~":
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise argparse.ArgumentTypeError(f"{value!r} is no regular expression: {error}") from None
        return lambda table: key in table and pattern.search(table[key]) is not None
    if how == "=":
        return lambda table: table.get(key) == value
    if how == "!=":
        return lambda table: table.get(key) != value
    return lambda table: key in table and _compared(how, table[key], value)


def _compared(how: str, left: str, right: str) -> bool:
    """Numbers as numbers; moments and words as text."""
    try:
        return bool(_ORDERED[how](float(left), float(right)))
    except ValueError:
        return bool(_ORDERED[how](left, right))
