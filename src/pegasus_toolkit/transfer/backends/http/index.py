"""The index pages of web servers as listings of directories."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

import msgspec

from pegasus_toolkit.transfer.clients.curl.exchange import Answer
from pegasus_toolkit.transfer.clients.curl.loop import Loop, fetch
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.errors import ServerFault, Unsupported
from pegasus_toolkit.transfer.interface import Entry

PAGE = 256 << 20  # bytes of one index page, at most
DEPTH = 100  # directories below each other, at most: a server may link in circles


class _Item(msgspec.Struct):
    """An entry of nginx's ``autoindex_format json``."""

    name: str
    type: str
    size: int | None = None


class Name(msgspec.Struct, frozen=True):
    """What stands in one directory, percent-encoded as in a link to it."""

    name: str
    directory: bool
    size: int | None = None


def walk(session: Session, loop: Loop, prefix: str) -> Iterator[Entry]:
    """All files below, and the empty directories. Raises ``NotFound``, or ``Unsupported`` where the
    server shows no index. Paths begin with ``prefix`` as it was given."""
    path, _, query = prefix.partition("#")[0].partition("?")
    root = path.rstrip("/") + "/"
    below = [(root, 0)]
    while below:
        directory, depth = below.pop()
        names = _read(session, loop, directory, query)
        if not names and depth:
            yield Entry(directory.rstrip("/"), None, True)
        for item in names:
            if not item.directory:
                yield Entry(directory + item.name, item.size)
            elif depth >= DEPTH:
                raise ServerFault(f"directories go more than {DEPTH} deep", url=session.url(directory))
            else:
                below.append((f"{directory}{item.name}/", depth + 1))


def _read(session: Session, loop: Loop, directory: str, query: str) -> list[Name]:
    answer = Answer(session, session.url(directory + (f"?{query}" if query else "")), limit=PAGE)
    fetch(loop, answer)
    assert answer.head is not None
    if len(answer.body) > PAGE:
        raise Unsupported(f"the index page has more than {PAGE >> 20} MiB", url=answer.shown())
    kind = answer.head.get("content-type").lower()
    if "json" in kind:
        return _of_json(bytes(answer.body), answer.shown())
    if "html" in kind:
        return _of_html(bytes(answer.body), answer.url)
    raise Unsupported("no index of this directory", url=answer.shown(), hint="name its files one by one")


def _of_json(body: bytes, shown: str) -> list[Name]:
    try:
        items = msgspec.json.decode(body, type=list[_Item])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unsupported("an index in JSON that is not nginx's", url=shown) from None
    names = []
    for item in items:
        if item.type in ("file", "directory") and _plain(item.name):
            directory = item.type == "directory"
            names.append(Name(quote(item.name, safe=""), directory, None if directory else item.size))
    return names


def _of_html(body: bytes, url: str) -> list[Name]:
    links = _Links()
    links.feed(body.decode("utf-8", "surrogateescape"))
    here = urlsplit(url)
    found: dict[str, Name] = {}
    for link in links.found:
        try:
            there = urlsplit(urljoin(url, link))
        except ValueError:
            continue
        # "?C=N;O=D" are columns to sort by; everything above or elsewhere is not in the directory.
        if (there.scheme, there.netloc) != (here.scheme, here.netloc) or there.query:
            continue
        if not there.path.startswith(here.path):
            continue
        name, slash, more = there.path[len(here.path) :].partition("/")
        if _plain(unquote(name)) and not more:
            found[name] = Name(quote(name, safe="%~!$&'()*+,;=:@-._", errors="surrogateescape"), bool(slash))
    return list(found.values())


def _plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


class _Links(HTMLParser):
    """Collects what ``<a href>`` names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]
