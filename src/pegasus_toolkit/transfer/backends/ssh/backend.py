"""SSH: ``scp://`` and ``sftp://``, both by SFTP over one connection that keeps many files in flight.

The connection is made by the ``ssh`` program; by paramiko where there is none, and for passwords and
for keys with a passphrase, which ``ssh`` would ask for on a terminal. The client is our own either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pegasus_toolkit.credentials import SshCredential
from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.backends.ssh.copy import copy
from pegasus_toolkit.transfer.backends.ssh.files import SftpFiles
from pegasus_toolkit.transfer.backends.ssh.site import connector, identity
from pegasus_toolkit.transfer.clients.sftp import wire
from pegasus_toolkit.transfer.clients.sftp.client import SOON, Client, Connector
from pegasus_toolkit.transfer.errors import TransferError
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
    Preconnects,
    ReportsFreeSpace,
    Requirement,
    Settings,
)

IN_FLIGHT = 128  # files on one connection
COPIES = 16  # copies under way at one server
AHEAD = 16 << 20  # bytes of files that are being read: what is large is left to other connections


class Sftp(FilesBackend):
    """One account at one server. Connects when it is first used, again after a connection was lost."""

    abilities = Abilities(in_flight=IN_FLIGHT, pipelined=True, threads=4, times="listed")

    def __init__(self, endpoint: Endpoint, settings: Settings, reach: Connector, who: SshCredential) -> None:
        self.endpoint = endpoint
        self.who = who
        self.client = Client(reach, endpoint.host, settings.connect_timeout, settings.stall_timeout)
        url = f"{endpoint.scheme}://{endpoint.authority}"
        self.files: SftpFiles = SftpFiles(url, self.client, settings.stall_timeout)
        self.files.noted = partial(settings.notes.aside, endpoint)
        self.files.warn = settings.warn

    def runner(self, side: bool = False) -> Runner:
        """All on the one connection."""
        return Runner(self.client, self.client.renew)

    def room(self, under_way: int) -> bool:
        """As many files as the server opens at once, and not too many large ones."""
        session, pumps = self.client.session, self.client.pumps
        return (
            session is None or pumps is None or (under_way < session.limits.handles and pumps.ahead < AHEAD)
        )

    def _batch(
        self, jobs: Iterator[Job[Any]], story: Callable[[Job[Any]], Steps[None]]
    ) -> Iterator[Job[Any]]:
        self.files.made.clear()  # by now there may be something in them
        return super()._batch(jobs, story)

    def copies(self, other: Backend, required: Requirement) -> bool:
        """Within one account of a server that offers ``copy-data``; asks the server, once."""
        if not isinstance(other, Sftp) or other.endpoint[1:] != self.endpoint[1:]:
            return False
        try:
            with self.client.use(SOON):
                return wire.COPY_DATA in self.client.offers
        except TransferError:
            return False  # the transfer itself will tell why

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Copies aside, takes the digest that is wanted of the copy, renames."""
        return self._batch(jobs, lambda job: copy(self.files, job, control))

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size; and the digest by the server's own ``sha256sum`` where that is worth a connection."""
        entry = self.stat(path)
        digest = self.runner().one(self.files.digest(path, algorithm))
        return entry._replace(digest=(algorithm, digest)) if digest else entry

    def identity(self) -> Identity:
        """Without connecting."""
        return identity(self.who)

    def free(self, path: str) -> int | None:
        """By ``statvfs``, of the nearest directory that is there; ``None`` where the server has no such."""
        return self.runner().one(self.files.free(path))

    def begin(self) -> None:
        """Starts to log in."""
        self.client.begin()

    def close(self) -> None:
        """What is under way tidies up, for two seconds at most, and raises ``Cancelled``."""
        self.client.close()


def open_backend(endpoint: Endpoint, settings: Settings) -> Sftp:
    """Connects to nothing yet. Raises ``BadSpecification``, and ``CredentialError`` for broken ones."""
    credential = settings.credentials.ssh(endpoint.scheme, endpoint.authority, endpoint.site)
    return Sftp(endpoint, settings, connector(endpoint, settings, credential), credential)


_: type[Backend] = Sftp
_copies: type[Copies] = Sftp
_inspects: type[Inspects] = Sftp
_identified: type[Identified] = Sftp
_spacious: type[ReportsFreeSpace] = Sftp
_connects: type[Preconnects] = Sftp
