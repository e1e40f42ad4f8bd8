"""HTTP and HTTPS: downloads, sizes and listings. Writing needs WebDAV, which plain HTTP does not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pegasus_toolkit.transfer.backends.http import site as http_site
from pegasus_toolkit.transfer.backends.http.files import HttpFiles
from pegasus_toolkit.transfer.backends.http.get import Gets, Tuning
from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend, entry
from pegasus_toolkit.transfer.backends.shared.files import Traits
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Inspects,
    Job,
    Settings,
    Sink,
)

IN_FLIGHT = 8  # files that one instance keeps under way, where the settings give it the connections


class CurlBackend(FilesBackend):
    """What all protocols on libcurl have: connections for batches, and one beside for single requests."""

    login: http_site.Login

    def __init__(self, session: Session, tuning: Tuning | None = None) -> None:
        connections = session.settings.connections
        self.abilities = Abilities(in_flight=IN_FLIGHT, quoted=True)  # where it is given the connections
        self.width = min(IN_FLIGHT, max(1, connections))
        self.session = session
        self.tuning = tuning or Tuning()
        self.loop = Loop(session, connections)
        self.side = Loop(session, 1)

    def runner(self, side: bool = False) -> Runner:
        """Clean-up may need other connections: those of a batch may be closed already."""
        return Runner(self.side if side else self.loop, lambda: Loop(self.session, 1, once=True))

    def identity(self) -> Identity:
        """What the server is shown."""
        return self.login.identity()

    def close(self) -> None:
        """What is under way raises ``Cancelled``."""
        self.loop.close()
        self.side.close()


class WebBackend(CurlBackend):
    """What a web server is read with."""

    files: HttpFiles
    gets: type[Gets] = Gets

    def __init__(self, endpoint: Endpoint, settings: Settings, tuning: Tuning | None = None) -> None:
        self.login, access = http_site.log_in(endpoint, settings)
        super().__init__(Session(http_site.base(endpoint), access, settings), tuning)

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``settings.connections`` files in flight on kept connections."""
        return self.gets(self.loop, self.tuning).run(jobs)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """The size, and the digest where the server tells it in that algorithm (RFC 3230)."""
        found = self.runner(side=True).one(self.files.inspect(path, algorithm))
        return entry(path, found)

    def _inspection(self, path: str, algorithms: Sequence[str]) -> Steps[Entry]:
        """One request tells all, but of servers that tell times elsewhere only."""
        told = entry(path, (yield from self.files.inspect(path, algorithms[0] if algorithms else "")))
        if told.modified is None:
            told = told._replace(modified=(yield from self.files.stat(path)).modified)
        return told


class Http(WebBackend):
    """One web server. ``get``, ``stat`` and ``list`` work; what would write is ``Unsupported``."""

    def __init__(self, endpoint: Endpoint, settings: Settings, tuning: Tuning | None = None) -> None:
        super().__init__(endpoint, settings, tuning)
        self.files = HttpFiles(self.session, Traits(unlink_tells=True))


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet."""
    return Http(endpoint, settings)


_: type[Backend] = Http
_inspects: type[Inspects] = Http
_identified: type[Identified] = Http
