"""How far a run of shards is, by files and bytes: what each of them tells, added up."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pegasus_toolkit.cli.progress import live_line, summary_line
from pegasus_toolkit.transfer.observer import Progress
from pegasus_toolkit.worker.shard_progress import FILE, MARK, ShardProgress, parsed

_EVENTS = "workflow.log"  # of all jobs, in the submit directory
_WINDOW = 60.0  # seconds that the rate of a live line is taken over; a far shard tells rarely


class Followed:
    """The shards of a submit directory. ``entries``: how many each has, by its name; ``size``: bytes of all
    files, where the specification says it of each."""

    def __init__(self, directory: str, entries: Mapping[str, int], size: int | None) -> None:
        self._records, self._events = Path(directory, "records"), Path(directory, _EVENTS)
        self._entries, self._size = entries, size
        self._far: dict[str, ShardProgress] = {}
        self._read = self._events.stat().st_size if self._events.exists() else 0
        self._over: dict[str, ShardProgress] = {}
        self._samples: deque[tuple[float, int]] = deque(maxlen=200)
        self._began, self._first = time.monotonic(), -1

    def line(self, live: bool) -> str:
        """For a terminal, or for a log."""
        progress = self._progress()
        if not live:
            return summary_line(progress)
        samples = self._samples
        samples.append((progress.seconds, progress.bytes))
        while progress.seconds - samples[0][0] > _WINDOW and len(samples) > 1:
            samples.popleft()
        seconds, size = progress.seconds - samples[0][0], progress.bytes - samples[0][1]
        return live_line(progress, size / seconds if seconds > 0 else 0.0)

    def _progress(self) -> Progress:
        """All together; ``bytes`` and ``seconds`` since this object was made."""
        self._look_at_events()
        told = [self._shard(name, count) for name, count in self._entries.items()]
        whole = sum(one.whole for one in told)
        self._first = whole if self._first < 0 else self._first
        listing = any(one.listing for one in told)
        size = self._size
        if size is None and all(one.size >= 0 for one in told):
            size = sum(one.size for one in told)
        files, known = sum(one.files for one in told), sum(one.known for one in told)
        failed = sum(one.failed for one in told)
        seconds = time.monotonic() - self._began
        moved = whole - self._first
        return Progress(
            known, files - failed, failed, moved, seconds, (), 0, files, known, listing, whole, size
        )

    def _shard(self, name: str, count: int) -> ShardProgress:
        if name in self._over:
            return self._over[name]
        receipt = self._receipt(name)
        if receipt is not None:
            files = sum(receipt.get(key, 0) for key in ("files", "mkdirs", "removes"))
            size = receipt.get("bytes", 0)
            self._over[name] = ShardProgress(files, files, 0, 0, size, size)
            return self._over[name]
        return self._near(name) or self._far.get(name) or ShardProgress(0, count, 0, 0, 0, -1)

    def _receipt(self, name: str) -> dict[str, Any] | None:
        """Of a shard that is done; ``None`` where it is not."""
        try:
            record = json.loads((self._records / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None
        done = isinstance(record, dict) and record.get("exit") == 0
        receipt = record.get("receipt") if done else None
        return receipt if isinstance(receipt, dict) else None

    def _near(self, name: str) -> ShardProgress | None:
        """What a shard on this machine writes."""
        try:
            return parsed((self._records / f"{name}{FILE}").read_text("ascii"))
        except (OSError, ValueError):
            return None

    def _look_at_events(self) -> None:
        """What shards elsewhere had written into the event log."""
        try:
            with self._events.open("rb") as stream:
                stream.seek(self._read)
                whole, end, _ = stream.read().rpartition(b"\n")
        except OSError:
            return
        self._read += len(whole) + len(end)
        for line in whole.decode("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) == 3 and words[0] == MARK and (told := parsed(words[2])) is not None:
                self._far[words[1]] = told
