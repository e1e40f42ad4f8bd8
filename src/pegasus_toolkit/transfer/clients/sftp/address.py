"""Where an SSH server is: taken from an URL's authority, checked before any program sees it."""

from __future__ import annotations

import re
from typing import NamedTuple

from pegasus_toolkit.credentials import SshCredential
from pegasus_toolkit.transfer.errors import BadSpecification
from pegasus_toolkit.transfer.interface import Endpoint

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]", re.ASCII)
_USER = re.compile(r"[^-\s'\"`\\;&<>|(){}$%/][^\s'\"`\\;&<>|(){}$%/]*")


class Address(NamedTuple):
    """``user`` "" and ``port`` 0 where nobody says: the client's own configuration decides."""

    host: str
    port: int = 0
    user: str = ""

    @property
    def shown(self) -> str:
        """As known_hosts spells it."""
        return f"[{self.host}]:{self.port}" if self.port not in (0, 22) else self.host


def address(endpoint: Endpoint, credential: SshCredential) -> Address:
    """The URL's user and port go before the credential's. Raises ``BadSpecification``.

    Nothing passes that a program could take for an option, or a shell in somebody's ``ProxyCommand``
    for more than a name.
    """
    user, _, rest = endpoint.authority.rpartition("@")
    host, colon, port = rest, "", ""
    if not rest.endswith("]"):
        head, mark, tail = rest.rpartition(":")
        if mark:
            host, colon, port = head, mark, tail
    url = f"{endpoint.scheme}://{endpoint.authority}/"
    if not _HOST.fullmatch(host):
        raise BadSpecification("not the name of a host", url=url, hint="write scp://[user@]host[:port]/path")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadSpecification("not the number of a port", url=url)
    user = user or credential.user
    if user and not _USER.fullmatch(user):
        raise BadSpecification("not the name of a user", url=url)
    return Address(host.strip("[]"), int(port) if port else credential.port, user)
