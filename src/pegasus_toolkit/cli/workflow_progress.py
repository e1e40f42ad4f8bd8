"""How far a workflow is: one live line on a terminal, short lines in a log, a summary at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.transfer import units

if TYPE_CHECKING:
    from pegasus_toolkit.engines.local.engine import Observer

INTERVAL = 30.0  # seconds between two lines in a log


class Progress:
    """Tells a person about a run of the local engine."""

    def __init__(self, console: Console, directory: str, beside: Callable[[bool], str] | None = None) -> None:
        """``beside``: what else is told, given whether it is a live line."""
        self.console = console
        self.directory = directory
        self.beside = beside
        self.live = console.stream is not None and console.stream.isatty() and not console.quiet
        self.counts: Mapping[str, int] = {}
        self._began = time.monotonic()
        self._next = INTERVAL

    def say(self, level: str, text: str) -> None:
        unwanted = {"debug": not self.console.wants_debug, "info": self.console.quiet}
        if not unwanted.get(level, False):
            self.console.lines(level.upper(), [text])

    def progress(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)
        seconds = time.monotonic() - self._began
        if self.live:
            self.console.status(self._line(counts, seconds))
        elif seconds >= self._next:
            self._next = seconds + INTERVAL
            self.console.info(self._line(counts, seconds))

    def _line(self, counts: Mapping[str, int], seconds: float) -> str:
        """The other things first: they tell more, and narrow terminals cut the rest."""
        if self.beside is None:
            return _line(counts, seconds)
        total = sum(counts.values())
        return f"{self.beside(self.live)}  ({counts.get('done', 0)}/{total} nodes)"

    def summary(self, code: int, as_json: bool) -> None:
        """How it ended, and where to look."""
        self.console.status("")
        seconds = time.monotonic() - self._began
        counts = self.counts
        text = f"{counts.get('done', 0)} of {sum(counts.values())} nodes are done in {units.span(seconds)}"
        failed = counts.get("failed", 0)
        if failed:
            text += f"; {failed} failed; {counts.get('futile', 0)} not run because they depend on them"
        if as_json:
            known = {
                "submit_dir": self.directory,
                "exit": code,
                "seconds": round(seconds, 3),
                "nodes": counts,
            }
            print(json.dumps(known))
        if code == 0:
            self.console.info(text)
            return
        self.console.lines("ERROR" if code == 1 else "WARNING", [text])
        self.console.info(f"what happened: pegasus-analyzer {self.directory}")
        self.console.info(f"to go on:      pegasus-run {self.directory}")


if TYPE_CHECKING:
    _: type[Observer] = Progress


def _line(counts: Mapping[str, int], seconds: float) -> str:
    done, total = counts.get("done", 0), max(sum(counts.values()), 1)
    filled = done * 20 // total
    text = f"[{'#' * filled}{'.' * (20 - filled)}] {done}/{total} nodes  {counts.get('queued', 0)} running"
    for state in ("ready", "failed"):
        if counts.get(state):
            text += f"  {counts[state]} {state}"
    return text + f"  {units.span(seconds)}"
