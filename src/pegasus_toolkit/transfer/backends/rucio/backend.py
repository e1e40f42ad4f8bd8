"""Rucio: ``rucio://scope:name`` is read from whatever replica Rucio names first, by our own backends, and
``rucio://RSE/scope:name`` is written to that storage element, and registered (docs/decisions/0020-rucio.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from pegasus_toolkit.transfer.backends.rucio.get import Reading, Trial
from pegasus_toolkit.transfer.backends.rucio.names import Names
from pegasus_toolkit.transfer.backends.rucio.put import Writing
from pegasus_toolkit.transfer.backends.rucio.site import Catalog, Did, did_of
from pegasus_toolkit.transfer.backends.rucio.storage import READ, Replica, Storages
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    IsDirectory,
    NotFound,
    TransferError,
)
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Job,
    ReportsFreeSpace,
    Settings,
    Sink,
    Source,
)

LOOKUP = 128  # DIDs in one question
IN_FLIGHT = 8


class Located(NamedTuple):
    """A file, as the catalog has it."""

    bytes: int
    digests: tuple[tuple[str, str], ...]
    replicas: list[Replica]


class Rucio:
    """One account at one Rucio server; ``endpoint.authority``: the RSE, "rucio" for any."""

    abilities = Abilities(in_flight=IN_FLIGHT, directories=False, threads=1)

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.catalog = Catalog(endpoint, settings)
        self.storages = Storages(endpoint.site, settings)
        self.names = Names(self.catalog)
        self.writing = Writing(self.catalog, self.storages)
        self.notes = settings.notes

    # -- reading -----------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Many in one question to the catalog; each from its first replica that is good."""
        while batch := list(islice(jobs, LOOKUP)):
            try:
                found = self._locate([job.path for job in batch])
            except Cancelled:
                raise
            except TransferError as error:
                yield from (_failed(job, error) for job in batch)
                continue
            trials = []
            for job in batch:
                told = found[job.path]
                wrong = _expect(job.end, told) if isinstance(told, Located) else told
                if wrong is None and isinstance(told, Located):
                    trials.append(Trial(job, self.catalog.url(job.path), deque(told.replicas), []))
                else:
                    yield _failed(job, wrong)
            yield from Reading(self.storages, self.notes).run(trials)

    def _locate(self, paths: list[str]) -> dict[str, Located | TransferError]:
        found: dict[str, Located | TransferError] = {}
        files: dict[str, Did] = {}
        known = self.names.known(paths, found)
        for path, (did, told) in known.items():
            if told["did_type"] != "FILE" or path.endswith("/"):
                kind = told["did_type"].lower()
                found[path] = IsDirectory(f"a {kind}", url=self.catalog.url(path), side="source")
            else:
                files[path] = did
        replicas = self.catalog.replicas(dict.fromkeys(files.values()), READ)
        for path, did in files.items():
            told = known[path][1]
            places = [self.storages.replica(pfn, rse) for pfn, rse in replicas.get(did, ())]
            places.sort(key=Reading(self.storages, self.notes).rank)
            if not places:
                text = "no available replica that can be read from here"
                hint = f"rucio replica list file {did} tells where there are any; a rule brings it elsewhere"
                found[path] = NotFound(text, url=self.catalog.url(path), hint=hint, side="source")
                continue
            digests = tuple((name, told[name]) for name in ("adler32", "md5") if told.get(name))
            found[path] = Located(told["bytes"], digests, places)
        return found

    # -- writing -----------------------------------------------------------------------------------

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """To the RSE, and into the catalog once it is whole there."""
        while batch := list(islice(jobs, LOOKUP)):
            yield from self.writing.run(batch)

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Erased: Rucio removes replicas by itself, later; from now on they are not seen here."""
        for path in paths:
            try:
                self.names.erase(path, recursive)
                yield path, None
            except NotFound:
                yield path, None
            except Cancelled:
                raise
            except TransferError as error:
                yield path, error

    def mkdir(self, path: str) -> None:
        """Names have directories in them; nothing needs to be made."""
        did_of(path)

    def stat(self, path: str) -> Entry:
        """Raises ``NotFound``."""
        return self.names.stat(path)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Files of a dataset or container; else those whose names begin so. Raises ``NotFound``."""
        yield from self.names.list(prefix)

    def free(self, path: str) -> int | None:
        """What is left of the account's quota at the RSE; ``None``: not told."""
        return None if self.endpoint.authority == "rucio" else self.catalog.room(self.endpoint.authority)

    def identity(self) -> Identity:
        """The account."""
        return self.catalog.identity()

    def close(self) -> None:
        """From any thread; unblocks what is under way."""
        self.catalog.calls.close()
        self.storages.close()


def _expect(sink: Sink, told: Located) -> TransferError | None:
    """Tells an end what the catalog says of the file; how that fails."""
    try:
        sink.announce(told.bytes)
        for algorithm, digest in told.digests:
            sink.expect(algorithm, digest)
    except TransferError as error:
        return error
    return None


def _failed(job: Job[Any], error: TransferError | None) -> Job[Any]:
    job.error = error
    return job


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of schemes names. Connects to nothing yet."""
    return Rucio(endpoint, settings)


_backend: type[Backend] = Rucio
_identified: type[Identified] = Rucio
_spacious: type[ReportsFreeSpace] = Rucio
