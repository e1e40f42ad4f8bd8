"""What is to be removed."""

from __future__ import annotations

from collections.abc import Sequence

from pegasus_toolkit.files.copying import Plan
from pegasus_toolkit.files.places import Wrong, expanded
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import NotFound
from pegasus_toolkit.transfer.model import Remove


def plan(names: Sequence[str], pool: Pool, recursive: bool = False, missing: bool = False) -> Plan:
    """``recursive``: directories, too, with all that is in them; ``missing``: what is not there is fine.

    Raises :class:`Wrong` and ``NotFound``.
    """
    removals: list[Remove] = []
    for text in names:
        try:
            for one in expanded(text, pool):
                if one.directory and not recursive:
                    raise Wrong(f"is a directory: {text}; -r removes it with all that is in it")
                removals.append(Remove(id=0, target=one.place, recursive=one.directory))
        except NotFound:
            if not missing:
                raise
    return Plan((), removals)
