"""The OSDF and other federations of Pelican (``osdf:``, ``stash:``, ``pelican:``).

Objects are read from caches, in the director's order, and from the next one where a cache is dead or slow,
which is remembered for the run. They are written, listed and removed at the origin, as WebDAV has it: under a
name aside, and renamed when whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, Generic, TypeVar

from pegasus_toolkit.transfer.backends.osdf.command import Command
from pegasus_toolkit.transfer.backends.osdf.server import Server
from pegasus_toolkit.transfer.backends.osdf.site import Site
from pegasus_toolkit.transfer.clients.pelican import Federation, Sources
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Denied,
    NotFound,
    ServerFault,
    Throttled,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
)
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

End = TypeVar("End")
Item = TypeVar("Item")
Result = TypeVar("Result")
ELSEWHERE = (Unreachable, TimedOut, ServerFault, Throttled)  # what another cache may not say
IN_FLIGHT = 8


class Osdf:
    """One federation."""

    abilities = Abilities(in_flight=IN_FLIGHT, quoted=True)

    def __init__(self, endpoint: Endpoint, settings: Settings, site: Site | None = None) -> None:
        self.endpoint = endpoint
        self.site = site or Site(endpoint, settings)
        self.federation = Federation(endpoint.host, self.site.open, settings)
        self._servers: dict[tuple[str, str, bool], Server] = {}
        self._best: dict[str, Server] = {}  # for reading, by namespace with a "/"
        self._notes = settings.notes
        self._closed = False

    # -- which server --------------------------------------------------------------------------------

    def _server(self, base: str, sources: Sources, *, writes: bool = False, hurried: bool = False) -> Server:
        key = (base, sources.namespace if writes else str(sources.token), hurried)
        if self._closed:
            raise Cancelled("the connection was closed", host=self.endpoint.host)
        if key not in self._servers:
            self._servers[key] = Server(base, sources, self.site, writes=writes, hurried=hurried)
        return self._servers[key]

    def _origin(self, method: str, path: str) -> Server:
        """Where a path is written, listed or removed."""
        sources = self.federation.sources(method, path)
        return self._server(sources.servers[0], sources, writes=True)

    def _writer(self, path: str) -> Server:
        if self.site.token is None:
            hint = "name the file of a token with storage.modify in BEARER_TOKEN_FILE"
            raise Denied("writing to a federation takes a token", url=self._url(path), hint=hint)
        return self._origin("PUT", path)

    def _url(self, path: str) -> str:
        return f"{self.endpoint.scheme}://{self.endpoint.host}{path.partition('?')[0]}"

    def _cache(self, path: str, tried: set[str]) -> Server:
        """The first cache that was not found bad; those that were, when none is left."""
        sources = self.federation.sources("GET", path)
        left = [base for base in sources.servers if base not in tried] or list(sources.servers[:1])
        good = [base for base in left if not self._notes.marked("osdf", "bad", base)]
        base = (good or left)[0]
        return self._server(base, sources, hurried=len(good) > 1 or (bool(good) and len(left) > 1))

    def _remember(self, path: str) -> Server:
        """The best cache of a namespace, until one is found bad."""
        server = self._cache(path, set())
        namespace = self.federation.sources("GET", path).namespace.rstrip("/") + "/"
        known = {**self._best, namespace: server}
        self._best = dict(sorted(known.items(), key=lambda one: -len(one[0])))
        return server

    def _once_more(self, job: Job[Sink], server: Server, tried: dict[Job[Sink], set[str]]) -> bool:
        """Whether another server may give what this one did not."""
        first = job not in tried
        known = tried.setdefault(job, set())
        if isinstance(job.error, NotFound | Denied) and first and not job.end.size:
            return self._is_within(job.path, server)
        if not isinstance(job.error, ELSEWHERE):
            return False
        known.add(server.base)
        self._notes.mark("osdf", "bad", server.base)
        self._best.clear()
        if job.end.size:
            return False  # what came is not mixed with what another cache has: the next attempt goes there
        return any(base not in known for base in self.federation.sources("GET", job.path).servers)

    def _is_within(self, path: str, server: Server) -> bool:
        """Whether what a server refused is in a namespace within the one that was thought of."""
        if self._cache(path, set()) is server:
            if not self.federation.narrower(path):
                return False
            self._best.clear()
        return self._cache(path, set()) is not server

    # -- verbs ---------------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Many in flight at one cache; what it does not give comes from the next."""
        tried: dict[Job[Sink], set[str]] = {}

        def pick(job: Job[Sink]) -> Server:
            if job in tried:
                return self._cache(job.path, tried[job])
            for namespace, server in self._best.items():  # asked for every object
                if job.path.startswith(namespace):
                    return server
            return self._remember(job.path)

        def over(job: Job[Sink], server: Server) -> bool:
            if job.error is None or not self._once_more(job, server, tried):
                tried.pop(job, None)
                return True
            job.error = None
            waiting.again(job)
            return False

        waiting = _Waiting(jobs)
        yield from _by_server(waiting, pick, lambda server, some: server.get(some), over, _failed)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """To the origin."""
        yield from _by_server(
            _Waiting(jobs),
            lambda job: self._writer(job.path),
            lambda server, some: server.put(some),
            lambda *_: True,
            _failed,
        )

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """At the origin. A cache may give for a while what was removed."""
        yield from _by_server(
            _Waiting(iter(paths)),
            self._writer,
            lambda server, some: server.remove(some, recursive),
            lambda *_: True,
            lambda path, error: (path, None if isinstance(error, NotFound) else error),
        )

    def mkdir(self, path: str) -> None:
        """At the origin. Raises where that makes none."""
        self._writer(path).mkdir(path)

    def stat(self, path: str) -> Entry:
        """As the origin tells it; where that cannot be asked, as a cache does. Raises ``NotFound``."""
        try:
            return self._origin("PROPFIND", path).stat(path)
        except (*ELSEWHERE, Unsupported):
            return self._cache(path, set()).stat(path)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the origin's own digest where it tells one."""
        return self._origin("PROPFIND", path).inspect(path, algorithm)

    def list(self, prefix: str) -> Iterator[Entry]:
        """From the origin, where the namespace has its collections listed."""
        sources = self.federation.sources("PROPFIND", prefix)
        if not sources.listed:
            text = f"collections of {sources.namespace} cannot be listed: its origin does not offer that"
            raise Unsupported(text, url=self._url(prefix), hint="name its objects one by one")
        return self._origin("PROPFIND", prefix).list(prefix)

    def identity(self) -> Identity:
        """Which token is used."""
        return self.site.identity()

    def close(self) -> None:
        """What is under way raises ``Cancelled``."""
        self._closed = True
        self.federation.close()
        for server in list(self._servers.values()):
            server.close()


class _Waiting(Generic[Item]):
    """What is still to be done: what was given back, then what a live iterator gives."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._first: deque[Item] = deque()
        self.pop = self._first.popleft
        self.again = self._first.append

    def peek(self) -> Item | None:
        """The next one, ``None`` where nothing is ready now."""
        if not self._first and (item := next(self._items, None)) is not None:
            self._first.append(item)
        return self._first[0] if self._first else None


def _by_server(
    waiting: _Waiting[Item],
    pick: Callable[[Item], Server],
    verb: Callable[[Server, Iterator[Item]], Iterator[Result]],
    over: Callable[[Result, Server], bool],
    failed: Callable[[Item, TransferError], Result],
) -> Iterator[Result]:
    """Has each done by the server that is picked for it, with as many as possible in one batch.

    ``over`` says whether what a server yields is over at all; else it waits again.
    """

    def batch(server: Server) -> Iterator[Item]:
        while (item := waiting.peek()) is not None:
            try:
                if pick(item) is not server:
                    return
            except TransferError:
                return  # raised again for that one alone
            yield waiting.pop()

    while (item := waiting.peek()) is not None:
        try:
            server = pick(item)
        except TransferError as error:
            yield failed(waiting.pop(), error)
            continue
        done: Any = verb(server, batch(server))
        with closing(done):
            yield from (one for one in done if over(one, server))


def _failed(job: Job[End], error: TransferError) -> Job[End]:
    job.error = error
    return job


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet."""
    site = Site(endpoint, settings)
    return Command(site) if site.tool else Osdf(endpoint, settings, site)


_: type[Backend] = Osdf
_inspects: type[Inspects] = Osdf
_identified: type[Identified] = Osdf
