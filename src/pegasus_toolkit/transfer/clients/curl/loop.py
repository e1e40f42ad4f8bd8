"""Many requests at once over kept connections, in one thread."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import pycurl

from pegasus_toolkit.transfer.clients.curl.exchange import Exchange
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.errors import Cancelled, TransferError

PATIENCE = 1.0  # seconds that a wait takes at most


class Teller(Protocol):
    """Who started an exchange: a story's task, or a loop of downloads."""

    def answer(self, value: Any) -> None:
        """The exchange is over, well or with its ``error``."""


class Easy:
    """A libcurl handle, used for one exchange after the other."""

    __slots__ = ("aim", "exchange", "handle", "lines", "session", "task")

    def __init__(self, session: Session) -> None:
        self.lines: list[bytes] = []
        self.exchange: Exchange | None = None
        self.task: Teller | None = None
        self._renew(session)

    def _renew(self, session: Session) -> None:
        self.aim: Any = None
        self.session = session
        self.handle = session.handle()
        self.handle.setopt(pycurl.HEADERFUNCTION, self.lines.append)
        self.handle.setopt(pycurl.WRITEFUNCTION, self._body)
        self.handle.setopt(pycurl.READFUNCTION, self._read)
        self.handle.setopt(pycurl.SEEKFUNCTION, self._seek)

    def load(self, exchange: Exchange) -> None:
        """Makes the handle ready for a round of the exchange."""
        self.exchange = exchange
        self.lines.clear()
        exchange.lines = self.lines
        if exchange.session is not self.session:  # what was set for one server is not for another
            self.handle.close()
            self._renew(exchange.session)
        lines = exchange.session.lines(exchange)
        bearer = exchange.session.access.bearer
        if bearer is not None and exchange.target == exchange.session.origin:
            exchange.bearer = bearer.line()
            lines = (*lines, exchange.bearer)
        aim = (exchange.target, exchange.proxy, lines, exchange.method, exchange.session.digest)
        if aim != self.aim:
            if self.aim is not None and exchange.session.holds_secret_from(self.aim[0], exchange.target):
                self.handle.close()
                self._renew(exchange.session)
            exchange.session.aim(self.handle, exchange.target, exchange.proxy, lines)
            self._method(exchange.method)
            self.aim = aim
        upload = exchange.upload
        if upload is not None:
            self.handle.setopt(pycurl.UPLOAD, 1)
            self.handle.setopt(pycurl.INFILESIZE_LARGE, -1 if upload.size is None else upload.size)
        stall = exchange.patience or max(1, int(exchange.session.settings.stall_timeout))
        self.handle.setopt(pycurl.LOW_SPEED_TIME, stall)
        self.handle.setopt(pycurl.FRESH_CONNECT, int(exchange.fresh))
        self.handle.setopt(pycurl.URL, exchange.url)

    def _method(self, method: str) -> None:
        self.handle.unsetopt(pycurl.CUSTOMREQUEST)
        self.handle.setopt(pycurl.UPLOAD, 0)
        self.handle.setopt(pycurl.NOBODY, int(method == "HEAD"))
        if method != "HEAD":
            self.handle.setopt(pycurl.HTTPGET, 1)
            if method not in ("GET", "PUT"):
                self.handle.setopt(pycurl.CUSTOMREQUEST, method)

    def _read(self, n: int) -> bytes | int:
        exchange = self.exchange
        assert exchange is not None and exchange.upload is not None
        try:
            return exchange.upload.read(n)
        except BaseException as error:  # noqa: BLE001  raised again by who settles the exchange
            exchange.error = error
            return int(pycurl.READFUNC_ABORT)

    def _seek(self, offset: int, origin: int) -> int:
        upload = self.exchange.upload if self.exchange is not None else None
        can = upload is not None and (offset, origin) == (0, 0) and upload.rewind()
        return int(pycurl.SEEKFUNC_OK if can else pycurl.SEEKFUNC_CANTSEEK)

    def _body(self, chunk: bytes) -> int | None:
        exchange = self.exchange
        assert exchange is not None
        # libcurl prints and loses what a callback raises, so it is kept for the end of the round.
        try:
            if exchange.head is None:
                exchange.answered(self.lines)
            exchange.take(chunk)
        except BaseException as error:  # noqa: BLE001  raised again by who settles the exchange
            exchange.error = error
            return -1
        return None


def _multi(*opened: int) -> Any:
    """libcurl's handle for many. Raises ``OSError`` where there is no open file left for it (it does not say
    why), and closes what was ``opened``."""
    try:
        return pycurl.CurlMulti()
    except pycurl.error:
        for descriptor in opened:
            os.close(descriptor)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from None


class Loop:
    """Keeps exchanges under way. One thread at a time uses it; any may call ``wake`` and ``close``.

    ``once``: it is closed after its first batch.
    """

    def __init__(self, session: Session, connections: int, once: bool = False) -> None:
        self.session = session
        self._once = once
        self.connections = max(1, connections)
        self.active: dict[Any, Easy] = {}
        self._idle: list[Easy] = []
        self._awake, self._waker = os.pipe()
        self._multi = _multi(self._awake, self._waker)
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * self.connections)
        self._multi.setopt(pycurl.M_PIPELINING, 0)
        os.set_blocking(self._awake, False)
        os.set_blocking(self._waker, False)
        self._lock = threading.Lock()
        self._busy = False
        self._closed = False

    @property
    def room(self) -> int:
        """How many more exchanges may be started."""
        return self.connections - len(self.active)

    @contextmanager
    def use(self) -> Iterator[Loop]:
        """Entered for the time of a batch. Raises ``Cancelled`` where it was closed."""
        with self._lock:
            self._refuse_closed()
            self._busy = True
        try:
            yield self
        finally:
            for easy in list(self.active.values()):
                self._retire(easy)
            with self._lock:
                self._busy = False
                self._closed = self._closed or self._once
                if self._closed:
                    self._dispose()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Cancelled("the connection was closed", host=self.session.host)

    def start(self, exchange: Exchange, task: Teller) -> None:
        """Sends the exchange's request; ``task.answer`` is called with it when it is over."""
        easy = self._idle.pop() if self._idle else Easy(self.session)
        try:
            easy.load(exchange)
        except TransferError:
            self._idle.append(easy)
            raise
        easy.task = task
        self._multi.add_handle(easy.handle)
        self.active[easy.handle] = easy

    def hurry(self, exchange: Exchange) -> None:
        """Nobody needs the rest of what is sent or received."""
        exchange.hurry()

    def stop(self, exchange: object) -> None:
        """Breaks an exchange off."""
        for easy in list(self.active.values()):
            if easy.exchange is exchange:
                self._retire(easy)

    def step(self, patience: float) -> None:
        """Moves what can be moved and answers each exchange that is over; where none is, waits at most so
        many seconds. Raises ``Cancelled`` once closed.
        """
        self._refuse_closed()
        multi = self._multi
        multi.perform()
        over: list[tuple[Easy, Exchange | None, int, str]] = []
        more = 1
        while more:
            more, good, bad = multi.info_read(self.connections)
            for handle, code, text in [*((handle, 0, "") for handle in good), *bad]:
                easy = self.active[handle]
                over.append((easy, easy.exchange, code, text))
        for easy, exchange, code, text in over:
            if exchange is not None and easy.exchange is exchange:  # else stopped by another's end
                self._end(easy, exchange, code, text)
        if not over:
            self._wait(patience)

    def _end(self, easy: Easy, exchange: Exchange, code: int, text: str) -> None:
        task = easy.task
        assert task is not None
        if not code and exchange.head is None:  # there was no body
            try:
                exchange.answered(easy.lines)
            except BaseException as error:  # noqa: BLE001  raised again by who settles the exchange
                exchange.error = error
        finished = exchange.over(easy.handle, code, text)
        self._retire(easy)
        if finished:
            exchange.take = (
                _nowhere  # its own method would keep it, and what it sent, for the garbage collector
            )
            task.answer(exchange)
            return
        try:
            self.start(exchange, task)
        except TransferError as error:  # there is no token any more
            exchange.error = error
            task.answer(exchange)

    def _retire(self, easy: Easy) -> None:
        self._multi.remove_handle(easy.handle)
        del self.active[easy.handle]
        easy.exchange = easy.task = None
        self._idle.append(easy)

    def _wait(self, patience: float) -> None:
        reading, writing, _ = self._multi.fdset()
        pause = self._multi.timeout()
        reading.append(self._awake)
        woken, _, _ = select.select(
            reading, writing, [], patience if pause < 0 else min(patience, pause / 1000)
        )
        if self._awake in woken:
            with suppress(BlockingIOError):
                os.read(self._awake, 4096)

    def wake(self) -> None:
        """Ends the wait of the thread that is in ``step``."""
        with self._lock, suppress(BlockingIOError):
            if self._waker >= 0:
                os.write(self._waker, b"w")

    def close(self) -> None:
        """From any thread: what is under way raises ``Cancelled``. Idempotent."""
        with self._lock:
            self._closed = True
            if not self._busy:
                self._dispose()
        self.wake()

    def _dispose(self) -> None:
        if self._waker < 0:
            return
        for easy in self._idle:
            easy.handle.close()
        self._idle.clear()
        self._multi.close()
        os.close(self._awake)
        os.close(self._waker)
        self._waker = -1


def _nowhere(chunk: object) -> None:
    """What comes of an exchange that is over: nothing."""


class _Ended(list[Exchange]):
    answer = list.append


def fetch(loop: Loop, exchange: Exchange) -> None:
    """One exchange alone, to its end. Raises what went wrong."""
    ended = _Ended()
    with loop.use():
        loop.start(exchange, ended)
        while not ended:
            loop.step(PATIENCE)
    if exchange.error is not None:
        raise exchange.error
