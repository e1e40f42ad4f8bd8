"""One server as one user, for libcurl's handles: whom they talk to, what is shown, who is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pycurl

from pegasus_toolkit import __version__
from pegasus_toolkit.credentials.x509 import dates
from pegasus_toolkit.transfer.clients.curl import errors, urls
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.proxies import Proxies
from pegasus_toolkit.transfer.clients.curl.urls import Origin
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, TransferError
from pegasus_toolkit.transfer.interface import Settings

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.clients.curl.exchange import Exchange

ASK = 5.0  # seconds
RECEIVE = 1 << 20  # bytes that libcurl reads at once; its own 16 KiB cost a fifth more processor time
SEND = 512 << 10  # bytes that libcurl sends at once; 64 KiB, its own, cost a sixth more


class Bearer(Protocol):
    """A token that is renewed while the run goes on."""

    def line(self) -> str:
        """The header's line with the token of this moment. Raises ``TransferError`` where there is none."""

    def another(self, line: str) -> bool:
        """After a server refused what ``line`` holds: whether there is another one now."""


class Access(NamedTuple):
    """What a server is shown, and whom its certificate must be signed by. Secrets are in it.

    ``user``: name and password; ``plain_password``: it may be sent as it is (else by Digest alone);
    ``headers``: whole lines, for this server only, as is ``bearer``; ``insecure``: no certificate is checked;
    ``section``: where all this comes from, as errors name it, "" for nowhere.
    """

    user: tuple[str, str] | None = None
    headers: tuple[str, ...] = ()
    bearer: Bearer | None = None
    plain_password: bool = True
    client_certificate: str = ""
    client_key: str = ""
    ca_file: str = ""
    ca_directory: str = ""
    insecure: bool = False
    section: str = ""


class Session:
    """One server as one user: URLs, credentials, certificates and proxies for libcurl's handles.

    ``base``: scheme, host and port. Raises ``BadSpecification`` where that is none.
    """

    stored = False  # answers are the bytes as they are stored, never coded for the way
    head = Head  # how the head of an answer is read

    def __init__(self, base: str, access: Access, settings: Settings) -> None:
        self.base = base
        self.host = base.partition("://")[2]
        try:
            self.origin = urls.origin(base)
        except ValueError as error:
            raise BadSpecification(f"not a host and port: {error}", host=self.host) from None
        self.access = access
        self.settings = settings
        self.proxies = Proxies(settings.environ)
        self.digest = access.user is not None and not access.plain_password  # authentication by Digest
        self._ended: dict[Origin, float | None] = {}

    def ended(self, server: Origin) -> float | None:
        """When the certificate of a server ended that libcurl found to be over; ``None``: not known.

        libcurl does not tell, so the server is asked for its certificate again, once.
        """
        if server not in self._ended:
            import ssl  # nobody else here needs it

            try:
                pem = ssl.get_server_certificate((server.host, server.port), timeout=ASK)
            except (OSError, ValueError):
                pem = ""
            self._ended[server] = min((end for _, end in dates(pem.encode())), default=None)
        return self._ended[server]

    def url(self, path: str) -> str:
        """The URL of a path, which is raw as in the specification."""
        return self.base + urls.escaped(path if path.startswith("/") else f"/{path}")

    def handle(self) -> Any:
        """A libcurl handle with everything that is the same for all requests."""
        handle = pycurl.Curl()
        protocols = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
        options: list[tuple[int, Any]] = [
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROTOCOLS, protocols),
            (pycurl.FOLLOWLOCATION, 0),  # libcurl would send header.* credentials along
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.HTTP09_ALLOWED, 0),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.BUFFERSIZE, RECEIVE),
            (pycurl.UPLOAD_BUFFERSIZE, SEND),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.CONNECTTIMEOUT_MS, max(1, int(self.settings.connect_timeout * 1000))),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.LOW_SPEED_TIME, max(1, int(self.settings.stall_timeout))),
            (pycurl.USERAGENT, f"pegasus-toolkit/{__version__}"),
        ]
        for option, value in options:
            handle.setopt(option, value)
        return handle

    def lines(self, exchange: Exchange) -> Sequence[str]:
        """The header lines of one round of a request, beside those of the session."""
        return exchange.extra

    def renews(self, exchange: Exchange) -> bool:
        """Whether there is a newer credential than the one that the server has just refused."""
        bearer = self.access.bearer
        refused = exchange.head is not None and exchange.head.status == 401
        return refused and bearer is not None and bearer.another(exchange.bearer)

    def kept_time(self, head: Head) -> int | None:
        """When the content was last changed (nanoseconds since the epoch), where a storage keeps that."""
        return None

    def refusal(self, exchange: Exchange, own: bool) -> TransferError:
        """The error for an answer that is no success; ``own``: of this server, not of one we were sent to."""
        assert exchange.head is not None
        host = self.host if own else exchange.target.host
        section = self.access.section if own else None
        kept = own and self.access.user is not None and not self.access.plain_password
        only_basic = kept and exchange.head.status == 401 and "digest" not in _offered(exchange.head)
        told = bytes(exchange.told)
        shown = exchange.shown()
        return errors.of_status(exchange.head, shown, host, section, only_basic=only_basic, told=told)

    def aim(self, handle: Any, target: Origin, proxy: str, extra: Sequence[str]) -> None:
        """Sets what depends on whom the handle talks to; ``extra`` are lines of this request alone.

        Credentials go to the session's own origin only. A certificate authority that the site names
        also counts for where it redirects to; its leave to check no certificate does not.
        """
        own = target == self.origin
        access = self.access
        lines = [*(access.headers if own else ()), *extra]
        handle.unsetopt(pycurl.HTTPHEADER)  # pycurl takes an empty list for no change
        handle.setopt(pycurl.HTTPHEADER, [line.encode("utf-8", "surrogateescape") for line in lines])
        if own and access.user is not None:
            handle.setopt(pycurl.HTTPAUTH, pycurl.HTTPAUTH_DIGEST if self.digest else pycurl.HTTPAUTH_BASIC)
            handle.setopt(pycurl.USERNAME, access.user[0])
            handle.setopt(pycurl.PASSWORD, access.user[1])
        else:
            handle.unsetopt(pycurl.USERNAME)
            handle.unsetopt(pycurl.PASSWORD)
        handle.setopt(pycurl.PROXY, proxy)  # always: libcurl reads the environment otherwise
        handle.setopt(pycurl.NOPROXY, "")
        if target.scheme == "https":
            verify = not (own and access.insecure)
            handle.setopt(pycurl.SSL_VERIFYPEER, int(verify))
            handle.setopt(pycurl.SSL_VERIFYHOST, 2 if verify else 0)
            self.certificates(handle, own)

    def certificates(self, handle: Any, own: bool) -> None:
        """Sets whom the handle trusts, and our own certificate."""
        access = self.access
        for option, value in ((pycurl.CAINFO, access.ca_file), (pycurl.CAPATH, access.ca_directory)):
            if value:
                handle.setopt(option, value)
            else:
                handle.unsetopt(option)
        if own and access.client_certificate:
            handle.setopt(pycurl.SSLCERT, access.client_certificate)
            if access.client_key:
                handle.setopt(pycurl.SSLKEY, access.client_key)

    def holds_secret_from(self, before: Origin, after: Origin) -> bool:
        """Whether a handle aimed at ``before`` holds what ``after`` must not see, and cannot forget it."""
        return bool(self.access.client_certificate) and before == self.origin != after

    def allow(self, url: str, target: str) -> None:
        """Raises ``Denied`` for a redirect out of https, unless the site needs no certificate anyway."""
        if url.startswith("https:") and target.startswith("http:") and not self.access.insecure:
            raise Denied(
                "redirected from https to http, which anybody can read and change",
                url=urls.shown(target, redirect=True),
                host=self.host,
                hint="use the http URL where that is wanted",
            )


def _offered(head: Head) -> str:
    return head.get("www-authenticate").lower()
