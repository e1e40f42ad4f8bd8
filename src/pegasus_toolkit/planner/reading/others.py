"""Replica catalogs that are no YAML: a line a replica, a directory, a database."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pegasus_toolkit.planner.catalogs import Replica, ReplicaCatalog
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.reading import replicas
from pegasus_toolkit.planner.reading.reader import Reader

_WORD = re.compile(r'\s*(?:([A-Za-z_][\w.-]*)=)?(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_SITES = ("site", "pool", "resourcehandle")  # the last two from before Pegasus 3
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


def is_yaml(text: str) -> bool:
    """Whether a catalog of either form is one of YAML."""
    found = (line.strip() for line in text.splitlines())
    first = next((line for line in found if line and not line.startswith("#")), "")
    return first.startswith(("pegasus:", "replicas:", "x-pegasus:", "{", "---"))


def lines(reader: Reader, text: str) -> ReplicaCatalog:
    """The catalog; what is wrong goes to the reader's problems, with its line."""
    entries: list[dict[str, object]] = []
    numbers: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = [
            (key, plain if plain is not None else _unescaped(quoted)) for key, quoted, plain in _words(line)
        ]
        if len(words) < 2:
            reader.problems.append(Problem(reader.file, (), "expected LFN PFN [KEY=VALUE ...]", number))
            continue
        named = {key: value for key, value in words[2:] if key}
        sites = [named[key] for key in _SITES if key in named]
        sites += [value for key, value in words[2:] if not key]
        lfn, pfn = (f"{key}={value}" if key else value for key, value in words[:2])
        place = {"pfn": pfn, **({"site": sites[0]} if sites else {})}
        entries.append({"lfn": lfn, "pfns": [place], "regex": named.get("regex", "false")})
        numbers.append(number)
    found = replicas.read(reader, {"replicas": entries})
    for n, one in enumerate(reader.problems):
        if not one.line and len(one.path) > 1 and isinstance(one.path[1], int):
            reader.problems[n] = one._replace(path=one.path[2:], line=numbers[one.path[1]])
    return found


def _words(line: str) -> list[tuple[str, str, str | None]]:
    return [(m[1] or "", m[2] or "", m[3]) for m in _WORD.finditer(line)]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
