"""Replicas that are in no YAML file: listed in a directory, or in a database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pegasus_toolkit.planner.catalogs import Replica, ReplicaCatalog
from pegasus_toolkit.planner.reading import replicas
from pegasus_toolkit.planner.reading.reader import Reader

_PLACES = (
    "SELECT lfn, pfn, coalesce(site, 'local') FROM rc_lfn JOIN rc_pfn USING (lfn_id) ORDER BY lfn, pfn_id"
)
_FACTS = "SELECT lfn, key, value FROM rc_lfn JOIN rc_meta USING (lfn_id)"


def directory(reader: Reader, top: Path, site: str, prefix: str, flat: bool) -> ReplicaCatalog:
    """All files below ``top``, by their paths there; ``flat``: by their names alone.

    ``prefix``: what stands before their paths in URLs. Raises ``OSError`` where it is no directory.
    """
    list(top.iterdir())
    entries: dict[str, Replica] = {}
    for path in _files(top):
        lfn = path.name if flat else str(path.relative_to(top))
        entry = {"lfn": lfn, "pfns": [{"site": site, "pfn": f"{prefix}{path}"}]}
        entries.setdefault(lfn, *replicas.read(reader, {"replicas": [entry]}).entries.values())
    return ReplicaCatalog(entries=entries)


def _files(top: Path) -> Iterator[Path]:
    for at, _, names in sorted(os.walk(top)):
        for name in sorted(names):
            yield Path(at, name)


def database(reader: Reader, path: Path) -> ReplicaCatalog:
    """What Pegasus' SQLite replica catalog says. Raises ``sqlite3.Error``."""
    entries: dict[str, dict[str, object]] = {}
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for lfn, pfn, site in connection.execute(_PLACES):
            entry = entries.setdefault(lfn, {"lfn": lfn, "pfns": [], "metadata": {}})
            entry["pfns"].append({"site": site, "pfn": pfn})  # type: ignore[attr-defined]
        for lfn, key, value in connection.execute(_FACTS):
            if lfn in entries:
                entries[lfn]["metadata"][key] = str(value)  # type: ignore[index]
    return replicas.read(reader, {"replicas": list(entries.values())})
