"""One file from and to an XRootD server, step by step (see ``xrootd_loop``)."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.backends.xrootd.errors import EXISTS
from pegasus_toolkit.transfer.backends.xrootd.loop import Steps, Task, broken_off
from pegasus_toolkit.transfer.backends.xrootd.site import Site, client, flags
from pegasus_toolkit.transfer.errors import Corrupted, IsDirectory, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Job, Sink, Source
from pegasus_toolkit.transfer.streams.checked import mismatch

CHUNK = 1 << 20  # bytes of one request ...
WINDOW = 4  # ... and requests of one file that are under way; more or larger ones gain nothing
MODE = 0o644  # of what is written
DIRECTORY_MODE = 0o755
PREFERRED = ("adler32", "crc32", "md5", "sha1", "crc32c")  # quick ones first; crc32c needs an extra
ANSWER = 3600  # seconds that a server may take to read a file again for its checksum


class Transfers:
    """What the files of one backend have in common."""

    def __init__(self, site: Site, checksums: tuple[str, ...] = ()) -> None:
        self.site = site
        self.checksums = checksums  # that the server can tell
        self.parting: set[Any] = set()  # files whose close is under way: the library must keep them

    def algorithm(self, wanted: str) -> str:
        """Which of the server's checksums proves best what it stores; "" for none."""
        return next((name for name in (wanted, *PREFERRED) if name in self.checksums), "")

    # -- get ---------------------------------------------------------------------------------------

    def load(self, task: Task) -> Steps:
        """Reads the file into the sink."""
        job: Job[Sink] = task.item
        if job.required.remote and (algorithm := self.algorithm(job.required.algorithm)):
            task.call(*self._query(job.path, algorithm))
            _, status, response = yield
            if status.ok:  # else it has none after all
                job.end.expect(*parse_checksum(response))
        file = client.File()
        task.call(file.open, self.site.address(job.path), flags.OpenFlags.READ)
        _, status, _ = yield
        self.site.check(status, job.path)
        try:
            yield from self._read(task, file, job)
        finally:
            self._part(file)

    def _read(self, task: Task, file: Any, job: Job[Sink]) -> Steps:
        with broken_off():
            status, stat = file.stat()  # known since the file was opened
        self.site.check(status, job.path)
        size = int(stat.size)
        sink = job.end
        sink.announce(size)
        came: dict[int, bytes] = {}
        asked = at = 0
        while at < size:
            while asked < size and asked - at < WINDOW * CHUNK:
                task.call(file.read, asked, min(CHUNK, size - asked), tag=asked)
                asked += CHUNK
            offset, status, data = yield
            self.site.check(status, job.path)
            if len(data) != min(CHUNK, size - offset):
                raise Corrupted("the file became shorter while it was read", url=self.site.url(job.path))
            came[offset] = data
            while at in came:
                data = came.pop(at)
                sink.write(data)
                at += len(data)

    def _part(self, file: Any) -> None:
        """Closes a file; nobody waits for that."""
        if not file.is_open():
            return
        self.parting.add(file)
        discard = self.parting.discard
        status = file.close(callback=lambda *_: discard(file))
        if not status.ok:
            discard(file)

    # -- put ---------------------------------------------------------------------------------------

    def save(self, task: Task) -> Steps:
        """Writes aside, and renames when everything is acknowledged.

        Should this process die, the server removes what was not closed (POSC). That costs it a
        quarter of the time of a small file, which is hardly ever cut off: small ones go without.
        """
        job: Job[Source] = task.item
        aside = f".{os.urandom(8).hex()}.part"
        file = client.File()
        how = flags.OpenFlags.NEW | flags.OpenFlags.MAKEPATH
        if job.end.size is None or job.end.size > CHUNK:
            how |= flags.OpenFlags.POSC
        task.call(file.open, self.site.address(job.path, name=aside), how, MODE)
        _, status, _ = yield
        self.site.check(status, job.path)
        try:
            yield from self._write(task, file, job, aside)
        except (TransferError, OSError) as error:
            while task.waiting:  # what was sent may still arrive: it must not outlive its file
                yield
            with suppress(ServerFault):
                if file.is_open():
                    task.call(file.close)
                    yield
            task.call(self.site.files.rm, self.site.path(job.path, name=aside))
            yield
            raise error

    def _write(self, task: Task, file: Any, job: Job[Source], aside: str) -> Steps:
        site, source, at = self.site, job.end, 0
        algorithm = self.algorithm(job.required.algorithm) if job.required.remote else ""
        hasher = digests.new(algorithm) if algorithm and algorithm != job.required.algorithm else None
        under_way: dict[int, bytes] = {}  # the library keeps no copy of what it sends
        more = True
        while more or under_way:
            while more and len(under_way) < WINDOW:
                data = source.read(CHUNK)
                if not data:
                    more = False
                    break
                if hasher is not None:
                    hasher.update(data)
                under_way[at] = data
                task.call(file.write, data, at, len(data), tag=at)
                at += len(data)
            if under_way:
                offset, status, _ = yield
                del under_way[offset]
                site.check(status, job.path)
        size = source.size if source.size is not None else job.required.size
        if size not in (None, at):
            raise Corrupted(f"{at} bytes came, {size} expected", url=site.url(job.path), side="source")
        task.call(file.close)
        _, status, _ = yield
        site.check(status, job.path)
        if algorithm:
            digest = hasher.hexdigest() if hasher is not None else source.digest
            yield from self._prove(task, job, aside, algorithm, digest)
        task.call(site.files.mv, site.path(job.path, name=aside), site.path(job.path))
        _, status, _ = yield
        if not status.ok:
            yield from self._why_not(task, job.path, site.error(status, job.path))

    def _prove(self, task: Task, job: Job[Source], aside: str, algorithm: str, digest: str) -> Steps:
        task.call(*self._query(job.path, algorithm, aside))
        _, status, response = yield
        self.site.check(status, job.path)
        found = parse_checksum(response)
        if found != (algorithm, digest):
            name = f"{algorithm} of what the server stored"
            raise mismatch(self.site.url(job.path), name, digest, found[1])
        job.proven = True

    def _why_not(self, task: Task, path: str, error: TransferError) -> Steps:
        """A directory in the way is told as such."""
        task.call(self.site.files.stat, self.site.path(path))
        _, status, stat = yield
        if status.ok and is_directory(stat):
            raise IsDirectory("a directory is there", url=self.site.url(path), side="destination")
        raise error

    def _query(self, path: str, algorithm: str, name: str = "") -> tuple[Any, ...]:
        argument = self.site.path(path, f"cks.type={algorithm}", name)
        return self.site.files.query, flags.QueryCode.CHECKSUM, argument

    # -- the rest ----------------------------------------------------------------------------------

    def make(self, task: Task, path: str) -> Steps:
        """A directory with its parents."""
        files = self.site.files
        task.call(files.mkdir, self.site.path(path), flags.MkDirFlags.MAKEPATH, DIRECTORY_MODE)
        _, status, _ = yield
        if status.ok:
            return
        error = self.site.error(status, path)
        if status.errno == EXISTS:
            task.call(files.stat, self.site.path(path))
            _, status, stat = yield
            if status.ok and is_directory(stat):
                return
        raise error


def parse_checksum(response: bytes) -> tuple[str, str]:
    """Algorithm and digest in a server's answer."""
    words = response.rstrip(b"\0\n").decode("ascii", "replace").split()
    return (words[0].lower(), words[1].lower()) if len(words) > 1 else ("", "")


def is_directory(stat: Any) -> bool:
    """What the server says of a path."""
    return bool(stat.flags & 2)
