"""How ``--help`` of every command is laid out: 80 columns, and what stands in lines or columns stays so."""

from __future__ import annotations

import argparse
import re
from itertools import groupby

WIDTH = 80
_COLUMNS = r"( *\S.*? {2,}(?=\S))(.+)"  # compiled where help is shown
_FURTHEST = 50  # a right column that begins beyond this goes below the left one


class Help(argparse.RawDescriptionHelpFormatter):
    """With a width of its own: to ask the terminal's, argparse imports what takes 2 ms at every start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=WIDTH)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fitted(text)


def fitted(text: str) -> str:
    """The same, with paragraphs and right columns that are too wide filled again; examples stay."""
    lines: list[str] = []
    for kind, group in groupby(text.split("\n"), _kind):
        some = list(group)
        if kind == "paragraph" and any(len(line) > WIDTH for line in some):
            lines += _wrapped(" ".join(some), "")
            continue
        for line in some:
            found = re.match(_COLUMNS, line) if len(line) > WIDTH else None
            lines += _in_columns(found[1], found[2]) if found else [line]
    return "\n".join(lines)


def _kind(line: str) -> str:
    return "paragraph" if line and not line[0].isspace() else "lines"


def _in_columns(left: str, right: str) -> list[str]:
    at = len(left)
    if at > _FURTHEST:
        return [left.rstrip(), *_wrapped(right, " " * 10)]
    first, *rest = _wrapped(right, " " * at)
    return [left + first[at:], *rest]


def _wrapped(text: str, indent: str) -> list[str]:
    import textwrap

    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
