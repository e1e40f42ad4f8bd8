"""Many requests at once over kept connections, in one thread."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pycurl

from pegasus_toolkit.transfer.backends.http.core import Exchange, Session, StopReading
from pegasus_toolkit.transfer.backends.http.headers import Head
from pegasus_toolkit.transfer.errors import Cancelled
from pegasus_toolkit.transfer.interface import Data

TICK = 1.0  # seconds that a wait takes at most


class Stream:
    """A libcurl handle, used for one exchange after the other."""

    __slots__ = ("aim", "exchange", "handle", "lines")

    def __init__(self, session: Session) -> None:
        self.lines: list[bytes] = []
        self.exchange: Exchange | None = None
        self._renew(session)

    def _renew(self, session: Session) -> None:
        self.aim: Any = None
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
        aim = (exchange.target, exchange.proxy, exchange.extra, exchange.method, exchange.session.digest)
        if aim != self.aim:
            if self.aim is not None and exchange.session.holds_secret_from(self.aim[0], exchange.target):
                self.handle.close()
                self._renew(exchange.session)
            exchange.session.aim(self.handle, exchange.target, exchange.proxy, exchange.extra)
            self._method(exchange.method)
            self.aim = aim
        upload = exchange.upload
        if upload is not None:
            self.handle.setopt(pycurl.UPLOAD, 1)
            self.handle.setopt(pycurl.INFILESIZE_LARGE, -1 if upload.size is None else upload.size)
        stall = exchange.patience or max(1, int(exchange.session.settings.stall_timeout))
        self.handle.setopt(pycurl.LOW_SPEED_TIME, stall)
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
                self.begin(exchange)
            exchange.take(chunk)
        except BaseException as error:  # noqa: BLE001  raised again by who settles the exchange
            exchange.error = error
            return -1
        return None

    def begin(self, exchange: Exchange) -> None:
        """The headers are there."""
        head = exchange.head = Head(self.lines)
        exchange.begin(head)


class Loop:
    """Keeps exchanges under way. One thread at a time uses it; any may call ``wake`` and ``close``."""

    def __init__(self, session: Session, connections: int) -> None:
        self.session = session
        self.connections = max(1, connections)
        self.active: dict[Any, Stream] = {}
        self._idle: list[Stream] = []
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * self.connections)
        self._multi.setopt(pycurl.M_PIPELINING, 0)
        self._awake, self._waker = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._waker, False)
        self._lock = threading.Lock()
        self._busy = False
        self._closed = False

    @property
    def room(self) -> int:
        """How many more exchanges may be started."""
        return self.connections - len(self.active)

    def __enter__(self) -> Loop:
        with self._lock:
            self._refuse_closed()
            self._busy = True
        return self

    def __exit__(self, *_: object) -> None:
        for stream in list(self.active.values()):
            self._multi.remove_handle(stream.handle)
            self._idle.append(stream)
        self.active.clear()
        with self._lock:
            self._busy = False
            if self._closed:
                self._dispose()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Cancelled("the connection was closed", host=self.session.host)

    def start(self, exchange: Exchange) -> None:
        """Sends the exchange's request, or sends it again."""
        stream = self._idle.pop() if self._idle else Stream(self.session)
        stream.load(exchange)
        self._multi.add_handle(stream.handle)
        self.active[stream.handle] = stream

    def stop(self, exchange: Exchange) -> None:
        """Breaks an exchange off."""
        for stream in list(self.active.values()):
            if stream.exchange is exchange:
                self._retire(stream)

    def step(self, settle: Callable[[Exchange], None]) -> bool:
        """Moves what can be moved and calls ``settle`` with each exchange that is over; waits where
        nothing is. Whether any was over. Raises ``Cancelled`` once closed.
        """
        self._refuse_closed()
        multi = self._multi
        multi.perform()
        over: list[tuple[Stream, Exchange | None, int, str]] = []
        more = 1
        while more:
            more, good, bad = multi.info_read(self.connections)
            for handle, code, text in [*((handle, 0, "") for handle in good), *bad]:
                stream = self.active[handle]
                over.append((stream, stream.exchange, code, text))
        for stream, exchange, code, text in over:
            if exchange is not None and stream.exchange is exchange:  # else stopped by another's end
                self._end(stream, exchange, code, text, settle)
        if not over:
            self._wait()
        return bool(over)

    def _end(
        self, stream: Stream, exchange: Exchange, code: int, text: str, settle: Callable[[Exchange], None]
    ) -> None:
        if not code and exchange.head is None:  # there was no body
            try:
                stream.begin(exchange)
            except BaseException as error:  # noqa: BLE001  raised again by who settles the exchange
                exchange.error = error
        finished = exchange.over(stream.handle, code, text)
        self._retire(stream)
        if finished:
            settle(exchange)
        else:
            self.start(exchange)

    def _retire(self, stream: Stream) -> None:
        self._multi.remove_handle(stream.handle)
        del self.active[stream.handle]
        stream.exchange = None
        self._idle.append(stream)

    def _wait(self) -> None:
        reading, writing, _ = self._multi.fdset()
        pause = self._multi.timeout()
        reading.append(self._awake)
        woken, _, _ = select.select(reading, writing, [], TICK if pause < 0 else min(TICK, pause / 1000))
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
        for stream in self._idle:
            stream.handle.close()
        self._idle.clear()
        self._multi.close()
        os.close(self._awake)
        os.close(self._waker)
        self._waker = -1


def fetch(loop: Loop, exchange: Exchange) -> None:
    """One exchange alone, to its end. Raises what went wrong."""
    ended: list[Exchange] = []
    with loop:
        loop.start(exchange)
        while not ended:
            loop.step(ended.append)
    if exchange.error is not None:
        raise exchange.error


class Answer(Exchange):
    """A request whose answer is small and kept in memory: ``head`` and ``body``."""

    def __init__(self, session: Session, url: str, method: str = "GET", limit: int = 64 << 20) -> None:
        super().__init__(session, url)
        self.method = method
        self.most = limit  # bytes; what is beyond is not read
        self.body = bytearray()

    def begin(self, head: Head) -> None:
        self.body.clear()
        self.take = self._keep

    def _keep(self, chunk: Data) -> None:
        self.body += chunk
        if len(self.body) > self.most:
            raise StopReading
