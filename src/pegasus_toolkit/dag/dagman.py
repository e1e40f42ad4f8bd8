"""DAGMan's own log and settings: the sentences that others look for in it, and what it can be told."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.dag.problems import DagError, Problem

# The status of a DAG, as $DAG_STATUS tells it.
OK, ERROR, NODE_FAILED, ABORTED, REMOVED, CYCLE, HALTED = range(7)
RESTART = 3  # the exit code with which DAGMan asks HTCondor to start it again: not an end
STATUSES = (
    "DAG_STATUS_OK",
    "DAG_STATUS_ERROR",
    "DAG_STATUS_NODE_FAILED",
    "DAG_STATUS_ABORT",
    "DAG_STATUS_RM",
    "DAG_STATUS_CYCLE",
    "DAG_STATUS_HALTED",
)
# What $RETURN is where no job has ended by itself.
SUBMIT_FAILED, JOB_ABORTED, JOB_SKIPPED = -1001, -1002, -1004
SETTINGS = ("MAX_JOBS_SUBMITTED", "MAX_PRE_SCRIPTS", "MAX_POST_SCRIPTS", "DEFAULT_APPEND_VARS")


class Sentence(NamedTuple):
    """A line of the log. ``node``: "" where it is about none."""

    at: float
    text: str
    node: str


_LINE = re.compile(r"(\d\d)/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d)(?:\.\d+)? (?:\([^)]*\) )?(.*)")
_NODE = re.compile(r"\b[Nn]ode (\S+)")


def line(text: str, at: float) -> str:
    """``text`` as a line of DAGMan's log."""
    return f"{time.strftime('%m/%d/%y %H:%M:%S', time.localtime(at))} {text}\n"


def sentence(text: str) -> Sentence | None:
    """A line of the log, taken apart; None for one without a time."""
    match = _LINE.match(text)
    if match is None:
        return None
    month, day, year, hour, minute, second = (int(match[n]) for n in range(1, 7))
    at = time.mktime((2000 + year, month, day, hour, minute, second, 0, 0, -1))
    node = _NODE.search(match[7])
    return Sentence(at, match[7].rstrip("\n"), node[1].rstrip(".") if node else "")


_WORDS = (
    "ERROR",
    "Error",
    "Warning",
    "BAD EVENT",
    "Aborting because",
    "Unable to ",
    "Failed to ",
    "failed to ",
)
_USUAL = ("ERROR: the following job(s) failed", "Warning: failed to get attribute DAGNodeName")
_TAIL, _FEW = 1 << 16, 4


def last_words(dag: str) -> str:
    """What DAGMan said before it gave up, on one line; "" if there is nothing but nodes that failed."""
    for path in (f"{dag}.dagman.out", f"{dag}.lib.err"):
        try:
            with open(path, "rb") as stream:  # noqa: PTH123  pathlib would cost start-up time
                stream.seek(max(0, stream.seek(0, 2) - _TAIL))
                lines = stream.read().decode("utf-8", "replace").splitlines()
        except OSError:
            continue
        began = max((n for n, text in enumerate(lines) if " STARTING UP" in text), default=0)
        said = [found.text if (found := sentence(one)) else one.strip() for one in lines[began:]]
        words = [one for one in said if one.startswith(_WORDS) and not one.startswith(_USUAL)]
        if words:
            return "; ".join(dict.fromkeys(words[-_FEW:]))
    return ""


def table(counts: Mapping[str, int]) -> list[str]:
    """How far the DAG is; ``counts``: by done, pre, queued, post, ready, unready, failed, futile."""
    heads = ("done", "pre", "queued", "post", "ready", "unready", "failed", "futile")
    widths = (5, 7, 8, 7, 7, 10, 8, 8)
    numbers = "".join(f"{counts[head]:>{width}} " for head, width in zip(heads, widths, strict=True))
    return [
        f"Of {sum(counts.values())} nodes total:",
        " Done     Pre   Queued    Post   Ready   Un-Ready   Failed   Futile",
        "  ===     ===      ===     ===     ===        ===      ===      ===",
        numbers.rstrip(),
    ]


def settings(file: str | Path) -> dict[str, str]:
    """``DAGMAN_NAME = value`` lines, by upper-case name without ``DAGMAN_``. Raises :class:`DagError`."""
    found = {}
    try:
        text = Path(file).read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise DagError([Problem(str(file), 0, f"cannot be read: {error.strerror}")]) from None
    for number, raw in enumerate(text.splitlines(), 1):
        name, equals, value = raw.partition("=")
        if not raw.strip() or raw.strip().startswith("#"):
            continue
        if not equals:
            raise DagError([Problem(str(file), number, f"expected NAME = value, found {raw!r}")])
        found[name.strip().upper().removeprefix("DAGMAN_")] = value.strip()
    return found
