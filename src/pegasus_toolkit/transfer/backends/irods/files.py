"""What an iRODS server gives to the stories: data objects and collections.

A server's sha2 checksum is registered with each upload, and compared.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from irods import keywords
from irods.models import Collection, DataObject

from pegasus_toolkit.transfer.backends.irods import errors, lanes, messages
from pegasus_toolkit.transfer.backends.irods.lanes import PART, Lane
from pegasus_toolkit.transfer.backends.irods.site import agreed
from pegasus_toolkit.transfer.backends.shared.blocking import BlockingFiles
from pegasus_toolkit.transfer.backends.shared.files import Found, Page, Sending, Stored, Traits, perhaps
from pegasus_toolkit.transfer.backends.shared.runner import All, Last, Steps, Wait
from pegasus_toolkit.transfer.errors import (
    Corrupted,
    IsDirectory,
    NoSpace,
    NotFound,
    ServerFault,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Endpoint, Job, Settings, Sink, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK

SMALL = 4 << 20  # bytes, up to which an object goes in one request
GOOD = "1"  # status of a replica that is whole and not stale


class IrodsSending(Sending):
    """A small file is read at once, and can be sent again; a larger one is read as it is sent."""

    def __init__(self, job: Job[Source]) -> None:
        super().__init__(job)
        size = self.source.size
        self.head = b"" if size is not None and size > SMALL else self.take(SMALL + 1)
        self.small = len(self.head) <= SMALL and (size is None or size <= SMALL)

    def take(self, size: int) -> bytes:
        """The next bytes; fewer only at the end."""
        found, left = [], size
        while left and (block := self.source.read(min(left, BLOCK))):
            found.append(block)
            left -= len(block)
        return b"".join(found)

    @property
    def repeatable(self) -> bool:
        return self.small

    def rewind(self) -> bool:
        self.sent = 0 if self.small else self.sent
        return not self.sent


class IrodsFiles(BlockingFiles):
    """The primitives; each is a few calls of the library."""

    def __init__(self, endpoint: Endpoint, settings: Settings, session: Any, resource: str) -> None:
        super().__init__(endpoint, settings, Traits(replaces=False))
        self.session = session
        self._at = {keywords.DEST_RESC_NAME_KW: resource} if resource else {}

    # -- content -----------------------------------------------------------------------------------

    def sending(self, job: Job[Source]) -> Sending:
        """A small one is read now."""
        found = IrodsSending(job)
        if found.small:
            found.sent = len(found.head)
            found.require_whole(self.url(job.path))
            found.sent = 0
        return found

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """A small one in one request, another in blocks. The server takes its checksum of the whole."""
        assert isinstance(sending, IrodsSending)
        try:
            return (yield from (self._put if sending.small else self._pour)(sending, name))
        except Corrupted as error:
            error.side = error.side or "destination"
            raise

    def _put(self, sending: IrodsSending, name: str) -> Steps[Stored]:
        """The server compares the checksum before it says that it has it."""
        digest = _sha256_of(sending)
        told = "sha2:" + base64.b64encode(bytes.fromhex(digest)).decode()
        checksum = {keywords.VERIFY_CHKSUM_KW: told} if digest else {keywords.REG_CHKSUM_KW: ""}
        sending.sent = len(sending.head)

        def put() -> None:
            with self.session.pool.get_connection() as connection:
                messages.put(connection, name, sending.head, {**checksum, **self._at})

        yield self._call(name, put, "parent")
        if digest:
            sending.job.stored += ("digest",)
        return Stored(sending.sent, bool(digest))

    def _pour(self, sending: IrodsSending, name: str) -> Steps[Stored]:
        options = {keywords.REG_CHKSUM_KW: "", **self._at}
        size = sending.source.size
        begin = partial(lanes.opened, self.session, name, "w", size, options)
        opened: list[Lane] = yield self._call(name, begin, "parent")
        try:
            answers = yield All(self._parts_of(sending, name, opened), len(opened), together=True)
            _raise_first(answers)
            sending.require_whole(self.url(sending.job.path))
        except (TransferError, OSError):
            yield Last(self._call(name, partial(_quietly, opened)))
            raise
        yield self._call(name, partial(lanes.close, opened))
        found = yield self._call(name, partial(self._look, name))
        return Stored(found.size, self._proven(sending, found))

    def _parts_of(self, sending: IrodsSending, name: str, opened: list[Lane]) -> Iterator[Steps[None]]:
        """As many under way as there are connections."""
        free, data = list(opened), sending.head or sending.take(PART)

        def part(offset: int, data: bytes) -> Steps[None]:
            lane = free.pop()
            try:
                yield self._call(name, partial(lane.write, offset, data))
            finally:
                free.append(lane)

        while data:
            offset = sending.sent
            sending.sent += len(data)
            yield part(offset, data)
            data = sending.take(PART)

    def _proven(self, sending: Sending, found: Found) -> bool:
        """Whether the checksum that the server has registered is that of what was sent."""
        digest = _sha256_of(sending)
        if found.digest is None or not digest:
            return False
        if found.digest[1] != digest:
            text = f"the server's checksum is {found.digest[1]}, what was sent has {digest}"
            raise Corrupted(text, url=self.url(sending.job.path))
        sending.job.stored += ("digest",)
        return True

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """A small one in one request. The registered checksum must be that of what comes."""
        found = yield self._call(path, lambda: self._look(path))
        if found.directory:
            raise IsDirectory("a collection", url=self.url(path), side="source")
        sink.announce(found.size)
        if found.digest is not None:
            sink.expect(*found.digest)
        if found.size > SMALL:
            yield from self._drain(path, found.size, sink)
            return

        def get() -> bytes:
            with self.session.pool.get_connection() as connection:
                return messages.get(connection, path)

        if found.size:
            sink.write((yield self._call(path, get)))

    def _drain(self, path: str, size: int, sink: Sink) -> Steps[None]:
        """In parts, which are handed on in their order."""
        begin = partial(lanes.opened, self.session, path, "r", size, {})
        opened: list[Lane] = yield self._call(path, begin)
        free = list(opened)

        def part(offset: int, before: Wait | None, over: Wait) -> Steps[None]:
            lane, wanted = free.pop(), min(PART, size - offset)
            try:
                data = yield self._call(path, partial(lane.read, offset, wanted))
                if before is not None:
                    yield before
                if len(data) < wanted:
                    text = f"the data object ended after {offset + len(data)} bytes of {size}"
                    raise ServerFault(text, url=self.url(path), host=self.endpoint.host, side="source")
                sink.write(data)
            except TransferError as error:
                over.settle(error)
                raise
            finally:
                free.append(lane)
            over.settle()

        def parts() -> Iterator[Steps[None]]:
            before = None
            for offset in range(0, size, PART):
                over = Wait()
                yield part(offset, before, over)
                before = over

        try:
            _raise_first((yield All(parts(), len(opened), together=True)))
        finally:
            yield Last(self._call(path, partial(_quietly, opened)))

    # -- names -------------------------------------------------------------------------------------

    def stat(self, path: str) -> Steps[Found]:
        """A data object, else a collection."""
        found: Found = yield self._call(path, lambda: self._look(path))
        return found

    def _look(self, path: str) -> Found:
        plain = path.rstrip("/")
        if not plain:
            return Found("", True)
        with self.session.pool.get_connection() as connection:
            told = messages.stat(connection, plain)
        if told.collection:
            return Found("", True)
        if path != plain:
            raise NotFound("no such collection", url=self.url(path))
        return Found("", False, told.size, _sha256(told.checksum), told.modified * 10**9)

    def _objects(self, *criteria: Any) -> Iterable[Found]:
        """Each once: the first of its replicas that is whole."""
        columns = (DataObject.name, DataObject.size, DataObject.checksum, DataObject.replica_status)
        seen: dict[str, Found] = {}
        query = self.session.query(*columns, DataObject.modify_time).filter(*criteria)
        for row in query:
            name = row[DataObject.name]
            if name not in seen or row[DataObject.replica_status] == GOOD:
                time = int(row[DataObject.modify_time].timestamp()) * 10**9
                digest = _sha256(row[DataObject.checksum])
                seen[name] = Found(name, False, int(row[DataObject.size]), digest, time)
        return seen.values()

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        """The server takes it of what it stores, whatever is registered."""
        if algorithm != "sha256":
            return ""
        options = {keywords.FORCE_CHKSUM_KW: ""}
        told = yield self._call(path, lambda: self.session.data_objects.chksum(path, **options))
        found = _sha256(told)
        return found[1] if found is not None else ""

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """iRODS renames over nothing."""

        def rename() -> None:
            with self.session.pool.get_connection() as connection:
                messages.rename(connection, old, new)

        yield self._call(new, rename, "exists")

    def unlink(self, path: str) -> Steps[None]:
        """Not into the trash."""
        yield self._call(path, lambda: self.session.data_objects.unlink(path, force=True), "directory")

    def make(self, path: str) -> Steps[bool]:
        """One collection."""

        def make() -> bool:
            try:
                self.session.collections.create(path, recurse=False)
            except errors.EXISTS:
                return False
            return True

        made: bool = yield self._call(path, make)
        return made

    def rmdir(self, path: str) -> Steps[None]:
        """An empty collection."""
        yield self._call(path, lambda: self.session.collections.remove(path, recurse=False, force=True))

    def clear(self, path: str) -> Steps[bool]:
        """The server removes all of it."""
        yield self._call(path, lambda: self.session.collections.remove(path, recurse=True, force=True))
        return True

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """Data objects and collections in it."""

        def look() -> list[Found]:
            top = path.rstrip("/") or "/"
            found = list(self._objects(Collection.name == top))
            query = self.session.query(Collection.name).filter(Collection.parent_name == top)
            for row in query:
                name = row[Collection.name].rpartition("/")[2]
                if name:  # the top is its own parent
                    found.append(Found(name, True))
            if not found and top != "/" and not self.session.collections.exists(top):
                raise NotFound("no such collection", url=self.url(path))
            return found

        return Page((yield self._call(path, look)))

    # -- the library -------------------------------------------------------------------------------

    def _call(self, path: str, action: Callable[[], Any], *why: str) -> Callable[[], Any]:
        """A request. ``why``: what may be behind an error (see ``perhaps``)."""

        def call() -> Any:
            try:
                return agreed(self.session, action)
            except TransferError:
                raise
            except errors.ALL as error:
                ours = errors.translated(error, self.url(path), self.endpoint.host)
                exactly = isinstance(ours, (Corrupted, NoSpace))
                raise perhaps(ours, *(("refused",) if exactly else why)) from error

        return call


def _sha256_of(sending: Sending) -> str:
    """Of what was sent; "" where another digest was taken, or none."""
    return sending.source.digest if sending.job.required.algorithm == "sha256" else ""


def _sha256(told: str | None) -> tuple[str, str] | None:
    """``sha2:BASE64`` as (algorithm, hex); ``None`` for another kind, or none."""
    kind, _, value = (told or "").partition(":")
    if kind != "sha2":
        return None
    try:
        return "sha256", base64.b64decode(value, validate=True).hex()
    except (binascii.Error, ValueError):
        return None


def _raise_first(answers: list[Any]) -> None:
    for answer in answers:
        if isinstance(answer, TransferError):
            raise answer


def _quietly(opened: list[Lane]) -> None:
    with suppress(Exception):  # the first error counts
        lanes.close(opened)
