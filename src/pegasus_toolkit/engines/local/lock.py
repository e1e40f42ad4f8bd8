"""One engine at a time runs a DAG; a lock that was left behind tells the next where to go on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.dag.process import started


class Left(NamedTuple):
    """What an engine that was killed has left: the length of the event log when it began, the rescue file
    that it began from ("": none)."""

    offset: int
    rescue: str


class Running(Exception):
    """Another engine runs the DAG, or may do so; the message says who."""


class Lock:
    """``NAME.dag.lock``: the first line is the engine's pid. Held from :meth:`take` until :meth:`release`."""

    def __init__(self, dag: str) -> None:
        self.path = Path(f"{dag}.lock")
        self._fd = -1

    def take(self) -> Left | None:
        """Takes the lock. Gives what was left by an engine that did not come to its end, None if none was.

        Raises :class:`Running`.
        """
        while True:
            # Not to be truncated before it is known to be nobody's. DAGMan locks its file in the same way.
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                lines = os.read(fd, 4096).decode("utf-8", "surrogateescape").splitlines()
                self._free(fd, lines)
            except BaseException:
                os.close(fd)
                raise
            if _same(fd, self.path):
                break
            os.close(fd)  # whoever had it has just released it
        self._fd = fd
        if not lines:
            return None
        known = dict(line.partition(" ")[::2] for line in lines[1:])
        return Left(int(known.get("offset", "0")), known.get("rescue", ""))

    def tell(self, left: Left) -> None:
        """Writes what the next engine has to know, should this one be killed."""
        known = {
            "host": socket.gethostname(),
            "started": started(os.getpid()),
            "offset": str(left.offset),
            "rescue": left.rescue,
        }
        text = "".join((f"{os.getpid()}\n", *(f"{key} {value}\n" for key, value in known.items())))
        content = text.encode("utf-8", "surrogateescape")
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))

    def release(self, keep: bool = False) -> None:
        """The run came to its end; nothing is left. With ``keep`` it did not even begin, and all stays."""
        if self._fd >= 0:
            if not keep:
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def _free(self, fd: int, lines: list[str]) -> None:
        pid = lines[0].strip() if lines else ""
        known = dict(line.partition(" ")[::2] for line in lines[1:])
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = False
        except OSError as error:
            # Some network file systems know no locks; then only the pid tells.
            locked = error.errno in (errno.EACCES, errno.EAGAIN)
        if locked or (pid.isdecimal() and known.get("started", "?") == started(int(pid))):
            raise Running(
                f"is being run already, by {f'process {pid}' if pid else 'one that just began'} ({self.path})"
            )
        host = known.get("host", socket.gethostname())
        if host != socket.gethostname():
            raise Running(f"is being run on {host}, by process {pid}; if it is not, remove {self.path}")
        if lines and "started" not in known:
            raise Running(f"is being run by DAGMan; if it is not, remove {self.path}")


def _same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def holder(dag: str) -> int:
    """The pid of the local engine that runs ``dag`` on this machine; 0 if none does."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path(f"{dag}.lock").read_text("utf-8", "surrogateescape").splitlines()
        known = dict(line.partition(" ")[::2] for line in lines[1:])
        if known.get("host") == socket.gethostname() and known.get("started") == started(int(lines[0])):
            return int(lines[0])
    return 0
