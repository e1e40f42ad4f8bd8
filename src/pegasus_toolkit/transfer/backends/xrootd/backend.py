"""``root://`` and ``roots://`` by the XRootD client library.

Files are moved in streams, many in flight on one connection, with answers handled as they come. A path
is what follows ``root://host/``, with or without a second slash; it is not percent-encoded, and what
follows ``?`` are parameters for the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pegasus_toolkit.transfer.backends.xrootd import trees
from pegasus_toolkit.transfer.backends.xrootd.errors import TLS_ERROR
from pegasus_toolkit.transfer.backends.xrootd.loop import Loop, Steps, Task
from pegasus_toolkit.transfer.backends.xrootd.moves import Moves, is_directory, told
from pegasus_toolkit.transfer.backends.xrootd.site import Site, configure, flags, has_tls
from pegasus_toolkit.transfer.errors import Denied, NotFound, TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Inspects,
    Job,
    Settings,
    Sink,
    Source,
    Want,
)

IN_FLIGHT = 32  # files; more gain nothing


class Xrootd:
    """One server or redirector, as one user."""

    abilities = Abilities(in_flight=IN_FLIGHT, pipelined=True, threads=4)

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        configure(settings)
        self.site = Site(endpoint, settings)
        self.loop = Loop(max(1, int(settings.stall_timeout)))
        self.moves = Moves(self.site)
        self._begun = False
        self._asked: dict[str, str] = {}  # what the server says of itself

    # -- verbs -------------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Moves each ``job.path`` into ``job.end``."""
        yield from self._batch(jobs, self.moves.load)

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Moves each ``job.end`` to ``job.path``."""
        yield from self._batch(jobs, self.moves.save)

    def _batch(self, jobs: Iterator[Job[Any]], steps: Any) -> Iterator[Job[Any]]:
        first = next(jobs, None)
        if first is None:
            return
        self._begin()
        if first.want.remote:
            self.moves.checksums = self.checksums()

        def all_of_them() -> Iterator[Job[Any]]:
            yield first
            yield from jobs

        for task in self.loop.run(all_of_them(), steps, IN_FLIGHT):
            task.item.error = task.error
            yield task.item

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it."""
        self._begin()
        for task in self.loop.run(iter(paths), lambda t: trees.remove(self.site, t, recursive), IN_FLIGHT):
            yield task.item, task.error

    def mkdir(self, path: str) -> None:
        """Makes the directory and its parents."""
        self._begin()
        self.loop.wait(lambda task: self.moves.make(task, path))

    def stat(self, path: str) -> Entry:
        """Raises ``NotFound``."""
        found = self.ask(path, self.site.files.stat, self.site.path(path))
        directory = is_directory(found)
        return Entry(path, None if directory else int(found.size), directory)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, and empty directories."""
        self._begin()
        waiting = [Entry(prefix, None, True)]
        while waiting:
            directory = waiting.pop()
            try:
                entries = self._entries(directory.path)
            except NotFound:
                if directory.path == prefix:
                    raise
                continue  # it went meanwhile
            if not entries and directory.path != prefix:
                yield directory
            for entry in entries:
                if entry.directory:
                    waiting.append(entry)
                else:
                    yield entry

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the digest where the server can tell it."""
        entry = self.stat(path)
        if algorithm not in self.checksums():
            return entry
        argument = self.site.path(path, f"cks.type={algorithm}")
        response = self.ask(path, self.site.files.query, flags.QueryCode.CHECKSUM, argument)
        return entry._replace(digest=told(response))

    def copies(self, other: Backend, want: Want) -> bool:
        """From server to server, where both can and what must hold can be compared there."""
        if not isinstance(other, Xrootd) or want.digest or want.also:
            return False
        try:
            both = self._can_copy() and other._can_copy()
            return both and (not want.remote or bool(self.common(other)))
        except TransferError:
            return False  # the relay meets it again, and tells it

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Third-party copies: written aside, compared, renamed."""
        from pegasus_toolkit.transfer.backends.xrootd.copy import copy

        assert isinstance(other, Xrootd)
        return copy(jobs, self, other, control)

    def identity(self) -> Identity:
        """What is shown to the server."""
        return self.site.identity

    def close(self) -> None:
        """From any thread."""
        self.loop.interrupt()

    # -- what the server is ------------------------------------------------------------------------

    def _begin(self) -> None:
        """Sees to it that there is TLS before a token is sent.

        A token that was only found is left out where there is none.
        """
        if self._begun:
            return
        if self.site.scheme == "roots":
            status, _ = self.answer(self.site.files.ping)
            if self.site.tentative and (has_tls() if status.ok else status.code != TLS_ERROR):
                self.site.tentative = False
            if self.site.tentative:
                self.site.leave_token_out()
            else:
                self.site.check(status, "/")
                if not has_tls():
                    raise Denied(
                        "no TLS", host=self.site.host, hint="set X509_CERT_DIR to trusted authorities"
                    )
        self._begun = True

    def _can_copy(self) -> bool:
        return self._configured("tpc") not in ("", "0", "tpc")

    def checksums(self) -> tuple[str, ...]:
        items = self._configured("chksum").split(",")
        return tuple(item.rpartition(":")[2].strip().lower() for item in items if ":" in item)

    def common(self, other: Xrootd) -> str:
        theirs = other.checksums()
        return next((name for name in self.checksums() if name in theirs), "")

    def _configured(self, what: str) -> str:
        """What the server's configuration says; "" where it does not tell."""
        if what not in self._asked:
            self._begin()
            status, answer = self.answer(self.site.files.query, flags.QueryCode.CONFIG, what)
            if not status.ok and status.code != 400:
                raise self.site.error(status, "/")
            self._asked[what] = answer.strip(b"\0\n").decode("ascii", "replace") if status.ok else ""
        return self._asked[what]

    def _entries(self, path: str) -> trees.Entries:
        found: trees.Entries = []

        def steps(task: Task) -> Steps:
            found.extend((yield from trees.entries_of(self.site, task, path)))

        self.loop.wait(steps)
        return found

    def ask(self, path: str, method: Any, *arguments: Any) -> Any:
        """One request and its answer. Raises what the status stands for."""
        self._begin()
        status, response = self.answer(method, *arguments)
        self.site.check(status, path)
        return response

    def answer(self, method: Any, *arguments: Any) -> tuple[Any, Any]:
        came: list[tuple[Any, Any]] = []

        def steps(task: Task) -> Steps:
            task.call(method, *arguments)
            _, status, response = yield
            came.append((status, response))

        self.loop.wait(steps)
        return came[0]


def open_backend(endpoint: Endpoint, settings: Settings) -> Xrootd:
    """A client of that endpoint; connects when it is first used."""
    return Xrootd(endpoint, settings)


_backend: type[Backend] = Xrootd
_copies: type[Copies] = Xrootd
_inspects: type[Inspects] = Xrootd
_identified: type[Identified] = Xrootd
