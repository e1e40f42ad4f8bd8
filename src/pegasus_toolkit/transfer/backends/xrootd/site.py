"""One XRootD service as one user: its URLs, what is shown to it, and the library's settings.

The library takes credentials from the environment, which is one for all sites; but also from
parameters of an URL, so that each endpoint has its own. Connections with other parameters are apart.
"""

from __future__ import annotations

import copy
import os
import weakref
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from pegasus_toolkit.credentials import Token, X509Credential
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.backends.shared.tokens import LiveToken
from pegasus_toolkit.transfer.backends.shared.trust import authorities
from pegasus_toolkit.transfer.backends.xrootd import errors
from pegasus_toolkit.transfer.clients.xrootd import library
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings

SCHEMES = {"xroot": "root", "xroots": "roots"}
OURS = ("xrd.", "xrdcl.")  # parameters that name local files, or change what the library does


class Site:
    """URLs and errors of one endpoint."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.host = endpoint.host
        self.scheme = SCHEMES.get(endpoint.scheme, endpoint.scheme)
        self.token: Token | None = None
        self.tentative = False  # the token was only found, and whether there is TLS is not known
        self.given = ""  # parameters that carry credentials
        self._live: LiveToken | None = None
        self._rest: list[str] = []  # of ``given``, but for the token
        self._memory: list[_Memory] = []  # each holds a token: the library may log in once more with an older
        self._show(settings)

    def _files(self) -> Any:
        """For all but the content of files; its connections are those of ``address``."""
        own = "&".join(one for one in self.given.split("&") if not one.startswith("authz="))
        return library.client.FileSystem(f"{self.scheme}://{self.endpoint.authority}/?{own}")

    def leave_token_out(self) -> None:
        """The server has no TLS: as if no token had been found."""
        self._memory = []
        self._live, self.scheme = None, "root"
        self._wear(None)

    def _show(self, settings: Settings) -> None:
        """Which credentials go along: a token only through TLS, a proxy, a shared secret."""
        credentials, endpoint = settings.credentials, self.endpoint
        token = credentials.token(endpoint.scheme, endpoint.authority, endpoint.site, needed=False)
        proxy = credentials.proxy(endpoint.site, endpoint.scheme, needed=False)
        keytab = credentials.environment_file("XrdSecSSSKT", endpoint.site)
        self.identity = Identity("anonymous")
        if keytab is not None:
            self.identity = Identity("shared secret", str(keytab))
        if proxy is not None:
            self.identity = Identity("X.509 proxy", proxy.origin, proxy.expires)
        if token is not None and (self.scheme == "roots" or token.configured or proxy is None):
            self.tentative = self.scheme == "root" and not token.configured
            self.scheme = "roots"
            look_up = partial(credentials.token, endpoint.scheme, endpoint.authority, endpoint.site, False)
            self._live = LiveToken(token, look_up, endpoint.host)
            self.identity = self._live.identity()
        if proxy is not None:
            self._rest += _gsi(proxy)
        if keytab is not None:
            self._rest.append(f"xrd.sss={quote(str(keytab.absolute()))}")
        self._wear(self._live.token if self._live is not None else None)

    def _wear(self, token: Token | None) -> None:
        """From now on that token is shown; the library logs in with it over a connection of its own."""
        self.token, given = token, []
        if token is not None:
            given = [f"authz=Bearer%20{token.secret.reveal()}", f"xrd.ztn={self._in_memory(token)}"]
            given.append(f"xrdcl.intent={_mark(token)}")
        self.given = "&".join([*given, *self._rest])
        self.files = self._files()

    def _renew(self) -> None:
        """Takes the token that its file holds by now."""
        if self._live is not None:
            self._live.line()
            if self._live.token is not self.token:
                self._wear(self._live.token)

    def _in_memory(self, token: Token) -> str:
        """The library reads a token for its login from a file only: one that is on no disk."""
        self._memory.append(_Memory(token.secret.reveal().encode()))
        return f"/proc/self/fd/{self._memory[-1].descriptor}"

    def at(self, authority: str) -> Site:
        """The same user at another server of the same service."""
        other = copy.copy(self)
        other.endpoint = self.endpoint._replace(authority=authority)
        other.host = other.endpoint.host
        other.files = other._files()
        return other

    def path(self, path: str, more: str = "", name: str = "") -> str:
        """A path for ``files``; ``name`` takes the place of its last part. Parameters follow."""
        self._renew()
        plain, _, query = path.partition("?")
        if any(part.startswith(OURS) for part in query.split("&")):
            raise BadSpecification("a parameter that is the client's own", url=self.url(path))
        plain = "/" + plain.lstrip("/")
        if name:
            plain = f"{plain.rpartition('/')[0]}/{name}"
        parameters = "&".join(part for part in (query, more, self.given) if part)
        return f"{plain}?{parameters}" if parameters else plain

    def address(self, path: str, more: str = "", name: str = "") -> str:
        """The full URL, for the library alone: it may hold a token."""
        return f"{self.scheme}://{self.endpoint.authority}/{self.path(path, more, name)}"

    def url(self, path: str) -> str:
        """As errors tell it."""
        return redact.url(f"{self.endpoint.scheme}://{self.endpoint.authority}{path}")

    def error(self, status: Any, path: str) -> TransferError:
        """What a status that is not ``ok`` stands for."""
        secret = self.token.secret.reveal() if self.token is not None else ""
        error = errors.of(status, self.url(path), self.host, secret, self.hint())
        if isinstance(error, Denied) and self._live is not None and secret:
            refused = f"Authorization: Bearer {secret}"
            if self._live.another(refused):
                text = "the token was refused, and was renewed meanwhile"
                return ServerFault(text, url=error.url, host=error.host)
        return error

    def check(self, status: Any, path: str) -> None:
        """Raises unless it is ``ok``."""
        if not status.ok:
            raise self.error(status, path)

    def hint(self) -> str:
        """What was shown to a server that said no."""
        shown = "no credential was shown"
        if self.token is not None:
            shown = f"the token of {self.token.origin} was shown"
        elif self.given:
            shown = "a proxy or key was shown"
        return shown


def _mark(token: Token) -> str:
    """Tells tokens apart, and not what they are. The library would use one connection, with the first one's
    login, for all that it has no proxy or key for."""
    return sha256(token.secret.reveal().encode()).hexdigest()[:16]


def _gsi(proxy: X509Credential) -> list[str]:
    if proxy.proxy:
        return [f"xrd.gsiusrpxy={proxy.path}"]
    return [f"xrd.gsiusrcrt={proxy.certificate}", f"xrd.gsiusrkey={proxy.key}"]


class _Memory:
    """A file in memory. It goes when nobody refers to it: the library may log in once more until then, and
    another file must not have got its number by that time."""

    def __init__(self, content: bytes) -> None:
        self.descriptor = os.memfd_create("token")
        weakref.finalize(self, os.close, self.descriptor)
        os.fchmod(self.descriptor, 0o600)
        os.write(self.descriptor, content)


def configure(settings: Settings) -> None:
    """The library's settings. Authorities are the same for all sites of a process, and read once: without a
    directory of the grid's, the system's own count."""
    directory = settings.credentials.ca_directory()
    library.trust(directory, "" if directory else authorities(settings.environ)[0])
    library.configure(settings.connect_timeout, settings.stall_timeout)
