"""How far a shard is, told while it runs to whoever waits at the submit host.

A line goes into ``NAME.progress`` in the start directory, where the submit host sees it if that is its own
``records``. A job in HTCondor's sandbox also has it written into the job's event log, by Chirp: the protocol
that a job speaks to its starter (HTCondor manual, "condor_chirp", ``ulog``; ``+WantIOProxy`` allows it).
"""

# pathlib would cost start-up time
# ruff: noqa: PTH105, PTH123

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pegasus_toolkit.transfer.model import Outcome
from pegasus_toolkit.transfer.observer import Observer, Progress

FILE = ".progress"
MARK = "pegasus-progress"  # begins the line in an event log: MARK NODE NUMBERS
_PACE = 1.0  # seconds between two lines in the file ...
_FAR_PACE = 15.0, 300.0  # ... and in an event log, at first and in a run of hours
_PATIENCE = 5.0  # seconds for the starter to answer


class ShardProgress(NamedTuple):
    """``files``: over, of those ``known`` so far, more to come while ``listing`` is 1; ``whole``: bytes of
    what is over and under way, of ``size`` (-1 where nobody knows)."""

    files: int
    known: int
    listing: int
    failed: int
    whole: int
    size: int

    def line(self) -> str:
        return ",".join(map(str, self))


def parsed(line: str) -> ShardProgress | None:
    """What :meth:`ShardProgress.line` wrote; ``None`` for anything else."""
    try:
        numbers = [int(one) for one in line.strip().split(",")]
    except ValueError:
        return None
    return ShardProgress(*numbers) if len(numbers) == len(ShardProgress._fields) else None


class Reports:
    """Tells of one node's ``Progress``. That it cannot be told never harms the transfer."""

    def __init__(self, start: str, node: str, environ: Mapping[str, str]) -> None:
        self._path, self._node = f"{start}/{node}{FILE}", node
        self._chirp = environ.get("_CONDOR_CHIRP_CONFIG", "")
        self._next = self._far = 0.0

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing: the next tick tells."""

    def tick(self, progress: Progress) -> None:
        over = progress.files >= progress.known and not progress.listing  # the last look is told in any case
        if progress.seconds < self._next and not over:
            return
        self._next = progress.seconds + _PACE
        size = -1 if progress.size is None else progress.size
        now = ShardProgress(
            progress.files, progress.known, int(progress.listing), progress.failed, progress.whole, size
        )
        self._write(now.line())
        if self._chirp and progress.seconds >= self._far:
            soonest, latest = _FAR_PACE
            self._far = progress.seconds + min(max(soonest, progress.seconds / 20), latest)
            self._log(f"{MARK} {self._node} {now.line()}")

    def _write(self, line: str) -> None:
        try:
            with open(f"{self._path}.new", "w", encoding="ascii") as stream:
                stream.write(line)
            os.replace(f"{self._path}.new", self._path)
        except OSError:  # a full disk: what matters is told by the journal and the record
            self._next = float("inf")

    def _log(self, text: str) -> None:
        try:
            with open(self._chirp, encoding="ascii") as stream:
                host, port, cookie = stream.read().split()[:3]
            with socket.create_connection((host, int(port)), _PATIENCE) as starter:
                for command in (f"cookie {cookie}\n", "ulog " + text.replace(" ", "\\ ") + "\n"):
                    starter.sendall(command.encode())
                    if starter.recv(100)[:1] == b"-":  # a negative number is a refusal
                        raise ConnectionRefusedError
        except (OSError, ValueError):
            self._chirp = ""


_: type[Observer] = Reports
