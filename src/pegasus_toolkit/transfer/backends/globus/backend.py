"""Globus: ``go://collection/path``. Its Transfer service moves the bytes, many files in one task; we follow
that to its end (docs/decisions/0017-globus.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pegasus_toolkit.transfer.backends.globus.files import CopyFiles, Copying, GlobusFiles
from pegasus_toolkit.transfer.backends.globus.site import Service, find, same_login
from pegasus_toolkit.transfer.backends.globus.tasks import ALGORITHMS, Batches
from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.backends.shared.upload import store
from pegasus_toolkit.transfer.errors import IsDirectory
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Endpoint,
    Identified,
    Identity,
    Job,
    Requirement,
    Settings,
)

WIDTH = 5000  # files in one task from collection to collection, at most
IN_FLIGHT = 128  # in one that goes by way of the local collection, where all of them have to have room
THREADS = 4  # requests to Globus at a time


class Globus(FilesBackend):
    """One collection with one login."""

    abilities = Abilities(in_flight=IN_FLIGHT, threads=1, pipelined=True, waits=True)
    files: GlobusFiles

    def __init__(self, endpoint: Endpoint, service: Service, settings: Settings) -> None:
        self.endpoint = endpoint
        self.service = service
        self.settings = settings
        self.files = GlobusFiles(endpoint, service, settings)
        self.batches = Batches(THREADS, service, settings.notes)

    def runner(self, side: bool = False) -> Runner:
        """Clean-up after ``close`` has another login."""
        if not side:
            return Runner(self.batches, self._another)
        return Runner(self._another(), self._another)

    def _another(self) -> Batches:
        service = Service(self.service.found, self.settings)
        return Batches(1, service, self.settings.notes, once=True)

    def copies(self, other: Backend, required: Requirement) -> bool:
        """With one login. Globus compares a digest where it has the algorithm; it tells none."""
        if not isinstance(other, Globus) or not same_login(self.service, other.service):
            return False
        if required.also or (required.remote and not required.digest):
            return False
        return not required.digest or required.algorithm in ALGORITHMS

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """All of them in one task."""
        assert isinstance(other, Globus)
        files = CopyFiles(self.files, other.endpoint, self.settings, control)
        files.traits = other.files.traits
        stories = ((job, _copied(files, job)) for job in jobs)
        with closing(self.runner().run(stories, WIDTH)) as tasks:
            for task in tasks:
                task.item.error = task.error
                yield task.item

    def identity(self) -> Identity:
        """Whose login it is."""
        return self.service.identity()

    def close(self) -> None:
        """From any thread: tasks under way are cancelled."""
        self.service.closed.set()
        self.batches.close()


def _copied(files: CopyFiles, job: Job[None]) -> Steps[None]:
    if job.path.endswith("/"):
        raise IsDirectory("names a directory", url=files.reader.url(job.path), side="source")
    files.reader.check(job.path)
    sending: Copying = files.begin(job)
    yield from store(files, sending)
    files.notes.keep("", *sending.fact)
    job.size, job.proven = sending.sent, sending.job.proven
    job.stored = tuple(dict.fromkeys(sending.job.stored))
    job.digest = job.required.digest


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of schemes names. Connects to nothing yet."""
    return Globus(endpoint, find(endpoint, settings), settings)


_backend: type[Backend] = Globus
_copies: type[Copies] = Globus
_identified: type[Identified] = Globus
