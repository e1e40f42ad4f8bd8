"""The primitives: requests to Globus' Transfer service, and files of the local collection."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

from pegasus_toolkit.transfer.backends.globus.errors import NOTHING_LEFT
from pegasus_toolkit.transfer.backends.globus.site import Place, Service
from pegasus_toolkit.transfer.backends.globus.tasks import PAGE, Delete, Move
from pegasus_toolkit.transfer.backends.shared.files import (
    Found,
    Page,
    PlainFiles,
    Sending,
    Stored,
    Traits,
    may,
    perhaps,
)
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    IsDirectory,
    NotFound,
    TransferError,
    Unsupported,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Settings, Sink, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK

KINDS = {"dir": True, "file": False}


class GlobusFiles(PlainFiles):
    """One collection's files. What is not in a collection goes by way of the local one."""

    def __init__(self, endpoint: Endpoint, service: Service, settings: Settings) -> None:
        super().__init__(Traits(replaces=False))  # Globus' rename refuses where something stands
        self.collection = endpoint.authority
        self.service = service
        self.noted = partial(settings.notes.aside, endpoint)

    def url(self, path: str) -> str:
        """There is no secret in it."""
        return f"go://{self.collection}{path}"

    def check(self, path: str) -> None:
        """What Globus would take for another path."""
        if any(part in (".", "..") for part in path.split("/")):
            raise BadSpecification("Globus takes no . or .. in a path", url=self.url(path))

    def there(self, path: str) -> Place:
        """As Globus has it."""
        return Place(self.collection, path)

    # -- between here and there --------------------------------------------------------------------

    def local(self, path: str) -> tuple[Path, Place]:
        """A new private file that Globus sees as well, and its name there. Raises ``Unsupported``."""
        found = self.service.found
        if not found.collection:
            raise Unsupported(
                "no local collection: Globus moves files between collections only",
                url=self.url(path),
                hint=f"name one that serves a directory of this machine in section [local] of {found.origin}",
            )
        name = f".pegasus-transfer-{os.urandom(12).hex()}"
        return Path(found.directory, name), Place(found.collection, f"{found.path}/{name}")

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """Into the local collection, and from there by a task."""
        seen = self._seen(sending.source.file)
        here, place = (None, seen) if seen is not None else self.local(name)
        try:
            try:
                self._staged(sending, here)
            except TransferError as error:
                raise perhaps(error, NOTHING_LEFT) from None
            control = sending.source.control

            def check(moved: int) -> None:
                if control.stop is not None:
                    raise control.stop

            size = yield Move(place, self.there(name), check)
            return Stored(size)
        finally:
            if here is not None:
                here.unlink(missing_ok=True)

    def _staged(self, sending: Sending, here: Path | None) -> None:
        """All of the source into ``here``; ``None``: Globus reads the file itself."""
        try:
            with _opened(here, "xb") if here is not None else nullcontext() as file:
                while data := sending.source.read(BLOCK):
                    sending.sent += len(data)
                    if file is not None:
                        file.write(data)
        except OSError as error:
            raise from_oserror(error, url=str(here or ""), side="source") from error
        sending.require_whole(self.url(sending.job.path))

    def _seen(self, file: str | None) -> Place | None:
        """The place in the local collection of a file of ours, where it is in that."""
        found = self.service.found
        if file is None or not found.collection:
            return None
        real, top = os.path.realpath(file), os.path.realpath(found.directory)
        return Place(found.collection, found.path + real[len(top) :]) if real.startswith(f"{top}/") else None

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """By a task into the local collection, and from there."""
        here, place = self.local(path)
        try:
            try:
                size = yield Move(self.there(path), place, lambda moved: sink.passed(0))
            except TransferError as error:
                raise (yield from self.blamed(error, path)) from error
            sink.announce(size)
            with _opened(here, "rb") as file:
                while data := file.read(BLOCK):
                    self.service.sleep(0)  # raises once closed
                    sink.write(data)
        finally:
            with suppress(OSError):
                here.unlink(missing_ok=True)

    def blamed(self, error: TransferError, path: str) -> Steps[TransferError]:
        """The error with its file; where the source is a directory, that is what is wrong."""
        found = None
        if may(error, NOTHING_LEFT) and not error.retryable:
            with suppress(TransferError):
                found = yield from self.stat(path)
        if found is not None and found.directory:
            return perhaps(IsDirectory("a directory", url=self.url(path), side="source"), NOTHING_LEFT)
        again = type(error)(
            error.message, url=self.url(path), host=error.host, hint=error.hint, side=error.side
        )
        return perhaps(again, *error.perhaps)

    # -- requests --------------------------------------------------------------------------------------

    def _call(self, path: str, work: Callable[[Any], Any]) -> Callable[[], Any]:
        return lambda: self.service.ask(self.url(path), self.collection, work)

    def stat(self, path: str) -> Steps[Found]:
        """Links are followed."""
        told = yield self._call(path, lambda client: client.operation_stat(self.collection, path or "/"))
        return _found(told)._replace(name="")

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """What stands there is refused; by which code is not documented."""
        try:
            yield self._call(old, lambda client: client.operation_rename(self.collection, old, new))
        except NotFound:
            raise
        except TransferError as error:
            raise perhaps(error, "exists") from None

    def unlink(self, path: str) -> Steps[None]:
        """With others, in one task."""
        yield Delete(self.there(path), recursive=False)

    def make(self, path: str) -> Steps[bool]:
        """One directory."""
        try:
            yield self._call(path, lambda client: client.operation_mkdir(self.collection, path))
        except TransferError as error:
            if may(error, "exists"):
                return False
            raise
        return True

    def rmdir(self, path: str) -> Steps[None]:
        """Globus removes directories with what is in them only."""
        yield Delete(self.there(path), recursive=True)

    def clear(self, path: str) -> Steps[bool]:
        """With all that is in it, with others, in one task."""
        if path.rstrip("/") in ("", "/~", "~"):
            raise Denied("all that a collection holds is not removed", url=self.url(path))
        yield Delete(self.there(path), recursive=True)
        return True

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """A page."""
        offset = more or 0

        def look(client: Any) -> list[Found]:
            told = client.operation_ls(self.collection, path or "/", limit=PAGE, offset=offset)
            return [_found(one) for one in told]

        found = yield self._call(path, look)
        return Page(found, offset + len(found) if len(found) == PAGE else None)


class CopyFiles(GlobusFiles):
    """The destination of copies from one collection to another. A task outlives us: the journal keeps which
    it was, and the name that it writes to, so that a run after a kill finds it again."""

    def __init__(self, reader: GlobusFiles, endpoint: Endpoint, settings: Settings, control: Control) -> None:
        super().__init__(endpoint, reader.service, settings)
        self.reader = reader
        self.control = control
        self.notes = control.notes
        self.noted = lambda path, name: None  # a task that was found again must find its files, too
        self._again: dict[str, str] = {}  # name that an earlier run gave, by path

    def fact(self, source: str, destination: str) -> tuple[str, ...]:
        """What the journal has the submission under."""
        return "globus", self.reader.collection, source, self.collection, destination

    def aside(self, path: str, naming: int) -> str:
        """The name that an earlier run gave."""
        return self._again.get(path, "") or super().aside(path, naming)

    def begin(self, job: Job[None]) -> Copying:
        """What is to be copied, and what the journal knows of it."""
        fact = self.fact(job.path, job.destination)
        submission, _, name = self.notes.kept(*fact).partition(" ")
        if name:
            self._again[job.destination] = name
        return Copying(job, fact, submission)

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """By a task, which compares the checksum of what it wrote with that of what it read."""
        assert isinstance(sending, Copying)
        self._again.pop(sending.job.path, None)  # the next name is for something else
        required, digest = sending.job.required, None
        if required.digest:
            digest = (required.algorithm, required.digest)

        def check(moved: int) -> None:
            self.control.spend(moved)

        source = self.reader.there(sending.path)
        try:
            size = yield Move(
                source,
                self.there(name),
                check,
                digest=digest,
                fact=sending.fact,
                submission=sending.submission,
            )
        except TransferError as error:
            told = yield from self.reader.blamed(error, sending.path)
            if digest is not None and isinstance(told, Corrupted):
                told.message += f" ({digest[0]} {digest[1]} expected)"
            raise told from error
        if required.size not in (None, size):
            text = f"{size} bytes, {required.size} expected"
            raise perhaps(Corrupted(text, url=self.reader.url(sending.path), side="source"), NOTHING_LEFT)
        sending.sent = size
        sending.job.stored += ("digest",)
        return Stored(size, proven=digest is not None)


class Copying(Sending):
    """One file on its way from collection to collection."""

    def __init__(self, job: Job[None], fact: tuple[str, ...], submission: str) -> None:
        super().__init__(Job[Source](job.destination, "", job.required, None))  # type: ignore[arg-type]
        self.path = job.path
        self.fact = fact
        self.submission = submission

    def rewind(self) -> bool:
        """Always."""
        self.sent = 0
        return True

    def demanded(self) -> list[tuple[str, str | None]]:
        """Globus has compared it."""
        return []


def _opened(path: Path, mode: Literal["xb", "rb"]) -> IO[bytes]:
    """0600; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL if mode == "xb" else os.O_RDONLY | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb" if mode == "xb" else "rb")


def _found(told: Any) -> Found:
    directory = KINDS.get(str(told.get("type") or ""))
    size, modified = told.get("size"), None
    with suppress(TypeError, ValueError, LookupError):
        modified = int(datetime.fromisoformat(str(told["last_modified"])).timestamp()) * 10**9
    return Found(
        str(told.get("name") or ""),
        bool(directory),
        None if directory or size is None else int(size),
        modified=modified,
        special="" if directory is not None else f"no file: {told.get('type') or 'its type is not told'}",
    )
