"""The index pages of web servers as listings of directories."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

import msgspec

from pegasus_toolkit.transfer.backends.shared.files import Found, Page
from pegasus_toolkit.transfer.clients.curl.exchange import Answer
from pegasus_toolkit.transfer.errors import Denied, ServerFault, TransferError, Unsupported

TITLES = ("index of", "directory listing")  # of an index page that links to nothing, in lower case


class _Item(msgspec.Struct):
    """An entry of nginx's ``autoindex_format json``."""

    name: str
    type: str
    size: int | None = None


def read(answer: Answer) -> Page:
    """What stands in the directory whose page this is. Raises ``Unsupported`` where it is no index."""
    shown = answer.shown()
    assert answer.head is not None
    kind = answer.head.get("content-type").lower()
    if answer.status != 200 or not urlsplit(answer.url).path.endswith("/"):
        raise Unsupported("no index of this directory: the server answers with something else", url=shown)
    if "json" in kind:
        return _of_json(bytes(answer.body), shown)
    if "html" in kind:
        return _of_html(answer, shown)
    raise Unsupported("no index of this directory", url=shown, hint="name its files one by one")


def _of_json(body: bytes, shown: str) -> Page:
    try:
        items = msgspec.json.decode(body, type=list[_Item])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unsupported("an index in JSON that is not nginx's", url=shown) from None
    names, wrong = [], None
    for item in items:
        if not _plain(item.name):
            wrong = _elsewhere(item.name, shown)
            continue
        directory = item.type == "directory"
        names.append(Found(quote(item.name, safe=""), directory, None if directory else item.size))
    return Page(names, wrong=wrong)


def _of_html(answer: Answer, shown: str) -> Page:
    page, url = _links(answer, shown), answer.url
    here = urlsplit(url)
    above = here.path.rstrip("/").rpartition("/")[0] + "/"
    names: dict[str, Found] = {}
    wrong, index = None, page.title.strip().lower().startswith(TITLES)
    for link in page.found:
        try:
            there = urlsplit(urljoin(url, link))
        except ValueError:
            continue
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            continue
        index = index or (there.path == above and (above != "/" or link[:1] != "/"))
        # "?C=N;O=D" are columns to sort by; everything above or elsewhere is not in the directory.
        if there.query or not there.path.startswith(here.path):
            continue
        name, slash, more = there.path[len(here.path) :].partition("/")
        if not name or more:
            continue
        if _plain(unquote(name)):
            spelled = quote(name, safe="%~!$&'()*+,;=:@-._", errors="surrogateescape")
            names[name] = Found(spelled, bool(slash))
        elif unquote(name) not in (".", ".."):  # which are this directory and the one above
            wrong = _elsewhere(unquote(name), shown)
    if not index and (page.form or _name(url) != _name(answer.first) or not names):
        text = "no index of this directory: a page that links to nothing in it"
        hint = "it may be a page to log in at; name its files one by one"
        raise Unsupported(text, url=shown, hint=hint)
    return Page(list(names.values()), wrong=wrong)


def _links(answer: Answer, shown: str) -> _Links:
    """What stands in the page, which must be whole, and none to log in at."""
    assert answer.head is not None
    page = _Links()
    page.feed(bytes(answer.body).decode("utf-8", "surrogateescape"))
    page.close()
    if page.open and not answer.head.framed:
        raise ServerFault("the index was cut off: its end is missing", url=shown)
    if page.asks_password:
        raise Denied("a page to log in at, in place of the directory's index", url=shown)
    return page


def _name(url: str) -> str:
    """What the directory is called."""
    return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])


def _plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _elsewhere(name: str, shown: str) -> TransferError:
    return ServerFault(f"the index names {name!r}, which is not in the directory", url=shown)


class _Links(HTMLParser):
    """Collects what ``<a href>`` names, the title, whether a password is asked for, or anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.title = ""
        self.asks_password = self.form = False
        self.open = False  # it began, and has not ended
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]
        elif tag == "input":
            kind = dict(attrs).get("type") or ""
            self.asks_password = self.asks_password or kind.lower() == "password"
        elif tag == "form":
            self.form = True
        self.open = self.open or tag == "html"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        self.open = self.open and tag != "html"
