"""Local files: ``file:``, bare paths, ``symlink:``, ``moveto:``.

Between two local files the fused loop of ``local_copy`` runs; with any other backend this one is
the passive end. ``get`` and ``put`` are for where neither is so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.transfer.backends.local.copy import Copier
from pegasus_toolkit.transfer.backends.local.trees import remove, scan, walk
from pegasus_toolkit.transfer.backends.onebyone import OneByOne
from pegasus_toolkit.transfer.errors import Cancelled, ResourceLimit, TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Endpoint,
    Entry,
    Job,
    Links,
    Passive,
    Renames,
    ReportsFreeSpace,
    Requirement,
    Settings,
    Sink,
    Source,
)
from pegasus_toolkit.transfer.streams.checked import BLOCK
from pegasus_toolkit.transfer.streams.disk import failure, make_directory, stat_of
from pegasus_toolkit.transfer.streams.files import FileSink, FileSource


class Local(OneByOne):
    """The file system of this machine. Paths are as on disk; names may hold any byte."""

    # More threads gain nothing: small files are bound by the interpreter.
    abilities = Abilities(threads=2, times="listed")

    def __init__(self, home: str = "") -> None:
        self.links: LinkRule = "follow"
        self._home = home  # never removed, nor is the account's
        self._closed = False

    def load(self, path: str, sink: Sink) -> None:
        source = FileSource(path, Requirement(""), Control())
        try:
            sink.announce(source.size or 0)
            buffer = memoryview(bytearray(min(BLOCK, source.size or 1)))
            while n := source.readinto(buffer):
                self._going(path)
                sink.write(buffer[:n])
        finally:
            source.close()

    def save(self, job: Job[Source]) -> None:
        required, size = job.required, job.end.size
        kept = Requirement(
            required.algorithm if required.remote else "",
            "",
            required.size if size is None else size,
            required.remote,
            modified=required.modified,
        )
        sink = FileSink(job.path, kept, Control())
        try:
            buffer = memoryview(bytearray(min(BLOCK, max(1, BLOCK if size is None else size))))
            while n := job.end.readinto(buffer):
                self._going(job.path)
                sink.write(buffer[:n])
            sink.commit()
        finally:
            sink.abort()
        job.proven = required.remote
        job.stored = ("read back",) if required.remote else ()

    def copies(self, other: Backend, required: Requirement) -> bool:
        """Between local files, always."""
        return isinstance(other, Local)

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Copies each file, one after the other."""
        copier = Copier(control)
        try:
            for job in jobs:
                try:
                    copier.copy(job)
                except ResourceLimit as error:
                    copier.again(job, error)
                except TransferError as error:
                    job.error = error
                yield job
        finally:
            copier.close()

    def link(self, jobs: Iterator[Job[None]], control: Control, verify: bool) -> Iterator[Job[None]]:
        """Makes each ``job.destination`` an absolute symbolic link; never in place of a directory."""
        from pegasus_toolkit.transfer.backends.local.links import link

        for job in jobs:
            try:
                link(job, control, verify)
            except TransferError as error:
                job.error = error
            yield job

    def rename(self, jobs: Iterator[Job[None]], control: Control) -> Iterator[Job[None]]:
        """Moves each file or directory; across file systems by a verified copy."""
        from pegasus_toolkit.transfer.backends.local.links import move

        copier = Copier(control)
        try:
            for job in jobs:
                try:
                    move(job, copier, control)
                except TransferError as error:
                    job.error = error
                yield job
        finally:
            copier.close()

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it; trees without following links out of them."""
        for path in paths:
            yield path, remove(path, recursive, self._home)

    def mkdir(self, path: str) -> None:
        """Makes it and its parents. Raises ``Permanent`` where a file is in the way."""
        try:
            make_directory(path)
        except (OSError, ValueError) as error:
            raise failure(error, path, "destination") from None

    def stat(self, path: str) -> Entry:
        """Size, or that it is a directory; follows links. Raises ``NotFound``."""
        return stat_of(path)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, as ``cp -L`` would read them (``links``), and empty directories."""
        return walk(prefix, self.links)

    def scan(self, path: str) -> Iterator[Entry]:
        """What is in one directory."""
        return scan(path)

    def source(self, path: str, required: Requirement, control: Control) -> Source:
        """The file, opened. Raises ``NotFound``, ``Denied``, ``IsDirectory``."""
        return FileSource(path, required, control)

    def sink(self, path: str, required: Requirement, control: Control) -> Sink:
        """A file in the making."""
        return FileSink(path, required, control)

    def free(self, path: str) -> int | None:
        """Bytes that this user may still write on the file system that ``path`` is, or would be, on."""
        while True:
            try:
                found = os.statvfs(path or ".")
            except FileNotFoundError:
                path = os.path.dirname(path.rstrip("/"))  # noqa: PTH120
                continue
            return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """What is under way in ``get`` and ``put`` ends; the rest goes by its control."""
        self._closed = True

    def _going(self, path: str) -> None:
        if self._closed:
            raise Cancelled("closed", url=path)


def open_backend(endpoint: Endpoint, settings: Settings) -> Local:
    """Needs nothing of the endpoint: all local files are one."""
    return Local(settings.environ.get("HOME", ""))


_backend: type[Backend] = Local
_passive: type[Passive] = Local
_copies: type[Copies] = Local
_links: type[Links] = Local
_renames: type[Renames] = Local
_spacious: type[ReportsFreeSpace] = Local
