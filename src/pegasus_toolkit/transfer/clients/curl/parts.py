"""One large file over several connections: parts in flight, handed on in order.

Each part is asked for on the condition that the content is still the same, and kept in memory until
all before it were handed on; so what the sink gets is always a beginning of the file, its digest is
taken in one pass, and a later attempt can resume it.
"""

from __future__ import annotations

from collections import deque
from queue import Empty, SimpleQueue
from typing import Protocol

from pegasus_toolkit.transfer.clients.curl.exchange import Exchange
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.loop import Loop, Teller
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.clients.curl.urls import Origin
from pegasus_toolkit.transfer.clients.curl.write_behind import Behind, Free
from pegasus_toolkit.transfer.errors import Permanent, ServerFault
from pegasus_toolkit.transfer.interface import Data


class Begun(Protocol):
    """The download whose rest comes in parts: where it was sent to in the end, and what it is of.

    ``kept``: bytes of an earlier attempt.
    """

    session: Session
    url: str
    target: Origin
    proxy: str
    hops: int
    validator: str
    size: int | None
    kept: int


class Part(Exchange):
    """Bytes ``first`` to ``end`` (not included), received into ``block``."""

    def __init__(self, fetch: Begun, first: int, end: int, block: memoryview) -> None:
        super().__init__(fetch.session, fetch.url)
        self.target, self.proxy, self.hops = fetch.target, fetch.proxy, fetch.hops
        name = "If-Match" if fetch.validator.startswith('"') else "If-Unmodified-Since"
        self.extra = (f"Range: bytes={first}-{end - 1}", f"{name}: {fetch.validator}")
        self.block = block
        self.size = end - first
        self.whole = False
        self._at = 0
        self._fetch = fetch
        self._range = (first, end, fetch.size)

    def begin(self, head: Head) -> None:
        """Only the very part of the very same content will do."""
        if not 200 <= head.status < 300:
            return
        if head.status != 206 or head.range != self._range or head.validator != self._fetch.validator:
            raise ServerFault("the file changed while it was fetched", url=self.shown())
        self.take = self._keep
        self._at = 0

    def _keep(self, chunk: Data) -> None:
        end = self._at + len(chunk)
        if end > self.size:
            raise ServerFault("more came than was asked for", url=self.shown())
        self.block[self._at : end] = chunk
        self._at = end

    def filled(self) -> bool:
        """Whether all of it came."""
        return self.error is None and self._at == self.size


class Parts:
    """The rest of a file that ``fetch`` began. ``behind`` is finished at the end, or ``error`` set."""

    def __init__(self, fetch: Begun, behind: Behind, part: int, streams: int) -> None:
        self.fetch = fetch
        self.error: BaseException | None = None
        self._behind = behind
        self._part = part
        self._streams = streams
        self._next = fetch.kept + behind.total
        self._size = fetch.size or 0
        self._flying: set[Part] = set()
        self._waiting: deque[Part] = deque()  # those not handed on yet, in order
        self._free: Free = SimpleQueue()
        for _ in range(streams + 1):
            self._free.put(memoryview(bytearray(part)))

    def fill(self, loop: Loop, task: Teller) -> None:
        """Asks for further parts while there are connections and memory for them."""
        while self._next < self._size and len(self._flying) < self._streams and loop.room > 0:
            try:
                block = self._free.get_nowait()
            except Empty:
                return
            end = min(self._next + self._part, self._size)
            part = Part(self.fetch, self._next, end, block)
            self._next = end
            self._waiting.append(part)
            self._flying.add(part)
            loop.start(part, task)

    def settle(self, part: Part, loop: Loop) -> None:
        """A part is over: hands on what is complete; after a failure, gives up on the others."""
        if part not in self._flying:
            return
        self._flying.discard(part)
        part.whole = part.filled()
        try:
            if not part.whole:
                raise part.error or ServerFault("less came than was asked for", url=part.shown())
            while self._waiting and self._waiting[0].whole:
                first = self._waiting.popleft()
                self._behind.pass_on(first.block, first.size, self._free)
        except BaseException as error:  # noqa: BLE001  raised, or told, by the batch
            self._give_up(error, loop)
        if not self._waiting and self._next >= self._size:
            self._behind.finish()

    def _give_up(self, error: BaseException, loop: Loop) -> None:
        if isinstance(error, Permanent) and self.fetch.hops:  # a signed address may have expired
            error = ServerFault(error.message, url=error.url, host=error.host)
        self.error = error
        for part in self._flying:
            loop.stop(part)
        self._flying.clear()
        self._waiting.clear()
        self._next = self._size
