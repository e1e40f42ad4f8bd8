"""One FTP server as one user, for the same loop of libcurl's handles that serves HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

import pycurl

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.backends.http import site as http_site
from pegasus_toolkit.transfer.clients.curl import errors as curl_errors
from pegasus_toolkit.transfer.clients.curl.exchange import Exchange
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.proxies import Proxies
from pegasus_toolkit.transfer.clients.curl.session import RECEIVE, Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.clients.curl.urls import Origin
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    Throttled,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Endpoint, Settings

IMPLICIT = 990  # the port where TLS begins at once
ANONYMOUS = frozenset({"anonymous", "ftp"})
REST = "REST "  # a line of ``extra`` that is no command: where a download begins
DATED = "MDTM"  # another: the time of change is wanted

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REPLIES: dict[int, type[TransferError]] = {
    421: Throttled,
    425: ServerFault,
    426: ServerFault,
    450: ServerFault,
    451: ServerFault,
    452: NoSpace,
    500: Unsupported,
    501: Unsupported,
    502: Unsupported,
    504: Unsupported,
    522: Denied,
    530: Denied,
    532: Denied,
    534: Denied,
    550: NotFound,
    552: NoSpace,
    553: Denied,
}


class Reply(NamedTuple):
    """What the server said: its code, and all lines of its text."""

    code: int
    lines: tuple[str, ...]


class FtpSession(Session):
    """URLs, login and TLS. Passwords are sent in TLS, or where the site says ``allow_plain_password = yes``.

    ``ftps`` without a port, or at 990, is TLS from the first byte; at another port, and ``ftp`` with a
    password, TLS is asked for by AUTH and must be granted.
    """

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.found, access = http_site.log_in(endpoint, settings)
        super().__init__(http_site.base(endpoint), access, settings)
        self.proxies = Proxies({})  # those of the environment speak HTTP
        port = urlsplit(self.base).port
        secret = access.user is not None and access.user[0] not in ANONYMOUS
        self.tls = endpoint.scheme == "ftps" or (secret and not self.found.credential.plain_password)
        if endpoint.scheme == "ftps" and port not in (None, IMPLICIT):
            self.base = f"ftp://{self.host}"
        self.facts = True  # it knows MLST and MLSD, as far as we know
        self.entry = "/"  # where a login begins

    def url(self, path: str) -> str:
        """The URL of a path. Raises ``BadSpecification`` for a name that would be more than one command."""
        return f"{self.base}/{quote(name(path), errors='surrogateescape')}"

    def handle(self) -> Any:
        """A libcurl handle with everything that is the same for all requests."""
        handle = pycurl.Curl()
        stall = max(1, int(self.settings.stall_timeout))
        options: list[tuple[int, Any]] = [
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_FTP | pycurl.PROTO_FTPS),
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.FTP_FILEMETHOD, pycurl.FTPMETHOD_NOCWD),  # fewest commands
            (pycurl.FTP_SKIP_PASV_IP, 1),  # the server does not choose whom we connect to
            (pycurl.BUFFERSIZE, RECEIVE),
            (pycurl.UPLOAD_BUFFERSIZE, RECEIVE),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.CONNECTTIMEOUT_MS, max(1, int(self.settings.connect_timeout * 1000))),
            (pycurl.FTP_RESPONSE_TIMEOUT, stall),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.LOW_SPEED_TIME, stall),
            (pycurl.PROXY, ""),
            (pycurl.USE_SSL, pycurl.USESSL_ALL if self.tls else pycurl.USESSL_NONE),
            (pycurl.FTPSSLAUTH, pycurl.FTPAUTH_TLS),
        ]
        for option, value in options:
            handle.setopt(option, value)
        if self.access.user is not None:
            handle.setopt(pycurl.USERNAME, self.access.user[0])
            handle.setopt(pycurl.PASSWORD, self.access.user[1])
        if self.tls:
            verify = not self.access.insecure
            handle.setopt(pycurl.SSL_VERIFYPEER, int(verify))
            handle.setopt(pycurl.SSL_VERIFYHOST, 2 if verify else 0)
            self.certificates(handle, own=True)
        return handle

    def aim(self, handle: Any, target: Origin, proxy: str, extra: Sequence[str]) -> None:
        """``extra``: commands to send, or where a download begins."""
        begin = [int(line.removeprefix(REST)) for line in extra if line.startswith(REST)]
        others = [line for line in extra if line != DATED and not line.startswith(REST)]
        commands = [line.encode("utf-8", "surrogateescape") for line in others]
        handle.setopt(pycurl.OPT_FILETIME, int(DATED in extra))
        handle.setopt(pycurl.RESUME_FROM_LARGE, begin[0] if begin else 0)
        handle.unsetopt(pycurl.QUOTE)
        if commands:
            handle.setopt(pycurl.QUOTE, commands)


def name(path: str) -> str:
    """The decoded path as commands take it: from the login's directory; after "//" from the root."""
    text = unquote_to_bytes(path.removeprefix("/")).decode("utf-8", "surrogateescape")
    if _CONTROL.search(text):
        raise BadSpecification("FTP carries no control characters in names", url=path)
    return text


class FtpExchange(Exchange):
    """One request: a file each way, a listing, or commands alone."""

    @property
    def replies(self) -> list[Reply]:
        """What the server said so far, on this connection for this request, in order."""
        found: list[Reply] = []
        rows: list[str] = []
        for line in b"".join(self.lines).decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n"):
            rows.append(line)
            if re.match(rf"{rows[0][:3]} |\d\d\d$", line) and rows[0][:3].isdigit():
                found.append(Reply(int(rows[0][:3]), tuple(rows)))
                rows = []
            elif len(rows) == 1 and not re.match(r"\d\d\d-", line):
                rows = []
        return found

    @property
    def code(self) -> int:
        """The last reply's; 0 where there was none."""
        replies = self.replies
        return replies[-1].code if replies else 0

    def answered(self, lines: list[bytes]) -> None:
        """By the loop: the replies before the first byte."""
        self.head = Head(lines)
        self.begin(self.head)

    def _learn(self, handle: Any) -> None:
        entry = handle.getinfo_raw(pycurl.FTP_ENTRY_PATH)
        if entry and isinstance(self.session, FtpSession):
            self.session.entry = entry.decode("utf-8", "surrogateescape")

    def _judge(self, handle: Any, code: int, text: str) -> bool:
        if not code:
            self._learn(handle)
            return True
        host = self.session.host
        if code == pycurl.E_USE_SSL_FAILED:
            hint = f"section [{host}] may say allow_plain_password = yes"
            raise Denied(
                "no TLS there, and a password is not sent without", url=self.url, host=host, hint=hint
            )
        reply = next((reply for reply in reversed(self.replies) if reply.code >= 400), None)
        connected = handle.getinfo(pycurl.PRETRANSFER_TIME) > 0 or bool(self.lines)
        if reply is not None and code == pycurl.E_LOGIN_DENIED and reply.code >= 500:
            reply = Reply(530, reply.lines)  # servers have other words for it
        if reply is not None and code not in _CURLS_OWN:
            raise of_reply(reply, self.url, host, self.session.access.section)
        raise curl_errors.of_curl(code, text, self.url, host, connected=connected, own=True)


_CURLS_OWN = frozenset(
    {pycurl.E_OPERATION_TIMEDOUT, pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CERTPROBLEM}
)


def of_reply(reply: Reply, url: str, host: str, section: str) -> TransferError:
    """The error for a reply that is none of the wanted ones."""
    text = "".join(c for c in reply.lines[-1][:120] if c.isprintable())
    kind = _REPLIES.get(reply.code) or (ServerFault if reply.code < 500 else Unsupported)
    hint = ""
    if kind is Denied:
        known = f"the credentials of section [{section}] were used"
        hint = known if section else f"no section [{host}] was found in the credentials file"
    return kind(redact.message(f"FTP {text}"), url=url, host=host, hint=hint)


class Commands(FtpExchange):
    """Commands on the control connection. One that begins with "*" may fail; another one ends the list.

    ``answers``: the replies to those that were sent.
    """

    method = "HEAD"

    def __init__(
        self,
        session: Session,
        path: str,
        then: Callable[[Commands], None],
        commands: Sequence[str],
    ) -> None:
        super().__init__(session, session.url("/"))
        self.shown_url = session.url(path)
        self.then = then
        self.extra = tuple(commands)
        self.answers: list[Reply] = []

    def over(self, handle: Any, code: int, text: str) -> bool:
        """Keeps the answers: the last replies, as others were to the login."""
        self.url = self.shown_url
        replies = self.replies
        if not code:
            self.answers = replies[-len(self.extra) :]
        return super().over(handle, code, text)

    @property
    def missing(self) -> bool:
        """Whether there was nothing of that name, as far as one can tell."""
        return self.code == 550


class Store(FtpExchange):
    """One upload."""

    method = "PUT"

    def __init__(self, session: Session, path: str, then: Callable[[Store], None], upload: Upload) -> None:
        super().__init__(session, session.url(path))
        self.then = then
        self.upload = upload
