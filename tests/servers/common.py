"""What every test server needs: a free port, a process that is up, and its end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

_claims: list[
    socket.socket
] = []  # what keeps ports from other processes, also of other suites, until the end
START_LIMIT = 30.0  # seconds until a server must answer
REQUIRE = "PEGASUS_TOOLKIT_REQUIRE_SERVERS"


def missing(reason: str) -> NoReturn:
    """Skips what needs a server that is not here; fails instead where all must be here (the gate)."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{reason} ({REQUIRE}=1)")
    pytest.skip(reason)


def program(name: str, *elsewhere: str) -> str:
    """Path of a server's program; ``missing`` when it is not installed.

    Also looked for in /usr/sbin and its like, which a user's PATH need not have, and ``elsewhere``.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *elsewhere, "/usr/sbin", "/usr/local/sbin", "/sbin"])
    return shutil.which(name, path=path) or missing(f"{name} is not installed")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that is given to no other test of this machine.

    Below 32768: above, the system takes ports for outgoing connections, perhaps this one before
    the server has it (SeaweedFS's parts connect to each other while the last are still to start).
    """
    while True:
        port = random.randrange(20_000, 32_000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0pegasus-toolkit-test-port-{port}")  # an abstract name: gone with this process
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        if not listens(port):
            return port


def listens(port: int) -> bool:
    """Whether something takes connections on that port of 127.0.0.1."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def public_directory(prefix: str) -> Iterator[Path]:
    """A temporary directory that servers under another account can read (mode 755); removed after."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(
    argv: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    end: signal.Signals = signal.SIGTERM,
    limit: float = START_LIMIT,
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a server in the foreground, waits until ``ready()``, ends it (by its pid) on leaving.

    ``log`` gets what it prints; ``env`` is added to the environment. Fails the test, with the end
    of the log, when the server dies first or is not ready in time.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,  # Ctrl-C is for pytest, which then ends it in order
        )
    try:
        _wait_until(ready, process, log, limit)
        yield process
    finally:
        _end(process, end)


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, limit: float) -> None:
    deadline = time.monotonic() + limit
    while not ready():
        code = process.poll()
        if code is not None or time.monotonic() > deadline:
            what = "did not answer in time" if code is None else f"ended with {code}"
            tail = log.read_text(errors="replace")[-2000:]
            pytest.fail(f"{process.args!r} {what}:\n{tail}")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
