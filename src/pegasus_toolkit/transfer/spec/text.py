"""The older text form of a specification, which begins ``# src``.

    # src 1 local
    file:///data/a
    # dst 1 remote
    https://host/a

A pair is a URL to read and a URL to write. The comment before each names the site; without one, the
site of the comment before holds. Empty lines count for nothing.
"""

from __future__ import annotations

import io
import re
from array import array

import msgspec

from pegasus_toolkit.transfer.spec.entries import TransferEntry, UrlEntry
from pegasus_toolkit.transfer.spec.problems import Problem, SpecificationError

_COMMENT = re.compile(r"# *(src|dst) +\w+ +(\S+)( .*)?")  # some writers add "prio N"


def is_text(data: bytes) -> bool:
    """Whether this is the text form."""
    return data[:5] == b"# src"


def read(data: bytes) -> tuple[list[bytes], array[int]]:
    """Each pair as a JSON entry, and the line on which it begins (from 1).

    Raises ``SpecificationError`` for lines that cannot be told apart.
    """
    reading = _Reading()
    for number, line in enumerate(io.BytesIO(data), 1):
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            reading.problem(number, f"expected UTF-8, found the byte 0x{line[error.start]:02x}")
            continue
        if text.strip():
            reading.take(text, number)
    if reading.source is not None:
        reading.problem(reading.began, "a source without a destination")
    if reading.problems:
        raise SpecificationError(reading.problems)
    return reading.entries, reading.lines


class _Reading:
    """Where we are: ``source`` holds the URL to read, once it came."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.lines: array[int] = array("I")
        self.problems: list[Problem] = []
        self.sites: dict[str, str] = {}
        self.source: UrlEntry | None = None
        self.began = 0  # line of the pair's first comment or URL
        self.encode = msgspec.json.Encoder().encode

    def problem(self, line: int, message: str) -> None:
        self.problems.append(Problem(len(self.entries), "", message, line))

    def take(self, line: str, number: int) -> None:
        """The next line that is not empty."""
        side = "src" if self.source is None else "dst"
        if line.startswith("#"):
            comment = _COMMENT.fullmatch(line)
            if comment is None or comment[1] != side:
                self.problem(number, f"expected '# {side} NUMBER SITE', found {line!r}")
            else:
                self.sites[side] = comment[2]
            return
        if side not in self.sites:
            self.problem(number, f"expected '# {side} NUMBER SITE' before the first such URL")
        one = UrlEntry(site_label=self.sites.get(side, ""), url=line)
        if self.source is None:
            self.source, self.began = one, number
            return
        self.entries.append(self.encode(TransferEntry(src_urls=(self.source,), dest_urls=(one,))))
        self.lines.append(self.began)
        self.source = None
