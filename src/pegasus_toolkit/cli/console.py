"""What a person reads: upstream's log format, and on a terminal one live line below it.

Python's ``logging`` would cost 10 ms of start-up and gives nothing that is needed here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import TextIO


def visible(text: str) -> str:
    """``text`` on one line, with control characters, line ends and the like escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Console:
    """Writes time-stamped lines to ``stream``; a reader that went away is no error.

    ``debug``: details are wanted; ``quiet``: only warnings and errors are.
    """

    def __init__(self, stream: TextIO | None, debug: bool = False, quiet: bool = False) -> None:
        self.stream = stream
        self.wants_debug = debug
        self.quiet = quiet
        self._status = ""

    def debug(self, text: str) -> None:
        if self.wants_debug:
            self.lines("DEBUG", [text])

    def info(self, text: str) -> None:
        if not self.quiet:
            self.lines("INFO", [text])

    def warning(self, text: str) -> None:
        self.lines("WARNING", [text])

    def error(self, text: str) -> None:
        self.lines("ERROR", [text])

    def critical(self, text: str) -> None:
        self.lines("CRITICAL", [text])

    def lines(self, level: str, texts: Iterable[str]) -> None:
        """Several lines in one write, above the live line if there is one."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f",{int(now * 1000) % 1000:03d}"
        block = "".join([f"{stamp} {level:>7}:  {visible(text)}\n" for text in texts])
        if block:
            self._write(f"\r\x1b[K{block}{self._status}" if self._status else block)

    def status(self, text: str) -> None:
        """Draws (or with "" removes) the live line, cut to the width of the terminal."""
        if text or self._status:
            self._status = fitted(visible(text), self._width() - 1)
            self._write(f"\r\x1b[K{self._status}")

    def close(self) -> None:
        """Takes the live line away and makes sure that nothing can fail at the interpreter's end."""
        self.status("")
        for stream in (sys.stdout, sys.stderr):
            if stream is None:
                continue
            try:
                stream.flush()
            except (OSError, ValueError):
                _silence(stream)

    def _write(self, text: str) -> None:
        if self.stream is None:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # closed, or nobody reads it any more
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
