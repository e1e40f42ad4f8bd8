"""Replica catalogs with a line for each replica: ``LFN PFN site="local" regex="true"``."""

from __future__ import annotations

import re

from pegasus_toolkit.planner.catalogs import ReplicaCatalog
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.reading import replicas
from pegasus_toolkit.planner.reading.reader import Reader

_WORD = re.compile(r'\s*(?:([A-Za-z_][\w.-]*)=)?(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_SITES = ("site", "pool", "resourcehandle")  # the last two from before Pegasus 3


def is_yaml(text: str) -> bool:
    """Whether a catalog of either form is one of YAML."""
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return first.startswith(("pegasus:", "replicas:", "x-pegasus:", "{", "---"))


def read(reader: Reader, text: str) -> ReplicaCatalog:
    """The catalog; what is wrong goes to the reader's problems, with its line."""
    entries: list[dict[str, object]] = []
    lines: list[int] = []
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
        lines.append(number)
    found = replicas.read(reader, {"replicas": entries})
    for n, one in enumerate(reader.problems):
        if not one.line and len(one.path) > 1 and isinstance(one.path[1], int):
            reader.problems[n] = one._replace(path=one.path[2:], line=lines[one.path[1]])
    return found


def _words(line: str) -> list[tuple[str, str, str | None]]:
    return [(m[1] or "", m[2] or "", m[3]) for m in _WORD.finditer(line)]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
