"""What an XRootD server gives to the stories."""

from __future__ import annotations

from typing import Any

from pegasus_toolkit.integrity import digests
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
from pegasus_toolkit.transfer.backends.xrootd.errors import EXISTS, FS_ERROR, NOT_FOUND
from pegasus_toolkit.transfer.backends.xrootd.site import Site
from pegasus_toolkit.transfer.clients.xrootd.library import client, flags
from pegasus_toolkit.transfer.clients.xrootd.loop import CHUNK, Reading, Writing, broken_off, part
from pegasus_toolkit.transfer.errors import Denied, IsDirectory, NotFound, TransferError
from pegasus_toolkit.transfer.interface import Sink
from pegasus_toolkit.transfer.streams.checked import mismatch

MODE = 0o644  # of what is written
DIRECTORY_MODE = 0o755
PREFERRED = ("adler32", "crc32", "md5", "sha1", "crc32c")  # quick ones first; crc32c needs an extra


class XrootdFiles(PlainFiles):
    """One server. Opening a file for writing makes its directories."""

    def __init__(self, site: Site) -> None:
        super().__init__(Traits(unlink_tells=True, asks_first=True))
        self.traits.greeted = True  # it asks for credentials when it is connected to
        self.site = site
        self._told: dict[str, str] = {}  # what the server says of itself

    def url(self, path: str) -> str:
        """Without secrets."""
        return self.site.url(path)

    def split(self, path: str) -> tuple[str, str]:
        """What follows "?" are parameters for the server."""
        plain, mark, query = path.partition("?")
        return plain, mark + query

    def ask(self, path: str, method: Any, *arguments: Any) -> Steps[Any]:
        """One request and its answer. Raises what the status stands for."""
        status, response = yield (method, *arguments)
        self.site.check(status, path)
        return response

    # -- what it can -------------------------------------------------------------------------------

    def configured(self, what: str) -> Steps[str]:
        """What its configuration says; "" where it does not tell."""
        if what not in self._told:
            status, answer = yield self.site.files.query, flags.QueryCode.CONFIG, what
            if not status.ok and status.code != 400:
                raise self.site.error(status, "/")
            told = answer.strip(b"\0\n").decode("ascii", "replace") if status.ok else ""
            self._told[what] = "" if told == what else told
        return self._told[what]

    def can_copy(self) -> Steps[bool]:
        """Whether it takes part in third-party copies."""
        return (yield from self.configured("tpc")) not in ("", "0")

    def checksums(self) -> Steps[tuple[str, ...]]:
        """The algorithms that it can tell."""
        items = (yield from self.configured("chksum")).split(",")
        return tuple(item.rpartition(":")[2].strip().lower() for item in items if ":" in item)

    def algorithm(self, wanted: str) -> Steps[str]:
        """Which of its checksums proves best what it stores; "" for none."""
        known = yield from self.checksums()
        return next((name for name in (wanted, *PREFERRED) if name in known), "")

    def checksum(self, path: str, algorithm: str) -> Steps[tuple[str, str]]:
        """Algorithm and digest, as the server computes it."""
        argument = self.site.path(path, f"cks.type={algorithm}")
        response = yield from self.ask(path, self.site.files.query, flags.QueryCode.CHECKSUM, argument)
        words = response.rstrip(b"\0\n").decode("ascii", "replace").split()
        return (words[0].lower(), words[1].lower()) if len(words) > 1 else ("", "")

    # -- files -------------------------------------------------------------------------------------

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """In windows of blocks."""
        file = client.File()
        yield from self.ask(path, file.open, self.site.address(path), flags.OpenFlags.READ)
        try:
            with broken_off():
                status, stat = file.stat()  # known since the file was opened
            self.site.check(status, path)
            sink.announce(int(stat.size))
            bad, _ = yield Reading(file, int(stat.size), sink)
            if bad is not None:
                raise self.site.error(bad, path)
        except TransferError as error:
            error.url = error.url or self.url(path)
            raise
        finally:
            part(file)

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """Opened as new, written in windows, closed.

        Should this process die, the server removes what was not closed (POSC). That costs it a
        quarter of the time of a small file, which is hardly ever cut off: small ones go without.
        """
        if isinstance(sending, Feeding):
            return (yield from sending.feed(self, name))
        file, source = client.File(), sending.source
        aside = name != sending.job.path
        how = flags.OpenFlags.NEW if aside else flags.OpenFlags.DELETE
        how |= flags.OpenFlags.MAKEPATH
        if source.size is None or source.size > CHUNK:
            how |= flags.OpenFlags.POSC
        status, _ = yield file.open, self.site.address(name), how, MODE
        if not status.ok:
            error = self.site.error(status, sending.job.path)
            raise perhaps(error, "name") if aside and isinstance(error, Denied) else error
        return (yield from (yield from self.taken(file, name)).pour(file, sending, name))

    def taken(self, file: Any, name: str) -> Steps[XrootdFiles]:
        """Which server took a file that was opened for writing."""
        yield from ()
        return self

    def pour(self, file: Any, sending: Sending, name: str) -> Steps[Stored]:
        """All of the source, and where that is demanded the server's checksum of it."""
        job = sending.job
        algorithm = (yield from self.algorithm(job.required.algorithm)) if job.required.remote else ""
        hasher = digests.new(algorithm) if algorithm and algorithm != job.required.algorithm else None
        stat = self.site.files.stat, self.site.path(name)
        pump = Writing(file, sending.source, stat, hasher.update if hasher is not None else None)
        bad, size = yield pump
        sending.sent = pump.sent
        if bad is not None:
            raise self.site.error(bad, job.path)
        sending.require_whole(self.url(job.path))
        if algorithm:
            digest = hasher.hexdigest() if hasher is not None else sending.source.digest
            found = yield from self.checksum(name, algorithm)
            if found != (algorithm, digest):
                wrong = mismatch(
                    self.url(job.path), f"{algorithm} of what the server stored", digest, found[1]
                )
                wrong.side = "destination"
                raise wrong
        return Stored(size, bool(algorithm))

    def stat(self, path: str) -> Steps[Found]:
        """Links are followed."""
        return found("", (yield from self.ask(path, self.site.files.stat, self.site.path(path))))

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """In place of a file; a directory in the way is a refusal."""
        if not replace:
            yield from self._free(new)
        status, _ = yield self.site.files.mv, self.site.path(old), self.site.path(new)
        if not status.ok:
            raise perhaps(self.site.error(status, new), "exists")

    def _free(self, path: str) -> Steps[None]:
        status, _ = yield self.site.files.stat, self.site.path(path)
        if status.ok:
            raise perhaps(IsDirectory("something stands there", url=self.url(path)), "exists")

    def unlink(self, path: str) -> Steps[None]:
        """A file or a link."""
        status, _ = yield self.site.files.rm, self.site.path(path)
        if not status.ok:
            error = self.site.error(status, path)
            raise perhaps(error, "directory") if status.errno == FS_ERROR else error

    # -- directories -------------------------------------------------------------------------------

    def make(self, path: str) -> Steps[bool]:
        """With its parents."""
        how = flags.MkDirFlags.MAKEPATH
        status, _ = yield self.site.files.mkdir, self.site.path(path), how, DIRECTORY_MODE
        if not status.ok and status.errno != EXISTS:
            raise self.site.error(status, path)
        return bool(status.ok)

    def rmdir(self, path: str) -> Steps[None]:
        """An empty one."""
        yield from self.ask(path, self.site.files.rmdir, self.site.path(path))

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """All at once."""
        status, listing = yield self.site.files.dirlist, self.site.path(path), flags.DirListFlags.STAT
        if not status.ok:
            if status.errno in (FS_ERROR, NOT_FOUND):
                raise NotFound("no such directory", url=self.url(path))
            raise self.site.error(status, path)
        return Page([found(str(one.name), one.statinfo) for one in listing])


class Feeding:
    """Of a ``Sending``: it brings the content to the server in its own way."""

    def feed(self, files: XrootdFiles, name: str) -> Steps[Stored]:
        """Writes that name."""
        raise NotImplementedError


def found(name: str, stat: Any) -> Found:
    """What the server says of a path; nothing is known where it says nothing."""
    if stat is None:
        return Found(name, None)
    directory = bool(stat.flags & flags.StatInfoFlags.IS_DIR)
    modified = int(stat.modtime) * 10**9
    return Found(name, directory, None if directory else int(stat.size), modified=modified)
