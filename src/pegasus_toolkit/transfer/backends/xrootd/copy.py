"""Third-party copies: one XRootD server reads from another, and no byte comes through here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pegasus_toolkit.transfer.backends.xrootd.loop import Steps, Task
from pegasus_toolkit.transfer.backends.xrootd.moves import is_directory, parse_checksum
from pegasus_toolkit.transfer.backends.xrootd.server import Server
from pegasus_toolkit.transfer.backends.xrootd.site import client, flags
from pegasus_toolkit.transfer.errors import Corrupted, Denied, IsDirectory, TransferError
from pegasus_toolkit.transfer.interface import Control, Job
from pegasus_toolkit.transfer.streams.checked import mismatch

AT_ONCE = 4  # copies under way; each takes a thread of the library


class _Watch:
    """Tells the library when to stop, and the engine how far it is."""

    def __init__(self, control: Control) -> None:
        self.control = control

    def begin(self, job: int, total: int, source: Any, target: Any) -> None:
        """Nothing to do."""

    def end(self, job: int, results: Any) -> None:
        """Nothing to do."""

    def update(self, job: int, processed: int, total: int) -> None:
        """Nothing to do: a server moves them."""

    def should_cancel(self, job: int) -> bool:
        """Asked all the time."""
        return self.control.stop is not None


def copy(jobs: Iterator[Job[None]], reader: Server, writer: Server, control: Control) -> Iterator[Job[None]]:
    """Each job when it is over; a few at a time. What the servers deny each other goes through here."""
    between = True
    while batch := [job for _, job in zip(range(AT_ONCE), jobs, strict=False)]:
        copies = [_Copy(job, reader, writer) for job in batch]
        ready = [one for one in copies if one.attempt(one.before)]
        try:
            _run(ready, control, between)
            # Most often the target has no credential for the source, as no proxy is lent to it.
            denied = [one for one in ready if between and one.denied()]
            _run(denied, control, False)
            if denied and denied == ready:
                between = False  # nor will they do the next
        finally:
            for one in ready:
                if not one.attempt(one.after):
                    one.undo()
        yield from batch


def _run(copies: list[_Copy], control: Control, between: bool) -> None:
    """``between``: from server to server, where both can; else the library moves the bytes."""
    if not copies:
        return
    process = client.CopyProcess()
    process.parallel(AT_ONCE)
    how = "first" if between else "none"
    for one in copies:
        one.job.through = not between
        process.add_job(one.source, one.target, thirdparty=how, force=not between, posc=True, mkdir=True)
    process.prepare()
    _, results = process.run(_Watch(control))
    for one, result in zip(copies, results, strict=True):
        one.status = result["status"]
    control.spend(0)


class _Copy:
    def __init__(self, job: Job[None], reader: Server, writer: Server) -> None:
        self.job, self.reader, self.writer = job, reader, writer
        self.aside = f".{os.urandom(8).hex()}.part"
        self.source = reader.site.address(job.path)
        self.target = writer.site.address(job.destination, name=self.aside)
        self.status: Any = None

    def attempt(self, step: Any) -> bool:
        """Whether it went well; else the job has its error."""
        try:
            step()
        except TransferError as error:
            self.job.error = error
            return False
        return True

    def before(self) -> None:
        """Size and kind of the source."""
        job = self.job
        entry = self.reader.stat(job.path)
        if entry.directory:
            raise IsDirectory("a directory", url=self.reader.site.url(job.path), side="source")
        job.size = entry.size or 0
        if job.required.size not in (None, job.size):
            raise Corrupted(
                f"{job.size} bytes, {job.required.size} expected", url=self.reader.site.url(job.path)
            )

    def denied(self) -> bool:
        """Whether a server said no; to whom, its answer does not tell."""
        status = self.status
        if status is None or status.ok:
            return False
        return isinstance(self.writer.site.error(status, self.job.destination), Denied)

    def after(self) -> None:
        """Compares what came, and gives it its name."""
        job, writer = self.job, self.writer
        if self.status is None:
            raise Corrupted("the copy did not end", url=writer.site.url(job.destination))
        writer.site.check(self.status, job.destination)
        found = writer.ask(
            job.destination,
            writer.site.files.stat,
            writer.site.path(job.destination, name=self.aside),
        )
        if int(found.size) != job.size:
            raise Corrupted(
                f"{found.size} bytes came, {job.size} expected",
                url=writer.site.url(job.destination),
            )
        if job.required.remote:
            self._compare()
        source, target = (
            writer.site.path(job.destination, name=self.aside),
            writer.site.path(job.destination),
        )
        status, _ = writer.answer(writer.site.files.mv, source, target)
        if not status.ok:
            raise self._why_not(status)

    def _why_not(self, status: Any) -> TransferError:
        site, path = self.writer.site, self.job.destination
        there, stat = self.writer.answer(site.files.stat, site.path(path))
        if there.ok and is_directory(stat):
            return IsDirectory("a directory is there", url=site.url(path), side="destination")
        return site.error(status, path)

    def _compare(self) -> None:
        """By a checksum that both servers can tell."""
        job = self.job
        algorithm = self.reader.common(self.writer)
        both = []
        for backend, path, name in (
            (self.reader, job.path, ""),
            (self.writer, job.destination, self.aside),
        ):
            argument = backend.site.path(path, f"cks.type={algorithm}", name)
            both.append(
                parse_checksum(
                    backend.ask(path, backend.site.files.query, flags.QueryCode.CHECKSUM, argument)
                )
            )
        if both[0] != both[1]:
            what = f"{algorithm} of what the server stored"
            raise mismatch(self.writer.site.url(job.destination), what, both[0][1], both[1][1])
        job.proven = True

    def undo(self) -> None:
        """Removes what was written aside, if anything was."""
        site, path = self.writer.site, self.job.destination

        def steps(task: Task) -> Steps:
            task.call(site.files.rm, site.path(path, name=self.aside))
            yield

        self.attempt_quietly(steps)

    def attempt_quietly(self, steps: Any) -> None:
        """The job has its error already."""
        try:
            self.writer.loop.wait(steps)
        except TransferError:
            return
