"""DAGMan's rescue files: which nodes need not run again."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from pegasus_toolkit.dag.problems import DagError, Problem

_MOST = 100  # where DAGMan looks no further, and writes the last one anew


def newest(dag: str | Path) -> Path | None:
    """The rescue file that a new run of ``dag`` begins from; None if there is none."""
    number = _last(Path(dag))
    return _named(Path(dag), number) if number else None


def read(file: str | Path) -> set[str]:
    """The nodes that are done. Raises :class:`DagError` for a file that is no rescue file (any more)."""
    done: set[str] = set()
    problems = []
    for number, line in enumerate(Path(file).read_text("utf-8", "surrogateescape").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#") or words[0].upper() == "RETRY":
            continue
        if words[0].upper() != "DONE" or len(words) != 2:
            problems.append(Problem(str(file), number, f"expected DONE and a node, found {line!r}"))
        else:
            done.add(words[1])
    if problems:
        raise DagError(problems)
    return done


def write(dag: str | Path, done: Sequence[str], failed: Sequence[str], total: int) -> Path:
    """A new rescue file for ``dag``, numbered on from the last one; there as a whole or not at all."""
    path = _named(Path(dag), min(_last(Path(dag)) + 1, _MOST))
    now = time.gmtime()
    lines = [
        "# Rescue DAG file, created after running",
        f"#   the {Path(dag).name} DAG file",
        f"# Created {now.tm_mon}/{now.tm_mday}/{now.tm_year} {time.strftime('%H:%M:%S', now)} UTC",
        "# Rescue DAG version: 2.1.0",
        "#",
        f"# Total number of Nodes: {total}",
        f"# Nodes premarked DONE: {len(done)}",
        f"# Nodes that failed: {len(failed)}",
        f"#   {''.join(f'{name},' for name in failed)}<ENDLIST>",
        "",
        *(f"DONE {name}" for name in done),
        "",
    ]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text("\n".join(lines), "utf-8", "surrogateescape")
        aside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
    return path


def _last(dag: Path) -> int:
    prefix = f"{dag.name}.rescue"
    try:
        names = [one.name for one in dag.parent.iterdir() if one.name.startswith(prefix)]
    except OSError:
        return 0
    numbers = [name[len(prefix) :] for name in names]
    return max((int(one) for one in numbers if one.isdecimal() and len(one) == 3), default=0)


def _named(dag: Path, number: int) -> Path:
    return dag.with_name(f"{dag.name}.rescue{number:03d}")
