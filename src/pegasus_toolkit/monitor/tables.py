"""Tables as text and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

Cell = str | int | float | None


class Table(NamedTuple):
    """``name``: for files and JSON; ``rows``: cells in the order of ``columns``; None: not known."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]

    def objects(self) -> list[dict[str, Cell]]:
        """Each row by its columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def text(table: Table) -> Iterator[str]:
    """Lines: the title, the heads, the rows; numbers to the right."""
    cells = [table.columns, *(tuple(map(shown, row)) for row in table.rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(table.columns))]
    right = [
        all(isinstance(row[at], (int, float, type(None))) for row in table.rows)
        for at in range(len(table.columns))
    ]
    yield f"# {table.title}"
    for row in cells:
        yield "  ".join(_padded(*one) for one in zip(row, widths, right, strict=True)).rstrip()


def _padded(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def shown(cell: Cell) -> str:
    """A cell; times and the like with two digits."""
    if cell is None:
        return "-"
    return f"{cell:.2f}" if isinstance(cell, float) else _line(str(cell))


def _line(text: str) -> str:
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def csv(tables: Sequence[Table]) -> Iterator[list[Cell]]:
    """Rows for :mod:`csv`: heads, then cells; an empty one between tables."""
    for number, table in enumerate(tables):
        if number:
            yield []
        yield list(table.columns)
        yield from map(list, table.rows)
