"""What a person reads: upstream's log format, and on a terminal one live line below it.

Python's ``logging`` would cost 10 ms of start-up and gives nothing that is needed here.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.records.outfile import OutFile

AT_ONCE = 4096  # bytes: a pipe that has room at all has room for these
LOOK = 0.05  # seconds
MOST_WAITING = 16 << 20  # bytes of lines that nobody reads


def visible(text: str) -> str:
    """``text`` on one line, with control characters, line ends and the like escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _text_lines(now: float, level: str, texts: Iterable[str]) -> str:
    """Upstream's form, in local time."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f",{int(now * 1000) % 1000:03d}"
    return "".join([f"{stamp} {level:>7}:  {visible(text)}\n" for text in texts])


def _json_lines(now: float, level: str, texts: Iterable[str]) -> str:
    """A JSON object each, in UTC."""
    from json import dumps

    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    return "".join([dumps({"time": stamp, "level": level.lower(), "message": t}) + "\n" for t in texts])


class Console:
    """Writes time-stamped lines to ``stream``; a reader that went away is no error.

    Nor is one that does not read: what finds no room waits here, and nothing waits for it but the end,
    for ``patience`` seconds since the last byte that was taken. ``debug``: details are wanted; ``quiet``:
    only warnings and errors are.
    """

    def __init__(
        self, stream: TextIO | None, debug: bool = False, quiet: bool = False, json: bool = False
    ) -> None:
        self.stream = stream
        self._form = _json_lines if json else _text_lines
        self.wants_debug = debug
        self.quiet = quiet
        self.patience = 5.0
        self.mask: Callable[[str], str] = str  # takes out the secrets of the run, once they are known
        self.log: OutFile | None = None  # gets every line, too, whatever ``quiet`` says
        self._status = ""
        self._waiting = bytearray()
        self._lost = 0  # lines for which there was no room here, either
        self._lock = threading.RLock()

    def debug(self, text: str) -> None:
        if self.wants_debug:
            self.lines("DEBUG", [text])

    @property
    def wants_info(self) -> bool:
        """Whether anybody gets lines that are no warnings."""
        return not self.quiet or self.log is not None

    def info(self, text: str) -> None:
        if self.wants_info:
            self.lines("INFO", [text])

    def warning(self, text: str) -> None:
        self.lines("WARNING", [text])

    def error(self, text: str) -> None:
        self.lines("ERROR", [text])

    def critical(self, text: str) -> None:
        self.lines("CRITICAL", [text])

    def lines(self, level: str, texts: Iterable[str]) -> None:
        """Several lines in one write, above the live line if there is one."""
        block = self._form(time.time(), level, map(self.mask, texts))
        if block and self.log is not None:
            self.log.write(block.encode("utf-8", "backslashreplace"))
        if block and not (self.quiet and level == "INFO"):
            self._write(f"\r\x1b[K{block}{self._status}" if self._status else block)

    def flush(self, wait: bool = False) -> bool:
        """Writes what waits, as far as somebody reads it; whether nothing is left.

        ``wait``: for room, until none came for ``patience`` seconds.
        """
        with self._lock:
            while self._waiting and self.stream is not None:
                try:
                    number = self.stream.fileno()
                    if not self._room(number, wait):
                        return False
                    del self._waiting[: os.write(number, self._waiting[:AT_ONCE])]
                except (OSError, ValueError):  # closed, or nobody reads it any more
                    self._give_up()
                if not self._waiting and self._lost:
                    lost, self._lost = self._lost, 0
                    self.warning(f"{lost} lines are missing here, as nobody read them")
            return True

    def status(self, text: str) -> None:
        """Draws (or with "" removes) the live line, cut to the width of the terminal."""
        if self._waiting:  # nobody looks
            return
        if text or self._status:
            self._status = fitted(visible(text), self._width() - 1)
            self._write(f"\r\x1b[K{self._status}")

    def close(self) -> None:
        """Takes the live line away and makes sure that nothing can hang or fail at the interpreter's end."""
        self.status("")
        if not self.flush(wait=True):
            self._give_up()
        for stream in (sys.stdout, sys.stderr):
            if stream is None:
                continue
            try:
                if not self._room(stream.fileno(), wait=True):
                    _silence(stream)
                stream.flush()
            except (OSError, ValueError):
                _silence(stream)

    def _write(self, text: str) -> None:
        if self.stream is None:
            return
        try:
            self.stream.fileno()
        except (OSError, ValueError):  # closed, or only in memory
            self._write_text(text)
            return
        with self._lock:
            if len(self._waiting) > MOST_WAITING:
                self._lost += text.count("\n")
            else:
                self._waiting += text.encode(self.stream.encoding or "utf-8", "backslashreplace")
            self.flush()

    def _write_text(self, text: str) -> None:
        try:
            if self.stream is not None:
                self.stream.write(text)
        except (OSError, ValueError):
            self._give_up()

    def _room(self, number: int, wait: bool) -> bool:
        """Whether so much as ``AT_ONCE`` can be written without waiting, now or soon enough."""
        import select

        poll = select.poll()
        poll.register(number, select.POLLOUT)
        until = time.monotonic()
        while not poll.poll(LOOK * 1000 if wait else 0):
            if not wait or time.monotonic() > until + self.patience:  # which a signal may shorten
                return False
        return True

    def _give_up(self) -> None:
        self._waiting.clear()
        if self.stream is not None:
            _silence(self.stream)
        self.stream = None

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self.stream.fileno()).columns if self.stream is not None else 80
        except (OSError, ValueError):
            return 80


def fitted(text: str, width: int) -> str:
    """``text`` cut to ``width`` columns of a terminal."""
    if text.isascii():
        return text[: max(width, 0)]
    import unicodedata

    used = 0
    for at, character in enumerate(text):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > width:
            return text[:at]
    return text


def _silence(stream: TextIO) -> None:
    """Sends the rest to /dev/null, or the interpreter would complain of what it could not flush."""
    try:
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        return
