"""The storage behind replicas: each reached by our own backend for its protocol."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from pegasus_toolkit.credentials import CredentialError
from pegasus_toolkit.schemes import SCHEMES, known
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import Denied
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings

SOON = 10.0  # seconds until a storage must take a connection: there may be another one
READ = [name for name in known() if SCHEMES[name].remote and not SCHEMES[name].registry and name != "rucio"]
READ = [*READ, "file"]
WRITE = [name for name in READ if SCHEMES[name].writes or name in ("http", "https")]
AS_GRIDS_DO = {"https": "davs", "http": "dav"}  # with the proxy or token that grid storage asks for


class Replica(NamedTuple):
    """Where a file is, or is to be: path as the backend of that endpoint has it."""

    pfn: str
    rse: str
    endpoint: Endpoint
    path: str

    @property
    def url(self) -> str:
        """For errors."""
        return redact.url(self.pfn)


class Storages:
    """Backends of the storage that one run at one site has met."""

    def __init__(self, site: str, settings: Settings) -> None:
        self.site = site
        self.settings = replace(settings, connect_timeout=min(SOON, settings.connect_timeout))
        self._open: dict[Endpoint, Backend] = {}

    def replica(self, pfn: str, rse: str) -> Replica:
        """A PFN of Rucio's, which may hold no variable and name no other machine's disk."""
        scheme, _, rest = pfn.partition("://")
        if scheme == "file":
            return Replica(pfn, rse, urls.endpoint("file", "", self.site), "/" + rest.partition("/")[2])
        if "?" not in rest:  # one that is signed needs no other credential
            scheme = AS_GRIDS_DO.get(scheme, scheme)
        found = urls.parse(f"{scheme}://{rest}", self.site, {})
        return Replica(pfn, rse, found.endpoint, found.path)

    def backend(self, endpoint: Endpoint) -> Backend:
        """Opened when it is first asked for. Raises ``TransferError``."""
        if endpoint not in self._open:
            self._open[endpoint] = self.another(endpoint)
        return self._open[endpoint]

    def another(self, endpoint: Endpoint) -> Backend:
        """A new one, for clean-up, say."""
        try:
            return open_backend(endpoint, self.settings)
        except CredentialError as error:
            raise Denied(error.message, host=endpoint.host, hint=error.hint) from error

    def drop(self, endpoint: Endpoint) -> None:
        """It failed as a whole."""
        if endpoint in self._open:
            self._open.pop(endpoint).close()

    def close(self) -> None:
        """From any thread."""
        for backend in list(self._open.values()):
            backend.close()
