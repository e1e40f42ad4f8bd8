"""``irods://host:port/zone/path`` by python-irodsclient, which logs in and speaks the protocol.

A few of its calls are under way at a time, each on a connection of its pool.
"""

from __future__ import annotations

from contextlib import suppress

import irods.exception as irods_errors

from pegasus_toolkit.credentials.irods import IrodsCredential
from pegasus_toolkit.transfer.backends.irods.files import IrodsFiles
from pegasus_toolkit.transfer.backends.irods.site import session
from pegasus_toolkit.transfer.backends.shared.blocking import BlockingBackend
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.errors import BadSpecification
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Inspects,
    Settings,
)

IN_FLIGHT = 8  # calls at a time: each needs a connection, and a server has few agents


class Irods(BlockingBackend):
    """One zone's server, as one user."""

    abilities = Abilities(in_flight=IN_FLIGHT, threads=1)

    def __init__(self, endpoint: Endpoint, settings: Settings, credential: IrodsCredential) -> None:
        self.credential = credential
        self.session = session(credential, settings)
        self.width = max(1, min(IN_FLIGHT, settings.connections))
        super().__init__(IrodsFiles(endpoint, settings, self.session, credential.resource), self.width)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the checksum that the server takes now."""
        return self.runner(side=True).one(self._inspected(path, algorithm))

    def _inspected(self, path: str, algorithm: str) -> Steps[Entry]:
        found = yield from self.files.stat(path)
        digest = yield from self.files.digest(path, algorithm)
        return Entry(path, found.size, bool(found.directory), (algorithm, digest) if digest else None)

    def identity(self) -> Identity:
        """The user, and where the password comes from."""
        kind = "ticket" if self.credential.ticket else f"iRODS user {self.credential.user}"
        return Identity(kind, self.credential.origin)

    def close(self) -> None:
        """From any thread."""
        super().close()
        with suppress(OSError, irods_errors.NetworkException):
            self.session.cleanup()


def open_backend(endpoint: Endpoint, settings: Settings) -> Irods:
    """Connects when it is first used. Raises ``CredentialError``, ``BadSpecification``."""
    credential = settings.credentials.irods(endpoint.authority, endpoint.site)
    if not credential.host:
        hint = "irods://host:1247/zone/home/user/file, or irods_host in the environment file"
        raise BadSpecification("names no host", url="irods:///", hint=hint)
    return Irods(endpoint, settings, credential)


_backend: type[Backend] = Irods
_inspects: type[Inspects] = Irods
_identified: type[Identified] = Irods
