"""Every protocol as a file system of fsspec: ``pegasus+sftp://host/path`` for pandas, xarray, dask and zarr.

A file is fetched as a whole, and verified, when it is opened; what was written is stored as a whole, and
verified, when it is closed, so that nobody sees a part of it. Transient errors are tried again. Credentials
are found as the commands find them, and never travel with a pickled file system.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, ClassVar, TypeVar

from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.files.places import SITE, children, inside, look, moved
from pegasus_toolkit.schemes import known
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import (
    CannotCopy,
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    TransferError,
)
from pegasus_toolkit.transfer.interface import (
    Backend,
    Control,
    Copies,
    Data,
    Entry,
    Job,
    Requirement,
    Settings,
    Sink,
    Source,
)
from pegasus_toolkit.transfer.model import Location
from pegasus_toolkit.transfer.streams.checked import MemorySource, NullSink
from pegasus_toolkit.transfer.streams.files import FileSink, FileSource

T = TypeVar("T")
PREFIX = "pegasus+"
IN_MEMORY = 64 << 20  # bytes of a file; larger ones wait on disk
PAUSES = (0.5, 2.0, 5.0)  # seconds between attempts
NO_PLACES = frozenset(
    {"symlink", "moveto", "memory", "docker", "library", "oras", "shub"}
)  # to read and write


class PegasusFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """One storage service. ``authority``: ``[user@]host[:port]``, or an S3 site or bucket, as in its URLs;
    ``environ``: in place of ``os.environ``; ``connections``: for one large file, and in listings."""

    scheme: ClassVar[str] = ""
    root_marker = "/"

    def __init__(
        self,
        authority: str = "",
        environ: Mapping[str, str] | None = None,
        connections: int = 8,
        **options: Any,
    ) -> None:
        """Connects to nothing yet. Raises ``Denied`` for credentials that cannot be used."""
        super().__init__(authority=authority, environ=environ, connections=connections, **options)
        environ = dict(os.environ if environ is None else environ)
        try:
            credentials = Credentials.load(environ)
        except CredentialError as error:
            raise Denied(str(error)) from error
        warn = logging.getLogger("pegasus_toolkit").warning
        settings = Settings(credentials=credentials, environ=environ, connections=connections, warn=warn)
        self._place = urls.parse(self._url(authority, "/"), SITE, {})
        self._pool = Pool(settings, open_backend)
        self._connections = connections
        weakref.finalize(self, self._pool.close)

    @classmethod
    def _url(cls, authority: str, path: str) -> str:
        return f"{cls.scheme}://{authority}{path}"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text: str = os.fspath(path)
        if text.startswith(f"{PREFIX}{cls.scheme}://"):
            text = "/" + text.partition("://")[2].partition("/")[2]
        return text.rstrip("/") or cls.root_marker

    @classmethod
    def _get_kwargs_from_urls(cls, path: str) -> dict[str, str]:
        authority = path.partition("://")[2].partition("/")[0] if "://" in path else ""
        return {"authority": authority} if authority else {}

    def unstrip_protocol(self, name: str) -> str:
        """The whole URL of a path."""
        path = self._strip_protocol(name)
        return f"{PREFIX}{self._url(self._place.endpoint.authority, path)}"

    # -- names -----------------------------------------------------------------------------------

    def _at(self, path: str) -> Location:
        return inside(moved(self._place, "/"), self._strip_protocol(path)[1:])

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """``name``, ``type``, ``size`` in bytes, ``mtime`` in seconds since the epoch. Raises
        ``NotFound``."""
        where = self._at(path)
        return _told(self._strip_protocol(path), self._tried(lambda: look(where, self._pool)))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is in a directory; of a file, itself. Raises ``NotFound``."""
        path = self._strip_protocol(path)
        where = self._at(path)
        own = self.info(path)
        found = [own]
        if own["type"] == "directory":
            stem = path.rstrip("/") + "/"
            listed = self._tried(lambda: list(children(where, self._pool)))
            found = [_told(stem + name, entry) for name, entry in listed]
        return found if detail else [one["name"] for one in found]

    def modified(self, path: str) -> datetime:
        """When the content was last changed. Raises ``NotImplementedError`` where the server does not
        tell."""
        when = self.info(path).get("mtime")
        if when is None:
            raise NotImplementedError(f"{self.scheme} servers do not tell times")
        return datetime.fromtimestamp(when, tz=timezone.utc)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Makes a directory, with those above it. Raises ``FileExistsError``."""
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self.makedirs(path, exist_ok=True)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """The same; with ``exist_ok`` content if it is there."""
        if not exist_ok and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        where = self._at(path)
        self._with(lambda backend: backend.mkdir(where.path))

    def rmdir(self, path: str) -> None:
        """Removes an empty directory."""
        if self.ls(path, detail=False):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._remove(path, recursive=True)

    def rm_file(self, path: str) -> None:
        """Removes a file. Raises ``NotFound``, ``IsDirectory``."""
        if self.info(path)["type"] == "directory":
            raise IsDirectory("is a directory", url=path)
        self._remove(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Removes files; with ``recursive`` directories with all that is in them."""
        if not recursive or maxdepth is not None:
            super().rm(path, recursive=recursive, maxdepth=maxdepth)
            return
        for one in self.expand_path(path):
            self._remove(one, recursive=True)

    def _remove(self, path: str, recursive: bool = False) -> None:
        where = self._at(path)

        def remove(backend: Backend) -> None:
            for _, error in backend.remove([where.path], recursive):
                if error is not None and not isinstance(error, NotFound):
                    raise error

        self._with(remove)

    # -- content -----------------------------------------------------------------------------------

    def _open(
        self, path: str, mode: str = "rb", block_size: int | None = None, autocommit: bool = True, **_: Any
    ) -> Any:
        if mode == "rb":
            return self._fetched(path)
        if mode in ("xb", "ab") and self.exists(path):
            if mode == "xb":
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            start = self._fetched(path)
            start.seek(0, os.SEEK_END)
            return _Upload(self, path, start, autocommit)
        return _Upload(self, path, io.BytesIO(), autocommit)

    def _fetched(self, path: str) -> Any:
        sink = _Kept(self._at(path).url)
        self._get(path, sink)
        sink.content.seek(0)
        return sink.content

    def _get(self, path: str, sink: Sink) -> None:
        where = self._at(path)

        def get(backend: Backend) -> None:
            sink.restart()
            for job in backend.get(iter([Job[Sink](where.path, "", Requirement(), sink)])):
                if job.error is not None:
                    raise job.error
            sink.commit()

        self._with(get, self._connections)

    def _put(self, path: str, source: Callable[[], Source], modified: int | None = None) -> None:
        where = self._at(path)
        required = Requirement(modified=modified)

        def put(backend: Backend) -> None:
            end = source()
            try:
                for job in backend.put(iter([Job[Source](where.path, "", required, end)])):
                    if job.error is not None:
                        raise job.error
            finally:
                end.close()

        self._with(put, self._connections)

    def get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **options: Any
    ) -> None:
        """Fetches a file; it is seen under its name only when it is whole."""
        if outfile is not None or not isinstance(lpath, str | os.PathLike):
            super().get_file(rpath, lpath, callback=callback, outfile=outfile, **options)
            return
        if self.isdir(rpath):
            os.makedirs(lpath, exist_ok=True)  # noqa: PTH103
            return
        sink = FileSink(os.fspath(lpath), Requirement(), Control())
        try:
            self._get(rpath, sink)
        finally:
            sink.abort()
        callback.set_size(sink.size)
        callback.absolute_update(sink.size)

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_: Any
    ) -> None:
        """Stores a file of this machine, with its time where that can be kept."""
        if mode == "create" and self.exists(rpath):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), rpath)
        if os.path.isdir(lpath):  # noqa: PTH112
            self.makedirs(rpath, exist_ok=True)
            return
        path = os.fspath(lpath)
        info = os.stat(path)  # noqa: PTH116
        callback.set_size(info.st_size)
        self._put(rpath, lambda: FileSource(path, Requirement(), Control()), info.st_mtime_ns)
        callback.absolute_update(info.st_size)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copies at the server where it can, else through this machine."""
        if self.isdir(path1):
            self.makedirs(path2, exist_ok=True)
            return
        try:
            self._with(lambda backend: _copied(backend, self._at(path1).path, self._at(path2).path))
        except CannotCopy:
            with _Upload(self, path2, self._fetched(path1), True):
                pass

    # -- attempts ------------------------------------------------------------------------------------

    def _with(self, work: Callable[[Backend], T], connections: int = 1) -> T:
        """``work`` with a connection, which is kept unless something is wrong with it."""

        def once() -> T:
            backend = self._pool.lend(self._place.endpoint, connections)
            try:
                found = work(backend)
            except (Permanent, CannotCopy):
                self._pool.give_back(self._place.endpoint, connections, backend)
                raise
            except BaseException:
                backend.close()
                raise
            self._pool.give_back(self._place.endpoint, connections, backend)
            return found

        return self._tried(once)

    def _tried(self, work: Callable[[], T]) -> T:
        for pause in PAUSES:
            try:
                return work()
            except TransferError as error:
                if not error.retryable:
                    raise
            time.sleep(pause)
        return work()


def _copied(backend: Backend, source: str, target: str) -> None:
    """Raises ``CannotCopy`` where the server does no such thing."""
    required = Requirement("")
    if not isinstance(backend, Copies) or not backend.copies(backend, required):
        raise CannotCopy("no copies by this server")
    for job in backend.copy(iter([Job[None](source, target, required, None)]), backend, Control()):
        if job.error is not None:
            raise job.error


def _told(name: str, entry: Entry) -> dict[str, Any]:
    kind = "directory" if entry.directory else "file"
    told: dict[str, Any] = {"name": name, "type": kind, "size": 0 if entry.directory else entry.size}
    if entry.modified is not None:
        told["mtime"] = entry.modified / 1e9
    return told


class _Kept(NullSink):
    """Keeps what comes: in memory, or in a file without a name once it is large."""

    def __init__(self, url: str) -> None:
        super().__init__(url, Requirement(), Control())
        self.content: Any = io.BytesIO()

    def restart(self) -> None:
        super().restart()
        self.content = io.BytesIO()

    def write(self, data: Data) -> None:
        self.check.feed(data)
        self.content = _grown(self.content, len(data))
        self.content.write(data)


def _grown(content: Any, more: int) -> Any:
    """The same content, on disk once it is too large for memory."""
    if not isinstance(content, io.BytesIO) or content.tell() + more <= IN_MEMORY:
        return content
    at = content.tell()
    large = tempfile.NamedTemporaryFile()  # noqa: SIM115  closed by who gets it
    large.write(content.getbuffer())
    large.seek(at)
    return large


class _Upload(io.RawIOBase):
    """What is written, until it is stored at the close. A block that ends by an exception stores nothing."""

    def __init__(self, fs: PegasusFileSystem, path: str, content: Any, autocommit: bool) -> None:
        super().__init__()
        self.path = path
        self._fs = fs
        self._content = content
        self._autocommit = autocommit
        self._stored = False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        found: int = self._content.seek(offset, whence)
        return found

    def tell(self) -> int:
        found: int = self._content.tell()
        return found

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._content = _grown(self._content, len(view))
        self._content.write(view)
        return len(view)

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            self.discard()
        super().__exit__(kind, *rest)

    def close(self) -> None:
        if not self.closed:
            try:
                if self._autocommit:
                    self.commit()
            finally:
                super().close()

    def commit(self) -> None:
        """Stores it; called at the end of a transaction, too."""
        if self._stored:
            return
        self._stored = True
        url, content = self.path, self._content
        if isinstance(content, io.BytesIO):
            whole = content.getvalue()
            self._fs._put(self.path, lambda: MemorySource(url, whole, Requirement(), Control()))
        else:
            content.flush()
            self._fs._put(self.path, lambda: FileSource(content.name, Requirement(), Control()))
        self.discard()

    def discard(self) -> None:
        """Nothing is stored."""
        self._stored = True
        with suppress(OSError):
            self._content.close()


def _classes() -> Iterator[tuple[str, type[PegasusFileSystem]]]:
    """A class for each protocol, as fsspec looks them up: ``Sftp`` for ``pegasus+sftp``."""
    for scheme in known():
        if scheme not in NO_PLACES:
            name = class_name(scheme)
            yield name, type(name, (PegasusFileSystem,), {"scheme": scheme, "protocol": PREFIX + scheme})


def class_name(scheme: str) -> str:
    """Of the protocol's file system."""
    return scheme.capitalize()


globals().update(_classes())
