"""Programs of others that move whole files: from argument lists, watched, ended with all they started."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from typing import NamedTuple

from pegasus_toolkit.transfer.errors import Cancelled, from_oserror

LOOK = 0.2  # seconds between looks at a program, at most
TOLD = 8 << 10  # bytes of what it said last that are kept


class Ended(NamedTuple):
    """``status``: its exit status, negative for a signal; ``said``: the end of its output and errors."""

    status: int
    said: str

    def line(self) -> str:
        """The last thing that it said, for an error."""
        lines = [" ".join(line.split()) for line in self.said.splitlines()]
        found = next((line for line in reversed(lines) if line), f"exit status {self.status}")
        return "".join(c for c in found if c.isprintable())[:300]


class Programs:
    """Runs programs, one at a time. ``close`` may be called from any thread, and ends the one that runs."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = {"PATH": os.defpath, **environ}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def find(self, *names: str) -> str:
        """The path of the first that is on PATH; "" for none."""
        return next((found for name in names if (found := which(name, path=self.environ["PATH"]))), "")

    def run(
        self,
        argv: Sequence[str],
        passed: Callable[[int], None],
        *,
        moved: Callable[[], int] = lambda: 0,
        cwd: str = "/",
        more: Mapping[str, str] = {},
    ) -> Ended:
        """Runs it to its end. ``passed`` is told of bytes that passed (``moved`` says how many there are by
        then), of one where the program only worked; it raises once the run is to stop, which ends it.

        Raises ``Cancelled`` once closed, and what ``passed`` raises.
        """
        with tempfile.TemporaryFile() as output:
            process = self._start(argv, output.fileno(), cwd, {**self.environ, **more})
            try:
                self._watch(process, passed, moved)
            finally:
                self._end(process)
            if self._closed:
                raise Cancelled("closed")
            output.seek(max(0, output.seek(0, os.SEEK_END) - TOLD))
            return Ended(process.returncode, output.read().decode("utf-8", "replace"))

    def _start(
        self, argv: Sequence[str], output: int, cwd: str, environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise Cancelled("closed")
            try:
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, env=environ,
                    start_new_session=True, umask=0o077,
                )  # fmt: skip
            except OSError as error:
                raise from_oserror(error, url=argv[0]) from error
            return self._process

    def _watch(
        self, process: subprocess.Popen[bytes], passed: Callable[[int], None], moved: Callable[[], int]
    ) -> None:
        count, worked, pause = 0, 0, LOOK / 20
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(pause)
                return
            pause = min(LOOK, 2 * pause)
            now = moved()
            ticks = _ticks(process.pid) if now <= count else worked
            passed(max(now - count, int(ticks != worked)))
            count, worked = max(count, now), ticks

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """What it started goes with it: also what is left when it came to its own end."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            self._process = None

    def close(self) -> None:
        """Ends the program that runs. Idempotent."""
        with self._lock:
            self._closed = True
            process = self._process
            if process is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def workspace() -> Iterator[Path]:
    """A private directory (0700), removed with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="pegasus-transfer-") as directory:
        yield Path(directory)


def size(path: str | Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _ticks(group: int) -> int:
    """Processor time that a group of processes has used, as the kernel counts."""
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                fields = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[2]) == group:
                    found += sum(map(int, fields[11:15]))
    return found
