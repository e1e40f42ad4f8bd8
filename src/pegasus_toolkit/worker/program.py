"""One program, run to its end: its output forwarded, its last lines kept, its use of the machine told."""

# pathlib would cost start-up time
# ruff: noqa: PTH123

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from resource import struct_rusage
from typing import IO, NamedTuple

TAIL = 64 * 1024  # bytes kept of each stream
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
DRAIN = 1.0  # seconds for what is still in the pipes when the program is over, but not its children
_BLOCK = 64 * 1024


class Command(NamedTuple):
    """What to run. ``stdin``, ``stdout``, ``stderr``: paths; "" for none, and for the worker's own.

    ``walltime``: seconds; ``grace``: seconds between SIGTERM and SIGKILL. ``end``: told before the program is
    ended early, for what runs elsewhere for it.
    ``watched``: texts to look for in all that it writes to its output and error.
    """

    words: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    walltime: float | None = None
    grace: float = GRACE
    end: Callable[[], None] = lambda: None
    watched: Sequence[str] = ()


class Ended(NamedTuple):
    """How it ended. ``timed_out``: it was ended for its walltime; the tails are text.

    ``seen``: those of the watched texts that it wrote.
    """

    exit: int | None
    signal: int | None
    usage: struct_rusage
    timed_out: bool
    stdout: str
    stderr: str
    seen: frozenset[str] = frozenset()


class _Watch:
    """Looks for texts in one stream that comes in parts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.seen: set[str] = set()
        self._left = {text: text.encode() for text in texts}
        self._overlap = max(map(len, self._left.values()), default=1) - 1
        self._end = b""

    def take(self, data: bytes) -> None:
        if not self._left:
            return
        data = self._end + data
        found = [text for text, wanted in self._left.items() if wanted in data]
        self.seen.update(found)
        for text in found:
            del self._left[text]
        self._end = data[-self._overlap :] if self._overlap else b""

    def read(self, path: str) -> None:
        """All of a file."""
        with open(path, "rb") as file:
            while self._left and (data := file.read(_BLOCK)):
                self.take(data)


class _Tail:
    """Forwards a stream to a descriptor of ours, and keeps its end."""

    def __init__(self, to: int, watched: Sequence[str]) -> None:
        self.to = to
        self.kept = bytearray()
        self.watch = _Watch(watched)

    def take(self, data: bytes) -> None:
        self.watch.take(data)
        self.kept += data
        if len(self.kept) > 4 * TAIL:
            del self.kept[:-TAIL]
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.to, view) :]
            except OSError:  # nobody reads it any more, or the disk is full: the tail remains
                return

    def text(self) -> str:
        return self.kept[-TAIL:].decode("utf-8", "replace")


def run(command: Command, stop: int) -> Ended:
    """Runs it as the leader of its own session, and waits; once ``stop`` can be read, it is ended.

    When it is over, what is left of its process group is killed. Raises ``OSError`` where it cannot start.
    """
    with contextlib.ExitStack() as stack:
        stdin = stack.enter_context(open(command.stdin or os.devnull, "rb"))
        streams, tails = _outputs(command, stack)
        process = subprocess.Popen(
            command.words,
            cwd=command.directory,
            env=command.environment,
            stdin=stdin,
            stdout=streams[0],
            stderr=streams[1],
            start_new_session=True,
        )
        for tail in tails.values():
            os.close(tail[1])
        child = _Child(process)
        try:
            timed_out = _attend(child, command, stop, {read: tail for read, (tail, _) in tails.items()})
        finally:
            child.close()
    kept = [tail for tail, _ in tails.values()]
    texts = {tail.to: tail.text() for tail in kept}
    status = os.waitstatus_to_exitcode(child.status)
    return Ended(
        exit=status if status >= 0 else None,
        signal=-status if status < 0 else None,
        usage=child.usage,
        timed_out=timed_out,
        stdout=texts.get(1, ""),
        stderr=texts.get(2, ""),
        seen=_seen(command, kept),
    )


def _seen(command: Command, tails: Sequence[_Tail]) -> frozenset[str]:
    """What of the watched texts is in the streams, and in the files that took their place."""
    watches = [tail.watch for tail in tails]
    for path in {command.stdout, command.stderr} - {""} if command.watched else ():
        watches.append(_Watch(command.watched))
        with contextlib.suppress(OSError):  # the program took it away
            watches[-1].read(path)
    return frozenset[str]().union(*(watch.seen for watch in watches))


def _outputs(
    command: Command, stack: contextlib.ExitStack
) -> tuple[list[int | IO[bytes]], dict[int, tuple[_Tail, int]]]:
    """What the program gets as its output and error; the pipes' reading ends, with their writing ends."""
    streams: list[int | IO[bytes]] = []
    tails: dict[int, tuple[_Tail, int]] = {}
    for number, path in ((1, command.stdout), (2, command.stderr)):
        if path and number == 2 and path == command.stdout:
            streams.append(streams[0])
        elif path:
            streams.append(stack.enter_context(open(path, "wb")))  # noqa: SIM115
        else:
            read, write = os.pipe()
            stack.callback(os.close, read)
            streams.append(write)
            tails[read] = (_Tail(number, command.watched), write)
    return streams, tails


class _Child:
    """A program that runs; a thread waits for it, so that one place can wait for it and its output."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self.status = 0
        self.usage: struct_rusage
        self.over, self._told = os.pipe()
        self._process = process
        self._lock = threading.Lock()
        self._reaped = False
        self._thread = threading.Thread(target=self._wait, name="wait", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self.group(signal.SIGKILL)  # whoever it left behind; its number is taken until it is waited for
        with self._lock:
            _, self.status, self.usage = os.wait4(self.pid, 0)
            self._reaped = True
        self._process.returncode = os.waitstatus_to_exitcode(self.status)  # it need not be waited for again
        os.close(self._told)

    def group(self, number: int) -> None:
        """Sends a signal to the program and its children."""
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if not self._reaped:
                os.killpg(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it is over, at the latest after so long."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Waits for its end."""
        self._thread.join()
        os.close(self.over)


def _attend(child: _Child, command: Command, stop: int, tails: Mapping[int, _Tail]) -> bool:
    """Serves the pipes until the program is over; whether it was ended for its walltime."""
    until = None if command.walltime is None else time.monotonic() + command.walltime
    timed_out = gone = False
    poll = select.poll()
    open_pipes = set(tails)
    for one in (child.over, stop, *open_pipes):
        poll.register(one, select.POLLIN)
    while open_pipes or not gone:
        left = None if until is None else max(0.0, until - time.monotonic())
        events = poll.poll(None if left is None else left * 1000)
        if gone and (left == 0.0 or not events):
            break  # a daemon that it left holds the pipes open
        if not events:
            timed_out, until = True, None
            _end(child, command)
        for one, state in events:
            if one in tails and state & select.POLLIN:
                tails[one].take(os.read(one, _BLOCK))
                continue
            poll.unregister(one)
            open_pipes.discard(one)
            if one == child.over:
                gone, until = True, time.monotonic() + DRAIN
            elif one == stop:
                _end(child, command)
    return timed_out


def _end(child: _Child, command: Command) -> None:
    """Ends it and its children: they are asked, and after a while no longer."""
    command.end()
    child.group(signal.SIGTERM)
    if not child.wait(command.grace):
        child.group(signal.SIGKILL)
        child.wait(GRACE)
