"""FTP, and FTP in TLS, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pegasus_toolkit.transfer.backends.ftp.files import FtpFiles
from pegasus_toolkit.transfer.backends.ftp.get import FtpGets
from pegasus_toolkit.transfer.backends.ftp.site import open_session
from pegasus_toolkit.transfer.backends.http.backend import CurlBackend
from pegasus_toolkit.transfer.backends.shared.files import Traits
from pegasus_toolkit.transfer.errors import Denied, IsDirectory, NotFound, TransferError
from pegasus_toolkit.transfer.interface import (
    Backend,
    Endpoint,
    Identified,
    Job,
    ReportsFreeSpace,
    Settings,
    Sink,
)


class Ftp(CurlBackend):
    """One FTP server. Files are sent aside and renamed, so that each is visible only when whole."""

    files: FtpFiles

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.login, session = open_session(endpoint, settings)
        super().__init__(session)
        self.files = FtpFiles(session, Traits(unlink_tells=True))
        self.files.traits.choose(self.login.credential.temporary_names)
        self.files.warn = settings.warn
        self.files.noted = partial(settings.notes.aside, endpoint)

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``settings.connections`` files in flight, each on a connection of its own."""
        for job in FtpGets(self.loop, self.tuning).run(jobs):
            yield self._looked_at(job)

    def free(self, path: str) -> int | None:
        """By AVBL, which few servers know."""
        return self.runner(side=True).one(self.files.free(path))

    def _looked_at(self, job: Job[Sink]) -> Job[Sink]:
        """550 is said of what is missing, of what may not be read, and of directories."""
        if isinstance(job.error, NotFound):
            try:
                found = self.runner(side=True).one(self.files.stat(job.path))
            except TransferError as error:
                job.error = error
            else:
                kind = Denied if found.directory is False else IsDirectory
                job.error = kind(job.error.message, url=job.error.url, host=job.error.host)
        return job


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet."""
    return Ftp(endpoint, settings)


_: type[Backend] = Ftp
_identified: type[Identified] = Ftp
_spacious: type[ReportsFreeSpace] = Ftp
