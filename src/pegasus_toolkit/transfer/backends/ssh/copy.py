"""Copies on the server's side, where it offers ``copy-data``: uploads whose bytes are there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pegasus_toolkit.transfer.backends.shared.files import Sending, Stored
from pegasus_toolkit.transfer.backends.shared.runner import Last, Steps
from pegasus_toolkit.transfer.backends.shared.upload import store
from pegasus_toolkit.transfer.backends.ssh.errors import refused
from pegasus_toolkit.transfer.clients.sftp import wire
from pegasus_toolkit.transfer.errors import Corrupted, IsDirectory, Side, TransferError
from pegasus_toolkit.transfer.interface import Control, Job, Source

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.backends.ssh.files import SftpFiles

SLICE = 64 << 20  # bytes copied by one request: the server answers nothing else meanwhile
COPY = wire.string(wire.COPY_DATA)


class Copying(Sending):
    """What is copied: as often as it must. A wrong digest is the source's fault."""

    side: Side = "source"

    def __init__(self, job: Job[None], control: Control, handle: bytes, size: int, mode: int | None) -> None:
        """``handle``: of the source, open; ``size`` in bytes, and the permission bits that it has."""
        super().__init__(Job[Source](job.destination, "", job.required, None))  # type: ignore[arg-type]
        self.handle = wire.string(handle)
        self.size = self.sent = size
        self.mode = 0o666 if mode is None else mode & 0o777
        self._control = control

    def accounts(self) -> Control:
        """Of the batch."""
        return self._control

    def rewind(self) -> bool:
        """Always."""
        return True

    def demanded(self) -> list[tuple[str, str | None]]:
        """The digest that is recorded is taken of the copy, as no byte passes here."""
        required = self.job.required
        recorded = [(required.algorithm, required.digest or None)] if required.algorithm else []
        return [*recorded, *required.also]

    def fill(self, files: SftpFiles, target: bytes) -> Steps[Stored]:
        """Copies into the file that is open there, and closes that."""
        close, url = (wire.CLOSE, wire.string(target)), files.url(self.job.path)
        try:
            for at in range(0, self.size, SLICE):
                count = min(SLICE, self.size - at)
                body = COPY + self.handle + wire.U64.pack(at) + wire.U64.pack(count)
                kind, answer = yield wire.EXTENDED, body + wire.string(target) + wire.U64.pack(at)
                if wire.code(kind, answer) != wire.OK:
                    raise refused(kind, answer, url, "destination", "copy")
                self._control.spend(count)
        except TransferError:
            yield Last(close)
            raise
        if self.job.required.modified is not None:
            yield wire.FSETSTAT, close[1] + wire.times(self.job.required.modified // 1_000_000_000)
        (told, found), (kind, answer) = yield Last([(wire.FSTAT, close[1]), close])
        if wire.code(kind, answer) != wire.OK:
            raise refused(kind, answer, url, "destination", "write")
        return Stored(wire.attributes(found)[0].size if told == wire.ATTRS else None)


def copy(files: SftpFiles, job: Job[None], control: Control) -> Steps[None]:
    """Aside, its size compared, its digests taken, renamed."""
    if job.destination.endswith("/") or not job.destination:
        raise IsDirectory("names a directory", url=files.url(job.destination), side="destination")
    handle, found = yield from files.opened(job.path)
    try:
        size = found.size or 0
        if job.required.size not in (None, size):
            text = f"{size} bytes there, {job.required.size} expected"
            raise Corrupted(text, url=files.url(job.path), side="source")
        sending = Copying(job, control, handle, size, found.mode)
        yield from store(files, sending)
        sent = sending.job
        job.size, job.digest, job.proven, job.stored = size, sent.digest, sent.proven, sent.stored
    finally:
        yield Last((wire.CLOSE, wire.string(handle)))
