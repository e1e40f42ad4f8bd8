"""What a web server gives to the stories: reading, and directories by their index pages."""

from __future__ import annotations

from typing import Any

from pegasus_toolkit.transfer.backends.http.sending import Body
from pegasus_toolkit.transfer.backends.shared.files import (
    Found,
    Page,
    PlainFiles,
    Sending,
    Stored,
    Traits,
    perhaps,
)
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.clients.curl import errors
from pegasus_toolkit.transfer.clients.curl.exchange import Answer, Exchange, refuse
from pegasus_toolkit.transfer.clients.curl.headers import Head, seconds
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.errors import ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Job, Sink, Source

NO_HEAD = frozenset({403, 405, 500, 501})  # what servers say that know no HEAD, or signed the GET alone
PAGE = 256 << 20  # bytes of one listing, at most
WANT_DIGEST = {"sha256": "sha-256", "sha512": "sha-512", "md5": "md5", "adler32": "adler32", "sha1": "sha"}


class Reading(Exchange):
    """A GET of a file into a sink."""

    def __init__(self, session: Session, url: str, sink: Sink) -> None:
        super().__init__(session, url)
        self.sink = sink

    def begin(self, head: Head) -> None:
        """Tells the sink what is to come."""
        if 200 <= head.status < 300:
            errors.require_file(head, self.shown(), self.session.host)
            if head.length is not None:
                self.sink.announce(head.length)
            self.take = self.sink.write

    def hurry(self) -> None:
        """Nobody needs the rest."""
        self.take = refuse


class HttpFiles(PlainFiles):
    """One web server, for one runner."""

    def __init__(self, session: Session, traits: Traits) -> None:
        super().__init__(traits)
        self.session = session

    def url(self, path: str) -> str:
        """Without the query, which may hold a signature."""
        return self.session.url(path).partition("?")[0]

    def split(self, path: str) -> tuple[str, str]:
        """A query follows all paths below a directory."""
        plain, mark, query = path.partition("#")[0].partition("?")
        return plain, mark + query

    def sending(self, job: Job[Source]) -> Sending:
        """Read at once where it is small."""
        return Body(job)

    def ask(self, method: str, path: str, *extra: str, limit: int = 1 << 20) -> Answer:
        """A request whose answer is small; ``extra``: lines of its head."""
        answer = Answer(self.session, self.session.url(path), method, limit)
        answer.extra = extra
        return answer

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """GET."""
        reading = Reading(self.session, self.session.url(path), sink)
        yield reading
        if (error := reading.failed()) is not None:
            raise error

    def stat(self, path: str) -> Steps[Found]:
        """By HEAD, or where the server has none by a GET of the first byte.

        A path that ends with "/", or that the server redirects to such a one, is a directory.
        """
        answer = yield self.ask("HEAD", path)
        error = answer.failed()
        if error is not None and answer.status in NO_HEAD:
            answer = yield self.ask("GET", path, "Range: bytes=0-0", limit=0)
            error = answer.failed()
        if error is not None:
            raise error
        return found(path, answer)

    def inspect(self, path: str, algorithm: str) -> Steps[Found]:
        """The size, and the digest where the server tells it in that algorithm (RFC 3230)."""
        extra = (f"Want-Digest: {WANT_DIGEST[algorithm]}",) if algorithm in WANT_DIGEST else ()
        answer = yield self.ask("HEAD", path, *extra)
        if (error := answer.failed()) is not None:
            raise error
        told = answer.head.digests().get(algorithm)
        return found(path, answer)._replace(digest=(algorithm, told) if told else None)

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        """The same, of a server that need not know HEAD."""
        if algorithm not in WANT_DIGEST:
            return ""
        answer = yield self.ask("HEAD", path, f"Want-Digest: {WANT_DIGEST[algorithm]}")
        if answer.failed() is not None:
            return ""
        return answer.head.digests().get(algorithm, "")  # type: ignore[no-any-return]

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """By the server's own index page (HTML of any server, JSON of nginx)."""
        plain, tail = self.split(path)
        answer = yield self.ask("GET", plain.rstrip("/") + "/" + tail, limit=PAGE)
        if (error := answer.failed()) is not None:
            raise error
        if len(answer.body) > PAGE:
            raise Unsupported(f"the index page has more than {PAGE >> 20} MiB", url=answer.shown())
        from pegasus_toolkit.transfer.backends.http import index  # only listings pay for a parser of HTML

        return index.read(answer)

    # -- what plain HTTP does not have ---------------------------------------------------------------

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """Raises ``Unsupported``, as all that follow."""
        raise self._read_only(name)

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """There is no such thing."""
        raise self._read_only(new)

    def unlink(self, path: str) -> Steps[None]:
        """There is no such thing."""
        raise self._read_only(path)

    def make(self, path: str) -> Steps[bool]:
        """There is no such thing."""
        raise self._read_only(path)

    def rmdir(self, path: str) -> Steps[None]:
        """There is no such thing."""
        raise self._read_only(path)

    def _read_only(self, path: str) -> TransferError:
        text = "plain HTTP can only be read from"
        error = Unsupported(text, url=self.url(path), hint="use a WebDAV or S3 URL", side="destination")
        return perhaps(error, "read-only")


def found(path: str, answer: Answer) -> Found:
    """What the answer to a HEAD, or to a GET of the first byte, says of the file."""
    head = answer.head
    if head is None:
        raise ServerFault("no answer", url=answer.shown())
    size = head.length
    if head.status == 206:
        size = head.range[2] if head.range is not None else None
    else:
        errors.require_file(head, answer.shown(), answer.session.host)
    wanted, came = (url.partition("?")[0] for url in (path, answer.url))
    directory = wanted.endswith("/") or (answer.hops > 0 and came.endswith("/"))
    digest = next(iter(head.digests().items()), None)
    when = seconds(head.get("last-modified"))
    modified = None if when is None else int(when) * 1_000_000_000
    return Found("", directory, None if directory else size, digest, modified)
