"""What downloads and uploads have in common: files under way, and those that are over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from pegasus_toolkit.transfer.backends.ssh.sftp_session import Session
from pegasus_toolkit.transfer.errors import Cancelled, Side, TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Job, Sink, Source

E = TypeVar("E", Sink, Source)


class Batch(ABC, Generic[E]):
    """Keeps up to ``width`` files in flight on one session."""

    def __init__(self, session: Session, url: str, width: int) -> None:
        self.session = session
        self.url = url  # scheme://authority, for errors
        self.width = min(width, session.limits.handles)
        self.files: set[Transferring[E]] = set()
        self.done: list[Job[E]] = []
        self.prepare()

    def prepare(self) -> None:
        """Sets up what is particular."""

    def has_room(self) -> bool:
        """Whether to take one more job."""
        return len(self.files) < self.width

    @abstractmethod
    def begin(self, job: Job[E]) -> None:
        """Takes a job: sends its first requests."""

    def work(self) -> None:
        """Goes on with what has room to go on."""

    def run(self, jobs: Iterator[Job[E]]) -> Iterator[Job[E]]:
        """Yields each job when it is over; tidies up when it is left early."""
        more = True
        try:
            while True:
                while more and self.has_room():
                    job = next(jobs, None)
                    if job is None:
                        more = False
                        break
                    self.begin(job)
                self.work()
                if self.done:
                    done, self.done = self.done, []
                    self.session.flush()
                    yield from done
                elif self.files:
                    self.session.turn()
                elif not more:
                    return
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Stops what is still under way and waits, not long, until nothing is left of it."""
        session = self.session
        if not self.files or session.broken is not None:
            return
        try:
            with session.tidying():
                for file in list(self.files):
                    file.fail(Cancelled("the batch was given up"))
                while not session.idle:
                    session.turn()
        except TransferError:
            return  # it broke meanwhile, or takes too long


class Transferring(Generic[E]):
    """One file under way."""

    __slots__ = ("job", "over", "owner")
    side: Side = ""  # whose fault it is when an end raises an ``OSError``

    def __init__(self, batch: Batch[E], job: Job[E]) -> None:
        self.job: Job[E] = job
        self.owner: Batch[E] = batch
        self.over = False  # it failed: nothing more goes to its end
        batch.files.add(self)

    @property
    def name(self) -> str:
        """Its URL, for errors."""
        return self.owner.url + self.job.path

    def fail(self, error: TransferError | OSError) -> None:
        """The first error is the job's; what was begun is undone."""
        if self.over:
            return
        self.over = True
        if not isinstance(error, TransferError):
            error = from_oserror(error, url=self.name, side=self.side)
        self.job.error = error
        self.stop()

    def stop(self) -> None:
        """Undoes what was begun, and then calls ``finish``."""
        self.finish()

    def finish(self) -> None:
        """The job is over. Idempotent."""
        if self in self.owner.files:
            self.owner.files.remove(self)
            self.owner.done.append(self.job)
