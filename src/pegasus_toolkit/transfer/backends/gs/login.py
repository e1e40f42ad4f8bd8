"""Google's tokens: google-auth makes and renews them, over our own HTTP client and from memory alone."""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import google.auth.exceptions

from pegasus_toolkit.credentials import GoogleCredential
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.clients.curl.exchange import Answer
from pegasus_toolkit.transfer.clients.curl.loop import Loop, fetch
from pegasus_toolkit.transfer.clients.curl.session import Access, Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import Denied, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Settings

SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
EARLY = 60.0  # seconds before its end that a token is renewed
TOKEN_URI = "https://oauth2.googleapis.com/token"


class Response(NamedTuple):
    """An answer as google-auth wants it."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Post(Answer):
    """A request of google-auth's; what the body of a refusal says is wanted, too."""

    def __init__(
        self, session: Session, url: str, method: str, headers: Mapping[str, str], body: Any
    ) -> None:
        super().__init__(session, url, method, 1 << 20)
        self.extra = tuple(f"{name}: {value}" for name, value in headers.items())
        if body is not None:
            self.upload = Upload(body.encode() if isinstance(body, str) else body)
            self.extra = (*self.extra, "Expect:")


class Transport:
    """How google-auth talks: our proxies, time limits and certificate authorities."""

    def __init__(self, settings: Settings, ca_file: str, ca_directory: str) -> None:
        self.settings = settings
        self.access = Access(ca_file=ca_file, ca_directory=ca_directory)

    def __call__(
        self, url: str, method: str = "GET", body: Any = None, headers: Any = None, **_: object
    ) -> Response:
        """Raises ``TransferError`` where there is no answer."""
        parts = urlsplit(url)
        session = Session(f"{parts.scheme}://{parts.netloc}", self.access, self.settings)
        post = Post(session, url, method, headers or {}, body)
        loop = Loop(session, 1, once=True)
        try:
            fetch(loop, post)
        except TransferError:
            if post.head is None:
                raise
        finally:
            loop.close()
        assert post.head is not None
        return Response(post.head.status, post.head.fields, bytes(post.body or post.told))


class Login:
    """A credential's token, renewed before it ends and when a server refuses it."""

    def __init__(self, found: GoogleCredential, transport: Transport, host: str) -> None:
        """Raises ``Denied`` for a key that is none."""
        self.origin = found.origin
        self.host = host
        self.transport = transport
        self.ends = 0.0  # of the token at hand
        try:
            info = json.loads(found.key.reveal()) if found.key is not None else _of_pkcs12(found)
            self.credentials = _loaded(info)
        except (ValueError, KeyError, google.auth.exceptions.GoogleAuthError):
            raise Denied(
                f"{found.origin} holds no key that can be used",
                host=host,
                hint="download the service account's key again",
            ) from None
        self.kind = str(info.get("type", "key")).replace("_", " ")

    def line(self) -> str:
        """With a token that is good for a minute at least."""
        if time.time() > self.ends - EARLY:
            self._renew()
        return f"Authorization: Bearer {self.credentials.token}"

    def another(self, line: str) -> bool:
        """A refused token may have been revoked: another is asked for, once."""
        if line == f"Authorization: Bearer {self.credentials.token}":
            self._renew()
        return True

    def _renew(self) -> None:
        try:
            self.credentials.refresh(self.transport)
        except TransferError as error:
            error.hint = error.hint or f"a token for {self.origin} is got there"
            raise
        except google.auth.exceptions.GoogleAuthError as error:
            why = redact.message(str(error.args[0] if error.args else "no reason is told"))[:300]
            if getattr(error, "retryable", False):
                raise ServerFault(f"no token from Google: {why}", host=self.host) from None
            hint = f"check that the key in {self.origin} was not deleted, and this machine's clock"
            raise Denied(f"Google gives no token: {why}", host=self.host, hint=hint) from None
        expiry = self.credentials.expiry  # UTC, without a zone
        self.ends = calendar.timegm(expiry.timetuple()) if expiry is not None else time.time() + 3600


def _loaded(info: dict[str, Any]) -> Any:
    """Each kind by its own class: none is loaded that runs a program, or asks a host that it names."""
    made: Any
    if info["type"] == "service_account":
        from google.oauth2.service_account import Credentials

        made = Credentials
        return made.from_service_account_info(info, scopes=[SCOPE])
    if info["type"] == "authorized_user":
        from google.oauth2.credentials import Credentials as UserCredentials

        told = {key: info[key] for key in ("refresh_token", "client_id", "client_secret")}
        made = UserCredentials
        return made(None, token_uri=info.get("token_uri", TOKEN_URI), **told)
    from google.auth.identity_pool import Credentials as PoolCredentials

    made = PoolCredentials
    return made.from_info(info, scopes=[SCOPE])


def _of_pkcs12(found: GoogleCredential) -> dict[str, str]:
    """The same of an old key in PKCS12 form; it is unpacked in memory, never into a file."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    password = found.password.reveal().encode() if found.password is not None else None
    key, _, _ = pkcs12.load_key_and_certificates(found.pkcs12, password)
    if key is None:
        raise ValueError("no key in it")
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "client_email": found.email,
        "private_key": pem.decode(),
        "token_uri": found.token_uri or TOKEN_URI,
    }
