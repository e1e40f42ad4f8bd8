"""A Pelican federation's directory: which servers have the objects of a namespace, to read and to write.

Its director answers for each object; what it says of a namespace is kept, so that a thousand objects cost one
question; where something is written, what it says of a directory. Discovery is by https always. Blocking
calls, for one thread at a time.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.clients.curl import urls
from pegasus_toolkit.transfer.clients.curl.exchange import REDIRECTS, Answer
from pegasus_toolkit.transfer.clients.curl.loop import Loop, fetch
from pegasus_toolkit.transfer.clients.curl.session import Access, Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import Denied, NotFound, ServerFault, TransferError, Unreachable
from pegasus_toolkit.transfer.interface import Settings

WELL_KNOWN = "/.well-known/pelican-configuration"
DIRECTOR = "/api/v1.0/director"
MOST = 1 << 20  # bytes of an answer
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_PRIORITY = re.compile(r"pri\s*=\s*\"?(\d+)")


class Sources(NamedTuple):
    """What the director says of a namespace.

    ``servers``: URLs that paths are appended to, the best first; ``token``: needed for reading;
    ``issuers``: whose tokens are taken; ``listed``: whether its collections may be listed.
    """

    namespace: str
    servers: tuple[str, ...]
    token: bool = False
    issuers: tuple[str, ...] = ()
    listed: bool = True

    def holds(self, path: str) -> bool:
        """Whether a path is in that namespace."""
        return path == self.namespace or path.startswith(f"{self.namespace.rstrip('/')}/")


class _Configuration(msgspec.Struct):
    director_endpoint: str = ""


class _Told(msgspec.Struct):
    msg: str = ""
    error: str = ""


class _Question(Answer):
    """A request to the director: where it sends us is the answer."""

    def _judge(self, handle: Any, code: int, text: str) -> bool:
        if not code and self.head is not None and self.head.status in REDIRECTS:
            return True
        return super()._judge(handle, code, text)


class Federation:
    """One federation, found by the name of its host. ``access``: whom to trust; no secret is in it."""

    def __init__(self, host: str, access: Access, settings: Settings) -> None:
        self.host = host
        self._access = access
        self._settings = settings
        self._known: list[Sources] = []  # for reading, the narrowest first
        self._folders: dict[tuple[str, str], Sources] = {}
        self._session = Session(f"https://{host}", access, settings)
        self._loop = Loop(self._session, 1)
        self._director: Session | None = None

    def close(self) -> None:
        """From any thread: what is under way raises ``Cancelled``."""
        self._loop.close()

    def sources(self, method: str, path: str) -> Sources:
        """Who has what is at a path, for GET, PUT, PROPFIND or DELETE. Raises ``NotFound``."""
        if method != "GET":  # a namespace may be within another, with an origin of its own
            folder = (method, path.partition("?")[0].rpartition("/")[0])
            if folder not in self._folders:
                self._folders[folder] = self._ask(method, path)
            return self._folders[folder]
        for one in self._known:
            if one.holds(path):
                return one
        return self._keep(self._ask(method, path))

    def _keep(self, found: Sources) -> Sources:
        self._known.append(found)
        self._known.sort(key=lambda one: -len(one.namespace))
        return found

    def narrower(self, path: str) -> bool:
        """Whether a path that was looked for by what is known of a namespace is in one within it."""
        try:
            found = self._ask("GET", path)
        except TransferError:
            return False
        if any(one.namespace == found.namespace for one in self._known):
            return False
        self._keep(found)
        return True

    def _ask(self, method: str, path: str) -> Sources:
        director = self._discovered()
        kind = "object" if method == "GET" else "origin"
        question = _Question(director, director.url(f"{DIRECTOR}/{kind}{path}"), method, MOST)
        if method == "PUT":
            question.upload = Upload()
            question.extra = ("Expect:",)
        try:
            fetch(self._loop, question)
        except TransferError as error:
            error.message = f"the director of {self.host}: {error.message}{_words(question)}"
            error.host, error.url = self.host, f"pelican://{self.host}{path.partition('?')[0]}"
            error.hint = (
                "is the path in a namespace of that federation?" if isinstance(error, NotFound) else ""
            )
            raise
        return _understood(question, path, self.host)

    def _discovered(self) -> Session:
        """The director. Raises ``Unreachable``, or ``ServerFault``, where the federation tells none."""
        if self._director is None:
            answer = Answer(self._session, self._session.url(WELL_KNOWN), limit=MOST)
            try:
                fetch(self._loop, answer)
                told = msgspec.json.decode(bytes(answer.body), type=_Configuration).director_endpoint
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self._unknown("its configuration is not understood") from None
            except NotFound:
                raise self._unknown("no federation is there") from None
            except Unreachable as error:
                error.message = f"the federation {self.host} cannot be discovered: {error.message}"
                raise
            if urlsplit(told).scheme != "https" or not urlsplit(told).hostname:
                raise self._unknown("it tells no director")
            self._director = PrefixedSession(told, self._access, self._settings)
        return self._director

    def _unknown(self, why: str) -> ServerFault:
        hint = "the URL is pelican://FEDERATION/path, or osdf:///path for the OSDF"
        return ServerFault(f"the federation cannot be discovered: {why}", host=self.host, hint=hint)


class PrefixedSession(Session):
    """A server whose paths are below a prefix."""

    def __init__(self, base: str, access: Access, settings: Settings) -> None:
        parts = urlsplit(base)
        super().__init__(f"{parts.scheme}://{parts.netloc}", access, settings)
        self.prefix = parts.path.rstrip("/")

    def url(self, path: str) -> str:
        """Below the prefix."""
        return super().url(f"{self.prefix}{path}")


def _understood(question: Answer, path: str, host: str) -> Sources:
    """What the head of a redirect tells. Raises ``ServerFault``."""
    assert question.head is not None
    head, url = question.head, question.shown()
    fields = dict(part.strip().partition("=")[::2] for part in head.get("x-pelican-namespace").split(","))
    links = _LINK.findall(head.get("link"))
    ranked = [(int(found[1]) if (found := _PRIORITY.search(rest)) else 99, link) for link, rest in links]
    targets = [link for _, link in sorted(ranked, key=lambda one: one[0])] or [head.get("location")]
    namespace = fields.get("namespace", "")
    servers = tuple(dict.fromkeys(_base(target, path, url) for target in targets if target))
    if servers and not any(server.startswith("https:") for server in servers):
        raise Denied("the director names only servers that do not encrypt", url=url, host=host)
    servers = tuple(server for server in servers if server.startswith("https:"))
    if not namespace.startswith("/") or not servers:
        raise ServerFault("the director's answer is not understood", url=url, host=host)
    issuers = re.findall(r"issuer=([^,\s]+)", head.get("x-pelican-authorization"))
    return Sources(
        namespace=namespace,
        servers=servers,
        token=fields.get("require-token", "").lower() == "true",
        issuers=tuple(issuers),
        listed="collections-url" in fields,
    )


def _base(target: str, path: str, url: str) -> str:
    """What a server's paths are appended to."""
    plain = urls.redirected(url, target).partition("?")[0]
    wanted = path.partition("?")[0]
    if not unquote(plain).endswith(unquote(wanted)):
        raise ServerFault("the director names a server where the object has another path", url=url)
    return plain.rsplit("/", wanted.count("/"))[0]


def _words(question: Answer) -> str:
    """What a director says of its refusal."""
    try:
        found = msgspec.json.decode(bytes(question.told), type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    text = "".join(c for c in (found.msg or found.error)[:200] if c.isprintable())
    return f": {redact.message(text)}" if text else ""
