"""GridFTP: ``gsiftp://`` with a proxy, ``sshftp://`` through ssh, by a client of our own.

``docs/decisions/0007-gridftp-tools.md`` says why ``globus-url-copy`` does not do this.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pegasus_toolkit.transfer.backends.gridftp.copy import copies
from pegasus_toolkit.transfer.backends.gridftp.files import GridFtpFiles
from pegasus_toolkit.transfer.backends.gridftp.site import Connector, connector
from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend
from pegasus_toolkit.transfer.backends.shared.files import temporary_names
from pegasus_toolkit.transfer.backends.shared.runner import Runner
from pegasus_toolkit.transfer.clients.gridftp.client import Client
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Inspects,
    Job,
    Requirement,
    Settings,
)


class GridFtp(FilesBackend):
    """One account at one server. Connects when it is first used, again after a connection was lost."""

    abilities = Abilities(in_flight=1, threads=4)  # more connections serve far servers better
    width = 40  # files, of which one moves and the others' commands are under way

    def __init__(self, connector: Connector, settings: Settings, endpoint: Endpoint) -> None:
        self.connector = connector
        self.client = Client(connector.connect, settings.stall_timeout, connector.near)
        url = f"{endpoint.scheme}://{endpoint.authority}"
        self.files: GridFtpFiles = GridFtpFiles(url, connector.host, self.client, endpoint.scheme == "sshftp")
        self.files.traits.choose(temporary_names(endpoint, settings))
        self.files.noted = partial(settings.notes.aside, endpoint)
        self.files.warn = settings.warn

    def runner(self, side: bool = False) -> Runner:
        """All on the one client."""
        return Runner(self.client, self.client.renew)

    def copies(self, other: Backend, required: Requirement) -> bool:
        """From server to server, where both speak GridFTP and treat data connections alike."""
        return isinstance(other, GridFtp) and self.connector.data == other.connector.data

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Third party: each end with its own credential, digests told by the servers."""
        assert isinstance(other, GridFtp)
        return copies(jobs, self, other, control)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the server's own digest where it knows the algorithm."""
        return self.runner(side=True).one(self._inspection(path, [algorithm]))

    def identity(self) -> Identity:
        """Proxy or SSH key."""
        return self.connector.identity()

    def close(self) -> None:
        """From any thread; what waits for the server returns."""
        self.client.close()


def open_backend(endpoint: Endpoint, settings: Settings) -> GridFtp:
    """Connects to nothing yet. Raises ``BadSpecification``, ``CredentialError`` for a proxy that is over."""
    return GridFtp(connector(endpoint, settings), settings, endpoint)


_backend: type[Backend] = GridFtp
_copies: type[Copies] = GridFtp
_inspects: type[Inspects] = GridFtp
_identified: type[Identified] = GridFtp
