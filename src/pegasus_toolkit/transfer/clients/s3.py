"""S3's requests on the curl client: signed by ourselves, so that every key is sent as it is.

libcurl's own AWS_SIGV4 refuses PATH_AS_IS, and without that a key with ``/./`` in it becomes another one.
The signature is Amazon's version 4 (AWS General Reference, "Signing AWS API requests").
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from pegasus_toolkit.credentials import Secret
from pegasus_toolkit.credentials.files import stamp
from pegasus_toolkit.transfer.clients.curl.exchange import Answer, Exchange
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.session import Access, Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import BadSpecification, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Data, Settings

EMPTY = hashlib.sha256(b"").hexdigest()
ENDED = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired", "AccessDenied"}
)
SIGNED = ("x-amz-", "content-md5:")  # how lines of a request begin that the signature covers
_CODE_WITHIN = 8192  # bytes of an error's body that hold its code


class Keys(NamedTuple):
    """An identity; ``access`` is ``None`` for anonymous requests; ``path``: the file it stands in, or ""."""

    access: Secret | None = None
    secret: Secret | None = None
    token: Secret | None = None
    path: str = ""


class Signer:
    """An identity and where it signs. Keys of a session are read again when their file has changed."""

    def __init__(self, region: str, keys: Keys, look_up: Callable[[], Keys] | None = None) -> None:
        """``look_up`` finds the keys of this moment."""
        self.region = region
        self.keys = keys
        self._look_up = look_up
        self._stamp = stamp(keys.path) if keys.path else None
        self._known = ("", b"")  # the key of one day

    def renew(self, refused: bool = False) -> bool:
        """Takes the keys that the file holds by now, where it has changed or they were refused; whether they
        are others."""
        seen = stamp(self.keys.path) if self.keys.path and self._look_up is not None else None
        if seen is None or self._look_up is None or (seen == self._stamp and not refused):
            return False
        before, self.keys, self._stamp = self.keys, self._look_up(), seen
        self._known = ("", b"")
        return before[:3] != self.keys[:3]

    def sign(self, method: str, url: str, lines: Sequence[str], payload: str) -> list[str]:
        """The lines that make it a signed request; ``payload``: SHA-256 of the body in hex."""
        added = [f"x-amz-content-sha256: {payload}"]
        self.renew()
        access, secret, token, _ = self.keys
        if access is None or secret is None:
            return added
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        added.append(f"x-amz-date: {now}")
        if token is not None:
            added.append(f"x-amz-security-token: {token.reveal()}")
        parts = urlsplit(url)
        default = {"http": ":80", "https": ":443"}[parts.scheme]
        covered = [("host", parts.netloc.removesuffix(default))]  # as libcurl sends it
        covered += [_split(line) for line in (*lines, *added) if line.startswith(SIGNED)]
        covered.sort()
        names = ";".join(name for name, _ in covered)
        headers = "".join(f"{name}:{value}\n" for name, value in covered)
        canonical = "\n".join((method, parts.path, parts.query, headers, names, payload))
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key(scope, secret), text.encode(), "sha256").hex()
        whose = f"Credential={access.reveal()}/{scope}, SignedHeaders={names}, Signature={signature}"
        return [*added, f"authorization: AWS4-HMAC-SHA256 {whose}"]

    def _key(self, scope: str, secret: Secret) -> bytes:
        if self._known[0] != scope:
            key = f"AWS4{secret.reveal()}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._known = scope, key
        return self._known[1]


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


class S3Session(Session):
    """One S3 service as one identity.

    ``split``: the path of an object, as in the specification, to bucket and key; ``refused``: the error for
    a status, S3's code, a URL, and the seconds that the server asks to wait.
    """

    stored = True  # "gzip", or "aws-chunked", only says how an object was stored

    def __init__(
        self,
        endpoint: str,
        signer: Signer,
        access: Access,
        settings: Settings,
        *,
        split: Callable[[str], tuple[str, str]],
        refused: Callable[[int, str, str, float | None], TransferError],
    ) -> None:
        parts = urlsplit(endpoint)
        super().__init__(f"{parts.scheme}://{parts.netloc}", access, settings)
        self.signer = signer
        self.prefix = parts.path.rstrip("/")
        self.split = split
        self.refused = refused

    def url(self, path: str) -> str:
        """The URL of a path as it stands in the specification."""
        return self.address(*self.split(path))

    def address(self, bucket: str, key: str, query: Sequence[tuple[str, str]] = ()) -> str:
        """The URL of an object, or with ``key`` "" of the bucket. Raises ``BadSpecification`` for no text."""
        try:
            path = f"{self.prefix}/{quote(bucket, errors='surrogateescape')}"
            path += f"/{quote(key, safe='/', errors='surrogateescape')}" if key else ""
        except UnicodeEncodeError:
            raise BadSpecification("a key that is no text", host=self.host) from None
        asked = "&".join(sorted(f"{_plain(name)}={_plain(value)}" for name, value in query))
        return f"{self.base}{path}?{asked}" if asked else self.base + path

    def lines(self, exchange: Exchange) -> Sequence[str]:
        """A signature for each round: it holds the time."""
        upload = exchange.upload
        payload = getattr(upload, "sha256", EMPTY) if upload is not None else EMPTY
        return (*exchange.extra, *self.signer.sign(exchange.method, exchange.url, exchange.extra, payload))

    def refusal(self, exchange: Exchange, own: bool) -> TransferError:
        """By the S3 code in the answer's XML, where there is one."""
        assert exchange.head is not None
        code = code_in(bytes(exchange.told[:_CODE_WITHIN]))
        after = exchange.head.retry_after(time.time())
        return self.refused(exchange.head.status, code, exchange.shown(), after)

    def kept_time(self, head: Head) -> int | None:
        """What who put the object says (``x-amz-meta-mtime``, as rclone keeps it)."""
        whole, _, part = head.get("x-amz-meta-mtime").partition(".")
        if not (whole.isascii() and whole.isdigit() and len(whole) < 12 and (part + "0").isdigit()):
            return None
        return int(whole) * 1_000_000_000 + int(f"{part:0<9.9}")

    def renews(self, exchange: Exchange) -> bool:
        """Session keys end, and their file may hold others by now."""
        code = code_in(bytes(exchange.told[:_CODE_WITHIN]))
        ended = code in ENDED or (exchange.head is not None and exchange.head.status == 403 and not code)
        return ended and self.signer.renew(refused=True)

    def allow(self, url: str, target: str) -> None:
        """No redirect is followed: a signature is for one host, and others are not believed."""
        raise self.refused(307, "", url, None)


def code_in(body: bytes) -> str:
    """The S3 code in an error's XML, "" for none (answers to HEAD have no body)."""
    start = body.find(b"<Code>")
    end = body.find(b"</Code>", start)
    code = body[start + 6 : end].decode("ascii", "replace") if 0 <= start < end else ""
    return code if len(code) <= 64 and code.replace(".", "").isalnum() else ""


class S3Upload(Upload):
    """A body with its SHA-256 in hex, which the signature covers."""

    def __init__(self, content: Data, sha256: str = "") -> None:
        super().__init__(content)
        self.sha256 = sha256 or (hashlib.sha256(content).hexdigest() if len(content) else EMPTY)


class S3Request(Answer):
    """A request whose answer is small: ``head`` and ``body``."""

    def __init__(
        self,
        session: S3Session,
        method: str,
        bucket: str,
        key: str = "",
        *,
        query: Sequence[tuple[str, str]] = (),
        lines: Sequence[str] = (),
        content: Data | None = None,
        sha256: str = "",
    ) -> None:
        """``content``: the body, for PUT and POST; ``sha256``: its digest in hex, where it is known."""
        super().__init__(session, session.address(bucket, key, query), method)
        self.service = session
        if content is not None:
            self.upload = S3Upload(content, sha256)
            self.extra = (*lines, "Expect:")
        else:
            self.extra = tuple(lines)

    def get(self, name: str) -> str:
        """A field of the answer, "" where it is not there."""
        return self.head.get(name) if self.head is not None else ""

    def good(self) -> S3Request:
        """Itself. Raises what went wrong, also within a success, as S3 tells it after long work."""
        error = self.failed()
        if error is not None:
            raise error
        if len(self.body) > self.most:
            raise ServerFault("an answer without end", url=self.shown(), host=self.session.host)
        if b"<Error>" in self.body[:400]:
            code = code_in(bytes(self.body[:4096])) or "InternalError"
            raise self.service.refused(500, code, self.shown(), None)
        return self


def _plain(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
