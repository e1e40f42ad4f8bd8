"""Third-party copies: one XRootD server reads from another, and no byte comes through here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pegasus_toolkit.transfer.backends.shared.files import Sending, Stored
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.backends.shared.upload import store
from pegasus_toolkit.transfer.backends.xrootd.files import Feeding, XrootdFiles
from pegasus_toolkit.transfer.clients.xrootd.library import client
from pegasus_toolkit.transfer.clients.xrootd.loop import Blocking
from pegasus_toolkit.transfer.errors import (
    CannotCopy,
    Corrupted,
    Denied,
    IsDirectory,
    ServerFault,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Control, Job, Requirement
from pegasus_toolkit.transfer.streams.checked import mismatch

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.backends.xrootd.backend import Xrootd

AT_ONCE = 4  # copies under way; each takes a thread of the library


class _Watch:
    """Tells the library when to stop: it asks all the time."""

    def __init__(self, control: Control, running: Blocking) -> None:
        self.control = control
        self.running = running

    def begin(self, job: int, total: int, source: Any, target: Any) -> None:
        """Nothing to do."""

    def end(self, job: int, results: Any) -> None:
        """Nothing to do."""

    def update(self, job: int, processed: int, total: int) -> None:
        """Nothing to do: a server moves them."""

    def should_cancel(self, job: int) -> bool:
        """Whether the run was told to stop, or the batch given up."""
        return self.control.stop is not None or self.running.stopped.is_set()


class Copying(Sending, Feeding):
    """One file that another server reads."""

    def __init__(self, job: Job[None], reader: XrootdFiles, size: int, control: Control) -> None:
        given: Job[Any] = Job(job.destination, "", job.required, None)
        super().__init__(given)
        self.path = job.path
        self.reader = reader
        self.size = size
        self.control = control

    def feed(self, files: XrootdFiles, name: str) -> Steps[Stored]:
        """The copy, and the sizes and checksums of both."""
        source, target = self.reader.site.address(self.path), files.site.address(name)
        running = Blocking(lambda: _run(source, target, _Watch(self.control, running)))
        yield running
        if self.control.stop is not None:
            raise self.control.stop
        status = running.value
        if status is None:
            raise ServerFault("the copy did not end", url=files.url(self.job.path))
        if not status.ok:
            error = files.site.error(status, self.job.path)
            if isinstance(error, Denied):  # most often the target has no credential for the source
                raise CannotCopy(error.message, url=error.url, host=error.host, hint=error.hint)
            raise error
        self.sent = self.size
        found = yield from files.stat(name)
        return Stored(found.size, (yield from self._compared(files, name)))

    def _compared(self, files: XrootdFiles, name: str) -> Steps[bool]:
        """By a checksum that both servers can tell."""
        if not self.job.required.remote:
            return False
        algorithm = yield from common(self.reader, files)
        ours = yield from self.reader.checksum(self.path, algorithm)
        theirs = yield from files.checksum(name, algorithm)
        if ours != theirs or not ours[1]:
            what = f"{algorithm} of what the server stored"
            raise mismatch(files.url(self.job.path), what, ours[1], theirs[1])
        return True


def _run(source: str, target: str, watch: _Watch) -> Any:
    process = client.CopyProcess()
    process.add_job(source, target, thirdparty="only", force=False, posc=True, mkdir=True)
    process.prepare()
    _, results = process.run(watch)
    return results[0]["status"]


def common(reader: XrootdFiles, writer: XrootdFiles) -> Steps[str]:
    """An algorithm that both can tell; "" for none."""
    theirs = yield from writer.checksums()
    return next((name for name in (yield from reader.checksums()) if name in theirs), "")


def able(reader: Xrootd, writer: Xrootd, required: Requirement) -> bool:
    """Whether both take part, and have a checksum in common where that must be compared."""
    one, other = reader.runner(side=True), writer.runner(side=True)
    if not one.one(reader.files.can_copy()) or not other.one(writer.files.can_copy()):
        return False
    if not required.remote:
        return True
    ours = one.one(reader.files.checksums())
    return any(name in ours for name in other.one(writer.files.checksums()))


def _copied(job: Job[None], reader: XrootdFiles, writer: XrootdFiles, control: Control) -> Steps[None]:
    try:
        found = yield from reader.stat(job.path)
        if found.directory:
            raise IsDirectory("a directory", url=reader.url(job.path))
        size = found.size or 0
        if job.required.size not in (None, size):
            raise Corrupted(f"{size} bytes, {job.required.size} expected", url=reader.url(job.path))
    except TransferError as error:
        error.side = error.side or "source"
        raise
    sending = Copying(job, reader, size, control)
    yield from store(writer, sending)
    job.size, job.proven = size, sending.job.proven
    control.spend(0)


def copies(
    jobs: Iterator[Job[None]], reader: Xrootd, writer: Xrootd, control: Control
) -> Iterator[Job[None]]:
    """Each job when it is over; a few at a time."""
    reader.runner(side=True)  # what kind of server it is
    runner = writer.runner()
    stories = ((job, _copied(job, reader.files, writer.files, control)) for job in jobs)
    with closing(runner.run(stories, AT_ONCE)) as tasks:
        for task in tasks:
            task.item.error = task.error
            yield task.item
