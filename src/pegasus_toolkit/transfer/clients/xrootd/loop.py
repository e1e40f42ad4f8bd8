"""Many requests under way on the XRootD client library, one thread of ours.

The library calls back from threads of its own. A callback does nothing but to queue what came; the
thread that runs the batch hands it to whom it is for. A request is a tuple (method, arguments...), answered
by (status, response); or a :class:`Pump`, which moves a file's content.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import get_ident
from typing import Any, Protocol

from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, ServerFault, TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Sink, Source

CHUNK = 1 << 20  # bytes of one request ...
WINDOW = 4  # ... and requests of one file that are under way; more or larger ones gain nothing
ROOM = 64  # requests under way


class Asking(Protocol):
    """Who waits for an answer."""

    request: Any

    def pair(self, first: Any, second: Any) -> None: ...
    def fail(self, error: TransferError) -> None: ...


class Loop:
    """The answers of one backend. All but ``close`` belong to one thread."""

    room = ROOM

    def __init__(self, patience: int) -> None:
        self.patience = patience  # seconds for an answer
        self._arrived: SimpleQueue[tuple[Any, Any, Any, Any] | None] = SimpleQueue()
        self._closed = False
        self._kept: set[int] = set()  # threads of the library that Python remembers

    @contextmanager
    def use(self) -> Iterator[None]:
        """Connections belong to the library."""
        if self._closed:
            raise Cancelled("the connection was closed")
        yield

    def start(self, request: Any, task: Asking) -> None:
        """Sends it. Raises ``ServerFault`` for a file that the library closed, as its connection is gone."""
        if type(request) is tuple:
            self.send(task, request, request[0], *request[1:])
        else:
            request.begin(self, task)

    def send(self, whom: Any, tag: Any, method: Callable[..., Any], *arguments: Any) -> None:
        """One call of the library; what comes is queued as (whom, tag, status, response)."""
        arrived, kept = self._arrived, self._kept

        def callback(status: Any, response: Any, hosts: Any) -> None:
            if get_ident() not in kept:
                self._keep()
            arrived.put((whom, tag, status, response))

        with broken_off():
            status = method(*arguments, timeout=self.patience, callback=callback)
        if not status.ok:  # it was not even sent: then nobody calls back
            arrived.put((whom, tag, status, None))

    def tell(self, pump: Pump, tag: Any, status: Any = None) -> None:
        """From any thread: has the pump go on."""
        self._arrived.put((pump, tag, status, None))

    def step(self, patience: float) -> None:
        """Answers what came."""
        if self._closed:
            raise Cancelled("the connection was closed")
        try:
            came = self._arrived.get(timeout=patience)
        except Empty:
            return
        if came is None:
            return
        whom, tag, status, response = came
        if isinstance(whom, Pump):
            whom.came(tag, status, response)
        elif whom.request is tag:
            whom.pair(status, response)

    def hurry(self, request: Any) -> None:
        """A pump stops; a call has its answer within ``patience``."""
        if isinstance(request, Pump):
            request.hurry()

    def close(self) -> None:
        """From any thread: who waits gets ``Cancelled``, from now on."""
        self._closed = True
        self._arrived.put(None)

    def _keep(self) -> None:
        """Has Python remember the library's thread that called back.

        Else it makes and forgets all that belongs to a thread with every answer, which takes as much
        processor time as what is done for a small file.
        """
        ctypes.pythonapi.PyGILState_Ensure()  # never released
        self._kept.add(get_ident())


@contextmanager
def broken_off() -> Iterator[None]:
    """What the library raises for a file that is not open any more, as an error of ours."""
    try:
        yield
    except ValueError as error:
        raise ServerFault("the connection broke off") from error


def part(file: Any) -> None:
    """Closes a file that was read; nobody waits for that. The callback holds it, as the library must."""
    if file.is_open():
        file.close(callback=lambda *_, file=file: None)


class Pump:
    """A request of many calls. Its answer: the status that was not well (or ``None``), and a number."""

    loop: Loop
    task: Asking

    def __init__(self) -> None:
        self.bad: Any = None  # a status
        self.error: TransferError | None = None
        self.waiting = 0  # calls under way

    def begin(self, loop: Loop, task: Asking) -> None:
        """By the loop."""
        self.loop, self.task = loop, task
        self.go_on()

    def call(self, tag: Any, method: Callable[..., Any], *arguments: Any) -> None:
        """Sends one call; what comes goes to ``came``."""
        self.loop.send(self, tag, method, *arguments)
        self.waiting += 1

    def came(self, tag: Any, status: Any, response: Any) -> None:
        """An answer, or (``tag`` is ``None``) only the word to go on."""
        if tag is not None:
            self.waiting -= 1
            self.take(tag, status, response)
        self.go_on()

    def take(self, tag: Any, status: Any, response: Any) -> None:
        """An answer."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Sends what can be sent, answers at the end."""
        raise NotImplementedError

    def hurry(self) -> None:
        """Nobody wants the rest."""
        self.error = self.error or Cancelled("the batch was given up")
        self.loop.tell(self, None)

    def over(self, number: int) -> None:
        """Answers, once."""
        if self.task.request is not self:
            return
        if self.error is not None:
            self.task.fail(self.error)
        else:
            self.task.pair(self.bad, number)


class Reading(Pump):
    """A file's content into a sink, in order. The number: bytes."""

    def __init__(self, file: Any, size: int, sink: Sink) -> None:
        super().__init__()
        self.file, self.size, self.sink = file, size, sink
        self.asked = self.at = 0
        self.blocks: dict[int, bytes] = {}

    def take(self, tag: int, status: Any, response: Any) -> None:
        """A block, in any order."""
        if self.bad is not None or self.error is not None:
            return
        if not status.ok:
            self.bad = status
        elif len(response) != min(CHUNK, self.size - tag):
            self.error = Corrupted("the file became shorter while it was read")
        else:
            self.blocks[tag] = response
            self._hand_on()

    def _hand_on(self) -> None:
        try:
            while self.at in self.blocks:
                data = self.blocks.pop(self.at)
                self.sink.write(data)
                self.at += len(data)
        except TransferError as error:
            self.error = error
        except OSError as error:
            self.error = from_oserror(error, side="destination")

    def go_on(self) -> None:
        """Asks for what follows."""
        if self.error is None and self.bad is None and self.at < self.size:
            try:
                while self.asked < self.size and self.asked - self.at < WINDOW * CHUNK:
                    self.call(self.asked, self.file.read, self.asked, min(CHUNK, self.size - self.asked))
                    self.asked += CHUNK
                return
            except ServerFault as error:
                self.error = error
        self.over(self.at)


class Writing(Pump):
    """All of a source into a file, which is closed in any case. The number: bytes that the server has.

    ``stat``: how to ask for that; one acknowledged write says it without. ``sent``: bytes; ``seen`` is
    shown each block.
    """

    def __init__(
        self,
        file: Any,
        source: Source,
        stat: tuple[Any, ...],
        seen: Callable[[bytes], Any] | None = None,
    ) -> None:
        super().__init__()
        self.file, self.source, self.stat, self.seen = file, source, stat, seen
        self.sent = self.count = 0
        self.stored = -1
        self.more = True
        self.closing = False
        self.buffers: dict[int, bytes] = {}  # the library keeps no copy of what it sends

    def take(self, tag: Any, status: Any, response: Any) -> None:
        """An acknowledgement."""
        if not status.ok:
            self.bad = self.bad or status
        elif tag == "size":
            self.stored = int(response.size)
        self.buffers.pop(tag, None)

    def go_on(self) -> None:
        """Sends what follows; asks for the size and closes when all is acknowledged."""
        if not self.closing:
            self._fill()
            if self.buffers:  # what was sent may still arrive: it must not outlive its file
                return
            self._close()
        if not self.waiting:
            self.over(self.sent if self.stored < 0 else self.stored)

    def _fill(self) -> None:
        try:
            while self.more and self.error is None and self.bad is None and len(self.buffers) < WINDOW:
                data = self.source.read(CHUNK)
                if not data:
                    self.more = False
                    return
                if self.seen is not None:
                    self.seen(data)
                self.buffers[self.sent] = data
                at, self.sent = self.sent, self.sent + len(data)
                try:
                    self.call(at, self.file.write, data, at, len(data))
                except ServerFault:
                    del self.buffers[at]
                    raise
                self.count += 1
        except TransferError as error:
            self.error = error
        except OSError as error:
            self.error = from_oserror(error, side="source")

    def _close(self) -> None:
        self.closing = True
        try:
            if self.count > 1 and self.error is None and self.bad is None:
                self.call("size", *self.stat)
            self.call("close", self.file.close)
        except ServerFault as error:
            self.error = self.error or error


class Blocking(Pump):
    """A call that blocks a thread of its own. ``stopped`` tells it to end. The number means nothing."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call
        self.stopped = threading.Event()
        self._over = False
        self.value: Any = None

    def go_on(self) -> None:
        """Begins, and at last ends."""
        if not self.waiting and not self._over:
            self.waiting = 1
            threading.Thread(target=self._run, name="xrootd copy", daemon=True).start()
        elif self._over:
            self.over(0)

    def take(self, tag: Any, status: Any, response: Any) -> None:
        """The end."""
        self._over = True

    def hurry(self) -> None:
        """It looks at ``stopped``."""
        self.stopped.set()

    def _run(self) -> None:
        with suppress(TransferError):  # told by what it leaves in ``value``
            self.value = self._call()
        self.loop.tell(self, "over")
