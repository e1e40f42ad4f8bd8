"""From one GridFTP server straight to another: uploads whose bytes come from there.

Each server is logged in to with its own credential. What arrived is checked by the servers' own
digests (and the size), before it gets its name; where the receiving server has no such algorithm, it
is read back. Each server is told whose proxy the other shows it on the data connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from pegasus_toolkit.transfer.backends.shared.files import Sending, parent
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.backends.shared.upload import make_parents, store
from pegasus_toolkit.transfer.clients.gridftp.third import Pair, Third
from pegasus_toolkit.transfer.errors import Corrupted, IsDirectory, Side, TransferError
from pegasus_toolkit.transfer.interface import Control, Job, Source
from pegasus_toolkit.transfer.streams.checked import mismatch

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.backends.gridftp.backend import GridFtp
    from pegasus_toolkit.transfer.backends.gridftp.files import GridFtpFiles


class Copying(Sending):
    """What is copied: as often as it must."""

    side: Side = "destination"

    def __init__(
        self, job: Job[None], control: Control, pair: Pair, size: int, digests: dict[str, str]
    ) -> None:
        """``size`` in bytes, and the ``digests`` that it must have ("" for one that is only to be told)."""
        super().__init__(Job[Source](job.destination, "", job.required, None))  # type: ignore[arg-type]
        self.path = job.path
        self.sent = size
        self._control = control
        self._pair = pair
        self._digests = digests

    def move(self, name: str) -> Third:
        """The request for it."""
        return Third(self._pair, self.path, name)

    def accounts(self) -> Control:
        """Of the batch."""
        return self._control

    def rewind(self) -> bool:
        """Always."""
        return True

    def demanded(self) -> list[tuple[str, str | None]]:
        """The digest that is recorded is taken of the copy, as no byte passes here."""
        return [(algorithm, digest or None) for algorithm, digest in self._digests.items()]


def copies(
    jobs: Iterator[Job[None]], reader: GridFtp, writer: GridFtp, control: Control
) -> Iterator[Job[None]]:
    """One after the other, over one data connection."""
    pair = Pair(reader.client, writer.client, lambda: control.spend(0))
    try:
        with reader.client.use():
            for job in jobs:
                control.spend(0)
                try:
                    size, digests = reader.runner(side=True).one(_source(reader.files, job))
                    sending = Copying(job, control, pair, size, digests)
                    writer.runner().one(_copy(writer.files, sending, job))
                except TransferError as error:
                    if reader.client.closed or writer.client.closed:
                        raise
                    job.error = error
                yield job
    finally:
        pair.close()


def _source(files: GridFtpFiles, job: Job[None]) -> Steps[tuple[int, dict[str, str]]]:
    """Size, and the digests that the copy must have: those expected, else what the source's server tells."""
    try:
        found = yield from files.stat(job.path)
        if found.directory:
            raise IsDirectory("is a directory", url=files.url(job.path))
        size = found.size or 0
        required = job.required
        if required.size not in (None, size):
            raise Corrupted(f"{size} bytes there, {required.size} expected", url=files.url(job.path))
        digests = dict(required.also)
        if required.algorithm:
            digests[required.algorithm] = required.digest
        for algorithm, expected in digests.items():
            told = yield from files.digest(job.path, algorithm)
            if expected and told and told != expected:
                raise mismatch(files.url(job.path), algorithm, expected, told)
            digests[algorithm] = expected or told
    except TransferError as error:
        error.side = "source"
        raise
    return size, digests


def _copy(files: GridFtpFiles, sending: Copying, job: Job[None]) -> Steps[None]:
    folder = parent(job.destination)
    if folder and folder not in files.traits.known:  # a refusal would part the two servers again
        with suppress(TransferError):
            yield from make_parents(files, folder, job.destination)
    yield from store(files, sending)
    sent = sending.job
    job.size, job.digest, job.proven, job.stored = sending.sent, sent.digest, sent.proven, sent.stored
