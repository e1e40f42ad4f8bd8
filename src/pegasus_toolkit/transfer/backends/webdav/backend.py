"""WebDAV: HTTP that can be written to. ``webdav`` and ``dav`` are http, ``webdavs`` and ``davs`` https."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pegasus_toolkit.transfer.backends.http.backend import Http
from pegasus_toolkit.transfer.backends.http.get import Tuning
from pegasus_toolkit.transfer.backends.webdav import tree as webdav_tree
from pegasus_toolkit.transfer.backends.webdav.put import DavPuts, Server, clean
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.errors import TransferError, Unsupported
from pegasus_toolkit.transfer.interface import (
    Backend,
    Control,
    Copies,
    Endpoint,
    Entry,
    Job,
    ReportsFreeSpace,
    Requirement,
    Settings,
    Source,
)


class WebDav(Http):
    """One WebDAV server. Reads as HTTP does; what is written becomes visible by a MOVE, when whole."""

    def __init__(self, endpoint: Endpoint, settings: Settings, tuning: Tuning | None = None) -> None:
        super().__init__(endpoint, settings, tuning)
        self.scheme = endpoint.scheme
        self.server = Server()

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Keeps ``settings.connections`` files in flight on kept connections."""
        return DavPuts(self.loop, self.server, self.clean).run(jobs)

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Several at once. A collection, even an empty one, only where ``recursive``."""
        return webdav_tree.Removes(self.loop, self.side, recursive, self.server.known).run(paths)

    def mkdir(self, path: str) -> None:
        """MKCOL of what is missing, from the innermost out."""
        webdav_tree.make(self.session, self.side, path, self.server.known)

    def stat(self, path: str) -> Entry:
        """By PROPFIND; by HEAD where the server has none."""
        found = webdav_tree.look(self.session, self.side, path)
        if found is None:
            return super().stat(path)
        return Entry(path, found.size, found.collection)

    def free(self, path: str) -> int | None:
        """The quota that the server tells."""
        return webdav_tree.free(self.session, self.side, path)

    def copies(self, other: Backend, required: Requirement) -> bool:
        """Within one server; and between two that are called ``davs``, where no secret has to be told."""
        from pegasus_toolkit.transfer.backends.webdav.copy import able

        return isinstance(other, WebDav) and able(self, other, required)

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Copied aside, compared with the source, moved. What the servers will not do goes through here."""
        from pegasus_toolkit.transfer.backends.webdav.copy import copies

        assert isinstance(other, WebDav)
        return copies(jobs, self, other, control)

    def clean(self, names: list[str]) -> None:
        """Over connections of their own: those of the batch may be closed already."""
        loop = Loop(self.session, 1)
        try:
            clean(loop, names)
        finally:
            loop.close()

    def list(self, prefix: str) -> Iterator[Entry]:
        """By PROPFIND of one collection after the other; by index pages where the server has none."""
        entries = webdav_tree.walk(self.session, self.side, prefix)
        try:
            yield from entries
        except Unsupported:
            yield from super().list(prefix)


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet."""
    return WebDav(endpoint, settings)


_: type[Backend] = WebDav
_copies: type[Copies] = WebDav
_spacious: type[ReportsFreeSpace] = WebDav
