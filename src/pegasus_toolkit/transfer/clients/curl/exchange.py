"""Requests: each is sent again as often as redirects, a failing proxy or a password's Digest demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pycurl

from pegasus_toolkit.transfer.clients.curl import errors, urls
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import Cancelled, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Data

HOPS = 10  # redirects that are followed, at most
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DROPPED = 64 << 10  # bytes of an error's page that are read, to keep the connection
EXPIRED = 10  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED


class Exchange:
    """One request, sent again as often as redirects and a failing proxy demand.

    A subclass says in ``begin`` what the answer is good for, and by setting ``take`` what becomes of
    its body; both may raise ``TransferError``, which ends the exchange, or :class:`Again` for another round.
    """

    method = "GET"
    upload: Upload | None = None  # what to send, for methods that send something
    also = 0  # a status that is good, too
    patience: int | None = None  # seconds without a byte; ``None``: as the settings say

    def __init__(self, session: Session, url: str) -> None:
        self.session = session
        self.url = url
        self.target = session.origin
        self.proxy = session.proxies.of(session.origin.scheme, session.host)
        self.extra: tuple[str, ...] = ()
        self.hops = 0
        self.fresh = False  # kept connections were dead: on a new one
        self.shunned = ""  # the proxy that failed and is now gone round
        self.digested = session.digest
        self.bearer = ""  # the line with the token that it was sent with
        self.renewed = False  # another token was tried
        self.lines: list[bytes] = []  # of headers, as they come
        self.reset()

    def reset(self) -> None:
        """Makes ready for the next round. Raises where what was to be sent cannot be sent again."""
        if self.upload is not None and not self.upload.rewind():
            raise ServerFault("asked to send again what was sent already", url=self.shown())
        self.head: Head | None = None
        self.error: BaseException | None = None
        self.told = bytearray()  # the beginning of an error's page
        self.take: Callable[[Data], object] = self.drop

    def answered(self, lines: list[bytes]) -> None:
        """By the loop: the headers are there. Raises ``ServerFault`` where some are missing."""
        head = self.session.head(lines)
        if not head.whole:
            raise ServerFault("broken off inside the answer's headers", url=self.shown())
        if head.misread:
            raise ServerFault("an answer whose Content-Length is no number", url=self.shown())
        self.head = head
        self.begin(head)

    def begin(self, head: Head) -> None:
        """Called once a round, before the first byte of the body."""

    def hurry(self) -> None:
        """Nobody needs the rest of what is sent. (What the server answers is still wanted.)"""
        if self.upload is not None:
            self.upload.stopped = True

    def failed(self) -> TransferError | None:
        """What went wrong. Raises what is none of ours: a defect, or Ctrl-C."""
        if self.error is None or isinstance(self.error, TransferError):
            return self.error
        raise self.error

    def drop(self, chunk: Data) -> None:
        """A piece of a body that nobody wants."""
        self.told += chunk
        if len(self.told) > DROPPED:
            raise StopReading

    def shown(self) -> str:
        """The URL for errors."""
        return urls.shown(self.url, redirect=self.hops > 0)

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
        if self._met_dead_connections(handle, code):
            self.fresh = True
            self.reset()
            return False
        if self.proxy and errors.of_proxy(code, handle.getinfo(pycurl.HTTP_CONNECTCODE), status):
            self.shunned, self.proxy = self.proxy, ""
            self.reset()
            return False
        own = self.target == self.session.origin
        host = self.session.host if own else self.target.host
        if code:
            if self.proxy:  # not known whose fault it was: the next attempt goes straight to the source
                self.session.proxies.bad.add(self.proxy)
            raise self._broken(handle, code, text, host, own)
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
        if not 200 <= status < 300 and status != self.also:
            if own and not self.renewed and self.session.renews(self):
                self.renewed = True
                self._send_again()
                return False
            raise self.session.refusal(self, own)
        return True

    def _met_dead_connections(self, handle: Any, code: int) -> bool:
        """Whether the server had ended the kept connections that libcurl tried, which are five at most."""
        return (
            code in errors.BROKEN_OFF
            and not self.lines
            and not self.fresh
            and not handle.getinfo(pycurl.NUM_CONNECTS)
            and (self.upload is None or self.upload.rewind())
        )

    def _broken(self, handle: Any, code: int, text: str, host: str, own: bool) -> TransferError:
        """What libcurl says, and what it does not: when a certificate ended, that no file can be opened."""
        if (limit := errors.of_here(code)) is not None:
            return limit
        end = None
        if not self.proxy and handle.getinfo(pycurl.SSL_VERIFYRESULT) == EXPIRED:
            end = self.session.ended(self.target)
        connected = handle.getinfo(pycurl.PRETRANSFER_TIME) > 0
        counts = self.session.access.section or self.session.host  # also for where it redirects
        return errors.of_curl(
            code, text, self.shown(), host, connected=connected, own=own, section=counts, ended=end
        )

    def _may_digest(self, head: Head) -> bool:
        """Whether the server that refused the password wants it by Digest, which was not tried yet."""
        offered = "digest" in head.get("www-authenticate").lower()
        return offered and not self.digested and self.session.access.user is not None

    def _send_again(self) -> None:
        """With what is shown to the server now; where that is not possible, the next attempt shows it."""
        if self.upload is not None and not self.upload.rewind():
            text = "the server refused our credential, which was renewed while the file was sent"
            raise ServerFault(text, url=self.shown(), host=self.session.host)
        self.reset()

    def follow(self, location: str) -> None:
        """Turns to where the server sends us."""
        if self.hops >= HOPS:
            raise ServerFault(f"more than {HOPS} redirects", url=self.shown(), host=self.session.host)
        target = urls.redirected(self.url, location)
        self.session.allow(self.url, target)
        self.hops += 1
        self.url = target
        self.target = urls.origin(target)
        authority = target.split("/", 3)[2]
        self.proxy = self.session.proxies.of(self.target.scheme, authority)


class Answer(Exchange):
    """A request whose answer is small and kept in memory: ``head`` and ``body``."""

    def __init__(self, session: Session, url: str, method: str = "GET", limit: int = 64 << 20) -> None:
        super().__init__(session, url)
        self.first = url  # before any redirect
        self.method = method
        self.most = limit  # bytes; what is beyond is not read
        self.body = bytearray()

    @property
    def status(self) -> int:
        """Of the last answer; 0 where there was none."""
        return self.head.status if self.head is not None else 0

    def refusal(self) -> TransferError:
        """The error that the status stands for, whatever it is."""
        assert self.head is not None
        section = self.session.access.section
        return errors.of_status(self.head, self.shown(), self.session.host, section)

    def begin(self, head: Head) -> None:
        self.body.clear()
        if 200 <= head.status < 300:
            self.take = self._keep

    def _keep(self, chunk: Data) -> None:
        self.body += chunk
        if len(self.body) > self.most:
            raise StopReading


def refuse(_: Data) -> None:
    """What becomes of a body that nobody needs any more."""
    raise Cancelled("the batch was given up")


class Again(Exception):
    """The request is to be sent once more, changed. Never leaves this package."""


class StopReading(Exception):
    """What came so far will do; the rest of the body is not read. Never leaves this package."""
