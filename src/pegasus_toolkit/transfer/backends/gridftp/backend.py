"""GridFTP: ``gsiftp://`` with a proxy, ``sshftp://`` through ssh."""

from __future__ import annotations

from pegasus_toolkit.transfer.backends.gridftp.direct import GridFtp
from pegasus_toolkit.transfer.backends.gridftp.login import connector
from pegasus_toolkit.transfer.interface import Endpoint, Settings


def open_backend(endpoint: Endpoint, settings: Settings) -> GridFtp:
    """Connects to nothing yet. Raises ``BadSpecification``, ``CredentialError`` for a proxy that is over."""
    return GridFtp(connector(endpoint, settings), settings, endpoint)
