"""The quoting rules of DAG and submit files, each in one place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NEEDS_QUOTES = re.compile(r"[\s']").search


def macro(text: str) -> str:
    """``text`` inside a value of a submit file, so that no ``$(...)`` in it is expanded."""
    return text.replace("$", "$(DOLLAR)")


def string(text: str) -> str:
    """The value of an attribute that is text."""
    escaped = macro(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def vars_value(text: str) -> str:
    """A value of DAGMan's ``VARS``, with its quotes. Macros in it stay macros. No line ends."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def arguments(words: Iterable[str]) -> str:
    """The value of ``arguments``, in HTCondor's new syntax. Macros in it stay macros."""
    return '"' + " ".join(_word(word) for word in words) + '"'


def environment(variables: Mapping[str, str]) -> str:
    """The value of ``environment``, in HTCondor's new syntax; values are taken literally."""
    return '"' + " ".join(_word(f"{name}={macro(value)}") for name, value in variables.items()) + '"'


def _word(text: str) -> str:
    """Single quotes around what has spaces or quotes; either kind of quote within is doubled."""
    text = text.replace('"', '""')
    if text and not _NEEDS_QUOTES(text):
        return text
    return "'" + text.replace("'", "''") + "'"
