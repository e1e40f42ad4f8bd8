"""``root://`` and ``roots://`` by the XRootD client library.

Files are moved in streams, many in flight on one connection, with answers handled as they come. A path
is what follows ``root://host/``, with or without a second slash; it is not percent-encoded, and what
follows ``?`` are parameters for the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend
from pegasus_toolkit.transfer.backends.shared.files import Found, temporary_names
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps, Wait
from pegasus_toolkit.transfer.backends.xrootd.cluster import ClusterFiles, is_cluster
from pegasus_toolkit.transfer.backends.xrootd.errors import TLS_ERROR
from pegasus_toolkit.transfer.backends.xrootd.files import XrootdFiles
from pegasus_toolkit.transfer.backends.xrootd.site import Site, configure
from pegasus_toolkit.transfer.clients.xrootd.library import has_tls
from pegasus_toolkit.transfer.clients.xrootd.loop import Loop
from pegasus_toolkit.transfer.errors import Denied, TransferError
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
    Requirement,
    Settings,
    Sink,
)

IN_FLIGHT = 32  # files; more gain nothing


class Xrootd(FilesBackend):
    """One server or redirector, as one user."""

    abilities = Abilities(in_flight=IN_FLIGHT, pipelined=True, threads=4)

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        configure(settings)
        self.site = Site(endpoint, settings)
        self.files: XrootdFiles = XrootdFiles(self.site)
        self._noted = partial(settings.notes.aside, endpoint)
        self._warn = settings.warn
        self._names = temporary_names(endpoint, settings)
        self._patience = max(1, int(settings.stall_timeout))
        self.loop = Loop(self._patience)
        self._begun = False
        self._beginning: Wait | None = None

    def runner(self, side: bool = False) -> Runner:
        """On the one loop. What a batch does for a file begins with ``_opened``, all else here."""
        runner = Runner(self.loop, lambda: Loop(self._patience))
        if side and not self._begun:
            runner.one(self._opened())
        return runner

    def _opened(self) -> Steps[None]:
        """Once, whoever is first."""
        if self._begun:
            return
        if self._beginning is not None:
            yield self._beginning
            return
        beginning, wrong = Wait(), None
        self._beginning = beginning
        try:
            self.files = yield from self._begin()
            self.files.noted, self.files.warn = self._noted, self._warn
            self.files.traits.choose(self._names)
            self._begun = True
        except TransferError as error:
            wrong = error
            raise
        finally:
            self._beginning = None
            beginning.settle(wrong)

    def _begin(self) -> Steps[XrootdFiles]:
        """Sees to it that there is TLS before a token is sent, and finds out what kind of server it is.

        A token that was only found is left out where there is no TLS.
        """
        site = self.site
        if site.scheme == "roots":
            status, _ = yield (site.files.ping,)
            if site.tentative and (has_tls() if status.ok else status.code != TLS_ERROR):
                site.tentative = False
            if site.tentative:
                site.leave_token_out()
            else:
                site.check(status, "/")
                if not has_tls():
                    raise Denied("no TLS", host=site.host, hint="set X509_CERT_DIR to trusted authorities")
        plain = XrootdFiles(site)
        try:
            return ClusterFiles(site) if (yield from is_cluster(plain)) else plain
        except Denied:  # who may ask nothing about the server may still read
            return plain

    def _batch(
        self, jobs: Iterator[Job[Any]], story: Callable[[Job[Any]], Steps[None]]
    ) -> Iterator[Job[Any]]:
        def whole(job: Job[Any]) -> Steps[None]:
            yield from self._opened()
            yield from story(job)

        return super()._batch(jobs, whole if not self._begun else story)

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it; at every server that has it."""
        self.runner(side=True)
        yield from super().remove(paths, recursive)

    def _download(self, job: Job[Sink]) -> Steps[None]:
        if job.required.remote and (algorithm := (yield from self.files.algorithm(job.required.algorithm))):
            try:
                digest = yield from self.files.checksum(job.path, algorithm)
            except TransferError:
                digest = ("", "")  # it has none after all; what else is wrong is met by the read
            if digest[1]:
                job.end.expect(*digest)
        yield from super()._download(job)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the digest where the server can tell it."""
        found = self.runner(side=True).one(self._inspected(path, algorithm))
        return Entry(path, found.size, bool(found.directory), found.digest)

    def _inspected(self, path: str, algorithm: str) -> Steps[Found]:
        found = yield from self.files.stat(path)
        if algorithm not in (yield from self.files.checksums()):
            return found
        return found._replace(digest=(yield from self.files.checksum(path, algorithm)))

    def copies(self, other: Backend, required: Requirement) -> bool:
        """From server to server, where both can and what must hold can be compared there."""
        if not isinstance(other, Xrootd) or required.digest or required.also:
            return False
        from pegasus_toolkit.transfer.backends.xrootd.copy import able

        try:
            return able(self, other, required)
        except TransferError:
            return False  # the relay meets it again, and tells it

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Third-party copies: written aside, compared, renamed. What servers deny gets ``CannotCopy``."""
        from pegasus_toolkit.transfer.backends.xrootd.copy import copies

        assert isinstance(other, Xrootd)
        return copies(jobs, self, other, control)

    def identity(self) -> Identity:
        """What is shown to the server."""
        return self.site.identity

    def close(self) -> None:
        """From any thread."""
        self.loop.close()


def open_backend(endpoint: Endpoint, settings: Settings) -> Xrootd:
    """A client of that endpoint; connects when it is first used."""
    return Xrootd(endpoint, settings)


_backend: type[Backend] = Xrootd
_copies: type[Copies] = Xrootd
_inspects: type[Inspects] = Xrootd
_identified: type[Identified] = Xrootd
