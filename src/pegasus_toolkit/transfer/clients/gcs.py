"""Google Storage's JSON API on the curl client: addresses, a token that is renewed, errors, small answers."""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from pegasus_toolkit.transfer.clients.curl.exchange import Answer, Exchange
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.session import Access, Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import BadSpecification, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Data, Settings

_ERROR_WITHIN = 8192  # bytes of an error's body that are looked at
GONE_ON = 308  # "Resume Incomplete": so much of an upload is stored


class GcsHead(Head):
    """The generation names the content: ETags of this API are not quoted, as conditions would need them."""

    @property
    def tag(self) -> str:
        number = self.get("x-goog-generation")
        return f'"{number}"' if number.isascii() and number.isdigit() else ""


class GcsSession(Session):
    """One service as one identity.

    ``split``: the path of an object, as in the specification, to bucket and key; ``refused``: the error for a
    status, Google's reason and message, a URL, and the seconds that the server asks to wait.
    """

    stored = True  # "gzip" only says how an object was stored: it is asked for as it is
    head = GcsHead

    def __init__(
        self,
        endpoint: str,
        access: Access,
        settings: Settings,
        *,
        split: Callable[[str], tuple[str, str]],
        refused: Callable[[int, str, str, str, float | None], TransferError],
    ) -> None:
        parts = urlsplit(endpoint)
        super().__init__(f"{parts.scheme}://{parts.netloc}", access, settings)
        self.split = split
        self.refused = refused

    def url(self, path: str) -> str:
        """Where the bytes of an object are read."""
        return self.address("/download/storage/v1/b/{}/o/{}", *self.split(path), query=(("alt", "media"),))

    def address(self, form: str, *names: str, query: Sequence[tuple[str, str]] = ()) -> str:
        """A URL whose parts are names of buckets and keys. Raises ``BadSpecification`` for no text."""
        try:
            path = form.format(*(_plain(name) for name in names))
            asked = "&".join(f"{_plain(name)}={_plain(value)}" for name, value in query)
        except UnicodeEncodeError:
            text = "a key that is not UTF-8, as Google Storage wants it"
            raise BadSpecification(text, host=self.host) from None
        return f"{self.base}{path}?{asked}" if asked else self.base + path

    def lines(self, exchange: Exchange) -> Sequence[str]:
        """Objects as they are stored. What a part is of is seen by its generation: no condition is needed."""
        plain = [line for line in exchange.extra if not line.startswith(("If-Match:", "If-Range:"))]
        return (*plain, "Accept-Encoding: gzip")

    def kept_time(self, head: Head) -> int | None:
        """What who put the object says (``mtime`` in its metadata, as rclone keeps it)."""
        return nanoseconds(head.get("x-goog-meta-mtime"))

    def refusal(self, exchange: Exchange, own: bool) -> TransferError:
        """By Google's own reason, where the answer holds one."""
        assert exchange.head is not None
        reason, message = reason_in(bytes(exchange.told[:_ERROR_WITHIN]))
        after = exchange.head.retry_after(time.time())
        return self.refused(exchange.head.status, reason, message, exchange.shown(), after)

    def allow(self, url: str, target: str) -> None:
        """No redirect is followed."""
        raise self.refused(307, "", "", url, None)


def nanoseconds(text: object) -> int | None:
    """``2026-12-01T01:02:03.123456789Z`` in nanoseconds since the epoch; ``None`` for anything else."""
    found = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    try:
        seconds = calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    return seconds * 1_000_000_000 + int(f"{found[2] or '0':0<9}")


def moment(nanoseconds: int) -> str:
    """The other way."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def reason_in(body: bytes) -> tuple[str, str]:
    """The first reason of an error's JSON, and its message; "" where there is none."""
    try:
        error = json.loads(body)["error"]
        first = (error.get("errors") or [{}])[0]
        reason, message = first.get("reason"), error.get("message")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "", ""
    message = "".join(c for c in message[:200] if c.isprintable()) if isinstance(message, str) else ""
    return (reason if isinstance(reason, str) and reason.isalnum() else ""), message


class GcsRequest(Answer):
    """A request whose answer is small: ``head``, and ``body`` or what it says as JSON."""

    also = GONE_ON

    def __init__(
        self,
        session: GcsSession,
        method: str,
        url: str,
        *,
        upload: Upload | None = None,
        content: Data | None = None,
        kind: str = "application/json",
        lines: Sequence[str] = (),
    ) -> None:
        """``content``: the body, of that ``kind``; or ``upload``, which is read as it is sent."""
        super().__init__(session, url, method)
        self.extra = tuple(lines)
        if content is not None:
            upload = Upload(content)
            self.extra = (*lines, f"Content-Type: {kind}")
        if upload is not None:
            self.upload = upload
            self.extra = (*self.extra, "Expect:")
        elif method == "POST":
            self.extra = (*self.extra, "Content-Length: 0")

    def shown(self) -> str:
        """Without the query: who knows that of an upload's session may write to it."""
        return self.url.partition("?")[0]

    def get(self, name: str) -> str:
        """A field of the answer, "" where it is not there."""
        return self.head.get(name) if self.head is not None else ""

    def good(self) -> GcsRequest:
        """Itself. Raises what went wrong."""
        error = self.failed()
        if error is not None:
            raise error
        if len(self.body) > self.most:
            raise ServerFault("an answer without end", url=self.shown(), host=self.session.host)
        return self

    def told_of(self) -> dict[str, Any]:
        """What a good answer says. Raises ``ServerFault`` for what is no JSON object."""
        body = bytes(self.good().body)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            text = "an answer that is not understood"
            raise ServerFault(text, url=self.shown(), host=self.session.host)
        return found


def _plain(text: str) -> str:
    """Keys are UTF-8; every byte that is not a letter's is escaped, so that "/" and "." mean nothing."""
    return quote(text.encode("utf-8", "strict"), safe="")


class Parted:
    """Several calls in one request (multipart/mixed), and their answers."""

    def __init__(self, calls: Iterable[tuple[str, str]]) -> None:
        """``calls``: method and path with query."""
        mark = "pegasus-toolkit-batch"
        parts = [
            f"--{mark}\r\nContent-Type: application/http\r\nContent-ID: <call+{number}>\r\n\r\n"
            f"{method} {path} HTTP/1.1\r\n\r\n\r\n"
            for number, (method, path) in enumerate(calls)
        ]
        self.kind = f"multipart/mixed; boundary={mark}"
        self.body = f"{''.join(parts)}--{mark}--\r\n".encode()

    def answers(self, kind: str, body: bytes) -> dict[int, tuple[int, str, str]]:
        """Status, Google's reason and message of each call of which something is told, by its number."""
        from email.parser import BytesParser

        found = {}
        message = BytesParser().parsebytes(b"Content-Type: %b\r\n\r\n%b" % (kind.encode(), body))
        for part in message.walk():
            number = _NUMBER.search(part.get("content-id", ""))
            content = part.get_payload(decode=True)
            if number is None or not isinstance(content, bytes):
                continue
            head, _, rest = content.partition(b"\r\n\r\n")
            status = _STATUS.match(head)
            if status is not None:
                found[int(number[1])] = (int(status[1]), *reason_in(rest))
        return found


_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_NUMBER = re.compile(r"(\d+)>?\s*$")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
