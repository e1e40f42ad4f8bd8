"""SRM: ``srm://`` and ``httpg://``, by gfal2, which asks the storage for a place and moves whole files."""

from __future__ import annotations

from functools import partial

from pegasus_toolkit.credentials import CredentialError, X509Credential
from pegasus_toolkit.transfer.backends.gridftp.site import data_channels
from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend
from pegasus_toolkit.transfer.backends.shared.blocking import Calls
from pegasus_toolkit.transfer.backends.shared.files import Found, temporary_names
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.backends.srm.files import SrmFiles
from pegasus_toolkit.transfer.clients.gfal.process import Gfal
from pegasus_toolkit.transfer.errors import BadSpecification
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Identity,
    Inspects,
    Settings,
)

PROXY_HINT = "make one with voms-proxy-init or grid-proxy-init, or name it in X509_USER_PROXY_<site>"
QUIET = 300.0  # seconds: a storage may fetch a file from tape or wait in its queue, without a word


class Srm(FilesBackend):
    """One account at one storage, one helper process."""

    abilities = Abilities(in_flight=1, streams=False, quoted=True, threads=4)

    def __init__(
        self, endpoint: Endpoint, settings: Settings, gfal: Gfal, credential: X509Credential
    ) -> None:
        self.files: SrmFiles = SrmFiles(f"srm://{endpoint.authority}", gfal)
        self.files.noted = partial(settings.notes.aside, endpoint)
        self.files.warn = settings.warn
        self.files.traits.choose(temporary_names(endpoint, settings))
        self.credential = credential
        self.calls = Calls(0)

    def runner(self, side: bool = False) -> Runner:
        """One request after the other."""
        return Runner(self.calls, self._again)

    def _again(self) -> Calls:
        """A helper of its own for the clean-up."""
        self.files.gfal = gfal = self.files.gfal.again()
        return _Once(gfal)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the storage's own digest where it keeps one of that kind."""
        found = self.runner(side=True).one(self._inspected(path, algorithm))
        return Entry(path, found.size, bool(found.directory), found.digest)

    def _inspected(self, path: str, algorithm: str) -> Steps[Found]:
        found = yield from self.files.stat(path)
        digest = yield from self.files.digest(path, algorithm)
        return found._replace(digest=(algorithm, digest) if digest else None)

    def identity(self) -> Identity:
        """The proxy."""
        return Identity("X.509 proxy", self.credential.path, self.credential.expires)

    def close(self) -> None:
        """From any thread; ends the helper."""
        self.calls.close()
        self.files.gfal.close()


class _Once(Calls):
    """For one batch; its helper ends with it."""

    def __init__(self, gfal: Gfal) -> None:
        super().__init__(0, once=True)
        self._gfal = gfal

    def close(self) -> None:
        """By itself."""
        super().close()
        self._gfal.close()


def open_backend(endpoint: Endpoint, settings: Settings) -> Srm:
    """Starts nothing yet. Raises ``BadSpecification``, ``CredentialError`` for a proxy that is over."""
    endpoint.address()
    if "@" in endpoint.authority:
        raise BadSpecification("a user makes no sense here", url=f"{endpoint.scheme}://{endpoint.host}/")
    credential = settings.credentials.proxy(endpoint.site, endpoint.scheme)
    if credential is None:
        raise CredentialError(f"no X.509 proxy for site {endpoint.site!r}", PROXY_HINT)
    environ = {"X509_USER_PROXY": credential.path}
    if not credential.proxy:
        environ = {"X509_USER_CERT": credential.certificate, "X509_USER_KEY": credential.key}
    if authorities := settings.credentials.ca_directory():
        environ["X509_CERT_DIR"] = authorities
    if not data_channels(endpoint, settings).authenticated:
        environ["DATA_CHANNEL_AUTHENTICATION"] = "none"
    gfal = Gfal(settings.environ, environ, max(QUIET, settings.stall_timeout))
    return Srm(endpoint, settings, gfal, credential)


_backend: type[Backend] = Srm
_inspects: type[Inspects] = Srm
