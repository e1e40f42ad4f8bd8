"""Directories of an FTP server: what stands at a name, listings, making and removing."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from pegasus_toolkit.transfer.backends.ftp.core import (
    Commands,
    FtpExchange,
    FtpSession,
    Reply,
    name,
    of_reply,
)
from pegasus_toolkit.transfer.backends.http.parents import Made, Parents
from pegasus_toolkit.transfer.backends.http.uploads import SETTLE
from pegasus_toolkit.transfer.clients.curl.loop import PATIENCE, Loop, fetch
from pegasus_toolkit.transfer.errors import Denied, IsDirectory, NotFound, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Data, Entry

DEPTH = 100  # directories below each other, at most
PAGE = 256 << 20  # bytes of one listing, at most
BATCH = 100  # commands sent in one request
UNKNOWN = frozenset({500, 501, 502, 504})  # of servers that know a command not

_UNIX = re.compile(r"([-dl])\S{9}\S?\s+\d+\s+\S+\s+\S+\s+(\d+)\s+\S+\s+\d+\s+[\d:]+ (.*)", re.DOTALL)
_DOS = re.compile(r"\d\d-\d\d-\d\d+\s+\d\d:\d\d[AP]M\s+(<DIR>|\d+)\s+(.*)", re.DOTALL)


class Found(NamedTuple):
    """What stands at a name. ``directory`` is ``None`` for a symbolic link, which may lead to either."""

    name: str
    directory: bool | None
    size: int | None


class Listing(FtpExchange):
    """What is in one directory, as the server's lines."""

    def __init__(self, session: FtpSession, folder: str) -> None:
        super().__init__(session, session.url(folder.rstrip("/") + "/"))
        self.method = "MLSD" if session.facts else "LIST -a"
        self.body = bytearray()
        self.itself = False  # "." was in it, as in every directory's (but MLSD's)

    def begin(self, head: object) -> None:
        """Keeps what comes."""
        self.body.clear()
        self.take = self._keep

    def _keep(self, chunk: Data) -> None:
        self.body += chunk
        if len(self.body) > PAGE:
            raise ServerFault(f"a listing of more than {PAGE >> 20} MiB", url=self.url)

    def names(self) -> list[Found]:
        """Files and directories, but for "." and ".."."""
        lines = bytes(self.body).decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
        read = _facts if self.method == "MLSD" else _listed
        found = [one for line in lines if line and (one := read(line)) is not None]
        self.itself = any(one.name == "." for one in found)
        return [one for one in found if one.name not in ("", ".", "..") and "/" not in one.name]


def _facts(line: str) -> Found | None:
    """``type=file;size=6;modify=...; name``, of MLSD and MLST."""
    text, _, rest = line.partition(" ")
    facts = dict(fact.lower().split("=", 1) for fact in text.split(";") if "=" in fact)
    kind, size = facts.get("type", ""), facts.get("size", "")
    if kind in ("cdir", "pdir"):
        return None
    directory = {"dir": True, "file": False}.get(kind)
    return Found(rest, directory, int(size) if size.isdigit() and not directory else None)


def _listed(line: str) -> Found | None:
    """A line of LIST, as Unix or as Windows writes it."""
    unix = _UNIX.fullmatch(line)
    if unix is not None:
        kind, size, rest = unix.groups()
        if kind == "l":
            return Found(rest.rpartition(" -> ")[0], None, None)
        return Found(rest, kind == "d", int(size) if kind == "-" else None)
    dos = _DOS.fullmatch(line)
    if dos is None:
        return None
    return Found(dos[2], dos[1] == "<DIR>", int(dos[1]) if dos[1].isdigit() else None)


class Look(Commands):
    """What stands at a name: by MLST, or for servers without it by SIZE, and by CWD there and back."""

    def __init__(self, session: FtpSession, path: str, then: Callable[[Any], None]) -> None:
        plain = name(path.rstrip("/") or "/") or "."
        self.facts = session.facts
        old = ["TYPE I", f"*SIZE {plain}", f"*CWD {plain}", f"CWD {session.entry}"]
        super().__init__(session, path, then, [f"*MLST {plain}"] if self.facts else old)

    def again(self) -> bool:
        """Whether MLST turned out to be unknown, so that another look is needed."""
        assert isinstance(self.session, FtpSession)
        if self.facts and self.answers and self.answers[-1].code in UNKNOWN:
            self.session.facts = False
            return True
        return False

    def result(self) -> Found:
        """Raises ``NotFound``, and what went wrong."""
        error = self.failed()
        if error is not None:
            raise error
        if len(self.answers) < len(self.extra):
            raise ServerFault("fewer answers than commands", url=self.url)
        if self.facts:
            (answer,) = self.answers
            if answer.code == 250 and len(answer.lines) > 1:
                line = re.sub("(?i)type=cdir", "type=dir", answer.lines[1].strip())
                return _facts(line) or Found("", True, None)
        else:
            _, size, answer, _ = self.answers
            if size.code == 213:
                return Found("", False, int(size.lines[-1].split()[1]))
            if answer.code == 250:
                return Found("", True, None)
        raise of_reply(answer, self.url, self.session.host, self.session.access.section)


def look(session: FtpSession, loop: Loop, path: str) -> Found:
    """What stands there. Raises ``NotFound``."""
    step = Look(session, path, _nothing)
    fetch(loop, step)
    if step.again():
        step = Look(session, path, _nothing)
        fetch(loop, step)
    return step.result()


def _nothing(_: object) -> None:
    """What is to be done after an exchange that is the last."""


def members(session: FtpSession, loop: Loop, folder: str) -> list[Found]:
    """What is in one directory. Raises ``NotFound``."""
    known = session.facts
    listing = Listing(session, folder)
    try:
        fetch(loop, listing)
    except TransferError:
        if known and listing.code in (500, 502, 504):
            session.facts = False
            return members(session, loop, folder)
        if listing.code // 100 == 5 and not _directory(session, loop, folder):
            raise NotFound("a file, not a directory", url=listing.url) from None
        raise
    found = listing.names()
    if listing.method != "MLSD" and not listing.itself and not _directory(session, loop, folder):
        raise NotFound("a file, not a directory", url=listing.url)  # whose LIST shows itself
    return found


def _directory(session: FtpSession, loop: Loop, path: str) -> bool:
    return look(session, loop, path).directory is not False


def walk(session: FtpSession, loop: Loop, prefix: str) -> Iterator[Entry]:
    """All files below, and the empty directories. Paths begin with ``prefix`` as it was given."""
    below = [(prefix.rstrip("/") + "/", 0)]
    while below:
        folder, depth = below.pop()
        found = members(session, loop, folder)
        if not found and depth:
            yield Entry(folder.rstrip("/"), None, True)
        for one in found:
            path = folder + quote(one.name, safe="", errors="surrogateescape")
            directory = one.directory
            if directory is None:
                directory = _directory(session, loop, path)
            if not directory:
                yield Entry(path, one.size)
            elif depth >= DEPTH:
                raise ServerFault(f"directories go more than {DEPTH} deep", url=session.url(folder))
            else:
                below.append((f"{path}/", depth + 1))


class Maker:
    """Asks for one directory: MKD, and where that is refused a look at what stands there."""

    def __init__(self, session: FtpSession, start: Callable[[FtpExchange], None]) -> None:
        self._session = session
        self._start = start

    def ask(self, path: str, told: Callable[[Made], None]) -> None:
        """As :class:`Parents` wants it."""
        commands = [f"*MKD {name(path).rstrip('/')}"]
        self._start(Commands(self._session, path, lambda step: self._made(path, step, told), commands))

    def _made(self, path: str, step: Commands, told: Callable[[Made], None]) -> None:
        error = step.failed()
        if error is not None:
            told(error)
        elif step.answers and step.answers[-1].code < 300:
            told("made")
        else:
            refused = step.answers[-1] if step.answers else Reply(550, ("550 refused",))
            self._start(Look(self._session, path, partial(self._seen, path, refused, told)))

    def _seen(self, path: str, refused: Reply, told: Callable[[Made], None], step: Look) -> None:
        if step.again():
            self._start(Look(self._session, path, partial(self._seen, path, refused, told)))
            return
        try:
            found = step.result()
        except NotFound:
            told("orphan")
        except TransferError as error:
            told(error)
        else:
            host, section = self._session.host, self._session.access.section
            told("made" if found.directory is not False else of_reply(refused, step.url, host, section))


def make(session: FtpSession, loop: Loop, path: str, known: set[str]) -> None:
    """Makes it and the parents that are missing."""
    wrong: list[TransferError | None] = []
    parents = Parents(Maker(session, lambda exchange: loop.start(exchange, SETTLE)).ask)
    parents.known = known
    with loop.use():
        parents.make(path.rstrip("/") + "/", wrong.append)
        while not wrong:
            loop.step(PATIENCE)
    if wrong[0] is not None:
        raise wrong[0]


class Removes:
    """One batch of removals."""

    def __init__(self, loop: Loop, side: Loop, session: FtpSession, recursive: bool, known: set[str]) -> None:
        self._loop = loop
        self._side = side
        self._session = session
        self._recursive = recursive
        self._known = known
        self._ready: deque[tuple[str, Reply | TransferError | None]] = deque()

    def run(self, paths: Iterable[str]) -> Iterator[tuple[str, TransferError | None]]:
        """Each path with what became of it."""
        waiting = iter(paths)
        with self._loop.use():
            while self._fill(waiting):
                if not self._ready:
                    self._loop.step(PATIENCE)
                while self._ready:
                    path, result = self._ready.popleft()
                    yield path, self._refused(path, result) if isinstance(result, Reply) else result

    def _fill(self, waiting: Iterator[str]) -> bool:
        while self._loop.room > 0:
            path = next(waiting, None)
            if path is None:
                break
            try:
                commands = [f"*DELE {name(path).rstrip('/')}"]
                self._loop.start(
                    Commands(self._session, path, partial(self._deleted, path), commands), SETTLE
                )
            except TransferError as error:
                self._ready.append((path, error))
        return bool(self._loop.active or self._ready)

    def _deleted(self, path: str, step: Commands) -> None:
        error = step.failed()
        last = step.answers[-1] if step.answers else None
        if error is not None or last is None:
            self._ready.append((path, error or ServerFault("no answer", url=step.url)))
        else:
            self._ready.append((path, last if last.code >= 300 else None))

    def _refused(self, path: str, reply: Reply) -> TransferError | None:
        """After a DELE that did not work: whether there is a directory, or nothing."""
        session = self._session
        try:
            found = look(session, self._side, path)
            if found.directory is False:
                error = of_reply(reply, session.url(path), session.host, session.access.section)
                return Denied(error.message, url=error.url, host=error.host) if reply.code == 550 else error
            if not self._recursive:
                return IsDirectory("a directory, and not asked for recursively", url=session.url(path))
            self._tree(path.rstrip("/"))
        except NotFound:
            return None
        except TransferError as error:
            return error
        return None

    def _tree(self, path: str) -> None:
        """Files first, then directories from the innermost out; a link is removed, not followed."""
        files: list[str] = []
        folders = [path]
        for folder in folders:  # grows
            for one in members(self._session, self._side, folder):
                below = f"{folder}/{quote(one.name, safe='', errors='surrogateescape')}"
                (folders if one.directory else files).append(below)
        self._known.difference_update([one for one in self._known if one.startswith(f"{path}/")])
        self._many([f"*DELE {name(file)}" for file in files], path)
        self._many([f"*RMD {name(folder)}" for folder in reversed(folders)], path)

    def _many(self, commands: Sequence[str], path: str) -> None:
        for at in range(0, len(commands), BATCH):
            step = Commands(self._session, path, _nothing, commands[at : at + BATCH])
            fetch(self._side, step)
            for reply in step.answers:
                if reply.code >= 300:
                    host, section = self._session.host, self._session.access.section
                    error = of_reply(reply, self._session.url(path), host, section)
                    raise Denied(error.message, url=error.url, host=host) if reply.code == 550 else error


def free(session: FtpSession, loop: Loop, path: str) -> int | None:
    """What AVBL tells, where the server knows it."""
    step = Commands(session, path, _nothing, [f"*AVBL {name(path).rpartition('/')[0] or '.'}"])
    fetch(loop, step)
    words = step.answers[-1].lines[-1].split() if step.answers and step.answers[-1].code == 213 else []
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
