"""SFTP version 3 on the wire: packets made and taken apart. No I/O here.

Names are bytes for the protocol; a path's characters go out as UTF-8, and bytes that are none come
back as surrogates, so that any name survives the way there and back.
"""

from __future__ import annotations

import stat
from struct import Struct, pack
from struct import error as StructError
from typing import NamedTuple

from pegasus_toolkit.transfer.errors import ServerFault

INIT, VERSION, VERSION_3 = 1, 2, 3
OPEN, CLOSE, READ, WRITE = 3, 4, 5, 6
LSTAT, FSTAT, FSETSTAT = 7, 8, 10
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR = 11, 12, 13, 14, 15
REALPATH, STAT, RENAME = 16, 17, 18
EXTENDED = 200
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 101, 102, 103, 104, 105, 201

# Codes of STATUS; those from 10 on are of later versions, which some servers send all the same.
OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE = 0, 1, 2, 3, 4, 5
OP_UNSUPPORTED, NO_SUCH_PATH, ALREADY_EXISTS, WRITE_PROTECTED = 8, 10, 11, 12
NO_SPACE, QUOTA_EXCEEDED, IS_A_DIRECTORY = 14, 15, 24

FOR_READING = 0x01
NEW_FOR_WRITING = 0x02 | 0x08 | 0x20  # WRITE | CREAT | EXCL

POSIX_RENAME = b"posix-rename@openssh.com"
LIMITS = b"limits@openssh.com"
STATVFS = b"statvfs@openssh.com"
COPY_DATA = b"copy-data"

HEADER = Struct(">IBI")  # length of what follows it, kind, number of the request
U32 = Struct(">I")
U64 = Struct(">Q")
READ_TAIL = Struct(">QI")  # offset, length
ALL_ATTRIBUTES = Struct(">QIIIII")  # size, user, group, mode, accessed, modified
NO_ATTRIBUTES = b"\0\0\0\0"
DEFAULT_BLOCK = 32768  # bytes that every server takes and gives in one packet


class ProtocolError(ServerFault):
    """What came is no SFTP."""

    def __init__(self, url: str = "") -> None:
        super().__init__("the server's answer is no SFTP", url=url)


class Attributes(NamedTuple):
    """What a server tells of a file; ``None`` where it does not."""

    size: int | None = None
    mode: int | None = None  # type and permission bits
    modified: int | None = None  # seconds since the epoch

    @property
    def directory(self) -> bool:
        return self.mode is not None and stat.S_ISDIR(self.mode)

    @property
    def regular(self) -> bool:
        """Whether it is a regular file, or the server does not tell."""
        return self.mode is None or not stat.S_IFMT(self.mode) or stat.S_ISREG(self.mode)

    @property
    def link(self) -> bool:
        return self.mode is not None and stat.S_ISLNK(self.mode)


class Limits(NamedTuple):
    """What one request may be: payload bytes of a read and of a write, and files open at once."""

    read: int = DEFAULT_BLOCK
    write: int = DEFAULT_BLOCK
    handles: int = 64


def encode(path: str) -> bytes:
    """A path as the protocol's string: length and bytes."""
    data = path.encode("utf-8", "surrogateescape")
    return U32.pack(len(data)) + data


def string(data: bytes) -> bytes:
    """Bytes as the protocol's string."""
    return U32.pack(len(data)) + data


def permissions(mode: int) -> bytes:
    """Attributes that hold permission bits only."""
    return pack(">II", 4, mode)


def times(modified: int) -> bytes:
    """Attributes that hold times only; ``modified``: seconds since the epoch, as far as the wire can say."""
    modified = min(max(modified, 0), 0xFFFFFFFF)
    return pack(">III", 8, modified, modified)


def text(body: memoryview | bytes, at: int = 0) -> tuple[bytes, int]:
    """The string at that place, and where it ends. Raises ``ProtocolError`` when it is cut short."""
    end = at + 4 + int.from_bytes(body[at : at + 4], "big")
    if end > len(body) or at + 4 > len(body):
        raise ProtocolError
    return bytes(body[at + 4 : end]), end


def attributes(body: memoryview | bytes, at: int = 0) -> tuple[Attributes, int]:
    """Attributes at that place, and where they end. Raises ``ProtocolError``."""
    try:
        return _attributes(body, at)
    except StructError:
        raise ProtocolError from None


def _attributes(body: memoryview | bytes, at: int) -> tuple[Attributes, int]:
    (flags,) = U32.unpack_from(body, at)
    at += 4
    if flags == 15:  # what OpenSSH tells, of every file
        size, _, _, mode, _, modified = ALL_ATTRIBUTES.unpack_from(body, at)
        return Attributes(size, mode, modified), at + ALL_ATTRIBUTES.size
    size = mode = modified = None
    if flags & 1:
        (size,) = U64.unpack_from(body, at)
        at += 8
    if flags & 2:
        at += 8
    if flags & 4:
        (mode,) = U32.unpack_from(body, at)
        at += 4
    if flags & 8:
        (modified,) = U32.unpack_from(body, at + 4)
        at += 8
    if flags & 0x80000000:
        (count,) = U32.unpack_from(body, at)
        at += 4
        for _ in range(2 * count):
            _, at = text(body, at)
    return Attributes(size, mode, modified), at


def code(kind: int, body: memoryview | bytes) -> int:
    """The code of a STATUS; -1 for any other answer."""
    if kind != STATUS:
        return -1
    try:
        return U32.unpack_from(body, 0)[0]  # type: ignore[no-any-return]
    except StructError:
        raise ProtocolError from None


def number(body: memoryview | bytes) -> int:
    """The number that an answer begins with. Raises ``ProtocolError``."""
    try:
        return int(U32.unpack_from(body, 0)[0])
    except StructError:
        raise ProtocolError from None


def names(body: memoryview | bytes) -> list[tuple[str, Attributes]]:
    """The entries of a directory that one answer holds. Raises ``ProtocolError``."""
    count, at, found = number(body), 4, []
    for _ in range(count):
        name, at = text(body, at)
        _, at = text(body, at)  # a line as of "ls -l", for people
        attrs, at = attributes(body, at)
        found.append((name.decode("utf-8", "surrogateescape"), attrs))
    return found


def extensions(body: memoryview | bytes) -> dict[bytes, bytes]:
    """What a VERSION packet offers: name and data of each extension."""
    at, found = 0, {}
    while at < len(body):
        name, at = text(body, at)
        found[name], at = text(body, at)
    return found


def limits(body: memoryview | bytes) -> Limits:
    """What the server answers to ``limits@openssh.com``; 0 there means that it does not say."""
    if len(body) < 32:
        return Limits()
    _, read, write, handles = (U64.unpack_from(body, at)[0] for at in (0, 8, 16, 24))
    cap = 261120
    return Limits(min(read, cap) or DEFAULT_BLOCK, min(write, cap) or DEFAULT_BLOCK, min(handles or 64, 1024))


def free_space(body: memoryview | bytes) -> int:
    """Bytes that the account may still write, as ``statvfs@openssh.com`` tells; 0 without free inodes."""
    if len(body) < 64:
        raise ProtocolError
    _, unit, _, _, free, _, _, inodes = (U64.unpack_from(body, 8 * n)[0] for n in range(8))
    return 0 if not inodes else free * unit
