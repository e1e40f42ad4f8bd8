"""``get`` and ``put`` for a backend that moves one file at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pegasus_toolkit.transfer.errors import TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Job, Sink, Source


class OneByOne(Protocol):
    """Give ``load`` and ``save``; whatever they raise of ours, or as ``OSError``, fails that job only."""

    def load(self, path: str, sink: Sink) -> None:
        """Reads the file into the sink."""

    def save(self, job: Job[Source]) -> None:
        """Writes ``job.end`` to ``job.path``; visible only when whole."""

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Moves each ``job.path`` into ``job.end``."""
        for job in jobs:
            try:
                self.load(job.path, job.end)
            except TransferError as error:
                job.error = error
            except OSError as error:
                job.error = from_oserror(error, url=job.path, side="source")
            yield job

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Moves each ``job.end`` to ``job.path``."""
        for job in jobs:
            try:
                self.save(job)
            except TransferError as error:
                job.error = error
            except OSError as error:
                job.error = from_oserror(error, url=job.path, side="destination")
            yield job
