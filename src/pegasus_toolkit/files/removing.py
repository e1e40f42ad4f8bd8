"""What is to be removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pegasus_toolkit.files.copying import Plan
from pegasus_toolkit.files.places import Wrong, expanded, shown
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import NotFound
from pegasus_toolkit.transfer.model import Location, Remove


def plan(names: Sequence[str], pool: Pool, recursive: bool = False, missing: bool = False) -> Plan:
    """``recursive``: directories, too, with all that is in them; ``missing``: what is not there is fine.

    Raises :class:`Wrong` and ``NotFound``.
    """
    removals: list[Remove] = []
    for text in names:
        try:
            for one in expanded(text, pool):
                directory = one.directory and not _link(one.place)
                if directory and not recursive:
                    raise Wrong(f"is a directory: {shown(one.place)}; -r removes it with all that is in it")
                removals.append(Remove(id=0, target=one.place, recursive=directory))
        except NotFound:
            if not missing:
                raise
    return Plan((), removals)


def _link(where: Location) -> bool:
    """Whether it is a link on this machine: it goes, and never what it leads to."""
    return where.scheme in LOCAL and Path(where.path).is_symlink()
