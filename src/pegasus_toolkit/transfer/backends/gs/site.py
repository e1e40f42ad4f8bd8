"""Where Google Storage is, who we are there, and how a URL names an object."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from pegasus_toolkit.credentials import CredentialError, GoogleCredential
from pegasus_toolkit.transfer.backends.gs.errors import failure
from pegasus_toolkit.transfer.backends.shared.tokens import LiveToken
from pegasus_toolkit.transfer.backends.shared.trust import authorities
from pegasus_toolkit.transfer.clients.curl.session import Access, Bearer
from pegasus_toolkit.transfer.clients.gcs import GcsSession
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings

GOOGLE = "https://storage.googleapis.com"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Site(NamedTuple):
    """One bucket of one service, and one identity; ``who`` names the credential in errors, "" for none."""

    bucket: str
    endpoint: str
    found: GoogleCredential
    bearer: Bearer | None
    identity: Identity

    @property
    def who(self) -> str:
        return self.identity.origin

    @property
    def host(self) -> str:
        """As limits and errors call it."""
        return self.bucket

    def path(self, bucket: str, key: str) -> str:
        """The path that ``split`` takes apart."""
        return f"/{key}"

    def split(self, path: str) -> tuple[str, str]:
        """Bucket and key of a path as it stands in the URL."""
        return self.bucket, path[1:] if path.startswith("/") else path

    def object(self, path: str) -> tuple[str, str]:
        """Bucket and key. Raises ``BadSpecification`` where there is no key."""
        bucket, key = self.split(path)
        if not key:
            raise BadSpecification("a bucket, where an object is needed", url=path, host=bucket)
        return bucket, key


def find(endpoint: Endpoint, settings: Settings) -> Site:
    """What an endpoint names. Raises ``BadSpecification``, or ``Denied`` for credentials of no use."""
    bucket = endpoint.authority
    if not bucket or "@" in bucket or ":" in bucket:
        raise BadSpecification("a URL of Google Storage is gs://bucket/key", host=bucket)
    try:
        found = settings.credentials.google(bucket, endpoint.site)
        token = settings.credentials.token("gs", bucket, endpoint.site)
    except CredentialError as error:
        raise Denied(error.message, host=bucket, hint=error.hint) from None
    emulator = settings.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"
    base = found.endpoint or emulator or GOOGLE
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSpecification(f"{base} is not a URL of the form https://host[:port]", host=bucket)
    bearer: Bearer | None = None
    identity = Identity("anonymous")
    if token is not None:
        look_up = partial(settings.credentials.token, "gs", bucket, endpoint.site)
        live = LiveToken(token, look_up, bucket)
        bearer, identity = live, live.identity()
    elif found.key is not None or found.pkcs12:
        from pegasus_toolkit.transfer.backends.gs.login import Login, Transport

        file, directory = _authorities(found, settings)
        login = Login(found, Transport(settings, file, directory), bucket)
        bearer, identity = login, Identity(login.kind, found.origin)
    if bearer is not None and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise Denied(f"a token is not sent to {base}, without encryption", host=bucket, hint="use https")
    return Site(bucket, base, found, bearer, identity)


def _authorities(found: GoogleCredential, settings: Settings) -> tuple[str, str]:
    return (found.ca_file, "") if found.ca_file else authorities(settings.environ)


def session(site: Site, settings: Settings) -> GcsSession:
    """What talks to the service."""
    file, directory = _authorities(site.found, settings)

    def refused(status: int, reason: str, message: str, url: str, after: float | None) -> TransferError:
        host = site.bucket
        return failure(status, reason, message, url=url, host=host, who=site.who, retry_after=after)

    payer = site.found.user_project
    access = Access(
        headers=(f"x-goog-user-project: {payer}",) if payer else (),
        bearer=site.bearer,
        ca_file=file,
        ca_directory=directory,
        insecure=site.found.insecure,
        section=site.found.section or site.who,
    )
    return GcsSession(site.endpoint, access, settings, split=site.object, refused=refused)
