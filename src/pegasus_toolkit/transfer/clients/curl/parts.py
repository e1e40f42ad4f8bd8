"""One large file over several connections: parts in flight, handed on in order.

The first request goes on while others fetch what comes later. Only when a server has answered one of
those as it should does the first one end where that begins: so a server that refuses a second connection,
or has ranges or an ETag of its own behind the same name, costs speed and never the file.

Each part is asked for on the condition that the content is still the same, and kept in memory until
all before it were handed on; so what the sink gets is always a beginning of the file, its digest is
taken in one pass, and a later attempt can resume it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from pegasus_toolkit.transfer.clients.curl.exchange import Exchange, StopReading
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.loop import Loop, Teller
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.clients.curl.urls import Origin
from pegasus_toolkit.transfer.clients.curl.write_behind import Behind, Free
from pegasus_toolkit.transfer.errors import Denied, Permanent, ServerFault, Throttled
from pegasus_toolkit.transfer.interface import Data

TRIES = 3  # times that a part is asked for
LESS = (Throttled, Denied)  # what a server says that allows fewer connections


class Begun(Protocol):
    """The download whose rest comes in parts: where it was sent to in the end, and what it is of.

    ``position``: bytes from the start of the file that it has received.
    """

    session: Session
    url: str
    target: Origin
    proxy: str
    hops: int
    validator: str
    size: int | None

    @property
    def position(self) -> int: ...

    def end_at(self, position: int) -> None:
        """What follows comes otherwise."""


class Part(Exchange):
    """Bytes ``first`` to ``end`` (not included), received into ``block``.

    ``begun`` is called when the answer is as it should be, and says whether the part is wanted.
    """

    def __init__(
        self, fetch: Begun, first: int, end: int, block: memoryview, begun: Callable[[], bool]
    ) -> None:
        super().__init__(fetch.session, fetch.url)
        self.target, self.proxy, self.hops = fetch.target, fetch.proxy, fetch.hops
        name = "If-Match" if fetch.validator.startswith('"') else "If-Unmodified-Since"
        self.extra = (f"Range: bytes={first}-{end - 1}", f"{name}: {fetch.validator}")
        self.first = first
        self.block = block
        self.size = end - first
        self.whole = False
        self.refused = False  # an answer came, but not the part
        self.tries = 0
        self._at = 0
        self._fetch = fetch
        self._range = (first, end, fetch.size)
        self._begun = begun

    def begin(self, head: Head) -> None:
        """Only the very part of the very same content will do."""
        self.refused = True
        if not 200 <= head.status < 300:
            return
        if head.status != 206 or head.range != self._range or head.validator != self._fetch.validator:
            raise ServerFault("the file changed while it was fetched", url=self.shown())
        self.refused = False
        self.take = self._keep
        self._at = 0
        if not self._begun():
            raise StopReading

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
    """The rest of a file that ``fetch`` began. In the end it is ``done``, or ``error`` is set.

    ``accepted``: the server gives parts; ``given_up``: it does not, and ``fetch`` goes on alone;
    ``refused``: it gave some, and then it would not.
    """

    def __init__(self, fetch: Begun, behind: Behind, part: int, streams: int) -> None:
        self.fetch = fetch
        self.error: BaseException | None = None
        self.accepted = self.given_up = self.done = self.refused = False
        self._behind = behind
        self._part = part
        self._streams = streams  # connections in all
        self._head = True  # the first request is still under way
        self._size = fetch.size or 0
        self._first = self._next = min(fetch.position + part, self._size)
        self._flying: set[Part] = set()
        self._waiting: deque[Part] = deque()  # those not handed on yet, in order
        self._again: deque[Part] = deque()  # refused, for there were too many
        self._free: Free = SimpleQueue()
        for _ in range(streams + 1):
            self._free.put(memoryview(bytearray(part)))

    def fill(self, loop: Loop, task: Teller) -> None:
        """Asks for further parts while there are connections and memory for them; for one only, at first."""
        if not self._again and (self._next >= self._size or self._free.empty()):
            self.relieve(loop)
        while self.error is None and not self.given_up and loop.room > 0 and self._may():
            if self._again:
                part = self._again.popleft()
            elif self._next < self._size:
                try:
                    block = self._free.get_nowait()
                except Empty:
                    return
                end = min(self._next + self._part, self._size)
                part = Part(self.fetch, self._next, end, block, self._begun)
                self._next = end
                self._waiting.append(part)
            else:
                return
            self._flying.add(part)
            loop.start(part, task)

    def relieve(self, loop: Loop) -> None:
        """The first request is all that the others wait for: it may be stuck, so a part takes its place."""
        if not (self.accepted and self._head) or self._flying or self.error is not None:
            return
        loop.stop(self.fetch)
        first = self.fetch.position
        if first < self._first:
            block = memoryview(bytearray(self._first - first))
            part = Part(self.fetch, first, self._first, block, self._begun)
            self._waiting.appendleft(part)
            self._again.append(part)
        self.head_over()

    def _may(self) -> bool:
        under_way = len(self._flying) + self._head
        return under_way < (self._streams if self.accepted else 2)

    def _begun(self) -> bool:
        """A part is on its way, so that the first request need not go beyond it; or if it is there already,
        beyond what it receives next."""
        if self.accepted:
            return True
        self.accepted = True
        late = self.fetch.position > self._first
        if late:
            for part in self._waiting:
                self._free.put(part.block)
            self._waiting.clear()
            self._first = self._next = min(self.fetch.position + self._part, self._size)
        self.fetch.end_at(self._first)
        return not late

    def head_over(self) -> None:
        """The first request has come to where the parts begin."""
        self._head = False
        try:
            self._behind.flush()
        except BaseException as error:  # noqa: BLE001  raised, or told, by the batch
            self.error = error
        self._hand_on()

    def settle(self, part: Part, loop: Loop) -> None:
        """A part is over: hands on what is complete; after a failure, gives up on the others."""
        if part not in self._flying:
            return
        self._flying.discard(part)
        part.whole = part.filled()
        if part not in self._waiting:
            return  # it came too late
        if part.whole:
            self._hand_on()
        elif not self.accepted:
            self.given_up = True
        elif part.refused and isinstance(part.error, LESS) and part.tries < TRIES:
            part.tries += 1
            self._streams = max(1, len(self._flying) + self._head)  # as many as it allows
            part.refused = False
            part.reset()
            self._again.append(part)
        else:
            self.refused = part.refused
            self.give_up(part.error or ServerFault("less came than was asked for", url=part.shown()), loop)

    def _hand_on(self) -> None:
        if self._head or self.error is not None:
            return
        try:
            while self._waiting and self._waiting[0].whole:
                first = self._waiting.popleft()
                self._behind.pass_on(first.block, first.size, self._free)
        except BaseException as error:  # noqa: BLE001  raised, or told, by the batch
            self.error = error
            return
        if not self._waiting and self._next >= self._size:
            self.done = True

    def give_up(self, error: BaseException, loop: Loop) -> None:
        """The file fails; what came in order is kept."""
        if isinstance(error, Permanent) and self.fetch.hops:  # a signed address may have expired
            error = ServerFault(error.message, url=error.url, host=error.host)
        self.error = error
        self.abandon(loop)

    def abandon(self, loop: Loop) -> None:
        """No part is needed any more."""
        for part in self._flying:
            loop.stop(part)
        self._flying.clear()
        self._waiting.clear()
        self._again.clear()
        self._next = self._size
