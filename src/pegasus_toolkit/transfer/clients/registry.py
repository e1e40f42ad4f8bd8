"""Registries of container images (OCI Distribution 1.1, Docker Registry 2): logins, manifests and blobs.

Whatever has a digest is compared with it. Blocking calls, for one thread at a time; ``close`` by any.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.clients.curl import errors, urls
from pegasus_toolkit.transfer.clients.curl.exchange import Answer, Exchange
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.loop import Loop, fetch
from pegasus_toolkit.transfer.clients.curl.session import Access, Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    ServerFault,
    Throttled,
    TransferError,
    Transient,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Data, Settings

E = TypeVar("E", bound=Exchange)

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MOST = 4 << 20  # bytes of a manifest, as registries allow
HOSTS = {"docker.io": "registry-1.docker.io"}
_NAME = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_CHALLENGE = re.compile(r'(\w+)((?:[ ,]+\w+\s*=\s*(?:"[^"]*"|[^\s",]+))*)')
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s",]+))')
_TOKEN = re.compile(r"[!-~]+")


class Reference(NamedTuple):
    """``host/repository:tag@digest``; a digest counts before a tag, which then is only a name."""

    host: str
    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """As programs take it."""
        return (
            self.untagged + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")
        )

    @property
    def untagged(self) -> str:
        """Registry and repository."""
        return f"{self.host}/{self.repository}"


def reference(host: str, path: str) -> Reference:
    """What the path of a URL names at a registry. Raises ``BadSpecification``."""
    name, at, digest = path.strip("/").partition("@")
    repository, colon, tag = name.partition(":")
    if host == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    good = _NAME.fullmatch(repository) and (not colon or _TAG.fullmatch(tag))
    if not good or (at and not _DIGEST.fullmatch(digest)):
        hint = "write registry/owner/name:tag or ...name@sha256:digest, the name in lower case"
        raise BadSpecification(f"not an image's name: {name}{at}{digest}"[:300], host=host, hint=hint)
    return Reference(host, repository, tag or ("" if digest else "latest"), digest)


class Platform(msgspec.Struct, frozen=True):
    """What an image was made for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A blob, or a manifest among several."""

    digest: str
    size: int
    media_type: str = ""
    platform: Platform | None = None
    annotations: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What an image consists of; or, in ``manifests``, images for several platforms."""

    schema_version: int
    media_type: str = ""
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None


class Account(NamedTuple):
    """Who asks. ``hint``: what to do where that is refused."""

    username: str = ""
    password: Any = None  # a Secret, as ``refresh``: a token that is exchanged for one of an hour
    refresh: Any = None
    hint: str = ""


class RegistrySession(Session):
    """One registry: shows its own server the token of the repository that is asked for."""

    stored = True
    authorization = ""
    hint = ""

    def lines(self, exchange: Exchange) -> Sequence[str]:
        """Blobs may be elsewhere: a token is for the registry alone."""
        own = exchange.target == self.origin and self.authorization
        return (*exchange.extra, f"Authorization: {self.authorization}") if own else exchange.extra

    def refusal(self, exchange: Exchange, own: bool) -> TransferError:
        """With the registry's own words."""
        error = super().refusal(exchange, own)
        if own:
            error.message += _words(bytes(exchange.told))
            error.hint = self.hint if isinstance(error, Denied | Throttled) else error.hint
        return error


class Blob(Exchange):
    """A GET of a blob, or of the rest of one; ``take`` gets each byte once."""

    def __init__(
        self, session: Session, url: str, wanted: Descriptor, give: Callable[[Data], object]
    ) -> None:
        self.wanted = wanted
        self.give = give
        self.count = 0  # bytes handed on
        self.again = 0  # bytes of this answer that were handed on before
        self.hasher = hashlib.new(wanted.digest.partition(":")[0])
        super().__init__(session, url)

    def reset(self) -> None:
        """The next round asks for what is missing."""
        super().reset()
        self.extra = (f"Range: bytes={self.count}-",) if self.count else ()

    def begin(self, head: Head) -> None:
        """All of it, or the rest."""
        if not 200 <= head.status < 300:
            return
        if head.status == 206 and self.count:
            if head.range is None or head.range[0] != self.count:
                raise ServerFault("another part came than was asked for", url=self.shown())
            self.again = 0
        else:
            errors.require_file(head, self.shown(), self.session.host, stored=True)
            self.again = self.count
            if head.length not in (None, self.wanted.size):
                raise self.wrong(f"{head.length} bytes announced")
        self.take = self._pass

    def _pass(self, chunk: Data) -> None:
        if self.again:
            known = min(self.again, len(chunk))
            self.again -= known
            chunk = memoryview(chunk)[known:]
        self.count += len(chunk)
        if self.count > self.wanted.size:
            raise self.wrong(f"more than {self.wanted.size} bytes came")
        self.hasher.update(chunk)
        if self.count == self.wanted.size:  # the last byte is handed out only when all are right
            self.check()
        self.give(chunk)

    def check(self) -> None:
        """Raises ``Corrupted`` unless all came, and is what it is called."""
        if self.count != self.wanted.size:
            raise self.wrong(f"{self.count} bytes came")
        if self.hasher.hexdigest() != self.wanted.digest.partition(":")[2]:
            raise self.wrong("another digest")

    def wrong(self, what: str) -> Corrupted:
        """The blob is not what the manifest says."""
        return Corrupted(
            f"{what}: the blob is not {self.wanted.digest}, {self.wanted.size} bytes", url=self.shown()
        )


class Registry:
    """One registry as one user. ``plain``: it speaks HTTP without encryption."""

    def __init__(self, host: str, access: Access, settings: Settings, plain: bool = False) -> None:
        self.host = host
        self._access = access
        self._settings = settings
        self._scheme = "http" if plain else "https"
        self._tried = plain or not loopback(host)  # else Docker's rule: HTTP where nothing speaks TLS
        self._tokens: dict[str, str] = {}
        self.session = self._session()
        self._loop = Loop(self.session, 1)
        self._closed = False

    def _session(self) -> RegistrySession:
        base = f"{self._scheme}://{HOSTS.get(self.host, self.host)}"
        return RegistrySession(base, self._access, self._settings)

    def close(self) -> None:
        """From any thread: what is under way raises ``Cancelled``."""
        self._closed = True
        self._loop.close()

    # -- what there is -------------------------------------------------------------------------------

    def image(self, ref: Reference, account: Account, platform: str) -> Manifest:
        """The manifest of the image for a platform (``linux/amd64``, say). Raises ``Unsupported`` where it is
        for others only."""
        wanted = ref.digest or ref.tag
        for _ in range(3):  # an index may hold an index
            found = self._manifest(ref, wanted, account)
            if found.manifests is None:
                return found
            wanted = _choose(found.manifests, platform, ref).digest
        raise ServerFault("an index within an index within an index", url=ref.name)

    def _manifest(self, ref: Reference, wanted: str, account: Account) -> Manifest:
        url = f"/v2/{ref.repository}/manifests/{quote(wanted)}"

        def ask() -> Answer:
            answer = Answer(self.session, self.session.url(url), limit=MOST)
            answer.extra = (f"Accept: {', '.join((*MANIFESTS, *INDEXES))}",)
            return answer

        answer = self.ask(ask, ref, account)
        body, head = bytes(answer.body), answer.head
        assert head is not None
        told = head.get("docker-content-digest")
        expected = wanted if _DIGEST.fullmatch(wanted) else told if _DIGEST.fullmatch(told) else ""
        algorithm, _, digest = expected.partition(":")
        if expected and hashlib.new(algorithm, body).hexdigest() != digest:
            raise Corrupted(f"the manifest is not {expected}", url=ref.name, host=self.host, side="source")
        if len(body) > MOST:
            raise ServerFault(f"a manifest of more than {MOST >> 20} MiB", url=ref.name, host=self.host)
        return _understood(body, ref)

    def blob(
        self, ref: Reference, wanted: Descriptor, account: Account, give: Callable[[Data], object]
    ) -> None:
        """Hands its bytes on; goes on where the connection broke, as long as something comes."""
        url = f"/v2/{ref.repository}/blobs/{wanted.digest}"
        blob = Blob(self.session, self.session.url(url), wanted, give)
        before = -1
        while True:
            try:
                self.ask(lambda: _begun(blob, self.session, url), ref, account)
                break
            except (Corrupted, Throttled):
                raise
            except Transient as error:
                if blob.count <= before or not error.retryable or not _of_wire(blob, error):
                    raise
                before = blob.count
        blob.check()

    def file(self, url: str, ref: Reference, account: Account, make: Callable[[Session, str], E]) -> E:
        """What stands at a path, or at a whole URL, that a registry of another kind tells of."""
        return self.ask(
            lambda: make(self.session, url if "://" in url else self.session.url(url)), ref, account
        )

    # -- logins --------------------------------------------------------------------------------------

    def ask(self, make: Callable[[], E], ref: Reference, account: Account) -> E:
        """A request to its end, logged in where the registry demands it. Raises what went wrong."""
        self._reach(ref)
        self.session.hint = account.hint
        self.session.authorization = self._tokens.get(ref.repository, "")
        exchange = make()
        try:
            fetch(self._loop, exchange)
        except Denied:
            head = exchange.head
            own = exchange.target == self.session.origin
            if head is None or head.status != 401 or not own or not self._log_in(head, ref, account):
                raise
            exchange = make()
            fetch(self._loop, exchange)
        return exchange

    def _reach(self, ref: Reference) -> None:
        if self._tried:
            return
        probe = Answer(self.session, self.session.url("/v2/"))
        try:
            fetch(self._loop, probe)
        except (Unreachable, ServerFault):
            if probe.head is None and not self._closed:
                self._scheme = "http"
                self.session = self._session()
        except TransferError:
            pass  # it answered
        self._tried = True

    def _log_in(self, head: Head, ref: Reference, account: Account) -> bool:
        """Whether there is something new to show. Raises ``Denied`` where the login was refused."""
        offered = {
            kind.lower(): {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
            for kind, rest in _CHALLENGE.findall(head.get("www-authenticate"))
        }
        if "bearer" in offered:
            found = f"Bearer {self._token(offered['bearer'], ref, account)}"
        elif "basic" in offered and account.password is not None:
            pair = f"{account.username}:{account.password.reveal()}".encode()
            found = f"Basic {b64encode(pair).decode()}"
        else:
            return False
        new = self._tokens.get(ref.repository) != found
        self._tokens[ref.repository] = self.session.authorization = found
        return new

    def _token(self, told: dict[str, str], ref: Reference, account: Account) -> str:
        """From the service that the registry names: for a part of an hour, and for this repository alone."""
        realm = told.get("realm", "")
        base = "/".join(realm.split("/", 3)[:3])
        if urlsplit(realm).scheme not in (("https",) if self._scheme == "https" else ("https", "http")):
            text = "the registry wants its user's login sent without encryption"
            raise Denied(text, url=redact.url(realm), host=self.host)
        own = urls.origin(realm) == self.session.origin
        user = (account.username, account.password.reveal()) if account.password is not None else None
        access = self._access._replace(user=user, insecure=self._access.insecure and own)
        session = RegistrySession(base, access, self._settings)
        session.hint = account.hint
        scope = told.get("scope") or f"repository:{ref.repository}:pull"
        query = f"service={quote(told.get('service', ''), safe='')}&scope={quote(scope, safe='')}"
        if account.refresh is not None:
            answer = Answer(session, realm, "POST", MOST)
            form = f"grant_type=refresh_token&client_id=pegasus-toolkit&{query}"
            form += f"&refresh_token={quote(account.refresh.reveal(), safe='')}"
            answer.upload = Upload(form.encode())
            answer.extra = ("Content-Type: application/x-www-form-urlencoded", "Expect:")
        else:
            answer = Answer(session, f"{realm}{'&' if '?' in realm else '?'}{query}", limit=MOST)
        fetch(self._loop, answer)
        try:
            found = msgspec.json.decode(bytes(answer.body), type=_Token)
        except msgspec.DecodeError:
            found = _Token()
        token = found.token or found.access_token
        if not _TOKEN.fullmatch(token):
            raise ServerFault("the registry's login service told no token", host=session.host)
        return token


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


def _words(page: bytes) -> str:
    """What a registry says of its refusal: code and message of the first error."""
    try:
        found = msgspec.json.decode(page, type=_Errors).errors[:1]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    text = "".join(f": {one.code} {one.message}" for one in found)
    return redact.message("".join(c for c in text[:200] if c.isprintable()))


def _begun(blob: Blob, session: Session, path: str) -> Blob:
    """The same blob for one request more, from where it was given up."""
    blob.session, blob.url, blob.target, blob.hops = session, session.url(path), session.origin, 0
    blob.reset()
    return blob


def _of_wire(blob: Blob, error: TransferError) -> bool:
    """Whether the connection or the server broke off, rather than who takes the bytes."""
    return error.url == blob.shown()


def _understood(body: bytes, ref: Reference) -> Manifest:
    try:
        found = msgspec.json.decode(body, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = f"a manifest that is not understood ({error})"
        raise ServerFault(text[:200], url=ref.name, host=ref.host) from None
    if found.schema_version != 2:
        text = f"a manifest of version {found.schema_version}, which no program loads any more"
        raise Unsupported(
            text, url=ref.name, host=ref.host, hint="push the image anew, with a program of today"
        )
    parts = [*(found.layers or ()), *(found.manifests or ()), *([found.config] if found.config else [])]
    wrong = [one.digest for one in parts if not _DIGEST.fullmatch(one.digest) or one.size < 0]
    if wrong or (found.manifests is None and (found.config is None or found.layers is None)):
        raise ServerFault("a manifest that is not understood", url=ref.name, host=ref.host)
    return found


def _choose(found: list[Descriptor], platform: str, ref: Reference) -> Descriptor:
    """The one for a platform. What is made for none (a signature, an attestation) is passed over."""
    plain = [one for one in found if one.platform is None or one.platform.os != "unknown"]
    wanted = platform.split("/")
    fit = [one for one in plain if one.platform and str(one.platform).split("/")[: len(wanted)] == wanted]
    if fit:
        return fit[0]
    if len(plain) == 1 and plain[0].platform is None:
        return plain[0]
    others = ", ".join(sorted({str(one.platform) for one in plain if one.platform})) or "none that is told"
    text = f"the image is not made for {platform}, only for {others}"
    raise Unsupported(
        text, url=ref.name, host=ref.host, hint="platform in the registry's section names another"
    )


def loopback(host: str) -> bool:
    """Whether it is on this very machine."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or re.fullmatch(r"127\.\d+\.\d+\.\d+", name) is not None
