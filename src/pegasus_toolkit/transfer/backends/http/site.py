"""What is shown to one HTTP server: from the credentials file, the URL, or what the grid left lying about."""

from __future__ import annotations

from typing import NamedTuple

from pegasus_toolkit.credentials import CredentialError, HttpCredential, Token, X509Credential
from pegasus_toolkit.schemes import SCHEMES
from pegasus_toolkit.transfer.backends.shared.tokens import LiveToken
from pegasus_toolkit.transfer.backends.shared.trust import authorities
from pegasus_toolkit.transfer.clients.curl.session import Access
from pegasus_toolkit.transfer.errors import BadSpecification, Denied
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings

WIRE = {"dav": "http", "webdav": "http", "davs": "https", "webdavs": "https"}
"""WebDAV's own names for HTTP, and what is spoken."""

GRID = frozenset({"davs", "webdavs"})


class Login(NamedTuple):
    """``user``: name and password; ``headers``: whole lines; ``credential``: the file's section, completed by
    a discovered proxy. ``token``, ``proxy``: what was discovered, or told by the file."""

    credential: HttpCredential
    user: tuple[str, str] | None
    headers: tuple[str, ...]
    token: LiveToken | None = None
    proxy: X509Credential | None = None

    def found(self) -> Token | None:
        """The token of this moment."""
        return None if self.token is None else self.token.token

    def identity(self) -> Identity:
        """Told without telling it."""
        section = f"section [{self.credential.section}]" if self.credential.section else ""
        if self.token is not None:
            return self.token.identity()
        if self.user is not None:
            from_file = self.credential.password is not None
            return Identity("user and password", section if from_file else "the URL")
        if self.credential.headers:
            return Identity("header", section)
        if self.proxy is not None:
            kind = "X.509 proxy" if self.proxy.proxy else "client certificate"
            return Identity(kind, self.proxy.origin or self.proxy.path, self.proxy.expires)
        if self.credential.client_certificate:
            return Identity("client certificate", self.credential.client_certificate)
        return Identity("anonymous", section)


def base(endpoint: Endpoint) -> str:
    """Scheme, host and port that are spoken to."""
    return f"{WIRE.get(endpoint.scheme, endpoint.scheme)}://{endpoint.authority.rpartition('@')[2]}"


def log_in(endpoint: Endpoint, settings: Settings) -> tuple[Login, Access]:
    """What opens the endpoint, and how. Raises ``Denied`` where the credentials cannot be used."""
    host = endpoint.authority.rpartition("@")[2]
    try:
        login = find(endpoint, settings)
    except ValueError as error:
        raise BadSpecification(f"not a host and port: {error}", host=host) from None
    except CredentialError as error:
        raise Denied(error.message, host=host, hint=error.hint) from None
    credential = login.credential
    file, directory = authorities(settings.environ)
    if endpoint.scheme in GRID and not directory:
        directory = settings.credentials.ca_directory()
    if credential.ca_file:
        file, directory = credential.ca_file, ""
    return login, Access(
        user=login.user,
        headers=login.headers,
        bearer=login.token,
        plain_password=SCHEMES[endpoint.scheme].encrypted or credential.plain_password,
        client_certificate=credential.client_certificate,
        client_key=credential.client_key,
        ca_file=file,
        ca_directory=directory,
        insecure=credential.insecure,
        section=credential.section,
    )


def marked(endpoint: Endpoint, settings: Settings) -> bool:
    """Whether the credentials file says ``webdav = yes`` of that server."""
    try:
        return settings.credentials.http(endpoint.scheme, endpoint.host, endpoint.site).webdav
    except CredentialError:  # whoever opens it hears of it
        return False


def find(endpoint: Endpoint, settings: Settings) -> Login:
    """What opens ``endpoint``. Raises ``CredentialError``, or ``ValueError`` for a broken authority.

    For ``davs`` and ``webdavs``, and for ``https`` where the file says ``webdav = yes``, also what grid
    sites expect: a bearer token, else an X.509 proxy, where the file names nothing itself.
    """
    user, _, host = endpoint.authority.rpartition("@")
    credential = _section(endpoint, settings, host)
    login = _user(user, credential)
    named = login is not None or any(name.lower() == "authorization" for name, _ in credential.headers)
    token = proxy = None
    grid = endpoint.scheme in GRID or (endpoint.scheme == "https" and credential.webdav)
    if credential.token is not None or (grid and not named):
        token = settings.credentials.token("davs" if grid else endpoint.scheme, host, endpoint.site, False)
    if credential.token is not None and token is None:  # the section has another scheme's name
        token = Token(credential.token, f"section [{credential.section}]")
    if grid and not named and token is None and not credential.client_certificate:
        proxy = settings.credentials.proxy(endpoint.site, "davs", False)
    if proxy is not None:
        credential = credential._replace(client_certificate=proxy.certificate, client_key=proxy.key)
    live = None
    if token is not None:
        live = LiveToken(token, lambda: find(endpoint, settings).found(), host)
    return Login(credential, login, _headers(credential), live, proxy)


def _section(endpoint: Endpoint, settings: Settings, host: str) -> HttpCredential:
    """A section named with WebDAV's own scheme, or that of the HTTP that it is."""
    found = settings.credentials.http(endpoint.scheme, host, endpoint.site)
    wire = WIRE.get(endpoint.scheme, endpoint.scheme)
    if wire != endpoint.scheme and not found.section.startswith(endpoint.scheme):
        other = settings.credentials.http(wire, host, endpoint.site)
        if other.section:
            return other
    return found


def _user(user: str, credential: HttpCredential) -> tuple[str, str] | None:
    """User and password; those of the credentials file count before the URL's."""
    if credential.password is not None:
        return credential.username, credential.password.reveal()
    if not user:
        return None
    from urllib.parse import unquote

    name, _, password = user.partition(":")
    return unquote(name), unquote(password)


def _headers(credential: HttpCredential) -> tuple[str, ...]:
    return tuple(f"{name}: {value.reveal()}" if value else f"{name};" for name, value in credential.headers)
