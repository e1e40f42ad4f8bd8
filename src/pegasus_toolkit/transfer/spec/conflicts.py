"""Entries that cannot both be done, and entries that stand there twice.

A million destinations are kept as 64-bit hashes; only those whose hash is there twice are looked at
again, exactly.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.model import Location, Operation, Remove, Transfer
from pegasus_toolkit.transfer.spec.problems import Problem

Place = tuple[type[Operation], str, str, str]  # what kind of operation; where


class Conflicts:
    """Takes each operation once (``see``), then tells what is wrong between them (``settle``)."""

    def __init__(self) -> None:
        self.cwd = _cwd()
        self.warnings: list[str] = []
        self._hashes: array[int] = array("q")
        self._owners: array[int] = array("I")

    def see(self, operation: Operation) -> None:
        """Remembers where ``operation`` puts something."""
        places = self._places(operation)
        for place in places:
            self._hashes.append(hash(place))
            self._owners.append(operation.id)
        if isinstance(operation, Transfer):
            for source in operation.sources:
                if (Transfer, *urls.identity(source, self.cwd)) in places:
                    shown = redact.url(source.url)
                    self.warnings.append(
                        f"entry {operation.id}: source and destination are the same: {shown}"
                    )

    def settle(self, operation: Callable[[int], Operation]) -> tuple[set[int], list[Problem]]:
        """Entries to leave out, as an earlier one is the same; and conflicts.

        ``operation`` gives a seen operation again, by its ``id``.
        """
        dropped: set[int] = set()
        problems: dict[int, Problem] = {}
        first: dict[Place, int] = {}
        for index in self._candidates():
            later = operation(index)
            for place in self._places(later):
                earlier = first.setdefault(place, index)
                if earlier == index or index in dropped:
                    continue
                if self._meaning(operation(earlier)) == self._meaning(later):
                    dropped.add(index)
                    self.warnings.append(f"entry {index}: the same as entry {earlier}, done once")
                elif isinstance(later, Transfer):
                    problems.setdefault(index, _conflict(operation(earlier), later))
        return dropped, list(problems.values())

    def _candidates(self) -> Iterator[int]:
        """In order, the entries that share a hash with another."""
        twice = {a for a, b in pairwise(sorted(self._hashes)) if a == b}
        if not twice:
            return
        last = -1
        for value, owner in zip(self._hashes, self._owners, strict=True):
            if value in twice and owner != last:
                last = owner
                yield owner

    def _places(self, operation: Operation) -> list[Place]:
        if isinstance(operation, Transfer):
            return [(Transfer, *urls.identity(one, self.cwd)) for one in operation.destinations]
        return [(type(operation), *urls.identity(operation.target, self.cwd))]

    def _meaning(self, operation: Operation) -> tuple[object, ...]:
        """Equal for two operations that do the same, however their URLs are spelt."""
        if not isinstance(operation, Transfer):
            recursive = isinstance(operation, Remove) and operation.recursive
            return (type(operation), self._place(operation.target), recursive)
        return (
            tuple(self._place(one) for one in operation.sources),
            tuple(self._place(one) for one in operation.destinations),
            *(getattr(operation, name) for name in _OPTIONS),
        )

    def _place(self, location: Location) -> tuple[str, ...]:
        scheme, _, site = location.endpoint
        return (scheme, site, location.type, *urls.identity(location, self.cwd))


_OPTIONS = tuple(name for name in Transfer.__struct_fields__ if name not in ("id", "sources", "destinations"))


def _cwd() -> str:
    """Where relative paths begin; anything where that directory is gone."""
    try:
        return str(Path.cwd())
    except OSError:
        return "."


def _conflict(earlier: Operation, later: Transfer) -> Problem:
    """Why ``later`` cannot be done beside ``earlier``."""
    shown = redact.url(later.destinations[0].url)
    if not isinstance(earlier, Transfer):  # never: their places differ by kind
        return Problem(later.id, "dest_urls", f"the same destination as entry {earlier.id}")
    differ = [name for name in _OPTIONS if getattr(earlier, name) != getattr(later, name)]
    if [one.url for one in earlier.sources] != [one.url for one in later.sources] or not differ:
        differ = ["src_urls"]
    message = f"the same destination as entry {earlier.id}, but another {' and '.join(differ)}: {shown}"
    return Problem(later.id, "dest_urls", message)
