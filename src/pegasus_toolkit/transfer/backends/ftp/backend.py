"""FTP, and FTP in TLS, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pegasus_toolkit.transfer.backends.ftp import tree as ftp_tree
from pegasus_toolkit.transfer.backends.ftp.core import FtpSession
from pegasus_toolkit.transfer.backends.ftp.get import FtpGets
from pegasus_toolkit.transfer.backends.ftp.put import FtpPuts, clean
from pegasus_toolkit.transfer.backends.http.backend import IN_FLIGHT
from pegasus_toolkit.transfer.backends.http.get import Tuning
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.errors import Denied, IsDirectory, NotFound, TransferError
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


class Ftp:
    """One FTP server. Files are sent aside and renamed, so that each is visible only when whole."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.abilities = Abilities(in_flight=IN_FLIGHT, quoted=True)
        self._session = FtpSession(endpoint, settings)
        self._loop = Loop(self._session, settings.connections)
        self._side = Loop(self._session, 1)
        self._known: set[str] = {"/"}  # directories that are there

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``settings.connections`` files in flight, each on a connection of its own."""
        for job in FtpGets(self._loop, Tuning()).run(jobs):
            yield self._looked_at(job)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Keeps ``settings.connections`` files in flight, each on a connection of its own."""
        return FtpPuts(self._session, self._loop, self._known, self._clean).run(jobs)

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Several at once. A directory only where ``recursive``."""
        removes = ftp_tree.Removes(self._loop, self._side, self._session, recursive, self._known)
        return removes.run(paths)

    def mkdir(self, path: str) -> None:
        """MKD of what is missing."""
        ftp_tree.make(self._session, self._side, path, self._known)

    def stat(self, path: str) -> Entry:
        """By MLST, or SIZE and CWD."""
        found = ftp_tree.look(self._session, self._side, path)
        return Entry(path, found.size, bool(found.directory))

    def free(self, path: str) -> int | None:
        """By AVBL, which few servers know."""
        return ftp_tree.free(self._session, self._side, path)

    def identity(self) -> Identity:
        """Who logs in."""
        return self._session.found.identity()

    def close(self) -> None:
        """What is under way raises ``Cancelled``."""
        self._loop.close()
        self._side.close()

    def list(self, prefix: str) -> Iterator[Entry]:
        """By MLSD, or LIST where the server has only that."""
        return ftp_tree.walk(self._session, self._side, prefix)

    def _looked_at(self, job: Job[Sink]) -> Job[Sink]:
        """550 is said of what is missing, of what may not be read, and of directories."""
        if isinstance(job.error, NotFound):
            try:
                found = ftp_tree.look(self._session, self._side, job.path)
            except TransferError as error:
                job.error = error
            else:
                kind = Denied if found.directory is False else IsDirectory
                job.error = kind(job.error.message, url=job.error.url, host=job.error.host)
        return job

    def _clean(self, names: Iterable[str]) -> None:
        """Over a connection of its own: those of the batch may be closed already."""
        loop = Loop(self._session, 1)
        try:
            clean(self._session, loop, list(names))
        finally:
            loop.close()


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet."""
    return Ftp(endpoint, settings)


_: type[Backend] = Ftp
_identified: type[Identified] = Ftp
_spacious: type[ReportsFreeSpace] = Ftp
