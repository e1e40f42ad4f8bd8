"""Every protocol that fsspec knows and that has no module here: the open door.

Files go one by one, in streams. Where the filesystem can rename, a file is written aside and renamed;
where it cannot (an object store), the content is verified before its first byte goes there, and the size
of what is stored is looked at afterwards. The path of a chain (``zip://inner/path::/local/archive.zip``)
is all of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.schemes import known
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.backends.onebyone import OneByOne
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    Denied,
    IsDirectory,
    NotFound,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Job,
    Settings,
    Sink,
    Source,
)
from pegasus_toolkit.transfer.streams.checked import BLOCK

core: Any = import_module("fsspec.core")
registry: Any = import_module("fsspec.registry")
spec: Any = import_module("fsspec.spec")

# Not storage but a layer over another, or (reference) a template of a stranger's that is evaluated.
REFUSED = frozenset(
    (
        *("async_wrapper", "asyncwrapper", "blockcache", "cached", "dask", "dir", "file", "filecache"),
        *("generic", "pyscript", "reference", "simplecache"),
    )
)
BY_TYPE: tuple[tuple[type[OSError], type[TransferError], str], ...] = (
    (FileNotFoundError, NotFound, "no such file"),
    (NotADirectoryError, NotFound, "no such file"),
    (PermissionError, Denied, "no permission"),
    (IsADirectoryError, IsDirectory, "a directory"),
    (ConnectionRefusedError, Unreachable, "no connection"),
    (TimeoutError, TimedOut, "no answer in time"),
)
IN_MEMORY = 8 << 20  # bytes of a file that is not kept on disk before it goes to an object store


class FsspecAny(OneByOne):
    """One authority of one protocol, through fsspec."""

    abilities = Abilities()
    served_by = "fsspec"

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self._credentials = settings.credentials
        self._filesystems: dict[str, Any] = {}  # by what follows "::"
        self._closed = False

    # -- verbs -------------------------------------------------------------------------------------

    def load(self, path: str, sink: Sink) -> None:
        """Reads the file into the sink."""
        fs, name = self._find(path)
        with self._translated(path):
            info = fs.info(name)
        if info.get("type") == "directory":
            raise IsDirectory("a directory", url=self._url(path), side="source")
        if info.get("size") is not None:
            sink.announce(int(info["size"]))
        with self._translated(path):
            file = fs.open(name, "rb")
        try:
            while True:
                with self._translated(path):
                    data = file.read(BLOCK)
                if not data:
                    return
                self._going(path)
                sink.write(data)
        finally:
            with suppress(Exception):  # whatever it says now, the bytes are here
                file.close()

    def save(self, job: Job[Source]) -> None:
        """Writes aside and renames, or stores what was verified before."""
        fs, name = self._find(job.path)
        with self._translated(job.path):
            if fs.isdir(name):
                raise IsDirectory("a directory is there", url=self._url(job.path), side="destination")
            self._parents(fs, name)
        if renames(fs):
            self._save_aside(fs, name, job)
        else:
            self._save_whole(fs, name, job)

    def _save_aside(self, fs: Any, name: str, job: Job[Source]) -> None:
        parent = name.rpartition("/")[0]
        aside = f"{parent}/.{os.urandom(8).hex()}.part" if parent else f".{os.urandom(8).hex()}.part"
        try:
            with self._translated(job.path):
                file = fs.open(aside, "wb")
            try:
                size = self._pour(job, file.write)
            finally:
                with self._translated(job.path):
                    file.close()
            self._check_size(fs, aside, size, job)
            with self._translated(job.path):
                fs.mv(aside, name)
        except BaseException:
            with suppress(Exception):  # the first error counts
                fs.rm_file(aside)
            raise

    def _save_whole(self, fs: Any, name: str, job: Job[Source]) -> None:
        """Nothing goes there before the source was read to its end and found right."""
        with tempfile.NamedTemporaryFile(prefix="pegasus-transfer-") as spool:  # 0600
            size = self._pour(job, spool.write)
            spool.flush()
            self._going(job.path)
            with self._translated(job.path):
                if size <= IN_MEMORY:
                    spool.seek(0)
                    fs.pipe_file(name, spool.read())
                else:
                    fs.put_file(spool.name, name)
        self._check_size(fs, name, size, job)

    def _pour(self, job: Job[Source], write: Any) -> int:
        size = 0
        for block in job.end:
            self._going(job.path)
            with self._translated(job.path):
                write(block)
            size += len(block)
        expected = job.end.size if job.end.size is not None else job.required.size
        if expected not in (None, size):
            raise Corrupted(f"{size} bytes came, {expected} expected", url=self._url(job.path), side="source")
        return size

    def _check_size(self, fs: Any, name: str, size: int, job: Job[Source]) -> None:
        with self._translated(job.path):
            fs.invalidate_cache()
            found = fs.info(name).get("size")
        if found not in (None, size):
            message = f"{found} bytes are stored, {size} were sent"
            raise Corrupted(message, url=self._url(job.path), side="destination")

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it."""
        for path in paths:
            error: TransferError | None = None
            try:
                self._remove(path, recursive)
            except TransferError as raised:
                error = None if isinstance(raised, NotFound) else raised
            yield path, error

    def _remove(self, path: str, recursive: bool) -> None:
        self._going(path)
        fs, name = self._find(path)
        with self._translated(path):
            fs.invalidate_cache()
            directory = fs.info(name).get("type") == "directory"
            if directory and not recursive:
                raise IsDirectory("a directory", url=self._url(path))
            if directory:
                fs.rm(name, recursive=True)
            else:
                fs.rm_file(name)

    def mkdir(self, path: str) -> None:
        """Makes the directory and its parents."""
        fs, name = self._find(path)
        with self._translated(path):
            fs.makedirs(name, exist_ok=True)

    def stat(self, path: str) -> Entry:
        """Raises ``NotFound``."""
        fs, name = self._find(path)
        with self._translated(path):
            fs.invalidate_cache()
            info = fs.info(name)
        directory = info.get("type") == "directory"
        return Entry(path, None if directory else info.get("size"), directory)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, and empty directories."""
        fs, name = self._find(prefix)
        plain, mark, chain = prefix.partition("::")
        with self._translated(prefix):
            fs.invalidate_cache()
            if not fs.isdir(name):
                raise NotFound("no such directory", url=self._url(prefix))
            found: dict[str, dict[str, Any]] = fs.find(name, detail=True, withdirs=True)
        parents = {one.rstrip("/").rpartition("/")[0] for one in found}
        for one, info in sorted(found.items()):
            below = one.rstrip("/")[len(name.rstrip("/")) :].lstrip("/")
            directory = info.get("type") == "directory"
            if below and not (directory and one.rstrip("/") in parents):
                size = None if directory else info.get("size")
                yield Entry(f"{plain.rstrip('/')}/{below}{mark}{chain}", size, directory)

    def close(self) -> None:
        """From any thread; what is under way ends at its next block."""
        self._closed = True

    # -- fsspec ------------------------------------------------------------------------------------

    def _find(self, path: str) -> tuple[Any, str]:
        """The filesystem of a path, and its name there."""
        self._going(path)
        url = f"{self.endpoint.scheme}://{self.endpoint.authority}{path}"
        chain = url.partition("::")[2]
        fs = self._filesystems.get(chain)
        if fs is None:
            for layer in chain.split("::"):
                if layer.partition("://")[0] in REFUSED - {"file"}:
                    raise Unsupported(f"fsspec's {layer} is not served", url=self._url(path))
            with self._translated(path):
                fs, _ = core.url_to_fs(url, **options(url, self.endpoint.site, self._credentials))
            self._filesystems[chain] = fs
        return fs, fs._strip_protocol(url.partition("::")[0])

    def _parents(self, fs: Any, name: str) -> None:
        if parent := name.rpartition("/")[0]:
            with suppress(NotImplementedError):  # an object store has none
                fs.makedirs(parent, exist_ok=True)

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Errors of any library as ours: its own say little by their type, so most may pass."""
        try:
            yield
        except TransferError:
            raise
        except OSError as error:
            raise self._from_oserror(error, path) from error
        except (NotImplementedError, ImportError) as error:
            message = f"fsspec's {self.endpoint.scheme} cannot do that: {redact.message(str(error))}"
            raise Unsupported(message, url=self._url(path)) from error
        except Exception as error:
            text = f"{type(error).__name__}: {redact.message(str(error))}"
            raise ServerFault(text, url=self._url(path), host=self.endpoint.host) from error

    def _from_oserror(self, error: OSError, path: str) -> TransferError:
        """Many libraries raise the right type without its number."""
        for kind, ours, text in BY_TYPE:
            if error.errno is None and isinstance(error, kind):
                return ours(text, url=self._url(path), host=self.endpoint.host)
        found = from_oserror(error, url=self._url(path), host=self.endpoint.host)
        found.message = redact.message(found.message)
        return found

    def _going(self, path: str) -> None:
        if self._closed:
            raise Cancelled("the connection was closed", url=self._url(path))

    def _url(self, path: str) -> str:
        return redact.url(f"{self.endpoint.scheme}://{self.endpoint.authority}{path}")


def renames(fs: Any) -> bool:
    """Whether a move is more than a copy and a removal there."""
    return type(fs).mv is not spec.AbstractFileSystem.mv


def options(url: str, site: str, credentials: Credentials) -> dict[str, dict[str, Any]]:
    """What the credentials file says of each part of a chain, by protocol, as fsspec wants it."""
    found = {}
    for part in url.split("::"):
        scheme, separator, rest = part.partition("://")
        if separator and (values := credentials.options(scheme, rest.partition("/")[0], site)):
            found[scheme] = {key: _value(value.reveal()) for key, value in values.items()}
    return found


def _value(text: str) -> str | int | bool:
    """Numbers, yes and no as what they are."""
    if text.isascii() and text.isdigit():
        return int(text)
    return {"yes": True, "true": True, "no": False, "false": False}.get(text.lower(), text)


def open_backend(endpoint: Endpoint, settings: Settings) -> FsspecAny:
    """A filesystem of fsspec's. Raises ``Unsupported`` where it has none, or its driver is missing."""
    scheme = endpoint.scheme
    if scheme in REFUSED or scheme not in registry.available_protocols():
        raise Unsupported(
            f"no protocol {scheme!r} here, nor in fsspec", hint=f"known are: {', '.join(known())}"
        )
    try:
        registry.get_filesystem_class(scheme)
    except ImportError as error:
        text = redact.message(str(error))
        raise Unsupported(f"{scheme}: fsspec needs a package that is not installed", hint=text) from error
    return FsspecAny(endpoint, settings)


_backend: type[Backend] = FsspecAny
