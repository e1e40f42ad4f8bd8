"""Every protocol that fsspec knows and that has no module here: the open door.

Where the filesystem can rename, a file is written aside and renamed; where it cannot (an object store), the
content is verified before its first byte goes there. The path of a chain
(``zip://inner/path::/local/archive.zip``) is all of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.schemes import known
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.backends.shared.blocking import BlockingBackend, BlockingFiles
from pegasus_toolkit.transfer.backends.shared.files import Found, Page, Sending, Stored, Traits
from pegasus_toolkit.transfer.backends.shared.runner import Last, Steps
from pegasus_toolkit.transfer.errors import (
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
from pegasus_toolkit.transfer.interface import Abilities, Backend, Endpoint, Settings, Sink
from pegasus_toolkit.transfer.streams.checked import BLOCK

core: Any = import_module("fsspec.core")
registry: Any = import_module("fsspec.registry")
spec: Any = import_module("fsspec.spec")

Action = Callable[[Any, str], Any]  # with the filesystem and the name there

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


class FsspecFiles(BlockingFiles):
    """The primitives; each is a few calls."""

    def __init__(self, endpoint: Endpoint, settings: Settings, can_rename: bool) -> None:
        super().__init__(endpoint, settings, Traits(renames=can_rename))
        self._credentials = settings.credentials
        self._filesystems: dict[str, Any] = {}  # by what follows "::"
        self._last: tuple[str, tuple[Any, str]] = ("\0", (None, ""))  # what was found for the last path

    def split(self, path: str) -> tuple[str, str]:
        """The rest of a chain is no part of the name."""
        plain, mark, chain = path.partition("::")
        return plain, mark + chain

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """In blocks; a whole that was found right where the name is seen at once."""
        if not self.traits.renames:
            return (yield from self._write_whole(sending, name))
        file = yield self._call(name, lambda fs, at: fs.open(at, "wb"), "parent", "name")

        def finish(fs: Any, at: str) -> Found:
            file.write(data)
            file.close()
            fs.invalidate_cache()
            return _found(fs.info(at))

        try:
            data = sending.source.read(BLOCK)
            while data:
                sending.sent += len(data)
                if not (following := sending.source.read(BLOCK)):
                    break
                yield self._call(name, partial(_write, file, data))
                data = following
            sending.require_whole(self.url(sending.job.path))
            stored = yield self._call(name, finish)
        except (TransferError, OSError):
            yield Last(lambda: _quietly(file.close))
            raise
        return Stored(stored.size)

    def _write_whole(self, sending: Sending, name: str) -> Steps[Stored]:
        """Nothing goes there before the source was read to its end and found right."""
        with tempfile.NamedTemporaryFile(prefix="pegasus-transfer-") as spool:  # 0600
            while data := sending.source.read(BLOCK):
                sending.sent += len(data)
                spool.write(data)
            sending.require_whole(self.url(sending.job.path))
            spool.flush()

            def store(fs: Any, at: str) -> None:
                if sending.sent <= IN_MEMORY:
                    spool.seek(0)
                    fs.pipe_file(at, spool.read())
                else:
                    fs.put_file(spool.name, at)

            if (yield self._call(name, lambda fs, at: fs.isdir(at))):
                raise IsDirectory("a directory is there", url=self.url(name), side="destination")
            yield self._call(name, store)
        return Stored((yield from self._fresh(name)).size)

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """In blocks."""
        found = yield self._call(path, lambda fs, name: _found(fs.info(name)))
        if found.directory:
            raise IsDirectory("a directory", url=self.url(path), side="source")
        if found.size is not None:
            sink.announce(found.size)
        file, data = yield self._call(path, _begin)
        try:
            while data:
                sink.write(data)
                data = yield self._call(path, lambda fs, name: file.read(BLOCK))
        finally:
            yield Last(lambda: _quietly(file.close))  # whatever it says now, the bytes are here

    def stat(self, path: str) -> Steps[Found]:
        """Links are followed by most drivers."""
        return (yield from self._fresh(path))

    def _fresh(self, path: str) -> Steps[Found]:
        """What no cache says."""

        def look(fs: Any, name: str) -> Found:
            fs.invalidate_cache()
            return _found(fs.info(name))

        found: Found = yield self._call(path, look)
        return found

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """Whether a rename replaces is the driver's to say: not all do, and not all tell."""

        def move(fs: Any, name: str) -> None:
            _, target = self._find(new)
            if fs.isdir(target):  # into which some would move it
                raise IsDirectory("a directory is there", url=self.url(new), side="destination")
            if not replace and fs.exists(target):
                raise Denied("a file is there", url=self.url(new), side="destination")
            fs.mv(name, target)
            fs.invalidate_cache()
            if fs.exists(name):
                raise ServerFault("the rename did nothing", url=self.url(new), side="destination")

        yield self._call(old, move, "exists")

    def unlink(self, path: str) -> Steps[None]:
        """A file."""
        yield self._call(path, lambda fs, name: fs.rm_file(name))

    def make(self, path: str) -> Steps[bool]:
        """With its parents; an object store has none."""

        def make(fs: Any, name: str) -> None:
            with suppress(NotImplementedError):
                fs.makedirs(name, exist_ok=True)

        yield self._call(path, make)
        return True

    def rmdir(self, path: str) -> Steps[None]:
        """An empty directory."""
        yield self._call(path, lambda fs, name: fs.rmdir(name))

    def clear(self, path: str) -> Steps[bool]:
        """The drivers know how; but many take a name with ``*``, ``?`` or ``[`` for a pattern."""
        if any(mark in self.split(path)[0] for mark in "*?["):
            return False
        yield self._call(path, lambda fs, name: fs.rm(name, recursive=True))
        return True

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """All at once. A name that is not below the directory is an error."""

        def look(fs: Any, name: str) -> list[Found]:
            fs.invalidate_cache()
            top, found = name.strip("/"), []
            for info in fs.ls(name, detail=True):
                one = str(info["name"]).strip("/")
                if one == top:  # an object that stands for the directory, or a file
                    continue
                if top and not one.startswith(f"{top}/"):
                    text = f"the listing has an entry that leads elsewhere: {one!r}"
                    raise ServerFault(text, url=self.url(path))
                found.append(_found(info)._replace(name=one[len(top) :].lstrip("/")))
            if not found and not fs.isdir(name):
                raise NotFound("no such directory", url=self.url(path))
            return found

        return Page((yield self._call(path, look)))

    # -- fsspec ------------------------------------------------------------------------------------

    def _call(self, path: str, action: Action, *why: str) -> Callable[[], Any]:
        return self.call(path, lambda: action(*self._find(path)), *why)

    def _find(self, path: str) -> tuple[Any, str]:
        """The filesystem of a path, and its name there."""
        if path == self._last[0]:
            return self._last[1]
        url = f"{self.endpoint.scheme}://{self.endpoint.authority}{path}"
        chain = url.partition("::")[2]
        fs = self._filesystems.get(chain)
        if fs is None:
            for layer in chain.split("::"):
                if layer.partition("://")[0] in REFUSED - {"file"}:
                    raise Unsupported(f"fsspec's {layer} is not served", url=self.url(path))
            fs, _ = core.url_to_fs(url, **options(url, self.endpoint.site, self._credentials))
            self._filesystems[chain] = fs
        self._last = path, (fs, fs._strip_protocol(url.partition("::")[0]))
        return self._last[1]

    def translated(self, error: Exception, path: str) -> TransferError:
        """Errors of any library: its own say little by their type, so most may pass."""
        if isinstance(error, OSError):
            return self._from_oserror(error, path)
        told = redact.message(str(error))
        if isinstance(error, (NotImplementedError, ImportError)):
            text = f"fsspec's {self.endpoint.scheme} cannot do that: {told}"
            return Unsupported(text, url=self.url(path))
        text = f"{type(error).__name__}: {told}"
        return ServerFault(text, url=self.url(path), host=self.endpoint.host)

    def _from_oserror(self, error: OSError, path: str) -> TransferError:
        """Many libraries raise the right type without its number."""
        for kind, ours, text in BY_TYPE:
            if error.errno is None and isinstance(error, kind):
                return ours(text, url=self.url(path), host=self.endpoint.host)
        found = from_oserror(error, url=self.url(path), host=self.endpoint.host)
        found.message = redact.message(found.message)
        return found


class FsspecAny(BlockingBackend):
    """One authority of one protocol, through fsspec, one request at a time."""

    abilities = Abilities()
    served_by = "fsspec"

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        kind = registry.get_filesystem_class(endpoint.scheme)
        super().__init__(FsspecFiles(endpoint, settings, renames(kind)), calls=0)

    def mkdir(self, path: str) -> None:
        """Makes the directory and its parents; an object store may show nothing of it."""
        self.runner().one(self.files.make(path))


def _found(info: dict[str, Any]) -> Found:
    kind, size = info.get("type"), info.get("size")
    directory = {"directory": True, "file": False}.get(str(kind))
    return Found("", directory, None if directory or size is None else int(size))


def _begin(fs: Any, name: str) -> tuple[Any, bytes]:
    file = fs.open(name, "rb")
    return file, file.read(BLOCK)


def _write(file: Any, data: bytes, fs: Any, name: str) -> None:
    file.write(data)


def _quietly(action: Callable[[], Any]) -> None:
    with suppress(Exception):  # the first error counts
        action()


def renames(kind: Any) -> bool:
    """Whether a move is more than a copy and a removal in that class of filesystems."""
    return kind.mv is not spec.AbstractFileSystem.mv


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
