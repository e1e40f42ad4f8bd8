"""Downloads by FTP: as HTTP's, with the little that the replies tell."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from pegasus_toolkit.transfer.backends.http.get import Fetch, Gets
from pegasus_toolkit.transfer.clients.curl.exchange import Again, StopReading
from pegasus_toolkit.transfer.clients.curl.ftp import DATED, REST, FtpExchange
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.interface import Job, Sink
from pegasus_toolkit.transfer.units import number

SETTLED = 60.0  # seconds: a file that was changed just now may change again within the same second


class FtpFetch(Fetch, FtpExchange):
    """One file, or the rest of one that an earlier attempt began."""

    def __init__(self, batch: Gets, job: Job[Sink]) -> None:
        super().__init__(batch, job)
        self.extra = (DATED,)

    def begin(self, head: Head) -> None:
        """Tells the sink the size, as SIZE told it, and asks for the rest of what it kept."""
        if self.kept:
            return self.receive()
        told = [reply.lines[0].split() for reply in self.replies if reply.code == 213]
        numbers = [words[1] for words in told if len(words) > 1 and words[1].isdigit()]
        if len(numbers) > 1 and (size := number(numbers[1])) is not None:  # MDTM and SIZE, in this order
            self.size = size
            self.job.end.announce(size)
            self.validator = _settled(numbers[0])
        if self.validator and self.size is not None and self.size >= self.batch.tuning.resumable:
            self._resume_by(self.size)
        self.receive()

    def _resume_by(self, size: int) -> None:
        self.kept = self.job.end.resume(f"{self.first} {self.validator} {size}")
        if self.kept == size:
            raise StopReading
        if self.kept:
            self.extra = (f"{REST}{self.kept}",)
            raise Again

    def _judge(self, handle: Any, code: int, text: str) -> bool:
        return FtpExchange._judge(self, handle, code, text)


def _settled(stamp: str) -> str:
    """A time of MDTM that stands for the content; "" where that may still change unseen."""
    try:
        then = datetime.strptime(stamp[:14], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return ""
    return stamp if time.time() - then > SETTLED else ""


class FtpGets(Gets):
    """One batch of downloads."""

    fetch = FtpFetch
