"""Signed requests to an S3 service, on connections that are kept.

What obstore cannot do goes this way: parts with a checksum each, keys that its paths cannot hold,
buckets, deletes with an outcome for each key, the server's own digests. A stall is a time-out of the
socket, and ``close`` ends what is under way at once.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from pegasus_toolkit.transfer.backends.s3.errors import code_in, failure
from pegasus_toolkit.transfer.backends.s3.site import Site
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Denied,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Data

EMPTY = hashlib.sha256(b"").hexdigest()
_PIECE = 256 << 10  # bytes given to the socket at once
_LIMIT = 64 << 20  # bytes of an answer that is read whole, such as a listing: far more than there can be


class Request(NamedTuple):
    """``key`` "" is the bucket itself; ``sha256``: hex of the body where it is known already."""

    method: str
    bucket: str
    key: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: Data = b""
    sha256: str = ""


class Reply:
    """A successful answer. Read it to its end, or ``drop`` it."""

    def __init__(self, wire: Wire, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse):
        self._wire = wire
        self._connection = connection
        self._answer = answer
        self._over = False
        self.status = answer.status
        self.headers = answer.headers

    def readinto(self, view: memoryview) -> int:
        """Fills from the start of the view; 0 means end. Raises when the body breaks off."""
        try:
            n = self._answer.readinto(view)
        except (OSError, http.client.HTTPException) as error:
            self.drop()
            raise self._wire.trouble(error) from error
        if n == 0 and self._answer.length:
            self.drop()
            raise self._wire.trouble(http.client.IncompleteRead(b""))
        if n == 0 or self._answer.isclosed():
            self._give_back()
        return n

    def read(self) -> bytes:
        """All that is left, 64 MiB at most."""
        found = bytearray()
        view = memoryview(bytearray(1 << 16))
        while n := self.readinto(view):
            found += view[:n]
            if len(found) > _LIMIT:
                self.drop()
                raise ServerFault("an answer without end", host=self._wire.site.host)
        return bytes(found)

    def drop(self) -> None:
        """The rest is not wanted."""
        if not self._over:
            self._over = True
            self._wire.discard(self._connection)

    def _give_back(self) -> None:
        if self._answer.will_close:
            self.drop()
        elif not self._over:
            self._over = True
            self._wire.idle.append(self._connection)


class Wire:
    """Connections to one service with one identity; for many threads."""

    def __init__(self, site: Site, connect_timeout: float, stall_timeout: float) -> None:
        self.site = site
        self.connect_timeout = connect_timeout
        self.stall_timeout = stall_timeout
        self.closed = False
        self.idle: list[http.client.HTTPConnection] = []
        self._live: set[http.client.HTTPConnection] = set()
        self._tls: ssl.SSLContext | None = None
        parts = urlsplit(site.endpoint)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/")
        # The Host header is signed: it must be what http.client sends.
        bare = f"[{self._host}]" if ":" in self._host else self._host
        self._header_host = bare if self._port == (443 if self._secure else 80) else f"{bare}:{self._port}"

    def send(self, request: Request, last: bool = False) -> Reply:
        """The answer, a success. Raises what the answer or the network means.

        A connection that the server closed while it was idle is replaced once. ``last``: works after
        ``close``, too, for what must be cleaned up then.
        """
        while True:
            if self.closed and not last:
                raise Cancelled("closed", host=self.site.host)
            used = bool(self.idle)
            connection = self._connection(last)
            try:
                answer = self._exchange(connection, request)
                break
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                self.discard(connection)
                if not used:
                    raise self.trouble(error) from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.discard(connection)
                raise self.trouble(error) from error
        reply = Reply(self, connection, answer)
        if answer.status >= 300:
            raise self._refusal(reply, request)
        return reply

    def call(self, request: Request, last: bool = False) -> bytes:
        """The body of the answer. An error within a success, as S3 sends after long work, is raised."""
        body = self.send(request, last).read()
        if b"<Error>" in body[:400]:
            code = code_in(body[:4096].decode("utf-8", "replace"))
            raise self.failure(500, code or "InternalError", request)
        return body

    def failure(
        self, status: int, code: str, request: Request, retry_after: float | None = None
    ) -> TransferError:
        """The error for an answer to that request."""
        site = self.site
        url = site.path(request.bucket, request.key)
        return failure(status, code, url=url, host=site.host, who=site.who, retry_after=retry_after)

    def trouble(self, error: Exception) -> TransferError:
        """The error of ours for one of the network."""
        host = self.site.host
        if self.closed:
            return Cancelled("closed", host=host)
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "name the authority's certificate as ca_file in the site's section"
            return Denied(f"certificate not trusted: {error.verify_message}", host=host, hint=hint)
        kind, text = next((kind, text) for types, kind, text in _TROUBLE if isinstance(error, types))
        return kind(text.format(at=self._header_host, why=_reason(error)), host=host)

    def discard(self, connection: http.client.HTTPConnection) -> None:
        """Closes it for good."""
        self._live.discard(connection)
        connection.close()

    def close(self) -> None:
        """From any thread; what is under way ends with ``Cancelled``. Idempotent."""
        self.closed = True
        for connection in list(self._live):
            if connection.sock is not None:
                try:
                    connection.sock.shutdown(socket.SHUT_RDWR)
                except OSError:  # not connected any more
                    continue
        while self.idle:
            self.discard(self.idle.pop())

    def _exchange(self, connection: http.client.HTTPConnection, request: Request) -> http.client.HTTPResponse:
        path = f"{self._base}/{request.bucket}" + (f"/{_quoted(request.key)}" if request.key else "")
        query = "&".join(sorted(f"{_plain(k)}={_plain(v)}" for k, v in request.query))
        headers = self._signed(request, path, query)
        if connection.sock is None:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(self.stall_timeout)
        body = request.body if len(request.body) or request.method in ("PUT", "POST") else None
        connection.putrequest(request.method, f"{path}?{query}" if query else path, True, True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        # Its time-out counts for a call as a whole: in pieces, it is one for stalls.
        for at in range(0, len(body or b""), _PIECE):
            connection.send(memoryview(request.body)[at : at + _PIECE])
        return connection.getresponse()

    def _signed(self, request: Request, path: str, query: str) -> dict[str, str]:
        """All headers, with Amazon's signature version 4 over them."""
        site = self.site
        digest = request.sha256 or (hashlib.sha256(request.body).hexdigest() if request.body else EMPTY)
        headers = {"host": self._header_host, "x-amz-content-sha256": digest, **request.headers}
        if site.access_key is None or site.secret_key is None:
            return headers
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers["x-amz-date"] = now
        if site.session_token is not None:
            headers["x-amz-security-token"] = site.session_token.reveal()
        names = sorted(headers)
        lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
        canonical = "\n".join([request.method, path, query, lines, ";".join(names), digest])
        scope = f"{now[:8]}/{site.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{site.secret_key.reveal()}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={site.access_key.reveal()}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return headers

    def _connection(self, last: bool) -> http.client.HTTPConnection:
        while self.idle:
            try:
                return self.idle.pop()
            except IndexError:  # another thread was quicker
                break
        timeout = min(self.connect_timeout, 5.0) if last else self.connect_timeout
        made = self._new(timeout)
        self._live.add(made)
        return made

    def _new(self, timeout: float) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout, blocksize=1 << 18)
        if self._tls is None:
            self._tls = _context(self.site)
        if not self.site.proxy:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        proxy = urlsplit(self.site.proxy)
        made = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port or 8080, timeout=timeout, context=self._tls
        )
        made.set_tunnel(self._host, self._port, _proxy_headers(proxy.username, proxy.password))
        return made

    def _refusal(self, reply: Reply, request: Request) -> TransferError:
        code = code_in(reply.read()[:8192].decode("utf-8", "replace"))
        after = reply.headers.get("retry-after") or ""
        return self.failure(reply.status, code, request, float(after) if after.isdecimal() else None)


_TROUBLE: tuple[tuple[tuple[type[Exception], ...], type[TransferError], str], ...] = (
    ((TimeoutError,), TimedOut, "S3 does not answer"),
    ((ConnectionRefusedError,), Unreachable, "cannot connect to {at}: {why}"),
    ((ConnectionError, http.client.HTTPException), ServerFault, "the connection broke off"),
    ((OSError,), Unreachable, "cannot connect to {at}: {why}"),  # no such host, no route, no TLS
    ((Exception,), BadSpecification, "a key that is no text"),
)
"""The first line that fits counts."""


def _context(site: Site) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if site.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if site.ca_file:
        try:
            context.load_verify_locations(cafile=site.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise BadSpecification(f"ca_file {site.ca_file} cannot be used: {_reason(error)}") from None
    return context


def _proxy_headers(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    from base64 import b64encode

    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__


def _quoted(key: str) -> str:
    return quote(key, safe="/", errors="surrogateescape")


def _plain(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
