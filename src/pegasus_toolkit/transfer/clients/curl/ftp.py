"""FTP on the same loop of libcurl's handles that serves HTTP: sessions, replies and requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import pycurl

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.clients.curl import errors as curl_errors
from pegasus_toolkit.transfer.clients.curl.exchange import Exchange, refuse
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.proxies import Proxies
from pegasus_toolkit.transfer.clients.curl.session import RECEIVE, Access, Session
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
from pegasus_toolkit.transfer.interface import Data, Settings, Sink
from pegasus_toolkit.transfer.units import number

REST = "REST "  # a line of ``extra`` that is no command: where a download begins
DATED = "MDTM"  # another: the time of change is wanted
AFTER = "AFTER "  # another: a command that is sent when the data was

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

    @property
    def text(self) -> str:
        """Its last line, fit to be printed."""
        return redact.message("FTP " + "".join(c for c in self.lines[-1][:120] if c.isprintable()))

    @property
    def size(self) -> int | None:
        """What SIZE tells, ``None`` for any other reply."""
        words = self.lines[-1].split()
        return number(words[1]) if self.code == 213 and len(words) > 1 else None


class FtpSession(Session):
    """Whom an FTP server's handles talk to, and how. ``tls``: a connection must be encrypted."""

    def __init__(self, base: str, access: Access, settings: Settings, tls: bool) -> None:
        super().__init__(base, access, settings)
        self.proxies = Proxies({})  # those of the environment speak HTTP
        self.tls = tls
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
        """``extra``: commands to send, before or after, or where a download begins."""
        begin, before, after = 0, [], []
        for line in extra:
            if line.startswith(REST):
                begin = int(line.removeprefix(REST))
            elif line.startswith(AFTER):
                after.append(line.removeprefix(AFTER).encode("utf-8", "surrogateescape"))
            elif line != DATED:
                before.append(line.encode("utf-8", "surrogateescape"))
        handle.setopt(pycurl.OPT_FILETIME, int(DATED in extra))
        handle.setopt(pycurl.RESUME_FROM_LARGE, begin)
        for option, commands in ((pycurl.QUOTE, before), (pycurl.POSTQUOTE, after)):
            handle.unsetopt(option)
            if commands:
                handle.setopt(option, commands)


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
            code = number(rows[0][:3])
            if code is not None and (line.startswith(f"{rows[0][:3]} ") or re.match(r"\d\d\d$", line)):
                found.append(Reply(code, tuple(rows)))
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
        if (limit := curl_errors.of_here(code)) is not None:
            raise limit
        if code == pycurl.E_USE_SSL_FAILED:
            section = self.session.access.section or host
            hint = f"section [{section}] may say allow_plain_password = yes"
            raise Denied(
                "no TLS there, and a password is not sent without", url=self.url, host=host, hint=hint
            )
        reply = next((reply for reply in reversed(self.replies) if reply.code >= 400), None)
        connected = handle.getinfo(pycurl.PRETRANSFER_TIME) > 0 or bool(self.lines)
        if reply is not None and code == pycurl.E_LOGIN_DENIED and reply.code >= 500:
            reply = Reply(530, reply.lines)  # servers have other words for it
        if code in _NO_DATA_CONNECTION:
            text = f"no data connection: {reply.text if reply is not None else 'EPSV and PASV were refused'}"
            hint = "the server must allow passive mode (EPSV or PASV): ask its administrator"
            raise Unsupported(text, url=self.url, host=host, hint=hint)
        if reply is not None and (code not in _CURLS_OWN or reply.code == 421):  # a time-out, to libcurl
            raise of_reply(reply, self.url, host, self.session.access.section)
        section = self.session.access.section
        raise curl_errors.of_curl(code, text, self.url, host, connected=connected, own=True, section=section)


_NO_DATA_CONNECTION = frozenset({pycurl.E_FTP_WEIRD_PASV_REPLY, pycurl.E_FTP_WEIRD_227_FORMAT})
_CURLS_OWN = frozenset(
    {pycurl.E_OPERATION_TIMEDOUT, pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CERTPROBLEM}
)


def of_reply(reply: Reply, url: str, host: str, section: str) -> TransferError:
    """The error for a reply that is none of the wanted ones."""
    kind = _REPLIES.get(reply.code) or (ServerFault if reply.code < 500 else Unsupported)
    hint = ""
    if kind is Denied:
        known = f"the credentials of section [{section}] were used"
        hint = known if section else f"no section [{host}] was found in the credentials file"
    return kind(reply.text, url=url, host=host, hint=hint)


class Commands(FtpExchange):
    """Commands on the control connection. One that begins with "*" may fail; another one ends the list.

    ``path``: what it is about, for errors; ``answers``: the replies to those that were sent.
    """

    method = "HEAD"

    def __init__(self, session: Session, path: str, *commands: str) -> None:
        super().__init__(session, session.url("/"))
        self.shown_url = session.url(path)
        self.extra = commands
        self.answers: list[Reply] = []

    def over(self, handle: Any, code: int, text: str) -> bool:
        """Keeps the answers: the last replies, as others were to the login."""
        self.url = self.shown_url
        if not code:
            self.answers = self.replies[-len(self.extra) :]
        return super().over(handle, code, text)


class Store(FtpExchange):
    """One upload, and what the server then tells as its size."""

    method = "PUT"

    def __init__(self, session: Session, path: str, upload: Upload) -> None:
        super().__init__(session, session.url(path))
        self.extra = (f"{AFTER}*SIZE {name(path)}",)
        self.upload = upload


class Retrieve(FtpExchange):
    """A file's bytes into a sink."""

    def __init__(self, session: Session, path: str, sink: Sink) -> None:
        super().__init__(session, session.url(path))
        self.sink = sink

    def begin(self, head: Head) -> None:
        """All that comes is of the file."""
        self.take = self.sink.write

    def hurry(self) -> None:
        """Nobody needs the rest."""
        self.take = refuse


class Listing(FtpExchange):
    """What is in one directory, as the server's lines: ``body``, of no more than ``most`` bytes."""

    def __init__(self, session: FtpSession, folder: str, most: int) -> None:
        super().__init__(session, session.url(folder.rstrip("/") + "/"))
        self.method = "MLSD" if session.facts else "LIST -a"
        self.body = bytearray()
        self.most = most

    def begin(self, head: Head) -> None:
        """Keeps what comes."""
        self.body.clear()
        self.take = self._keep

    def _keep(self, chunk: Data) -> None:
        self.body += chunk
        if len(self.body) > self.most:
            raise ServerFault(f"a listing of more than {self.most >> 20} MiB", url=self.url)
