"""One account at one server, for the runner of stories: its connection, and the requests that go over it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from pegasus_toolkit.transfer.clients.sftp import wire
from pegasus_toolkit.transfer.clients.sftp.pumps import Pumps, Read, Write
from pegasus_toolkit.transfer.clients.sftp.session import Link, Session
from pegasus_toolkit.transfer.errors import Cancelled, TransferError, Unsupported

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

COMMANDS = 4  # run at the server at the same time: each is a login of its own
SOON = 5.0  # seconds to connect for what is only a help

Stopped = Callable[[], bool]


class Connector(Protocol):
    """How a server is reached and logged in to."""

    waits: bool
    """Whether ``sftp`` comes back only when it is connected."""

    def sftp(self, timeout: float) -> Link:
        """Begins to connect to its SFTP subsystem. Raises what is wrong at once."""

    def retry_with_less(self) -> bool:
        """After a connection failed: whether another try, asking for less, may do."""

    def run(self, command: str, given: bytes, timeout: float, stopped: Stopped) -> tuple[int, bytes]:
        """Runs a command there, with that standard input: its exit status and what it printed."""


class Task(Protocol):
    """Who asks: gets the answer in a later ``step``. ``request``: what it waits for now."""

    request: Any

    def answer(self, value: Any = None) -> None: ...
    def pair(self, first: Any, second: Any) -> None: ...


class Command:
    """A request: runs a command at the server. The answer: its status and what it printed, or ``None``."""

    def __init__(self, text: str, given: bytes, patience: float) -> None:
        """``text`` goes through the account's shell: nothing of a file's name may be in it."""
        self.text = text
        self.given = given
        self.patience = patience  # seconds
        self.stopped = False


class Client:
    """Connects when it is first used, and again after a connection was lost.

    Requests are ``(kind, body)`` of one packet, answered by ``(kind, body)`` whose body is only lent; a list
    of them, sent together and answered together; :class:`Write`, :class:`Read`, :class:`Command`.
    """

    room = 1 << 30  # requests: as many as there are

    def __init__(self, connector: Connector, host: str, timeout: float, patience: float) -> None:
        """``timeout``: to connect; ``patience``: without a byte; both in seconds."""
        self.connector = connector
        self.host = host
        self.session: Session | None = None
        self.pumps: Pumps | None = None
        self.renames = False  # the server renames over another file in one step
        self.active = 0  # batches under way
        self._timeout = timeout
        self._patience = patience
        self._closed = False
        self._lock = threading.Lock()
        self._commands: ThreadPoolExecutor | None = None
        self._answered: deque[tuple[Task, Command, tuple[int, bytes] | None]] = deque()

    @property
    def offers(self) -> dict[bytes, bytes]:
        """Extensions of the server; while it is connected."""
        return {} if self.session is None else self.session.offers

    # -- the connection ----------------------------------------------------------------------------

    @contextmanager
    def use(self, timeout: float | None = None) -> Iterator[None]:
        """Connected, for the time of a batch. Raises what keeps it from connecting."""
        with self._lock:
            if self._closed:
                raise Cancelled("the connection was closed", host=self.host)
            self.active += 1
        try:
            self._connect(timeout or self._timeout)
            yield
        except TransferError as error:
            error.host = error.host or self.host
            raise
        finally:
            with self._lock:
                self.active -= 1
            session = self.session
            if session is not None and (session.broken is not None or (self._closed and not self.active)):
                self._drop()

    def begin(self) -> None:
        """Starts ``ssh``, which logs in by itself meanwhile."""
        if self.connector.waits or self.session is not None:
            return
        with suppress(TransferError, OSError):
            self.session = Session(self.connector.sftp(self._timeout), self._timeout + 5)

    def renew(self) -> Client | None:
        """Connected anew, soon, to remove what a lost connection left; ``None`` where it was closed."""
        if self._closed:
            return None
        self._drop()
        self._connect(SOON)
        return self

    def close(self) -> None:
        """From any thread: what is under way tidies up, for two seconds at most, and gets ``Cancelled``."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            session, active = self.session, self.active
            if session is not None and active:
                session.interrupt()
        if self._commands is not None:
            self._commands.shutdown(wait=False, cancel_futures=True)
        if not active:
            self._drop()

    def _connect(self, timeout: float) -> None:
        if self.session is not None and self.session.open:
            return
        try:
            self._greet(timeout)
        except Unsupported:
            if not self.connector.retry_with_less():
                raise
            self._drop()
            self._greet(timeout)

    def _greet(self, timeout: float) -> None:
        session = self.session or Session(self.connector.sftp(timeout), timeout + 5)
        with self._lock:
            self.session = session
            if self._closed:
                session.interrupt()
        session.hello()
        session.patience = self._patience
        self.pumps = Pumps(session)
        self.renames = wire.POSIX_RENAME in session.offers

    def _drop(self) -> None:
        with self._lock:
            session, self.session = self.session, None
        if session is not None:
            session.close()

    # -- requests ----------------------------------------------------------------------------------

    def start(self, request: Any, task: Task) -> None:
        """Queues it; it goes out with the next turn."""
        session, pumps = self.session, self.pumps
        if session is None or pumps is None:
            raise Cancelled("the connection was closed")
        kind = type(request)
        if kind is tuple:
            session.request(request[0], request[1], task.pair)
        elif kind is Write or kind is Read:
            request.begin(pumps, task)
        elif kind is list:
            _Group(session, request, task)
        else:
            self._run(request, task)

    def step(self, patience: float) -> None:
        """Sends, waits, handles. After ``close`` it raises once: what is then asked to tidy up still works,
        for a short time."""
        session = self.session
        if session is None or self.pumps is None:
            raise Cancelled("the connection was closed")
        while self._answered:
            task, command, came = self._answered.popleft()
            if task.request is command:  # it may have been told meanwhile that the connection was lost
                task.answer(came)
        self.pumps.work()
        try:
            session.turn(patience)
        except Cancelled:
            if session.interrupted:
                session.tidy()
            raise

    def hurry(self, request: Any) -> None:
        """No more of its payload is moved."""
        if isinstance(request, (Write, Read)):
            request.stop()
        elif isinstance(request, Command):
            request.stopped = True

    def _run(self, command: Command, task: Task) -> None:
        if self._commands is None:
            from concurrent.futures import ThreadPoolExecutor  # 5 ms at every start, which few runs need

            self._commands = ThreadPoolExecutor(COMMANDS, "ssh-command")
        future = self._commands.submit(
            self.connector.run,
            command.text,
            command.given,
            command.patience,
            lambda: command.stopped or self._closed,
        )
        future.add_done_callback(lambda future: self._ran(future, command, task))

    def _ran(self, future: Future[tuple[int, bytes]], command: Command, task: Task) -> None:
        """In the command's thread."""
        failed = future.cancelled() or future.exception() is not None
        self._answered.append((task, command, None if failed else future.result()))
        session = self.session
        if session is not None:
            session.wake()


class _Group:
    """Requests sent together; the answer is the list of theirs."""

    __slots__ = ("answers", "task", "waits")

    def __init__(self, session: Session, requests: list[tuple[int, bytes]], task: Task) -> None:
        self.task = task
        self.waits = len(requests)
        self.answers: list[Any] = [None] * len(requests)
        for number, (kind, body) in enumerate(requests):
            session.request(kind, body, _Member(self, number))


class _Member:
    __slots__ = ("group", "number")

    def __init__(self, group: _Group, number: int) -> None:
        self.group = group
        self.number = number

    def __call__(self, kind: int, body: memoryview) -> None:
        group = self.group
        group.answers[self.number] = (kind, bytes(body))
        group.waits -= 1
        if not group.waits:
            group.task.answer(group.answers)
