"""``--check``: what became of one attempt at a node, decided from its record and noted for good."""

# pathlib would cost start-up time
# ruff: noqa: PTH100, PTH116, PTH119, PTH120, PTH123

from __future__ import annotations

import fcntl
import json
import os
import time

TYPE_CHECKING = False  # importing typing would cost 5 ms, after every job
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LOG = "provenance.jsonl"
_AVOIDED = 300  # seconds
_DAGMAN = {  # what DAGMan says in place of a program's exit code
    -1001: "HTCondor did not take the job",
    -1002: "the job was removed, or held and removed",
    -1003: "DAGMan lost the job's event log",
    -1004: "its PRE script failed",
}
_STATUS = {
    "1": "DAGMan met an error",
    "2": "nodes failed",
    "3": "a node aborted the DAG",
    "4": "the DAG was removed",
    "5": "a cycle",
    "6": "the DAG was halted",
}


class Verdict:
    """``code``: 0 done, 1 another try may mend it, 2 none will; ``why``: one line, "" for 0."""

    def __init__(self, code: int, why: str = "") -> None:
        self.code = code
        self.why = why


def check(path: str, code: int, rest: Sequence[str] = ()) -> Verdict:
    """The verdict on the attempt that left the record ``path`` and ended with ``code``.

    It is noted in ``provenance.jsonl`` in the directory above the record's. ``rest``: DAGMan's status and
    its count of failed nodes, for the last node. Raises ``OSError`` where it cannot be noted.
    """
    path = os.path.abspath(path)
    name = os.path.basename(path).removesuffix(".json")
    seen = _Seen(path.removesuffix(".json") + ".tries")
    raw, record, problem = _read(path, name, seen)
    verdict = _final(_decide(code, record, problem), rest)
    line = {
        "node": name,
        "at": round(time.time(), 3),
        "return": code,
        "verdict": verdict.code,
        "why": verdict.why,
        "attempt": seen.count + 1,
    }
    text = (
        json.dumps(line)[:-1].encode() + b', "record": ' + (raw if record is not None else b"null") + b"}\n"
    )
    _append(f"{os.path.dirname(os.path.dirname(path))}/{LOG}", text)
    if verdict.code:
        seen.add(path)
        if record is not None and record.get("failure") == "machine" and verdict.code == 1:
            _elsewhere(path, str(record.get("host") or ""))
    return verdict


def _elsewhere(path: str, host: str) -> None:
    """The next attempts' submit file includes this: for some minutes they do not go where something lacks.

    Not for ever, as there may be no other machine.
    """
    import re  # which most attempts need not wait for

    name = re.sub(r"[^\w-]", "[.]", host)
    if name:
        wish = f'!regexp("^{name}([.]|$)", TARGET.Machine, "i") || time() - QDate > {_AVOIDED}'
        with open(f"{path.removesuffix('.json')}.elsewhere", "a", encoding="utf-8") as file:
            file.write(f"requirements = ($(requirements:true)) && ({wish})\n")


class _Seen:
    """Attempts that failed before: a line each in ``NODE.tries``, that names the record they left."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with open(path, encoding="ascii") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            lines = []
        self.count = len(lines)
        self.last = lines[-1] if lines else ""

    def add(self, path: str) -> None:
        with open(self.path, "a", encoding="ascii") as file:
            file.write(f"{identity(path)}\n")


def identity(path: str) -> str:
    """Tells a file from another that takes its place; "-" where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return "-"
    return f"{status.st_ino}:{status.st_mtime_ns}:{status.st_size}"


def _read(path: str, name: str, seen: _Seen) -> tuple[bytes, dict[str, Any] | None, str]:
    """The record as it stands and as data; or what is wrong with it."""
    here = identity(path)
    if here in ("-", seen.last):
        more = "" if here == "-" else "; the one that is there is of the attempt before"
        return b"", None, f"the job left no record{more}"
    try:
        with open(path, "rb") as file:
            raw = file.read().strip()
        record = json.loads(raw)
    except OSError as error:
        return b"", None, f"the job's record cannot be read: {error.strerror}"
    except ValueError:
        return b"", None, "the job's record is broken"
    if not isinstance(record, dict) or record.get("version") != 1 or record.get("node") != name:
        return b"", None, "the job's record is of another version or node"
    return b" ".join(raw.splitlines()), record, ""


def _decide(code: int, record: dict[str, Any] | None, problem: str) -> Verdict:
    if record is None:
        return Verdict(1, _together(problem, _ended(code)))
    exit = record.get("exit")
    error = str(record.get("error") or "")
    if code == exit == 0:
        return Verdict(0)
    if code == exit and exit in (1, 2):
        return Verdict(exit, error or f"exit code {exit}")
    if exit == 0:
        return Verdict(1, _together(_ended(code), "though its record says that all is done"))
    return Verdict(1, _together(error, _ended(code) or f"the record says exit code {exit}, the job 0"))


def _final(verdict: Verdict, rest: Sequence[str]) -> Verdict:
    """A last node that ends well would make a success of a DAG that failed."""
    status, failed = (*rest, "0", "0")[:2] if rest else ("0", "0")
    if status in ("0", "") and failed in ("0", ""):
        return verdict
    text = (
        f"{failed} nodes failed" if failed not in ("0", "") else _STATUS.get(status, f"DAG status {status}")
    )
    return Verdict(max(1, verdict.code), _together(verdict.why, text))


def _ended(code: int) -> str:
    if code in _DAGMAN:
        return _DAGMAN[code]
    if code < 0:
        return f"it was ended by signal {-code}"
    return f"it ended with exit code {code}" if code else ""


def _together(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _append(path: str, text: bytes) -> None:
    """One line, whole: a part of one that cannot be written is taken back."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            text = b"\n" + text  # whoever wrote before did not come to its end
        try:
            written = os.write(descriptor, text)
            if written != len(text):
                raise OSError(28, "No space left on device", path)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
