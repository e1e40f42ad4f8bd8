"""Names on a GridFTP server: what stands there, directories, removal, checksums."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pegasus_toolkit.transfer.backends.gridftp.data import Streamer, lines
from pegasus_toolkit.transfer.backends.gridftp.errors import failure, number
from pegasus_toolkit.transfer.backends.gridftp.wire import Reply, Session
from pegasus_toolkit.transfer.backends.shared.trees import DEPTH, ENTRIES
from pegasus_toolkit.transfer.errors import Denied, IsDirectory, NotFound, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Entry


class Facts(NamedTuple):
    """One line of MLST or MLSD. ``perm``: what may be done, "" where the server does not tell."""

    name: str
    kind: str  # file, dir, cdir, pdir, or something else
    size: int | None
    perm: str

    @property
    def directory(self) -> bool:
        """Whether it has files below it."""
        return self.kind in ("dir", "cdir")


def facts(line: str) -> Facts:
    """Takes ``Type=file;Size=3; name`` apart."""
    told, _, name = line.lstrip(" ").partition(" ")
    pairs = {key.lower(): value for key, _, value in (fact.partition("=") for fact in told.split(";"))}
    size = pairs.get("size", "")
    return Facts(
        name, pairs.get("type", "").lower(), int(size) if size.isdigit() else None, pairs.get("perm", "")
    )


def url(session: Session, path: str) -> str:
    """As errors name it."""
    return session.url + path


def look(session: Session, path: str, then: Callable[[Facts | TransferError], None]) -> None:
    """Asks what stands there; ``then`` is told when the answer comes."""

    def told(reply: Reply) -> None:
        line = next((line for line in reply.lines if ";" in line and "=" in line), "")
        if reply.code == 250 and line:
            then(facts(line))
        else:
            then(failure(reply, url(session, path), session.host, other=Denied))

    session.send(f"MLST {path}", told)


def stat(session: Session, path: str) -> Facts:
    """What stands there. Raises ``NotFound``."""
    found: list[Facts | TransferError] = []
    look(session, path, found.append)
    while not found:
        session.pump()
    if isinstance(found[0], TransferError):
        raise found[0]
    return found[0]


def make_directory(session: Session, path: str) -> None:
    """Makes it and its parents; content if it is there."""
    missing: list[str] = []
    here = path.rstrip("/")
    while here:
        reply = session.ask(f"MKD {here}")
        if reply.good:
            break
        try:
            if stat(session, here).directory:
                break
        except NotFound:
            if "/" not in here:
                raise
            missing.append(here)
            here = here.rpartition("/")[0]
            continue
        raise failure(reply, url(session, here), session.host, other=Denied)
    for directory in reversed(missing):
        reply = session.ask(f"MKD {directory}")
        if not reply.good and number(reply) != errno.EEXIST:  # another run may have been faster
            raise failure(reply, url(session, directory), session.host, other=Denied)


def remove(session: Session, path: str, then: Callable[[TransferError | None], None]) -> None:
    """Removes a file; what is not there counts as removed."""

    def told(reply: Reply) -> None:
        error = None if reply.good else failure(reply, url(session, path), session.host, other=Denied)
        then(None if isinstance(error, NotFound) else error)

    session.send(f"DELE {path}", told)


def remove_tree(session: Session, lister: Callable[[], Streamer], path: str) -> TransferError | None:
    """Removes a file, or a directory with all that is below it; links are removed, not followed."""
    try:
        if not stat(session, path).directory:
            return removed(session, [path], "DELE")
        directories, files = [path.rstrip("/")], list[str]()
        for directory in directories:  # grows while it is walked
            require_depth(session, path, directory)
            for entry in children(lister(), directory):
                below = f"{directory}/{entry.name}"
                (directories if entry.kind == "dir" else files).append(below)
        return removed(session, files, "DELE") or removed(session, directories[::-1], "RMD")
    except NotFound:
        return None
    except TransferError as error:
        return error


def removed(session: Session, paths: list[str], verb: str) -> TransferError | None:
    """Sends one command for each, many ahead; the first error."""
    errors: list[TransferError] = []
    under_way = 0

    def told(reply: Reply) -> None:
        if not reply.good:
            error = failure(reply, session.url, session.host, other=Denied)
            if not isinstance(error, NotFound):
                errors.append(error)

    for path in paths:
        session.send(f"{verb} {path}", told)
        under_way += 1
        if under_way >= 32:
            session.pump()
            under_way -= 1
    for _ in range(under_way):
        session.pump()
    return errors[0] if errors else None


def children(channel: Streamer, directory: str) -> list[Facts]:
    """What a directory holds. A line that tells no kind, or leads elsewhere, is an error, not left out."""
    found = []
    for line in lines(channel, f"MLSD {directory or '/'}"):
        entry = facts(line)
        if entry.kind in ("cdir", "pdir"):
            continue
        above, _, name = entry.name.rpartition("/")
        if not entry.kind or name in ("", ".", "..") or (above and above.rstrip("/") != directory):
            where = channel.session.url + directory
            raise ServerFault(f"the listing has a line that is not understood: {line[:200]!r}", url=where)
        found.append(entry._replace(name=name))
        if len(found) > ENTRIES:
            raise ServerFault(f"more than {ENTRIES} entries", url=channel.session.url + directory)
    return found


def require_depth(session: Session, top: str, directory: str) -> None:
    """A server may show a circle."""
    if directory.count("/") - top.count("/") > DEPTH:
        raise ServerFault(f"directories go more than {DEPTH} deep", url=url(session, top))


def walk(channel: Streamer, top: str) -> Iterator[Entry]:
    """All files below a directory, and its empty directories."""
    waiting = [top.rstrip("/")]
    while waiting:
        directory = waiting.pop()
        require_depth(channel.session, top, directory)
        entries = children(channel, directory)
        if not entries:
            yield Entry(directory, None, True)
        for entry in entries:
            path = f"{directory}/{entry.name}"
            if entry.directory:
                waiting.append(path)
            else:
                yield Entry(path, entry.size)


def checksum(session: Session, path: str, algorithm: str) -> str:
    """The server's own digest, lower-case hex; "" where it has no such algorithm."""
    if algorithm.lower() not in session.algorithms:
        return ""
    reply = session.ask(f"CKSM {algorithm.upper()} 0 -1 {path}")
    if not reply.good:
        raise failure(reply, url(session, path), session.host, other=Denied)
    return reply.text.split()[-1].lower() if reply.text else ""


def not_a_directory(found: Facts, where: str) -> IsDirectory | None:
    """The error for a directory where a file was meant."""
    return IsDirectory("is a directory", url=where) if found.directory else None


def no_parent(session: Session, path: str) -> TransferError | None:
    """Why a file cannot be made there, by what the server tells of its directory; ``None`` for no idea."""
    parent = path.rpartition("/")[0] or "/"
    try:
        found = stat(session, parent)
    except ServerFault:
        return None
    except TransferError as error:
        return error
    if not found.directory:
        return NotFound("is no directory", url=url(session, parent))
    if found.perm and "c" not in found.perm:
        return Denied("no permission to make files there", url=url(session, parent), host=session.host)
    return None
