"""What SFTP gives to the stories: each is a request or two."""

from __future__ import annotations

import re
import stat as stat_
import time
from collections.abc import Generator
from typing import Any

from pegasus_toolkit.transfer.backends.shared.files import (
    CannotRename,
    Found,
    Page,
    PlainFiles,
    Sending,
    Stored,
    Traits,
    parent,
    perhaps,
)
from pegasus_toolkit.transfer.backends.shared.runner import Last, Steps
from pegasus_toolkit.transfer.backends.ssh.copy import Copying
from pegasus_toolkit.transfer.backends.ssh.errors import MISSING, refused
from pegasus_toolkit.transfer.clients.sftp import wire
from pegasus_toolkit.transfer.clients.sftp.client import Client, Command
from pegasus_toolkit.transfer.clients.sftp.pumps import Read, Write
from pegasus_toolkit.transfer.errors import (
    IsDirectory,
    NoSpace,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Sink

Answer = tuple[int, Any]
"""Kind and body; the body is only lent until the next request."""

MARGIN = 1 << 20  # bytes free, below which a failure to write is taken for a full disk
RESUMED = 16 << 20  # bytes; smaller files are not worth keeping in part
SECOND = 1_000_000_000  # nanoseconds
AT_REST = 60  # seconds since its last change: what changes after that has another time
WORTH_A_COMMAND = 8 << 20  # bytes: smaller files are sooner read back than a command is started
SLOWEST = 100_000_000  # bytes per second that a server's command digests at least
COMMANDS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}  # and the length of what they print
DIGEST = rb"\\?([0-9a-f]+) [ *]"  # compiled where a server is asked
RENAMES = wire.string(wire.POSIX_RENAME)
SPACE = wire.string(wire.STATVFS)
NEW = wire.U32.pack(wire.NEW_FOR_WRITING)
TO_READ = wire.U32.pack(wire.FOR_READING) + wire.NO_ATTRIBUTES


class SftpFiles(PlainFiles):
    """The files of one account at one server. A listing's ``more`` is the directory's handle."""

    def __init__(self, prefix: str, client: Client, patience: float) -> None:
        """``prefix``: scheme and authority, for errors; ``patience``: seconds for a command there."""
        super().__init__(Traits(asks_first=True))
        self.prefix = prefix
        self.client = client
        self.patience = patience
        self.shell = True  # whether commands can be run there, as far as is known
        self.made: set[str] = set()  # directories that were made just now, so that nothing is in them

    def url(self, path: str) -> str:
        """As it is written in specifications."""
        return self.prefix + path

    # -- bytes -------------------------------------------------------------------------------------

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """OPEN, beside STAT of what it will replace; WRITEs, FSTAT, CLOSE."""
        path, source = sending.job.path, sending.source
        copying = sending if isinstance(sending, Copying) else None
        mode, size = (source.mode, source.size) if copying is None else (copying.mode, copying.size)
        opening = wire.encode(name) + NEW + (wire.NO_ATTRIBUTES if mode is None else wire.permissions(mode))
        standing: TransferError | None = None
        old: int | None = None
        if path.rpartition("/")[0] in self.made:
            kind, body = yield wire.OPEN, opening
        else:
            (there, told), (kind, body) = yield [(wire.STAT, wire.encode(path)), (wire.OPEN, opening)]
            if there == wire.ATTRS:
                found, _ = wire.attributes(told)
                old = None if found.mode is None else found.mode & 0o777
                standing = self._in_the_way(found, path)
        if kind != wire.HANDLE:
            raise standing or (yield from self._why(kind, bytes(body), path, "make a file there", size))
        handle, _ = wire.text(body)
        if standing is not None:
            yield Last((wire.CLOSE, wire.string(handle)))
            raise standing
        if copying is not None:
            return (yield from copying.fill(self, handle))
        pump = Write(handle, source, self.url(path), old)
        if (modified := sending.job.required.modified) is not None:
            pump.modified = modified // SECOND
        try:
            yield pump
        except TransferError:
            yield from self._unpumped(pump)
            raise
        finally:
            sending.sent = pump.offset
        if pump.error is not None:
            raise pump.error
        if pump.failure is not None:
            raise (yield from self._why(*pump.failure, path, "write", size))
        return Stored(pump.size)

    def _in_the_way(self, found: wire.Attributes, path: str) -> TransferError | None:
        if found.directory:
            return IsDirectory("is a directory", url=self.url(path), side="destination")
        if not found.regular:
            text = "is neither a file nor a directory"
            return Unsupported(text, url=self.url(path), side="destination")
        return None

    def _unpumped(self, pump: Write | Read) -> Steps[None]:
        """A pump that was not begun closes nothing."""
        if not pump.begun:
            yield Last((wire.CLOSE, wire.string(pump.handle)))

    def _why(self, kind: int, body: bytes, path: str, doing: str, size: int | None) -> Steps[TransferError]:
        """The error; where the server says no more than "failure", the free space may tell."""
        error = refused(kind, body, self.url(path), "destination", doing)
        code = wire.code(kind, body)
        if code in MISSING:
            perhaps(error, "parent")
        elif code in (wire.PERMISSION_DENIED, wire.BAD_MESSAGE):
            perhaps(error, "name")
        if code == wire.FAILURE and wire.STATVFS in self.client.offers:
            kind, told = yield wire.EXTENDED, SPACE + wire.encode(parent(path) or "/")
            if kind == wire.EXTENDED_REPLY and wire.free_space(told) < max(MARGIN, size or 0):
                return NoSpace("no space left on the server", url=self.url(path), side="destination")
        return error

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """STAT, since opening a FIFO would block the server for good; OPEN, READs ahead, CLOSE."""
        url, name = self.url(path), wire.encode(path)
        kind, body = yield wire.STAT, name
        found = self._readable(kind, body, url)
        size, start = found.size or 0, 0
        sink.announce(size)
        sink.mode = found.mode
        if size >= RESUMED and found.modified and found.modified < time.time() - AT_REST:
            start = sink.resume(f"{url} {size} {found.modified}")
            if start > size:
                sink.restart()
                start = 0
        kind, body = yield wire.OPEN, name + TO_READ
        if kind != wire.HANDLE:
            raise refused(kind, body, url, "source")
        pump = Read(wire.text(body)[0], size, start, sink, url)
        try:
            yield pump
        except TransferError:
            yield from self._unpumped(pump)
            raise
        if pump.error is not None:
            raise pump.error
        if pump.failure is not None:
            raise refused(*pump.failure, url, "source")

    def opened(self, path: str) -> Steps[tuple[bytes, wire.Attributes]]:
        """A regular file, open to be read, and its attributes."""
        url, name = self.url(path), wire.encode(path)
        kind, body = yield wire.STAT, name
        found = self._readable(kind, body, url)
        kind, body = yield wire.OPEN, name + TO_READ
        if kind != wire.HANDLE:
            raise refused(kind, body, url, "source")
        return wire.text(body)[0], found

    def _readable(self, kind: int, body: Any, url: str) -> wire.Attributes:
        """What STAT told, of a regular file."""
        if kind != wire.ATTRS:
            raise refused(kind, body, url, "source")
        found, _ = wire.attributes(body)
        if found.directory:
            raise IsDirectory("is a directory", url=url, side="source")
        if not found.regular or found.size is None:
            raise Unsupported("is not a regular file", url=url, side="source")
        return found

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        """By a command there, if the account has a shell and the file is worth it.

        The path goes through standard input, so that no shell ever sees it.
        """
        if not self.shell or algorithm not in COMMANDS:
            return ""
        size = (yield from self.stat(path)).size or 0
        if not WORTH_A_COMMAND <= size <= self.patience * SLOWEST:
            return ""
        name = path.encode("utf-8", "surrogateescape") + b"\0"
        ran = yield Command(f"xargs -0 {algorithm}sum --", name, self.patience)
        found = re.match(DIGEST, ran[1]) if ran is not None and ran[0] == 0 else None
        if found and len(found[1]) == COMMANDS[algorithm]:
            return found[1].decode()
        self.shell = False
        return ""

    # -- names -------------------------------------------------------------------------------------

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """Over another file in one step where the server offers that."""
        names = wire.encode(old) + wire.encode(new)
        if not replace:
            kind, body = yield wire.RENAME, names
        elif self.client.renames:
            kind, body = yield wire.EXTENDED, RENAMES + names
        else:
            raise CannotRename("the server renames over no other file", url=self.url(new))
        code = wire.code(kind, body)
        if code == wire.OK:
            return
        if replace and code == wire.OP_UNSUPPORTED:
            raise CannotRename("the server renames over no other file", url=self.url(new))
        raise perhaps(refused(kind, body, self.url(new), "destination", "rename it to its name"), "exists")

    def stat(self, path: str) -> Steps[Found]:
        """Links are followed."""
        return (yield from self._look(wire.STAT, path))

    def lstat(self, path: str) -> Steps[Found]:
        """They are not."""
        return (yield from self._look(wire.LSTAT, path))

    def _look(self, how: int, path: str) -> Steps[Found]:
        kind, body = yield how, wire.encode(path or "/")
        if kind != wire.ATTRS:
            raise refused(kind, body, self.url(path))
        return _found("", wire.attributes(body)[0])

    def real(self, path: str) -> Steps[str]:
        """REALPATH."""
        kind, body = yield wire.REALPATH, wire.encode(path or "/")
        if kind != wire.NAME:
            raise refused(kind, body, self.url(path))
        found = wire.names(body)
        return found[0][0] if found else ""

    def unlink(self, path: str) -> Steps[None]:
        """REMOVE."""
        yield from self._gone(path, wire.REMOVE)

    def rmdir(self, path: str) -> Steps[None]:
        """RMDIR."""
        yield from self._gone(path, wire.RMDIR)

    def _gone(self, path: str, how: int) -> Steps[None]:
        kind, body = yield how, wire.encode(path)
        if wire.code(kind, body) != wire.OK:
            raise refused(kind, body, self.url(path), "destination", "remove it")

    def make(self, path: str) -> Steps[bool]:
        """MKDIR; where it is refused, STAT tells whether something is there."""
        kind, body = yield wire.MKDIR, wire.encode(path) + wire.NO_ATTRIBUTES
        code = wire.code(kind, body)
        if code == wire.OK:
            self.made.add(path)
            return True
        error = refused(kind, body, self.url(path), "destination", "make the directory")
        if code not in MISSING:
            kind, _ = yield wire.STAT, wire.encode(path)
            if kind == wire.ATTRS:
                return False
        raise error

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """OPENDIR before the first READDIR, CLOSE behind the last; ``more`` is the handle."""
        if more is None:
            kind, body = yield wire.OPENDIR, wire.encode(path or "/")
            if kind != wire.HANDLE:
                raise refused(kind, body, self.url(path or "/"), doing="list the directory")
            more = wire.string(wire.text(body)[0])
        kind, body = yield wire.READDIR, more
        if kind == wire.NAME:
            found = [_found(name, attrs) for name, attrs in wire.names(body) if name not in (".", "..")]
            return Page(found, more)
        error = refused(kind, body, self.url(path or "/"), doing="list the directory")
        code = wire.code(kind, body)
        yield Last((wire.CLOSE, more))
        if code != wire.EOF:
            raise error
        return Page([])

    def leave(self, more: Any) -> Steps[None]:
        """CLOSE."""
        yield Last((wire.CLOSE, more))

    def free(self, path: str) -> Generator[Any, Answer, int | None]:
        """Bytes free below the nearest directory that is there; ``None`` where the server does not tell."""
        while wire.STATVFS in self.client.offers:
            kind, body = yield wire.EXTENDED, SPACE + wire.encode(path or "/")
            if kind == wire.EXTENDED_REPLY:
                return wire.free_space(body)
            if path in ("", "/"):
                break
            path = parent(path)
        return None


def _found(name: str, attrs: wire.Attributes) -> Found:
    """A link, and what has no mode bits, may be a directory."""
    if attrs.mode is None or not stat_.S_IFMT(attrs.mode) or attrs.link:
        return Found(name, None, None if attrs.link else attrs.size, link=attrs.link)
    modified = None if attrs.modified is None else attrs.modified * SECOND
    special = "" if attrs.directory or attrs.regular else "no regular file"
    return Found(name, attrs.directory, attrs.size if attrs.regular else None, None, modified, False, special)
