"""One account at one GridFTP server, for the runner of stories: its connections, and what goes over each.

One connection carries commands, many ahead; a second one files to the server, a third one files from it,
some asked for ahead, one moved at a time; a fourth one listings. Each is made when it is first used.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from pegasus_toolkit.transfer.clients.gridftp.data import BLOCK, Receiver, Sender, Streamer, receiver
from pegasus_toolkit.transfer.clients.gridftp.third import Third
from pegasus_toolkit.transfer.clients.gridftp.wire import Reply, Session
from pegasus_toolkit.transfer.errors import Cancelled, TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Sink, Source

ROOM = 128  # requests under way
SENT_AHEAD = 4  # files that the server is told of before the one in hand is stored
UNANSWERED = 64  # commands, with files to be stored: then their replies come first
ASKED_AHEAD = 32  # files that are asked for before the one in hand is there
FEW = 8  # files to come, below which the sizes of more are awaited first
CLEANING = 10.0  # seconds for a connection of its own that removes what was left aside
BROKE_OFF = Reply(426, ("the data connection broke",))
DRAINED = 4 << 20  # bytes of a file that nobody wants any more that are read to keep the connection


class Task(Protocol):
    """Who asks: gets the answer in a later ``step``."""

    def answer(self, value: Any = None) -> None: ...
    def fail(self, error: TransferError) -> None: ...


class Store:
    """A request: a file to the server. The answer: ``sent`` bytes; ``reply`` is what the server says of them,
    ``error`` what the source raised. ``refused``: before a byte was taken."""

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self.sent = 0
        self.refused = self.stopped = False
        self.reply: Reply | None = None
        self.error: TransferError | None = None

    def fill(self, view: memoryview) -> int:
        """From the source; nothing once it is told to stop."""
        if self.stopped:
            return 0
        try:
            n = self.source.readinto(view)
        except OSError as error:  # a TransferError may be one
            self.error = from_oserror(error, side="source")
            raise
        except TransferError as error:
            self.error = error
            raise
        self.sent += n
        return n


class Retrieve:
    """A request: a file of about ``size`` bytes from the server. The answer: ``reply``, the server's last
    word, or the ``error`` that the sink raised."""

    def __init__(self, path: str, sink: Sink, size: int) -> None:
        self.path = path
        self.sink = sink
        self.size = size
        self.stopped = False
        self.reply: Reply | None = None
        self.error: TransferError | None = None
        self._taken = 0

    def write(self, data: memoryview) -> None:
        """To the sink; a small rest of a file that it refuses is let pass, to stay connected."""
        self._taken += len(data)
        try:
            if self.error is None:
                self.sink.write(data)
        except OSError as error:  # a TransferError may be one
            self.error = from_oserror(error, side="destination")
        except TransferError as error:
            self.error = error
        if self.error is not None and max(self.size, self._taken) > DRAINED:
            raise self.error


class Listing:
    """A request: what is in a directory. The answer: ``lines``, and the server's last word."""

    def __init__(self, path: str, verb: str = "MLSD") -> None:
        self.path = path
        self.verb = verb
        self.lines: list[str] = []
        self.reply: Reply | None = None


Connect = Callable[[float, bool], Session]
"""Opens and logs in one more connection: seconds to wait for replies, and whether data belong to it."""


class Client:
    """Connects when it is first used, and again after a connection was lost.

    Requests are a command (the answer: its :class:`Reply`), a tuple of commands that go out together (the
    answer: theirs), :class:`Store`, :class:`Retrieve`, :class:`Listing`, :class:`Third`.
    """

    def __init__(self, connect: Connect, patience: float, near: bool, once: bool = False) -> None:
        """``patience``: seconds without a byte; ``near``: the server may be able to connect to us; ``once``:
        for one batch."""
        self.patience = patience
        self.closed = False
        self.names: Session | None = None
        self.sender: Sender | None = None
        self.receiver: Receiver | Streamer | None = None
        self.lister: Streamer | None = None
        self._connect = connect
        self._near = near
        self._once = once
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._active = 0  # batches under way
        self._heard = 0.0  # when the last reply came to a command, or none was awaited
        self._buffer = memoryview(bytearray(BLOCK))
        self._stores: deque[tuple[Store, Task]] = deque()
        self._untidy = False  # a file was stored in part: it goes before the next one comes
        self._stores_asked = 0  # of these the first ones are known to the server
        self._retrieves: deque[tuple[Retrieve, Task]] = deque()
        self._retrieves_asked = 0
        self._others: deque[tuple[Listing | Third, Task]] = deque()

    # -- the connections ---------------------------------------------------------------------------

    @contextmanager
    def use(self) -> Iterator[None]:
        """Connected, for the time of a batch; ``close`` only interrupts meanwhile."""
        with self._lock:
            if self.closed:
                raise Cancelled("the connection was closed")
            self._active += 1
        try:
            if self.names is None or self.names.broken:
                self._require_nothing()
                self._drop()
                self.names = self.session(data=False)
            yield
        finally:
            with self._lock:
                self._active -= 1
                last = not self._active
            if last and (self._once or self.broken or self._stores or self._retrieves or self._others):
                self._drop()

    def _require_nothing(self) -> None:
        """Answers to what another batch has asked will never come: it must meet that first."""
        if self.names is not None and self._active > 1:
            raise self.names.lost(None)

    def renew(self) -> Client:
        """Another one, connected, for the clean-up of a batch."""
        client = Client(self._connect, CLEANING, self._near, once=True)
        client.names = client.session(data=False)
        return client

    def session(self, data: bool) -> Session:
        """One more connection; ``data``: that data connections belong to."""
        if self.closed:
            raise Cancelled("the connection was closed")
        return self._connect(self.patience, data)

    @property
    def algorithms(self) -> frozenset[str]:
        """Digests that the server tells; while it is connected."""
        return frozenset() if self.names is None else self.names.algorithms

    @property
    def broken(self) -> bool:
        """Whether a connection that is in use was lost, or all were closed."""
        channels = (self.sender, self.receiver, self.lister)
        sessions = [self.names, *(channel.session for channel in channels if channel is not None)]
        return self.closed or any(session is not None and session.broken for session in sessions)

    def _drop(self) -> None:
        self._drop_sender()
        self._drop_receiver()
        if self.lister is not None:
            self.lister.close()
        if self.names is not None:
            self.names.close()
        self.lister = self.names = None
        for waiting in (self._stores, self._retrieves, self._others):
            waiting.clear()

    def _drop_sender(self) -> None:
        """The next use makes another, and asks for what is still to come."""
        if self.sender is not None:
            self.sender.close()
        self.sender, self._stores_asked = None, 0

    def _drop_receiver(self) -> None:
        if self.receiver is not None:
            self.receiver.close()
        self.receiver, self._retrieves_asked = None, 0

    def close(self) -> None:
        """From any thread; what waits for the server returns."""
        with self._lock:
            self.closed = True
            active = self._active
        self._ended.set()
        if not active:
            self._drop()
            return
        for channel in (self.sender, self.receiver, self.lister):
            if channel is not None:
                channel.interrupt()
        if self.names is not None:
            self.names.interrupt()

    # -- requests ----------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more may be started."""
        waiting = len(self._stores) + len(self._retrieves) + len(self._others)
        return ROOM - waiting - (0 if self.names is None else len(self.names.waiting))

    def start(self, request: Any, task: Task) -> None:
        """Queues it; commands go out together with others."""
        if type(request) is str:
            self._command(request, task.answer)
        elif type(request) is tuple:
            replies: list[Reply] = []
            for command in request[:-1]:
                self._command(command, replies.append)
            self._command(request[-1], lambda reply: task.answer([*replies, reply]))
        elif type(request) is Store:
            self._stores.append((request, task))
        elif type(request) is Retrieve:
            self._retrieves.append((request, task))
        else:
            self._others.append((request, task))

    def _command(self, command: str, then: Callable[[Reply], None]) -> None:
        if self.names is None:
            raise Cancelled("the connection was closed")
        if not self.names.waiting:
            self._heard = time.monotonic()
        self.names.send(command, then)

    def hurry(self, request: Any) -> None:
        """No more of its payload is moved."""
        if isinstance(request, (Store, Retrieve, Third)):
            request.stopped = True

    def step(self, patience: float) -> None:
        """Moves one file, or takes one reply; a file that is under way is moved to its end."""
        if self.closed or self.names is None:
            raise Cancelled("the connection was closed")
        if self.names.broken:
            raise self.names.lost(None)
        commands = len(self.names.waiting)
        self._untidy = self._untidy and commands > 0
        if self._stores and commands < UNANSWERED and not self._untidy:
            self._store()
        elif commands and len(self._retrieves) < FEW:
            self._reply(patience)
        elif self._retrieves:
            self._retrieve()
        elif commands:
            self._reply(patience)
        elif self._others:
            self._other()
        else:
            self._ended.wait(patience)

    def _reply(self, patience: float) -> None:
        """To a command; with files to be stored, most of those that are awaited."""
        names = self.names
        assert names is not None
        names.flush()
        if not (names.heard or select.select([names.link.sock], [], [], patience)[0]):
            if time.monotonic() - self._heard > self.patience:
                raise names.lost(TimeoutError())
            return
        names.pump()
        while self._stores and len(names.waiting) > UNANSWERED // 4:
            names.pump()
        self._heard = time.monotonic()

    # -- files to the server -----------------------------------------------------------------------

    def _store(self) -> None:
        if self.sender is None:
            self.sender = Sender(self.session(data=True), self.patience)
        if self._stores_asked <= SENT_AHEAD // 2:  # several at a time go out together
            while self._stores_asked < min(SENT_AHEAD, len(self._stores)):
                self.sender.ask(self._stores[self._stores_asked][0].name)
                self._stores_asked += 1
        store, task = self._stores[0]
        reply = self.sender.begin()
        if not reply.preliminary:  # nothing was sent, so the connection is still in step
            store.refused = True
        else:
            reply = self._send(self.sender, store)
        store.reply = reply
        self._stores.popleft()
        self._stores_asked -= 1
        if store.error is not None or not (store.refused or reply.good):
            self._drop_sender()  # it ended in the middle
            self._untidy = True
        task.answer(store)

    def _send(self, sender: Sender, store: Store) -> Reply:
        try:
            sender.send(store.fill, self._buffer)
        except (TransferError, OSError):
            if store.error is not None:
                return BROKE_OFF
            reply = sender.last_word()  # it says why
            return BROKE_OFF if reply.good else reply
        return sender.last_word()

    # -- files from the server ---------------------------------------------------------------------

    def _retrieve(self) -> None:
        if self.receiver is None:
            self.receiver = receiver(self.session(data=True), self.patience, self._near)
        if self._retrieves_asked <= ASKED_AHEAD // 2:
            while self._retrieves_asked < min(ASKED_AHEAD, len(self._retrieves)):
                self.receiver.ask(self._retrieves[self._retrieves_asked][0].path)
                self._retrieves_asked += 1
        retrieve, task = self._retrieves[0]
        if retrieve.stopped:
            retrieve.error = Cancelled("the batch was given up")
        else:
            try:
                retrieve.reply = self.receiver.receive(retrieve.write)
            except TransferError as error:
                if error is not retrieve.error:
                    raise
        self._retrieves.popleft()
        self._retrieves_asked -= 1
        if retrieve.reply is None or not retrieve.reply.good:
            self._drop_receiver()  # what it had begun to send may still come
        task.answer(retrieve)

    # -- all else ----------------------------------------------------------------------------------

    def _other(self) -> None:
        request, task = self._others.popleft()
        if isinstance(request, Third):
            try:
                request.move(self.patience)
            except TransferError as error:
                task.fail(error)
                return
        else:
            self._list(request)
        task.answer(request)

    def _list(self, listing: Listing) -> None:
        if self.lister is None or self.lister.session.broken:
            self.lister = Streamer(self.session(data=True), self.patience)
        chunks: list[bytes] = []
        self.lister.ask(listing.path or "/", listing.verb)
        listing.reply = self.lister.receive(lambda data: chunks.append(bytes(data)))
        text = b"".join(chunks).decode("utf-8", "surrogateescape")
        listing.lines = [line.removesuffix("\r") for line in text.split("\n")]
