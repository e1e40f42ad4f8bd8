"""What is shown to a registry, and how it is spoken to."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pegasus_toolkit.credentials import CredentialError
from pegasus_toolkit.transfer.backends.images.tools import PULLS
from pegasus_toolkit.transfer.backends.shared.trust import authorities
from pegasus_toolkit.transfer.clients.curl.session import Access
from pegasus_toolkit.transfer.clients.registry import Account, Registry
from pegasus_toolkit.transfer.errors import BadSpecification, Denied
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings

if TYPE_CHECKING:
    from pegasus_toolkit.credentials.registry import RegistryCredential

MACHINES: Mapping[str, str] = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}


class Site:
    """One registry as one site's user. Raises ``Denied`` where the credentials cannot be used."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.settings = settings
        found = self.credential("")
        file, directory = authorities(settings.environ)
        if found.ca_file:
            file, directory = found.ca_file, ""
        access = Access(
            ca_file=file,
            ca_directory=directory,
            insecure=found.insecure,
            section=f"{endpoint.scheme}://{endpoint.host}",
        )
        self.registry = Registry(endpoint.host, access, settings, found.plain_http)
        self.platform = found.platform or f"linux/{machine()}"
        self.tool = found.tool
        self.insecure = found.insecure or found.plain_http
        if self.tool and self.tool not in PULLS:
            raise BadSpecification(f"tool is none of {', '.join(PULLS)}", host=endpoint.host)

    def credential(self, repository: str) -> RegistryCredential:
        """What opens a repository; files are looked at each time, since they may hold logins for parts."""
        credentials, (scheme, _, site) = self.settings.credentials, self.endpoint
        try:
            return credentials.registry(scheme, self.endpoint.host, repository, site)
        except CredentialError as error:
            raise Denied(error.message, host=self.endpoint.host, hint=error.hint) from None

    def account(self, repository: str) -> Account:
        """The same as the registry's client takes it."""
        found, host = self.credential(repository), self.endpoint.host
        command = "docker login" if host == "docker.io" else f"docker login {host}"
        hint = (
            f"log in: {command}, podman login {host}, or username and password in section [docker://{host}]"
        )
        if found.origin:
            hint = f"the login of {found.origin} was used; to log in anew: {command}"
        return Account(found.username, found.password, found.refresh, hint)

    def identity(self) -> Identity:
        """Told without telling it."""
        found = self.credential("")
        return Identity("user and password" if found.origin else "anonymous", found.origin)


def machine() -> str:
    """This machine's architecture, as images call it."""
    name = platform.machine()
    return MACHINES.get(name, name)
