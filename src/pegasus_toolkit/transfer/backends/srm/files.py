"""What an SRM storage gives to the stories: whole files, which gfal2 copies."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

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
from pegasus_toolkit.transfer.clients.gfal.process import Gfal
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    IsDirectory,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Sink, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK

COPY_TIMEOUT = 24 * 3600  # seconds; a transfer that stands still is ended long before


class SrmFiles(PlainFiles):
    """One storage; ``gfal`` is another one once the first was closed."""

    def __init__(self, root: str, gfal: Gfal) -> None:
        super().__init__(Traits())
        self.root = root
        self.gfal = gfal

    def url(self, path: str) -> str:
        """As errors tell it, and gfal2."""
        return self.root + path

    def check(self, path: str) -> None:
        """gfal2 decodes ``%20`` and its like, and garbles what is not ASCII."""
        plain = unquote(path, errors="surrogateescape")
        if not plain.isascii() or any(c in plain for c in "\r\n\0"):
            text = "a name that gfal2 cannot carry over SRM: ASCII on one line"
            raise BadSpecification(text, url=self.root)

    def _call(self, verb: str, path: str, *arguments: str) -> Callable[[], Any]:
        self.check(path)
        url = self.url(path)
        return lambda: self.gfal.ask(verb, url, *arguments, url=url)

    def _copy(self, source: str, target: str, path: str, end: Sink | Source, writes: bool) -> Any:
        side: Any = "destination" if writes else "source"
        return self.gfal.ask(
            "copy", source, target, COPY_TIMEOUT, url=self.url(path), side=side, moved=_Watch(end)
        )

    # -- files -------------------------------------------------------------------------------------

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """Into the file that the sink names; through one of our own where it names none."""
        found = yield from self.stat(path)
        if found.directory:
            raise IsDirectory("is a directory", url=self.url(path), side="source")
        if found.size is not None:
            sink.announce(found.size)
        with tempfile.NamedTemporaryFile(prefix="pegasus-transfer-") as spool:  # 0600
            file = Path(sink.file or spool.name)
            yield lambda: self._copy(self.url(path), f"file://{file.absolute()}", path, sink, False)
            came = file.stat().st_size
            if found.size is not None and came != found.size:
                text = f"{came} bytes came, {found.size} expected"
                raise Corrupted(text, url=self.url(path), side="source")
            if sink.file is None:
                with file.open("rb") as content:
                    while data := content.read(BLOCK):
                        sink.write(data)

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """A copy, and a look at what came of it."""
        file = sending.source.file
        self.check(name)
        if file is None:
            raise Unsupported("can only take whole local files", url=self.url(name))
        local = Path(file).absolute()
        try:
            yield lambda: self._copy(
                f"file://{local}", self.url(name), sending.job.path, sending.source, True
            )
        except Cancelled:
            raise
        except TransferError as error:
            raise perhaps(error, "parent", "name") from None
        sending.sent = local.stat().st_size
        sending.require_whole(self.url(sending.job.path))
        return Stored((yield from self.stat(name)).size)

    def stat(self, path: str) -> Steps[Found]:
        """Raises ``NotFound``."""
        return _found((yield self._call("stat", path)))

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        """The storage's own, where it keeps one of that kind."""
        with suppress(TransferError):
            return str((yield self._call("checksum", path, algorithm.upper()))).lower()
        return ""

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """SRM's own renames over nothing; other storage behind gfal2 may."""
        self.check(old)
        self.check(new)
        before, after = self.url(old), self.url(new)
        try:
            yield lambda: self.gfal.ask("rename", before, after, url=after, side="destination")
        except Cancelled:
            raise
        except TransferError as error:
            raise perhaps(error, "exists") from None

    def unlink(self, path: str) -> Steps[None]:
        """A file."""
        yield self._call("unlink", path)

    # -- directories -------------------------------------------------------------------------------

    def make(self, path: str) -> Steps[bool]:
        """With its parents; content if it is there."""
        if not path.endswith("SFN="):
            yield self._call("mkdir", path)
        return True

    def rmdir(self, path: str) -> Steps[None]:
        """An empty one."""
        yield self._call("rmdir", path)

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """All at once."""
        told = yield self._call("list", path)
        return Page([_found(one)._replace(name=quote(one[0])) for one in told])


def _found(told: Any) -> Found:
    _, size, directory = told
    return Found("", bool(directory), None if directory else int(size))


class _Watch:
    """Tells the engine of bytes that pass by its ends: that there is progress, and how much."""

    def __init__(self, end: Sink | Source) -> None:
        self.control = getattr(getattr(end, "check", None), "control", None)
        self.before = 0

    def __call__(self, total: int) -> None:
        """``total``: bytes so far. Raises once the run is told to stop."""
        if self.control is not None:
            self.control.spend(max(0, total - self.before))
        self.before = max(self.before, total)
