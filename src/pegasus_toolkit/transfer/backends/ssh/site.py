"""How a server is logged in to: by the ``ssh`` program, unless there is a secret that it would ask for."""

from __future__ import annotations

import shutil

from pegasus_toolkit.credentials import SshCredential
from pegasus_toolkit.transfer.clients.sftp.address import address
from pegasus_toolkit.transfer.clients.sftp.client import Connector
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings


def connector(endpoint: Endpoint, settings: Settings, credential: SshCredential) -> Connector:
    """paramiko where there is no program, and for passwords and passphrases. Raises ``BadSpecification``."""
    where = address(endpoint, credential)
    binary = shutil.which("ssh", path=settings.environ.get("PATH"))
    if binary is not None and credential.password is None and credential.passphrase is None:
        from pegasus_toolkit.transfer.clients.sftp.program import Program

        return Program(binary, where, credential, settings.environ)
    from pegasus_toolkit.transfer.clients.sftp.paramiko import Library

    return Library(where, credential, settings.environ)


def identity(who: SshCredential) -> Identity:
    """Password, key file, or what ``ssh`` finds by itself (agent, default keys)."""
    if who.password is not None:
        return Identity("password", who.section)
    return Identity("SSH key", who.private_key or "agent or default keys")
