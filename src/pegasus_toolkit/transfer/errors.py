"""What can go wrong with a transfer, told apart by type where it arises.

    TransferError
        Transient           may pass: tried again after a back-off; the run exits 1
            Corrupted       bytes differ from the expected digest or size
            Unreachable     the host could not be reached at all (counts for all that wait on it)
            TimedOut        connected, but nothing came for too long
            Throttled       asked to wait (``retry_after`` seconds)
            ServerFault     the server failed (5xx and its like)
            Cancelled       the run was told to stop
            ResourceLimit   this machine or process is out of something (open files, memory)
        NoSpace             disk or quota full: not tried again on that destination; exits 1
        Defect              something of ours is wrong; ``__cause__`` tells where
        Permanent           no repetition mends it: next source or destination; exits 2
            NotFound
            Denied          wrong credential, no permission, untrusted certificate
            BadSpecification
            Unsupported     no such ability here, or an extra that is not installed
            IsDirectory     a directory where a file was meant (the engine expands sources)
        CannotCopy          a storage will not copy this one by itself; never leaves the engine

Backends translate foreign errors by type or code, never by message.
"""

from __future__ import annotations

import errno
import threading
from types import CodeType
from typing import ClassVar, Literal

LONGEST = 3600.0  # seconds that a run waits because a server says so: some say 2147483647
Side = Literal["source", "destination", ""]


class TransferError(Exception):
    """One line that says what happened; fields for programs.

    ``url``: what it happened to; ``host``: where; ``hint``: what to do about it;
    ``side``: which end of a transfer caused it, where that is known.
    None of them ever holds a secret.
    """

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"

    def __init__(
        self, message: str, *, url: str = "", host: str = "", hint: str = "", side: Side = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.url = url
        self.host = host
        self.hint = hint
        self.side: Side = side
        self.perhaps: tuple[str, ...] = ()  # what may be behind a refusal (``backends/shared/files.py``)

    def __str__(self) -> str:
        """The message, where it happened and what to do, on one line."""
        text = self.message
        if self.url and not _names(text, self.url):
            text += f": {self.url}"
        if self.host and self.host not in text:
            text += f" (at {self.host})"
        if self.hint:
            text += f"; {self.hint}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _names(text: str, url: str) -> bool:
    """Whether it has the name already. A bare word, such as ``d``, could be any letters of it."""
    return url in text if "/" in url else f": {url}" in text or repr(url) in text


class Transient(TransferError):
    """May pass by itself."""

    retryable = True
    kind = "transient"


class Corrupted(Transient):
    """Bytes differ from the expected digest or size."""

    kind = "corrupted"


class Unreachable(Transient):
    """No connection to the host: name not found, refused, no route, TLS broken off."""

    kind = "unreachable"


class TimedOut(Transient):
    """The other side went silent."""

    kind = "timed out"


class Throttled(Transient):
    """The server asks for a pause of ``retry_after`` seconds, an hour at most (``None``: it did not say)."""

    kind = "throttled"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        url: str = "",
        host: str = "",
        hint: str = "",
        side: Side = "",
    ) -> None:
        super().__init__(message, url=url, host=host, hint=hint, side=side)
        self.retry_after = None if retry_after is None else min(retry_after, LONGEST)


class ServerFault(Transient):
    """The server says that it failed, or broke off in the middle."""

    kind = "server fault"


class ResourceLimit(Transient):
    """A limit of this machine or process was met: open files, memory, threads. No other end's fault."""

    kind = "resource limit"


class Cancelled(Transient):
    """The run was told to stop; never tried again within it."""

    retryable = False
    kind = "cancelled"


class NoSpace(TransferError):
    """Disk or quota full. Another run may find room; this one does not try that place again."""

    kind = "no space"


class Defect(TransferError):
    """A fault in this program; the exception that showed it is the ``__cause__``."""

    kind = "defect"

    @classmethod
    def wrap(cls, cause: BaseException) -> Defect:
        """Names the exception and where it was raised; its text is left out (it may hold anything)."""
        trace = cause.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        code = trace.tb_frame.f_code if trace is not None else None
        at = f" in {code.co_filename}:{trace.tb_lineno}" if code is not None and trace is not None else ""
        defect = cls(f"{type(cause).__name__}{at}", hint="this is a defect: please report it, with -d")
        defect.__cause__ = cause
        return defect


class Permanent(TransferError):
    """Repetition does not mend it."""

    exit_code = 2
    kind = "permanent"


class NotFound(Permanent, FileNotFoundError):
    """There is no such file, object, bucket or directory."""

    kind = "not found"


class Denied(Permanent, PermissionError):
    """Credential missing, wrong or without the right; or the other side is not trusted."""

    kind = "denied"


class BadSpecification(Permanent, ValueError):
    """What was asked for makes no sense; says which key of which entry, and what is expected."""

    kind = "bad specification"


class Unsupported(Permanent):
    """Nothing here can do that; where an extra would, the hint names it."""

    kind = "unsupported"


class IsDirectory(Permanent):
    """A directory where a file was meant."""

    kind = "is a directory"


class CannotCopy(TransferError):
    """The storage will not, or cannot, copy this one by itself: the engine moves it another way.

    No failure: it uses up no attempt, and never stands in an outcome.
    """

    kind = "cannot copy"


_BY_ERRNO: dict[int, type[TransferError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,
    errno.EISDIR: IsDirectory,
    errno.ENAMETOOLONG: BadSpecification,
    errno.EINVAL: BadSpecification,
    errno.ELOOP: BadSpecification,
    errno.EMFILE: ResourceLimit,
    errno.ENFILE: ResourceLimit,
    errno.ENOMEM: ResourceLimit,
    errno.ENOBUFS: ResourceLimit,
    errno.EAGAIN: ResourceLimit,  # no more processes; nothing here reads or writes without blocking
    errno.ETIMEDOUT: TimedOut,
    errno.ECONNREFUSED: Unreachable,
    errno.EHOSTUNREACH: Unreachable,
    errno.ENETUNREACH: Unreachable,
}


_MEMORY = "move fewer files at once (-n), or give this process more memory"
_THREADS = "move fewer files at once (-n), or allow more processes (ulimit -u)"
_HINTS = {
    errno.EIO: "a disk, or the server of a network file system, has failed: see the system's log",
    errno.EBUSY: "something is mounted there, or another program uses it",
    errno.ESTALE: "the server of the network file system no longer knows it",
}
_LIMITS = {
    errno.EAGAIN: _THREADS,
    errno.EMFILE: "move fewer files at once (-n), or allow more open files (ulimit -n)",
    errno.ENFILE: "this machine has too many open files: move fewer files at once (-n)",
}


def from_oserror(error: OSError, *, url: str = "", host: str = "", side: Side = "") -> TransferError:
    """The error of ours that an ``OSError`` stands for, by its ``errno``."""
    if isinstance(error, TransferError):
        return error
    kind = _BY_ERRNO.get(error.errno or 0, Transient)
    text = error.strerror or str(error) or type(error).__name__
    name = url or (str(error.filename) if error.filename is not None else "")
    if kind is ResourceLimit:  # of this machine, whichever end asked for more
        return ResourceLimit(text, url=name, hint=_LIMITS.get(error.errno or 0, _MEMORY))
    return kind(text, url=name, host=host, side=side, hint=_HINTS.get(error.errno or 0, ""))


def translate(error: BaseException, *, url: str = "", host: str = "", side: Side = "") -> TransferError:
    """The error of ours that any exception stands for; what nobody expected is a ``Defect``."""
    if isinstance(error, OSError):
        return from_oserror(error, url=url, host=host, side=side)
    if isinstance(error, TransferError):
        return error
    if isinstance(error, MemoryError):
        return ResourceLimit("out of memory", url=url, hint=_MEMORY)
    if isinstance(error, RuntimeError) and _raised_in(error) is threading.Thread.start.__code__:
        return ResourceLimit("no thread can be started", url=url, hint=_THREADS)  # Python has no type for it
    return Defect.wrap(error)


def _raised_in(error: BaseException) -> CodeType | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code if trace is not None else None
