"""HTTP and HTTPS: downloads, sizes and listings. Writing needs WebDAV, which plain HTTP does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pegasus_toolkit.transfer.backends.http import site as http_site
from pegasus_toolkit.transfer.backends.http.get import Gets, Tuning
from pegasus_toolkit.transfer.clients.curl.exchange import Answer
from pegasus_toolkit.transfer.clients.curl.loop import Loop, fetch
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.errors import ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Inspects,
    Job,
    Settings,
    Sink,
    Source,
)

IN_FLIGHT = 8  # files that one instance keeps under way, where the settings give it the connections
NO_HEAD = frozenset({403, 405, 500, 501})  # what servers say that know no HEAD, or signed the GET alone

WANT_DIGEST = {"sha256": "sha-256", "sha512": "sha-512", "md5": "md5", "adler32": "adler32", "sha1": "sha"}


class Http:
    """One web server. ``get``, ``stat`` and ``list`` work; what would write is ``Unsupported``."""

    def __init__(self, endpoint: Endpoint, settings: Settings, tuning: Tuning | None = None) -> None:
        self.abilities = Abilities(in_flight=IN_FLIGHT, quoted=True)
        self.login, access = http_site.log_in(endpoint, settings)
        self.session = Session(http_site.base(endpoint), access, settings)
        self._tuning = tuning or Tuning()
        self.loop = Loop(self.session, settings.connections)
        self.side = Loop(self.session, 1)  # for single requests, while a batch is under way

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``settings.connections`` files in flight on kept connections."""
        return Gets(self.loop, self._tuning).run(jobs)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Fails each job as ``Unsupported``."""
        for job in jobs:
            job.error = self._read_only(job.path)
            yield job

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Fails each path as ``Unsupported``."""
        for path in paths:
            yield path, self._read_only(path)

    def mkdir(self, path: str) -> None:
        """Raises ``Unsupported``."""
        raise self._read_only(path)

    def stat(self, path: str) -> Entry:
        """By HEAD, or where the server has none by a GET of the first byte.

        A path that ends with "/", or that the server redirects to such a one, is a directory.
        """
        answer = Answer(self.session, self.session.url(path), "HEAD")
        try:
            fetch(self.side, answer)
        except TransferError:
            if answer.head is None or answer.head.status not in NO_HEAD:
                raise
            answer = Answer(self.session, self.session.url(path), limit=0)
            answer.extra = ("Range: bytes=0-0",)
            fetch(self.side, answer)
        return _entry(path, answer)

    def list(self, prefix: str) -> Iterator[Entry]:
        """By the server's own index pages (HTML of any server, JSON of nginx), all the way down."""
        from pegasus_toolkit.transfer.backends.http.index import walk

        return walk(self.session, self.side, prefix)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """The size, and the digest where the server tells it in that algorithm (RFC 3230)."""
        answer = Answer(self.session, self.session.url(path), "HEAD")
        if algorithm in WANT_DIGEST:
            answer.extra = (f"Want-Digest: {WANT_DIGEST[algorithm]}",)
        fetch(self.side, answer)
        assert answer.head is not None
        told = answer.head.digests().get(algorithm)
        return _entry(path, answer)._replace(digest=(algorithm, told) if told else None)

    def identity(self) -> Identity:
        """What the server is shown."""
        return self.login.identity()

    def close(self) -> None:
        """What is under way raises ``Cancelled``."""
        self.loop.close()
        self.side.close()

    def _read_only(self, path: str) -> Unsupported:
        url = self.session.url(path).partition("?")[0]
        return Unsupported("plain HTTP can only be read from", url=url, hint="use a WebDAV or S3 URL")


def _entry(path: str, answer: Answer) -> Entry:
    head = answer.head
    if head is None:
        raise ServerFault("no answer", url=answer.shown())
    size = head.length
    if head.status == 206:
        size = head.range[2] if head.range is not None else None
    wanted, came = (url.partition("?")[0] for url in (path, answer.url))
    directory = wanted.endswith("/") or (answer.hops > 0 and came.endswith("/"))
    digest = next(iter(head.digests().items()), None)
    return Entry(path, None if directory else size, directory, digest)


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet.

    A site whose section says ``webdav = yes`` is opened as WebDAV.
    """
    if http_site.marked(endpoint, settings):
        from pegasus_toolkit.transfer.backends.webdav.backend import WebDav

        return WebDav(endpoint, settings)
    return Http(endpoint, settings)


_: type[Backend] = Http
_inspects: type[Inspects] = Http
_identified: type[Identified] = Http
