"""What every protocol on HTTP shares: whom we talk to and how, requests and their redirects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pycurl

from pegasus_toolkit import __version__
from pegasus_toolkit.credentials import CredentialError
from pegasus_toolkit.transfer.backends.http import errors as http_errors
from pegasus_toolkit.transfer.backends.http import login as http_login
from pegasus_toolkit.transfer.backends.http import urls as http_urls
from pegasus_toolkit.transfer.backends.http.headers import Head
from pegasus_toolkit.transfer.backends.http.settings import Proxies, authorities
from pegasus_toolkit.transfer.backends.http.urls import Origin
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Data, Endpoint, Settings

HOPS = 10  # redirects that are followed, at most
RECEIVE = 1 << 20  # bytes that libcurl reads at once; its own 16 KiB cost a fifth more processor time
SEND = 512 << 10  # bytes that libcurl sends at once; 64 KiB, its own, cost a sixth more
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DROPPED = 64 << 10  # bytes of an error's page that are read, to keep the connection


class Session:
    """One server as one user: URLs, credentials, certificates and proxies for libcurl's handles.

    Raises ``Denied`` where the credentials cannot be used.
    """

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.host = endpoint.authority.rpartition("@")[2]
        self.base = f"{http_login.WIRE.get(endpoint.scheme, endpoint.scheme)}://{self.host}"
        try:
            self.origin = http_urls.origin(self.base)
            self.found = http_login.find(endpoint, settings)
        except ValueError as error:
            raise BadSpecification(f"not a host and port: {error}", host=self.host) from None
        except CredentialError as error:
            raise Denied(error.message, host=self.host, hint=error.hint) from None
        self.settings = settings
        self.proxies = Proxies(settings.environ)
        self.authorities = authorities(settings.environ)
        if endpoint.scheme in http_login.GRID and not self.authorities[1]:
            self.authorities = self.authorities[0], settings.credentials.ca_directory()
        self.credential = self.found.credential
        self.login = self.found.user
        self.headers = self.found.headers
        plain = endpoint.scheme in ("dav", "webdav") and not self.credential.plain_password
        self.digest = plain and self.login is not None  # Digest authentication, which shows no password
        self.basic = not plain  # the password may be sent as it is

    def url(self, path: str) -> str:
        """The URL of a path, which is raw as in the specification."""
        return self.base + http_urls.escaped(path if path.startswith("/") else f"/{path}")

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

    def aim(self, handle: Any, target: Origin, proxy: str, extra: Sequence[str]) -> None:
        """Sets what depends on whom the handle talks to; ``extra`` are lines of this request alone.

        Credentials go to the session's own origin only. A certificate authority that the site names
        also counts for where it redirects to; its leave to check no certificate does not.
        """
        own = target == self.origin
        credential = self.credential
        lines = [*(self.headers if own else ()), *extra]
        handle.unsetopt(pycurl.HTTPHEADER)  # pycurl takes an empty list for no change
        handle.setopt(pycurl.HTTPHEADER, [line.encode("utf-8", "surrogateescape") for line in lines])
        if own and self.login is not None:
            handle.setopt(pycurl.HTTPAUTH, pycurl.HTTPAUTH_DIGEST if self.digest else pycurl.HTTPAUTH_BASIC)
            handle.setopt(pycurl.USERNAME, self.login[0])
            handle.setopt(pycurl.PASSWORD, self.login[1])
        else:
            handle.unsetopt(pycurl.USERNAME)
            handle.unsetopt(pycurl.PASSWORD)
        handle.setopt(pycurl.PROXY, proxy)  # always: libcurl reads the environment otherwise
        handle.setopt(pycurl.NOPROXY, "")
        if target.scheme == "https":
            verify = not (own and credential.insecure)
            handle.setopt(pycurl.SSL_VERIFYPEER, int(verify))
            handle.setopt(pycurl.SSL_VERIFYHOST, 2 if verify else 0)
            self.certificates(handle, own)

    def certificates(self, handle: Any, own: bool) -> None:
        """Sets whom the handle trusts, and our own certificate."""
        file, directory = self.authorities
        if self.credential.ca_file:
            file, directory = self.credential.ca_file, ""
        for option, value in ((pycurl.CAINFO, file), (pycurl.CAPATH, directory)):
            if value:
                handle.setopt(option, value)
            else:
                handle.unsetopt(option)
        if own and self.credential.client_certificate:
            handle.setopt(pycurl.SSLCERT, self.credential.client_certificate)
            if self.credential.client_key:
                handle.setopt(pycurl.SSLKEY, self.credential.client_key)

    def holds_secret_from(self, before: Origin, after: Origin) -> bool:
        """Whether a handle aimed at ``before`` holds what ``after`` must not see, and cannot forget it."""
        return bool(self.credential.client_certificate) and before == self.origin != after

    def allow(self, url: str, target: str) -> None:
        """Raises ``Denied`` for a redirect out of https, unless the site needs no certificate anyway."""
        if url.startswith("https:") and target.startswith("http:") and not self.credential.insecure:
            raise Denied(
                "redirected from https to http, which anybody can read and change",
                url=http_urls.shown(target, redirect=True),
                host=self.host,
                hint="use the http URL where that is wanted",
            )


class Exchange:
    """One request, sent again as often as redirects and a failing proxy demand.

    A subclass says in ``begin`` what the answer is good for, and by setting ``take`` what becomes of
    its body; both may raise ``TransferError``, which ends the exchange, or :class:`Again` for another round.
    """

    method = "GET"
    upload: Upload | None = None  # what to send, for methods that send something
    patience: int | None = None  # seconds without a byte; ``None``: as the settings say

    def __init__(self, session: Session, url: str) -> None:
        self.session = session
        self.url = url
        self.target = session.origin
        self.proxy = session.proxies.of(session.origin.scheme, session.host)
        self.extra: tuple[str, ...] = ()
        self.hops = 0
        self.shunned = ""  # the proxy that failed and is now gone round
        self.digested = session.digest
        self.lines: list[bytes] = []  # of headers, as they come
        self.reset()

    def reset(self) -> None:
        """Makes ready for the next round. Raises where what was to be sent cannot be sent again."""
        if self.upload is not None and not self.upload.rewind():
            raise ServerFault("asked to send again what was sent already", url=self.shown())
        self.head: Head | None = None
        self.error: BaseException | None = None
        self.dropped = 0
        self.take: Callable[[Data], object] = self.drop

    def begin(self, head: Head) -> None:
        """Called once a round, before the first byte of the body."""

    def drop(self, chunk: Data) -> None:
        """A piece of a body that nobody wants."""
        self.dropped += len(chunk)
        if self.dropped > DROPPED:
            raise StopReading

    def shown(self) -> str:
        """The URL for errors."""
        return http_urls.shown(self.url, redirect=self.hops > 0)

    def over(self, handle: Any, code: int, text: str) -> bool:
        """Whether it came to its end, with ``error`` set or not; else it is to be sent again."""
        error, self.error = self.error, None
        if isinstance(error, Again):
            self.reset()
            return False
        if error is not None and not isinstance(error, StopReading):
            self.error = error
            return True
        code = 0 if isinstance(error, StopReading) else code
        try:
            return self._judge(handle, code, text)
        except TransferError as failure:
            self.error = failure
            return True

    def _judge(self, handle: Any, code: int, text: str) -> bool:
        status = self.head.status if self.head is not None else 0
        if self.proxy and http_errors.of_proxy(code, handle.getinfo(pycurl.HTTP_CONNECTCODE), status):
            self.shunned, self.proxy = self.proxy, ""
            self.reset()
            return False
        own = self.target == self.session.origin
        host = self.session.host if own else self.target.host
        if code:
            if self.proxy:  # not known whose fault it was: the next attempt goes straight to the source
                self.session.proxies.bad.add(self.proxy)
            connected = handle.getinfo(pycurl.PRETRANSFER_TIME) > 0
            raise http_errors.of_curl(code, text, self.shown(), host, connected=connected, own=own)
        assert self.head is not None
        if self.shunned and status < 500:  # it was not the server's fault
            self.session.proxies.bad.add(self.shunned)
        if status in REDIRECTS and self.head.get("location"):
            self.follow(self.head.get("location"))
            self.reset()
            return False
        if status == 401 and own and self._may_digest(self.head):
            self.session.digest = self.digested = True
            self.reset()
            return False
        if not 200 <= status < 300:
            section = self.session.credential.section if own else None
            raise http_errors.of_status(self.head, self.shown(), host, section, self._only_basic(own))
        return True

    def _may_digest(self, head: Head) -> bool:
        """Whether the server that refused the password wants it by Digest, which was not tried yet."""
        offered = "digest" in head.get("www-authenticate").lower()
        return offered and not self.digested and self.session.login is not None

    def _only_basic(self, own: bool) -> bool:
        """Whether the password was kept back, since the server only takes it as it is."""
        assert self.head is not None
        kept = own and self.session.login is not None and not self.session.basic
        return kept and self.head.status == 401 and "digest" not in self.head.get("www-authenticate").lower()

    def follow(self, location: str) -> None:
        """Turns to where the server sends us."""
        if self.hops >= HOPS:
            raise ServerFault(f"more than {HOPS} redirects", url=self.shown(), host=self.session.host)
        target = http_urls.redirected(self.url, location)
        self.session.allow(self.url, target)
        self.hops += 1
        self.url = target
        self.target = http_urls.origin(target)
        authority = target.split("/", 3)[2]
        self.proxy = self.session.proxies.of(self.target.scheme, authority)


class Upload:
    """What a request sends: content in memory, which can be sent again as often as need be.

    A subclass that reads from elsewhere may raise ``TransferError`` in ``read``, which ends the exchange.
    """

    def __init__(self, content: Data = b"") -> None:
        self.size: int | None = len(content)  # ``None``: not known before the end
        self.stopped = False  # set to have a stream raise at its next read
        self._view = memoryview(content)
        self._at = 0

    def read(self, n: int) -> bytes:
        """Up to n bytes; b"" at the end."""
        part = bytes(self._view[self._at : self._at + n])
        self._at += len(part)
        return part

    def rewind(self) -> bool:
        """Back to the start; whether that was possible."""
        self._at = 0
        return True


class Again(Exception):
    """The request is to be sent once more, changed. Never leaves this package."""


class StopReading(Exception):
    """What came so far will do; the rest of the body is not read. Never leaves this package."""
