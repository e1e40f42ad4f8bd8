"""Files read from their replicas: in Rucio's order, many at one storage at a time, from the next one where
one fails or does not hold what the catalog says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

from pegasus_toolkit.transfer.backends.rucio.storage import Replica, Storages
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    Defect,
    ServerFault,
    Throttled,
    TimedOut,
    TransferError,
    Transient,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Endpoint, Job, Sink
from pegasus_toolkit.transfer.notes import Notes

SICK = (Unreachable, TimedOut, ServerFault, Throttled)  # what tells of a storage, not of a file
IN_A_ROW = 3  # such errors, and a storage is given up for the batch


class Trial(NamedTuple):
    """A job, the replicas that are left (none: it is over), and how those went that were tried."""

    job: Job[Sink]
    url: str
    left: deque[Replica]
    errors: list[tuple[Replica, TransferError]]


class Reading:
    """One batch. What was found bad is remembered for the run."""

    def __init__(self, storages: Storages, notes: Notes) -> None:
        self.storages = storages
        self.notes = notes
        self.sick: dict[Endpoint, TransferError] = {}
        self._in_a_row: dict[Endpoint, int] = {}

    def rank(self, replica: Replica) -> int:
        """Those that were found bad come last."""
        bad = (self.notes.marked("rucio", "bad", what) for what in (replica.pfn, str(replica.endpoint)))
        return sum(bad)

    def run(self, trials: list[Trial]) -> Iterator[Job[Sink]]:
        """Each job when it is over, well or not."""
        while trials:
            endpoint = trials[0].left[0].endpoint
            some = [one for one in trials if one.left[0].endpoint == endpoint]
            if endpoint not in self.sick:
                yield from self._read(endpoint, some)
            for trial in some if endpoint in self.sick else ():
                if trial.left and trial.left[0].endpoint == endpoint:
                    yield from self._judged(trial, self.sick[endpoint])
            trials = [one for one in trials if one.left]

    def _read(self, endpoint: Endpoint, trials: list[Trial]) -> Iterator[Job[Sink]]:
        """From one storage, until it is found sick."""
        begun: dict[Job[Sink], Trial] = {}

        def feed() -> Iterator[Job[Sink]]:
            for trial in trials:
                if endpoint in self.sick:
                    return
                job = Job(trial.left[0].path, "", trial.job.required, trial.job.end)
                begun[job] = trial
                yield job

        try:
            batch: Any = self.storages.backend(endpoint).get(feed())
            with closing(batch):
                for job in batch:
                    yield from self._judged(begun.pop(job), job.error)
            lost: TransferError = Defect("the backend lost track of it")
        except Cancelled:
            raise
        except TransferError as error:  # of all that were begun, or of the opening
            self.storages.drop(endpoint)
            self.sick[endpoint] = lost = error
        for trial in begun.values():
            yield from self._judged(trial, lost)

    def _judged(self, trial: Trial, error: TransferError | None) -> Iterator[Job[Sink]]:
        """The job, where it is over after a replica was tried; else the next one is."""
        job, replica = trial.job, trial.left.popleft()
        if error is None and (text := job.end.disputed()):
            hint = f"tell those who run {replica.rse} that this replica is damaged"
            error = Corrupted(f"{text} by Rucio's catalog", url=replica.url, hint=hint, side="source")
        if error is None:
            trial.left.clear()
            self._in_a_row.pop(replica.endpoint, None)
            yield job
            return
        if isinstance(error, SICK) and not job.end.size:
            self._suspect(replica.endpoint, error)
        trial.errors.append((replica, error))
        if job.end.size:  # what came is not mixed with another replica's: the next attempt goes there
            self.notes.mark("rucio", "bad", replica.pfn)
        if job.end.size or isinstance(error, Cancelled) or error.side == "destination":
            trial.left.clear()
        if not trial.left:
            job.error = _all_of(trial.errors, trial.url)
            yield job

    def _suspect(self, endpoint: Endpoint, error: TransferError) -> None:
        """One file may fail for a reason of its own."""
        self._in_a_row[endpoint] = self._in_a_row.get(endpoint, 0) + 1
        if isinstance(error, Unreachable) or self._in_a_row[endpoint] >= IN_A_ROW:
            self.sick[endpoint] = error
            self.notes.mark("rucio", "bad", str(endpoint))


def _all_of(errors: list[tuple[Replica, TransferError]], url: str) -> TransferError:
    """One error for those of all replicas."""
    if len(errors) == 1:
        return errors[0][1]
    worst = next((error for _, error in errors if isinstance(error, Transient)), errors[-1][1])
    each = "; ".join(f"{replica.rse}: {error.message}" for replica, error in errors)
    text = f"none of {len(errors)} replicas could be read: {each}"
    return type(worst)(text, url=url, hint=worst.hint, side=worst.side)
