"""What a GridFTP server gives to the stories: commands, and files and listings over data connections."""

from __future__ import annotations

import errno
from typing import Any
from urllib.parse import unquote

from pegasus_toolkit.transfer.backends.gridftp.copy import Copying
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
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.clients import facts
from pegasus_toolkit.transfer.clients.facts import Facts
from pegasus_toolkit.transfer.clients.gridftp.client import Client, Listing, Retrieve, Store
from pegasus_toolkit.transfer.clients.gridftp.errors import failure, number
from pegasus_toolkit.transfer.clients.gridftp.wire import Reply
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    IsDirectory,
    NotFound,
    ServerFault,
    Side,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Sink
from pegasus_toolkit.transfer.units import number as count

UNKNOWN = frozenset({500, 502, 504})  # of a command that a server does not know


class GridFtpFiles(PlainFiles):
    """The files of one account at one server."""

    def __init__(self, prefix: str, host: str, client: Client, ascii_only: bool) -> None:
        """``prefix``: scheme and authority, for errors; ``ascii_only``: other letters would be dropped."""
        super().__init__(Traits(asks_first=True, unlink_tells=True))
        self.prefix = prefix
        self.host = host
        self.client = client
        self.ascii_only = ascii_only

    def url(self, path: str) -> str:
        """As it is written in specifications."""
        return self.prefix + path

    def check(self, path: str) -> None:
        """Names that FTP, or this way to the server, cannot carry."""
        if any(c in path for c in "\r\n\0"):
            text = "a line break or NUL in a name, which FTP cannot carry"
            raise BadSpecification(text, url=self.prefix)
        if self.ascii_only and not path.isascii():
            text = "a name with letters outside ASCII, which the server would drop"
            raise BadSpecification(text, url=self.prefix)

    def _refusal(self, reply: Reply, path: str, side: Side = "", *why: str) -> TransferError:
        return perhaps(failure(reply, self.url(path), self.host, side=side, other=Denied), *why)

    # -- bytes -------------------------------------------------------------------------------------

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """STOR; then SIZE, unless the digest says more."""
        path = sending.job.path
        if isinstance(sending, Copying):
            yield sending.move(name)
        else:
            store: Store = yield Store(name, sending.source)
            sending.sent = store.sent
            if store.error is not None:
                raise store.error
            assert store.reply is not None
            if store.refused:
                raise (yield from self._unmade(store.reply, path))
            if not store.reply.good:
                raise failure(store.reply, self.url(path), self.host, side="destination")
            sending.require_whole(self.url(path))
            required = sending.job.required
            if required.remote and required.algorithm in self.client.algorithms:
                return Stored(None)
        reply: Reply = yield f"SIZE {name}"
        size = count(reply.text.strip()) if reply.code == 213 else None
        if size is None:
            raise failure(reply, self.url(path), self.host, side="destination")
        return Stored(size)

    def _unmade(self, reply: Reply, path: str) -> Steps[TransferError]:
        """Why the file could not be made; where the server tells no reason, its directory may."""
        if not number(reply):
            folder = parent(path) or "/"
            try:
                found = yield from self._look(folder)
            except NotFound as error:
                return perhaps(error, "parent")
            except TransferError as error:
                error.side = "destination"
                return error
            if not found.directory:
                return NotFound("is no directory", url=self.url(folder), side="destination")
            if found.perm and "c" not in found.perm:
                text = "no permission to make files there"
                return Denied(text, url=self.url(folder), host=self.host, side="destination")
        refused = failure(reply, self.url(path), self.host, side="destination")
        return perhaps(refused, "parent" if isinstance(refused, NotFound) else "name")

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """MLST, since RETR tells no size and no reason; then RETR."""
        found = yield from self._look(path)
        if found.directory:
            raise IsDirectory("is a directory", url=self.url(path), side="source")
        if found.size is not None:
            sink.announce(found.size)
        retrieve: Retrieve = yield Retrieve(path, sink, found.size or 0)
        if retrieve.error is not None:
            raise retrieve.error
        assert retrieve.reply is not None
        if not retrieve.reply.good:
            raise failure(retrieve.reply, self.url(path), self.host, side="source")

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        """CKSM, where the server has that algorithm."""
        if algorithm.lower() not in self.client.algorithms:
            return ""
        reply: Reply = yield f"CKSM {algorithm.upper()} 0 -1 {path}"
        if not reply.good:
            raise self._refusal(reply, path)
        return reply.text.split()[-1].lower() if reply.text else ""

    # -- names -------------------------------------------------------------------------------------

    def _look(self, path: str) -> Steps[Facts]:
        """MLST."""
        reply: Reply = yield f"MLST {path or '/'}"
        line = next((line for line in reply.lines if ";" in line and "=" in line), "")
        found = facts.read(line.lstrip(" ")) if reply.code == 250 else None
        if found is None:
            raise self._refusal(reply, path)
        return found

    def stat(self, path: str) -> Steps[Found]:
        """What a link leads to."""
        return _found((yield from self._look(path)))._replace(name="", link=False)

    def lstat(self, path: str) -> Steps[Found]:
        """A link is no directory."""
        told = yield from self._look(path)
        return Found("", False, link=True) if told.link else _found(told)._replace(name="")

    def real(self, path: str) -> Steps[str]:
        """What the server says of the last link; of those above it nothing is told."""
        told = yield from self._look(path)
        return unquote(told.link, errors="surrogateescape") if told.link.startswith("/") else path

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """RNFR and RNTO, over what stands there."""
        first, second = yield (f"RNFR {old}", f"RNTO {new}")
        reply = second if first.good else first
        if reply.good:
            return
        if reply.code in UNKNOWN and not number(reply):
            raise CannotRename(f"the server cannot rename: {reply.code} {reply.text}", url=self.url(new))
        raise self._refusal(reply, new, "destination", "exists")

    def unlink(self, path: str) -> Steps[None]:
        """DELE."""
        yield from self._gone(f"DELE {path}", path)

    def rmdir(self, path: str) -> Steps[None]:
        """RMD; where something is left, without the links that lead nowhere: Globus' MLSD hides them."""
        try:
            yield from self._gone(f"RMD {path}", path)
        except TransferError as refused:
            hidden = [] if isinstance(refused, NotFound) else (yield from self._hidden(path))
            if not hidden:
                raise refused
            for name in hidden:
                yield from self.unlink(f"{path}/{name}")
            yield from self._gone(f"RMD {path}", path)

    def _hidden(self, path: str) -> Steps[list[str]]:
        """By MLSR, which few servers have."""
        listing: Listing = yield Listing(path, "MLSR")
        found = [told for line in listing.lines if (told := facts.read(line)) is not None]
        return [told.name for told in found if told.kind == "slink" and "/" not in told.name]

    def _gone(self, command: str, path: str) -> Steps[None]:
        reply: Reply = yield command
        if not reply.good:
            told = number(reply)
            raise self._refusal(reply, path, "", *(() if told == errno.ENOENT else ("directory",)))

    # -- directories -------------------------------------------------------------------------------

    def make(self, path: str) -> Steps[bool]:
        """MKD, and where that is refused a look at what stands there."""
        reply: Reply = yield f"MKD {path}"
        if reply.good:
            return True
        if number(reply) != errno.EEXIST:
            found = yield from self._look(path)
            if not found.directory:
                raise self._refusal(reply, path, "destination", "exists")
        return False

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """MLSD. A line that tells no kind is an error."""
        listing: Listing = yield Listing(path)
        assert listing.reply is not None
        if not listing.reply.good:
            if not (yield from self._look(path)).directory:
                raise NotFound("a file, not a directory", url=self.url(path))
            raise failure(listing.reply, self.url(path), self.host)
        found: list[Found] = []
        wrong: TransferError | None = None
        for line in listing.lines:
            told = facts.read(line)
            if told is not None and told.kind and told.name.startswith(f"{path}/"):
                told = told._replace(name=told.name[len(path) + 1 :])
            if told is None or not told.kind:
                if line:
                    text = f"the listing has a line that is not understood: {line[:200]!r}"
                    wrong = ServerFault(text, url=self.url(path))
            elif told.kind not in ("cdir", "pdir"):
                found.append(_found(told))
        return Page(found, wrong=wrong)


def _found(told: Facts) -> Found:
    """A link may lead to a directory; what is neither is nothing to be read."""
    if told.link:
        return Found(told.name, None, link=True)
    special = "no regular file" if told.directory is None else ""
    size = told.size if told.directory is False else None
    return Found(told.name, bool(told.directory), size, None, told.modified, False, special)
