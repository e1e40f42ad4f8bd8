"""SRM: ``srm://`` and ``httpg://``, by gfal2, which asks the storage for a place and moves whole files."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from pegasus_toolkit.credentials import CredentialError, X509Credential
from pegasus_toolkit.transfer.backends.onebyone import OneByOne
from pegasus_toolkit.transfer.backends.srm.process import Gfal
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    IsDirectory,
    NotFound,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Identity,
    Inspects,
    Job,
    Settings,
    Sink,
    Source,
)

PROXY_HINT = "make one with voms-proxy-init or grid-proxy-init, or name it in X509_USER_PROXY_<site>"
COPY_TIMEOUT = 24 * 3600  # seconds; a transfer that stands still is ended long before
QUIET = 300.0  # seconds: a storage may fetch a file from tape or wait in its queue, without a word


class Srm(OneByOne):
    """One account at one storage, one helper process."""

    abilities = Abilities(in_flight=1, streams=False, quoted=True, threads=4)

    def __init__(self, endpoint: Endpoint, gfal: Gfal, credential: X509Credential) -> None:
        self.root = f"srm://{endpoint.authority}"
        self.gfal = gfal
        self.credential = credential
        self._made: set[str] = set()  # directories that are known to be there
        self._active = 0
        self._lock = threading.Lock()

    def url(self, path: str) -> str:
        """What gfal2 is given. It decodes ``%20`` and its like, and garbles what is not ASCII."""
        plain = unquote(path, errors="surrogateescape")
        if not plain.isascii() or any(c in plain for c in "\r\n\0"):
            raise BadSpecification(
                "a name that gfal2 cannot carry over SRM: ASCII on one line", url=self.root
            )
        return self.root + path

    @contextmanager
    def use(self) -> Iterator[None]:
        """While a verb is under way, ``close`` from another thread only ends the helper."""
        with self._lock:
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
            if self.gfal.closed:
                self.gfal.close(False)

    # -- files ---------------------------------------------------------------------------------------

    def load(self, path: str, sink: Sink) -> None:
        """Into the file that the sink names."""
        url = self.url(path)
        with self.use():
            size, directory = self._stat(path)
            if directory:
                raise IsDirectory("is a directory", url=url, side="source")
            sink.announce(size)
            file = sink.file
            if file is None:
                raise Unsupported("can only fill whole local files", url=url)
            self.gfal.ask(
                "copy",
                url,
                f"file://{Path(file).absolute()}",
                COPY_TIMEOUT,
                url=url,
                side="source",
                moved=_Watch(sink),
            )
            if (found := Path(file).stat().st_size) != size:
                raise Corrupted(f"{found} bytes came, {size} expected", url=url, side="source")

    def save(self, job: Job[Source]) -> None:
        """To a name aside, then to its own; what is there is removed only when the new file is whole."""
        file = job.end.file
        url = self.url(job.path)
        if file is None:
            raise Unsupported("can only take whole local files", url=url)
        with self.use():
            self._make_parent(job.path)
            temporary = f"{job.path.rpartition('/')[0]}/.pegasus-{os.urandom(8).hex()}.part"
            try:
                self._store(file, temporary, job)
                self._rename(temporary, job.path)
            except TransferError:
                self._sweep(temporary)
                raise

    def _store(self, file: str, path: str, job: Job[Source]) -> None:
        url = self.url(path)
        source = f"file://{Path(file).absolute()}"
        self.gfal.ask(
            "copy",
            source,
            url,
            COPY_TIMEOUT,
            url=self.url(job.path),
            side="destination",
            moved=_Watch(job.end),
        )
        found, expected = self._stat(path)[0], job.end.size
        if expected is not None and found != expected:
            raise Corrupted(f"{found} bytes stored, {expected} sent", url=url, side="destination")

    def _rename(self, old: str, new: str) -> None:
        """SRM renames over nothing: an old file goes first."""
        try:
            if self._stat(new)[1]:
                raise IsDirectory("is a directory", url=self.url(new), side="destination")
            self.gfal.ask("unlink", self.url(new), url=self.url(new), side="destination")
        except NotFound:
            pass
        self.gfal.ask("rename", self.url(old), self.url(new), url=self.url(new), side="destination")

    def _sweep(self, path: str) -> None:
        with suppress(TransferError):
            gfal = self.gfal
            if gfal.closed:  # a helper of its own
                gfal = gfal.again()
            try:
                gfal.ask("unlink", self.url(path), url=self.url(path))
            finally:
                if gfal is not self.gfal:
                    gfal.close(False)

    # -- names ---------------------------------------------------------------------------------------

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it."""
        self._made.clear()
        for path in paths:
            try:
                with self.use():
                    self._remove(path, recursive)
            except NotFound:
                yield path, None
            except TransferError as error:
                yield path, error
            else:
                yield path, None

    def _remove(self, path: str, recursive: bool) -> None:
        url = self.url(path)
        if not self._stat(path)[1]:
            self.gfal.ask("unlink", url, url=url)
            return
        if not recursive:
            raise IsDirectory("is a directory", url=url)
        for name, _, _ in self.gfal.ask("list", url, url=url):
            self._remove(f"{path.rstrip('/')}/{quote(name)}", True)
        self.gfal.ask("rmdir", url, url=url)

    def mkdir(self, path: str) -> None:
        """Makes it and its parents."""
        with self.use():
            self.gfal.ask("mkdir", self.url(path), url=self.url(path))

    def _make_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent and not parent.endswith("SFN=") and parent not in self._made:
            self.mkdir(parent)
            self._made.add(parent)

    def stat(self, path: str) -> Entry:
        """Size, or that it is a directory. Raises ``NotFound``."""
        with self.use():
            size, directory = self._stat(path)
        return Entry(path, None if directory else size, directory)

    def _stat(self, path: str) -> tuple[int, bool]:
        _, size, directory = self.gfal.ask("stat", self.url(path), url=self.url(path))
        return int(size), bool(directory)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, and empty directories. Raises ``NotFound``."""
        with self.use():
            size, directory = self._stat(prefix)
            if not directory:
                yield Entry(prefix, size)
                return
            waiting = [prefix.rstrip("/")]
            while waiting:
                here = waiting.pop()
                entries = self.gfal.ask("list", self.url(here), url=self.url(here))
                if not entries:
                    yield Entry(here, None, True)
                for name, size, directory in entries:
                    if directory:
                        waiting.append(f"{here}/{quote(name)}")
                    else:
                        yield Entry(f"{here}/{quote(name)}", int(size))

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the storage's own digest where it keeps one of that kind."""
        entry = self.stat(path)
        with self.use(), suppress(TransferError):
            found = str(self.gfal.ask("checksum", self.url(path), algorithm.upper(), url=self.url(path)))
            if found:
                return entry._replace(digest=(algorithm, found.lower()))
        return entry

    def identity(self) -> Identity:
        """The proxy."""
        return Identity("X.509 proxy", self.credential.path, self.credential.expires)

    def close(self) -> None:
        """From any thread; ends the helper."""
        with self._lock:
            active = self._active > 0
        self.gfal.close(active)


class _Watch:
    """Tells the engine of bytes that pass by its ends: that there is progress, and how much."""

    def __init__(self, end: Sink | Source) -> None:
        self.end = end
        self.before = 0

    def __call__(self, total: int) -> None:
        """``total``: bytes so far. Raises once the run is told to stop."""
        self.end.passed(max(0, total - self.before))
        self.before = max(self.before, total)


def open_backend(endpoint: Endpoint, settings: Settings) -> Srm:
    """Starts nothing yet. Raises ``BadSpecification``, ``CredentialError`` for a proxy that is over."""
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)(:\d{1,5})?", endpoint.authority):
        raise BadSpecification("not a host or host:port", url=f"{endpoint.scheme}://{endpoint.authority}/")
    credential = settings.credentials.proxy(endpoint.site, endpoint.scheme)
    if credential is None:
        raise CredentialError(f"no X.509 proxy for site {endpoint.site!r}", PROXY_HINT)
    environ = {"X509_USER_PROXY": credential.path}
    if not credential.proxy:
        environ = {"X509_USER_CERT": credential.certificate, "X509_USER_KEY": credential.key}
    if authorities := settings.credentials.ca_directory():
        environ["X509_CERT_DIR"] = authorities
    gfal = Gfal(settings.environ, environ, max(QUIET, settings.stall_timeout))
    return Srm(endpoint, gfal, credential)


_backend: type[Backend] = Srm
_inspects: type[Inspects] = Srm
