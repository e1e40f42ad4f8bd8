"""HTCondor's job event log in its text form, read and written."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SUBMIT = 0
EXECUTE = 1
TERMINATED = 5
ABORTED = 9
HELD = 12
RELEASED = 13
POST_SCRIPT = 16
PRE_SKIP = 34
CLUSTER_SUBMIT = 35

_END = b"\n...\n"
_BLOCK = 1 << 20
_HEAD = re.compile(
    r"(\d+) \((-?\d+)\.(-?\d+)\.(-?\d+)\) "
    r"(?:(\d{4})-(\d\d)-(\d\d)|(\d\d)/(\d\d))[ T](\d\d):(\d\d):(\d\d)(\.\d+)?(Z?) ?(.*)"
)
# DAGMan names the node in the one way, the schedd for a job that DAGMan submits directly in the other.
_NODE = re.compile(r'^\s*(?:DAG Node: (.*)|\[.*\bDAGNodeName = "((?:[^"\\]|\\.)*)")', re.MULTILINE)
_NORMAL = re.compile(r"^\s*\(1\) Normal termination \(return value (-?\d+)\)", re.MULTILINE)
_SIGNAL = re.compile(r"^\s*\(0\) Abnormal termination \(signal (\d+)\)", re.MULTILINE)
_CODES = re.compile(r"^\s*Code (\d+) Subcode (-?\d+)", re.MULTILINE)
_USAGE = re.compile(
    r"^\s*Usr (\d+) (\d+):(\d+):(\d+), Sys (\d+) (\d+):(\d+):(\d+)  -  Run Remote Usage", re.MULTILINE
)


class Event(NamedTuple):
    """One event.

    ``kind``: the event's number; ``at``: epoch seconds; ``node``: of the DAG, where the event tells it;
    ``returned``, ``signal``: how a job or script ended; ``user``, ``system``: CPU seconds of a job that
    ended; ``reason``: the second line of what was held or aborted; ``code``: of a hold; ``text``: the rest
    of the first line.
    """

    kind: int
    cluster: int
    proc: int
    subproc: int
    at: float
    text: str
    node: str = ""
    returned: int | None = None
    signal: int | None = None
    user: float = 0.0
    system: float = 0.0
    reason: str = ""
    code: int = 0


# Of an event the fields from ``node`` on.
_Detail = tuple[str, int | None, int | None, float, float, str, int]


class EventLog:
    """Reads a log from byte ``offset`` on; iterated again, it goes on with what was written since.

    Only whole events are given, and ``offset`` is behind the last one, so it can be kept and used for
    another reader later. A log that is not there is empty. Lines that are no event are passed over.
    """

    def __init__(self, file: str | Path, offset: int = 0) -> None:
        self.file = Path(file)
        self.offset = offset

    def __iter__(self) -> Iterator[Event]:
        try:
            stream = self.file.open("rb")
        except FileNotFoundError:
            return
        with stream:
            stream.seek(self.offset)
            rest = b""
            while block := stream.read(_BLOCK):
                # What follows the last end is being written, or goes on in the next block.
                *whole, rest = (rest + block).split(_END)
                for one in whole:
                    self.offset += len(one) + len(_END)
                    event = _parse(one.decode("utf-8", "replace"))
                    if event is not None:
                        yield event


def _parse(text: str) -> Event | None:
    first, _, rest = text.removeprefix("...\n").partition("\n")
    head = _HEAD.fullmatch(first)
    if head is None:
        return None
    kind = int(head[1])
    detail = _DETAILS.get(kind, _nothing)(rest)
    return Event(kind, int(head[2]), int(head[3]), int(head[4]), _seconds(head), head[15], *detail)


def _nothing(text: str) -> _Detail:
    return "", None, None, 0.0, 0.0, "", 0


def _of_node(text: str) -> _Detail:
    return _node(text), None, None, 0.0, 0.0, "", 0


def _node(text: str) -> str:
    match = _NODE.search(text)
    return (match[1] or match[2] or "").strip() if match else ""


def _of_script(text: str) -> _Detail:
    return _node(text), *_of_end(text)[1:]


def _of_end(text: str) -> _Detail:
    normal = _NORMAL.search(text)
    signal = _SIGNAL.search(text) if normal is None else None
    usage = _USAGE.search(text)
    return (
        "",
        int(normal[1]) if normal else None,
        int(signal[1]) if signal else None,
        _days(usage, 1) if usage else 0.0,
        _days(usage, 5) if usage else 0.0,
        "",
        0,
    )


def _of_reason(text: str) -> _Detail:
    codes = _CODES.search(text)
    return "", None, None, 0.0, 0.0, text.partition("\n")[0].strip(), int(codes[1]) if codes else 0


_DETAILS = {
    SUBMIT: _of_node,
    CLUSTER_SUBMIT: _of_node,
    PRE_SKIP: _of_node,
    TERMINATED: _of_end,
    POST_SCRIPT: _of_script,
    ABORTED: _of_reason,
    HELD: _of_reason,
}


def _days(match: re.Match[str], at: int) -> float:
    days, hours, minutes, seconds = (int(match[at + n]) for n in range(4))
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _seconds(head: re.Match[str]) -> float:
    if head[5] is None:  # as before HTCondor 8.9: without a year, so the last such day
        now = time.time()
        year = time.localtime(now).tm_year
        found = _mktime(head, year, int(head[8]), int(head[9]))
        return found if found < now + 86400 else _mktime(head, year - 1, int(head[8]), int(head[9]))
    return _mktime(head, int(head[5]), int(head[6]), int(head[7]))


def _mktime(head: re.Match[str], year: int, month: int, day: int) -> float:
    parts = (year, month, day, int(head[10]), int(head[11]), int(head[12]), 0, 0, -1)
    fraction = float(head[13] or 0)
    if head[14]:
        import calendar

        return calendar.timegm(parts) + fraction
    return time.mktime(parts) + fraction


def submitted(cluster: int, at: float, node: str, host: str, warning: str = "") -> str:
    """A job of ``node`` is in the queue."""
    return _event(SUBMIT, cluster, at, f"Job submitted from host: <{host}>\n    DAG Node: {node}")


def executing(cluster: int, at: float, host: str) -> str:
    """Its program begins."""
    return _event(EXECUTE, cluster, at, f"Job executing on host: <{host}>")


def terminated(cluster: int, at: float, status: int, user: float = 0.0, system: float = 0.0) -> str:
    """It has ended; ``status``: its exit code, or the negative signal; CPU seconds."""
    used = f"Usr {_clock(user)}, Sys {_clock(system)}"
    none = f"Usr {_clock(0)}, Sys {_clock(0)}"
    lines = [
        "Job terminated.",
        *_ending(status),
        *([] if status >= 0 else ["\t(0) No core file"]),
        f"\t\t{used}  -  Run Remote Usage",
        f"\t\t{none}  -  Run Local Usage",
        f"\t\t{used}  -  Total Remote Usage",
        f"\t\t{none}  -  Total Local Usage",
        "\t0  -  Run Bytes Sent By Job",
        "\t0  -  Run Bytes Received By Job",
        "\t0  -  Total Bytes Sent By Job",
        "\t0  -  Total Bytes Received By Job",
    ]
    return _event(TERMINATED, cluster, at, "\n".join(lines))


def aborted(cluster: int, at: float, reason: str) -> str:
    """It was removed."""
    return _event(ABORTED, cluster, at, f"Job was aborted.\n\t{_line(reason)}")


def held(cluster: int, at: float, reason: str, code: int) -> str:
    """It cannot go on; ``code`` is HTCondor's, 12 and 13: its files could not be carried."""
    return _event(HELD, cluster, at, f"Job was held.\n\t{_line(reason)}\n\tCode {code} Subcode 0")


def post_script(cluster: int, at: float, node: str, status: int) -> str:
    """The POST script of ``node`` has ended; ``status`` as in :func:`terminated`."""
    lines = ["POST Script terminated.", *_ending(status), f"    DAG Node: {node}"]
    return _event(POST_SCRIPT, cluster, at, "\n".join(lines))


def pre_skip(cluster: int, at: float, node: str) -> str:
    """The PRE script said that ``node`` is as good as done."""
    return _event(PRE_SKIP, cluster, at, f"PRE script return value is PRE_SKIP value\n    DAG Node: {node}")


def _ending(status: int) -> list[str]:
    if status >= 0:
        return [f"\t(1) Normal termination (return value {status})"]
    return [f"\t(0) Abnormal termination (signal {-status})"]


def _event(kind: int, cluster: int, at: float, body: str) -> str:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"
    return f"{kind:03d} ({cluster:03d}.000.000) {stamp} {body}\n...\n"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 86400} {whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _line(text: str) -> str:
    """On one line, or a reader would take it for more."""
    return " ".join(text.split()) or "unspecified"
