"""WebDAV: HTTP that can be written to. ``webdav`` and ``dav`` are http, ``webdavs`` and ``davs`` https."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pegasus_toolkit.transfer.backends.http.backend import WebBackend
from pegasus_toolkit.transfer.backends.http.get import Gets, Tuning
from pegasus_toolkit.transfer.backends.webdav.files import DavFiles, DavTraits
from pegasus_toolkit.transfer.backends.webdav.get import DavGets
from pegasus_toolkit.transfer.interface import (
    Backend,
    Control,
    Copies,
    Endpoint,
    Job,
    ReportsFreeSpace,
    Requirement,
    Settings,
)


class WebDav(WebBackend):
    """One WebDAV server. Reads as HTTP does; what is written becomes visible by a MOVE, when whole."""

    files: DavFiles
    gets: type[Gets] = DavGets

    def __init__(self, endpoint: Endpoint, settings: Settings, tuning: Tuning | None = None) -> None:
        super().__init__(endpoint, settings, tuning)
        self.scheme = endpoint.scheme
        self.files = DavFiles(self.session, DavTraits())
        self.files.traits.choose(self.login.credential.temporary_names)
        self.files.warn = settings.warn
        self.files.noted = partial(settings.notes.aside, endpoint)

    def free(self, path: str) -> int | None:
        """The quota that the server tells."""
        return self.runner(side=True).one(self.files.free(path))

    def copies(self, other: Backend, required: Requirement) -> bool:
        """Within one server; and between two that are called ``davs``, where no secret has to be told."""
        from pegasus_toolkit.transfer.backends.webdav.copy import able

        return isinstance(other, WebDav) and able(self, other, required)

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Copied aside, compared with the source, moved. What the servers will not do gets ``CannotCopy``."""
        from pegasus_toolkit.transfer.backends.webdav.copy import copies

        assert isinstance(other, WebDav)
        return copies(jobs, self, other, control)


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet."""
    return WebDav(endpoint, settings)


_: type[Backend] = WebDav
_copies: type[Copies] = WebDav
_spacious: type[ReportsFreeSpace] = WebDav
