"""What WebDAV says in XML: a multistatus answer. Read with expat, without any document type: no entities."""

from __future__ import annotations

from typing import Any, NamedTuple
from xml.parsers import expat

from pegasus_toolkit.transfer.clients.curl.headers import seconds
from pegasus_toolkit.transfer.errors import ServerFault
from pegasus_toolkit.transfer.units import number

ASK = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    b"<resourcetype/><getcontentlength/><getlastmodified/></prop></propfind>"
)
ASK_ROOM = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    b"<resourcetype/><quota-available-bytes/></prop></propfind>"
)
TYPE = "Content-Type: application/xml; charset=utf-8"  # of what is asked
DEEP = 100  # elements within each other, at most


class Resource(NamedTuple):
    """One response: ``href`` as it came; ``status`` 0 where only its properties have one."""

    href: str
    status: int
    collection: bool
    size: int | None
    room: int | None
    modified: int | None = None  # nanoseconds since the epoch


def parse(body: bytes, shown: str) -> list[Resource]:
    """The responses in order. Raises ``ServerFault`` for what is no multistatus."""
    reader = _Reader()
    try:
        reader.parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise ServerFault("an answer that is no WebDAV XML", url=shown) from None
    return reader.found


class _Reader:
    def __init__(self) -> None:
        self.found: list[Resource] = []
        self.parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        self._stack: list[str] = []
        self._words: list[str] = []
        self._response: dict[str, Any] = {}
        self._props: dict[str, Any] = {}

    def _refuse(self, *_: object) -> None:
        raise ValueError("a document type")

    def _start(self, name: str, _: dict[str, str]) -> None:
        if len(self._stack) >= DEEP:
            raise ValueError("too deep")
        self._stack.append(name.removeprefix("DAV: "))
        self._words = []
        if self._stack[-1] == "response":
            self._response = {}
        elif self._stack[-1] == "propstat":
            self._props = {}
        elif self._stack[-2:] == ["resourcetype", "collection"]:
            self._props["collection"] = True

    def _text(self, text: str) -> None:
        self._words.append(text)

    def _end(self, _: str) -> None:
        stack, text = self._stack, "".join(self._words).strip()
        here = stack[-2:]
        if here == ["response", "href"]:
            self._response.setdefault("href", text)
        elif here == ["response", "status"]:
            self._response["status"] = _status(text)
        elif here == ["propstat", "status"]:
            self._props["status"] = _status(text)
        elif here in (["prop", "getcontentlength"], ["prop", "quota-available-bytes"]):
            self._props[here[1]] = number(text)
        elif here == ["prop", "getlastmodified"]:
            told = seconds(text)
            self._props[here[1]] = None if told is None else int(told) * 1_000_000_000
        elif stack[-1] == "propstat" and self._props.pop("status", 200) == 200:
            self._response.update(self._props)
        elif stack[-1] == "response":
            self._add(self._response)
        stack.pop()
        self._words = []

    def _add(self, told: dict[str, Any]) -> None:
        collection = bool(told.get("collection"))
        size = None if collection else told.get("getcontentlength")
        room = told.get("quota-available-bytes")
        href, status, modified = told.get("href", ""), told.get("status", 0), told.get("getlastmodified")
        self.found.append(Resource(href, status, collection, size, room, modified))


def _status(line: str) -> int:
    """Of ``HTTP/1.1 200 OK``; 0 for anything else."""
    words = line.split()
    return (number(words[1]) or 0) if len(words) > 1 else 0
