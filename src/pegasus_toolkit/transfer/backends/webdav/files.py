"""What a WebDAV server gives to the stories."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pegasus_toolkit.transfer.backends.http.files import PAGE, HttpFiles
from pegasus_toolkit.transfer.backends.http.sending import Body
from pegasus_toolkit.transfer.backends.shared.files import (
    CannotRename,
    Found,
    Page,
    Sending,
    Stored,
    Traits,
    parent,
    perhaps,
)
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.backends.webdav import xml as webdav_xml
from pegasus_toolkit.transfer.backends.webdav.xml import Resource
from pegasus_toolkit.transfer.clients.curl.exchange import Answer
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import (
    Denied,
    IsDirectory,
    NotFound,
    ServerFault,
    TransferError,
    Unsupported,
)

NO_PROPFIND = frozenset({400, 405, 500, 501})  # of servers that write, and know no properties
STORED = frozenset({201, 204})  # what says that it is done; all else that is good may be a page of a proxy
LARGE = 8 << 20  # bytes: from here on one more request is no matter
NO_MOVE = frozenset({405, 501})
NOT_AT_ONCE = frozenset({403, 405, 409, 500, 501})  # what servers say that remove no full collection
REFUSALS: dict[int, tuple[str, ...]] = {  # of a PUT: what may be behind the status
    400: ("name",),
    403: ("parent", "name"),
    404: ("parent",),
    409: ("parent",),
    500: ("parent",),
}
_NOT_RAW = re.compile("%[0189A-Fa-f].")  # control characters, and what is not ASCII
_MISREAD = re.compile("%(?:[01].|23|25|3[BbFf])")  # control characters, "#", "%", ";" and "?" in a name
_UNENCODED = re.compile(r" |%(?![0-9A-Fa-f]{2})")


class DavTraits(Traits):
    """What was learned about one server.

    ``expects``: it answers "Expect: 100-continue"; ``stores``: it was seen to store all of a file; ``raw``:
    it decodes no name in a MOVE's destination, which is known once ``sure``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.expects = True
        self.stores = False
        self.raw = False
        self.sure = False


class DavFiles(HttpFiles):
    """One WebDAV server, for one runner."""

    def __init__(self, session: Session, learned: DavTraits) -> None:
        super().__init__(session, learned)
        self.learned = learned

    def asked(self, method: str, path: str, *extra: str, limit: int = 1 << 20) -> Steps[Answer]:
        """A request to its end. Raises what went wrong, also what a 207 tells of parts."""
        answer = yield self.ask(method, path, *extra, limit=limit)
        if (error := partly(answer)) is not None:
            raise error
        return answer  # type: ignore[no-any-return]

    def propfind(self, path: str, depth: int = 0, ask: bytes = webdav_xml.ASK) -> Answer:
        """A PROPFIND of a path, or of it and what is in it (``depth`` 1)."""
        answer = self.ask("PROPFIND", path, f"Depth: {depth}", webdav_xml.TYPE, limit=PAGE)
        answer.upload = Upload(ask)
        return answer

    def folder(self, path: str) -> str:
        """A collection's path, with a "/" at its end."""
        plain, tail = self.split(path)
        return plain.rstrip("/") + "/" + tail

    # -- files -------------------------------------------------------------------------------------

    def greet(self, name: str) -> Steps[None]:
        """Has the server ask for a password, and tell whether it has MOVE."""
        answer = yield self.ask("MOVE", name, *self._to(name, "F"))
        self.traits.renames = self.traits.renames and answer.status not in NO_MOVE

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """PUT. Where its length is told beforehand, the server has seen to it; else it is asked for it."""
        assert isinstance(sending, Body)
        waits = not sending.repeatable and self.learned.expects
        step = self.ask("PUT", name, *(() if waits else ("Expect:",)))
        step.upload = upload = sending.upload
        answer = yield step
        sending.sent = upload.sent
        if (error := answer.failed()) is not None:
            raise perhaps(error, *REFUSALS.get(answer.status, ()))
        if waits and not answer.head.continued:
            self.learned.expects = False  # it let us wait a second for nothing
        usual = answer.status in STORED
        if usual and self.learned.stores and sending.sent < LARGE and upload.size is not None:
            return Stored(None)  # it was told how much was to come, and is known to store what comes
        size = yield from self._size(name, sending.sent)
        if not usual and size is None:
            text = f"HTTP {answer.status}: the server did not store the file, or not yet"
            raise ServerFault(text, url=self.url(name), host=self.session.host)
        self.learned.stores = self.learned.stores or size == sending.sent
        return Stored(size)

    def _size(self, name: str, expected: int) -> Steps[int | None]:
        """Of what is stored; ``None`` where it is not told, as by servers whose HEAD always says 0."""
        seen = yield self.ask("HEAD", name)
        size: int | None = None if seen.failed() is not None else seen.head.length
        if size == expected:
            return size
        told = resources((yield self.propfind(name)))
        return told[0].size if told else size or None

    def unlink(self, path: str) -> Steps[None]:
        """DELETE."""
        yield from self.asked("DELETE", path)

    def stat(self, path: str) -> Steps[Found]:
        """By PROPFIND; else as HTTP does."""
        answer = yield self.propfind(path)
        error = answer.failed()
        if error is not None and answer.status not in NO_PROPFIND:
            raise error
        told = resources(answer)
        if not told:
            return (yield from super().stat(path))
        if told[0].status >= 400:
            raise refused(answer, told[0].status)
        return Found("", told[0].collection, told[0].size, modified=told[0].modified)

    # -- MOVE --------------------------------------------------------------------------------------

    def _to(self, path: str, overwrite: str) -> tuple[str, ...]:
        destination = self.url(path)
        if self.learned.raw and not _NOT_RAW.search(destination):
            destination = unquote(destination, errors="surrogateescape")
        return f"Destination: {destination}", f"Overwrite: {overwrite}"

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """MOVE. Where something stands there, it must be a file: MOVE would remove a whole collection."""
        to = self._to(new, "F")
        answer = yield self.ask("MOVE", old, *to)
        if answer.status == 412 and replace:
            yield from self._require_file(new)
            to = self._to(new, "T")
            answer = yield self.ask("MOVE", old, *to)
        if answer.status in NO_MOVE:
            raise CannotRename("has no MOVE: files are sent under their own names", url=self.url(new))
        if (error := partly(answer)) is not None:
            raise self._move_refused(answer, error)
        if answer.status not in STORED and (yield self.ask("HEAD", old)).status != 404:
            text = f"HTTP {answer.status}: the server did not rename the file, or not yet"
            raise ServerFault(text, url=self.url(new), host=self.session.host)
        if "%" in new and (_MISREAD.search(new) or not self.learned.sure):
            yield from self._placed(new, raw="%" not in to[0])

    def _require_file(self, path: str) -> Steps[None]:
        answer = yield self.propfind(path)
        if answer.status == 404:
            raise self._elsewhere(path)
        if any(one.collection for one in resources(answer)):
            raise IsDirectory("a directory stands there", url=self.url(path), side="destination")

    def _move_refused(self, answer: Answer, error: TransferError) -> TransferError:
        if answer.status in (403, 409, 412):
            perhaps(error, "exists")
        if isinstance(error, Denied):
            error.message = f"the server refused to rename (MOVE) the file once it was whole: {error.message}"
            hint = "temporary_names = none in the site's section sends files under their own names"
            error.hint = f"{error.hint}; {hint}" if error.hint else hint
        return error

    def _placed(self, path: str, raw: bool) -> Steps[None]:
        """Some servers decode no name in a Destination, others read a ``?`` or ``;`` in it wrong."""
        answer = yield self.ask("HEAD", path)
        if answer.status == 404 and not raw:  # perhaps it stands there as it was spelled
            literal = path.replace("%", "%25")
            if _NOT_RAW.search(path):
                yield self.ask("DELETE", literal)
                raise self._elsewhere(path)
            self.learned.raw = True
            answer = yield self.ask("MOVE", literal, *self._to(path, "F"))
            if answer.failed() is not None:
                self.learned.raw = False
                raise self._elsewhere(path)
            answer = yield self.ask("HEAD", path)
        if answer.status == 404:
            raise self._elsewhere(path)
        self.learned.sure = True
        if (error := answer.failed()) is not None:
            raise error

    def _elsewhere(self, path: str) -> Unsupported:
        text = "the server takes this name of a MOVE's destination for another one"
        return Unsupported(text, url=self.url(path), side="destination")

    # -- directories -------------------------------------------------------------------------------

    def make(self, path: str) -> Steps[bool]:
        """MKCOL. 405: something is there already."""
        answer = yield self.ask("MKCOL", self.folder(path))
        if answer.status == 405:
            return False
        if answer.status in (404, 409):
            raise NotFound("its parent is missing", url=self.url(path))
        if answer.failed() is not None or answer.status == 207:
            raise perhaps(answer.failed() or answer.refusal(), "exists")
        return True

    def rmdir(self, path: str) -> Steps[None]:
        """DELETE, of what must be empty by now."""
        yield from self.asked("DELETE", self.folder(path))

    def clear(self, path: str) -> Steps[bool]:
        """DELETE takes a collection with all that is in it, where the server does that."""
        answer = yield self.ask("DELETE", self.folder(path))
        error = partly(answer)
        if error is not None and answer.status not in NOT_AT_ONCE:
            raise error
        return error is None

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """By PROPFIND; by the index page where the server has none."""
        answer = yield self.propfind(self.folder(path), depth=1)
        error = answer.failed()
        if error is not None and answer.status in NO_PROPFIND:
            return (yield from super().scan(path, more))
        if error is not None:
            raise error
        if len(answer.body) > PAGE:
            raise ServerFault(f"the answer has more than {PAGE >> 20} MiB", url=answer.shown())
        if answer.status != 207:
            raise Unsupported("no PROPFIND here, to list a directory with", url=answer.shown())
        return members(resources(answer), answer)

    def free(self, path: str) -> Steps[int | None]:
        """The quota that is left (RFC 4331) in the nearest collection that is there; ``None``: not told."""
        plain, tail = self.split(path)
        while plain:
            plain = parent(plain)
            answer = yield self.propfind(f"{plain}/{tail}", ask=webdav_xml.ASK_ROOM)
            error = answer.failed()
            if error is None:
                told = resources(answer)
                return told[0].room if told else None
            if answer.status in NO_PROPFIND:
                return None
            if not isinstance(error, NotFound):
                raise error
        return None


def resources(answer: Answer) -> list[Resource]:
    """What a multistatus answer tells; nothing where it is none."""
    return webdav_xml.parse(bytes(answer.body), answer.shown()) if answer.status == 207 else []


def refused(answer: Answer, status: int) -> TransferError:
    """The error for a status within a multistatus answer."""
    assert answer.head is not None
    answer.head.status, answer.head.reason = status, ""
    return answer.refusal()


def partly(answer: Answer) -> TransferError | None:
    """What went wrong, of what a 207 tells as well."""
    error = answer.failed()
    if error is None and answer.status == 207:
        try:
            bad = next((one for one in resources(answer) if one.status >= 400), None)
        except TransferError as wrong:
            return wrong
        if bad is not None:
            error = refused(answer, bad.status)
    return error


def members(told: list[Resource], answer: Answer) -> Page:
    """What is in a collection, of what a PROPFIND of it told. Raises ``NotFound`` for a file."""
    raw = any(_UNENCODED.search(one.href) for one in told)  # XRootD writes names as they are
    found = [(_plain(one.href, raw), one) for one in told]
    if not found:
        raise ServerFault("a listing without the directory itself", url=answer.shown())
    here = _plain(answer.url)
    own = here if any(path == here for path, _ in found) else min((path for path, _ in found), key=len)
    names, wrong = [], None
    for path, one in found:
        above, _, name = path.rpartition("/")
        if path == own:
            if not one.collection:
                raise NotFound("a file, not a directory", url=answer.shown())
        elif above == own and name not in ("", ".", ".."):
            spelled = quote(name, safe="", errors="surrogateescape")
            names.append(Found(spelled, one.collection, one.size, modified=one.modified))
        else:
            text = f"the listing has an entry that is not in the directory: {one.href[:200]!r}"
            wrong = ServerFault(text, url=answer.shown())
    return Page(names, wrong=wrong)


def _plain(href: str, raw: bool = False) -> str:
    """The path of a link, decoded and without a "/" at its end; ``raw``: it is not encoded."""
    if raw:
        return href.rstrip("/")
    path = urlsplit(href).path if "://" in href[:10] else href.partition("?")[0]
    return unquote(path, errors="surrogateescape").rstrip("/")
