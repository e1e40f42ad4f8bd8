"""Real GridFTP servers (Globus) on loopback: for users with a proxy, or open to all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.interface import Settings
from tests.servers.common import free_port, listens, program, public_directory, running
from tests.servers.grid_pki import Grid
from tests.servers.sshd import children


class GridFtpServer(NamedTuple):
    """``data``: the only directory that it serves, under its real path."""

    port: int
    data: Path
    log: Path
    pid: int
    grid: Grid

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"  # the name in its certificate

    def url(self, path: Path | str) -> str:
        return f"gsiftp://{self.authority}{path}"

    def settings(self, proxy: Path | None = None, **more: str) -> Settings:
        return settings(self.grid, proxy, **more)


def settings(grid: Grid, proxy: Path | None = None, **more: str) -> Settings:
    """What a user with that proxy has in the environment."""
    environ = environment(grid, proxy, **more)
    return Settings(Credentials.load(environ, ""), environ, stall_timeout=20.0)


def environment(grid: Grid, proxy: Path | None = None, **more: str) -> dict[str, str]:
    named = {"X509_USER_PROXY": str(proxy or grid.proxy), "X509_CERT_DIR": str(grid.certificates)}
    return {"PATH": os.environ["PATH"], **named, **more}


@contextmanager
def serving(
    home: Path,
    grid: Grid,
    arguments: Sequence[str] = (),
    gridmap: Path | None = None,
    data: Path | None = None,
) -> Iterator[GridFtpServer]:
    """One more server, with its files in ``home/data`` unless told otherwise."""
    data = data or home / "data"
    data.mkdir(exist_ok=True)
    port, log = free_port(), home / "server.log"
    argv = [program("globus-gridftp-server"), "-p", str(port), "-control-interface", "127.0.0.1"]
    argv += ["-data-interface", "127.0.0.1", "-c", os.devnull, "-rp", str(data), "-home-dir", str(data)]
    argv += ["-log-level", "ERROR,WARN,INFO", "-logfile", str(log), "-allow-disabled-login", *arguments]
    if os.geteuid() == 0:
        argv.append("-allow-root")
    env = {
        "X509_CERT_DIR": str(grid.certificates),
        "X509_USER_CERT": str(grid.host_cert),
        "X509_USER_KEY": str(grid.host_key),
        "X509_USER_PROXY": "",
        "GRIDMAP": str(gridmap or grid.gridmap),
        "GLOBUS_HOSTNAME": "localhost",
        "LC_ALL": "C",
    }
    with running(argv, home / "output.log", lambda: listens(port), env=env) as process:
        try:
            yield GridFtpServer(port, data, log, process.pid, grid)
        finally:
            for pid in children(process.pid):  # sessions that a test has cut off wait for their data
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def gridftp(grid: Grid) -> Iterator[GridFtpServer]:
    with public_directory("gridftp-") as home, serving(home, grid) as server:
        yield server


@pytest.fixture(scope="session")
def other_gridftp(grid: Grid) -> Iterator[GridFtpServer]:
    """A second one, which knows only the second user."""
    with public_directory("gridftp-") as home:
        gridmap = home / "gridmap"
        lines = grid.gridmap.read_text().splitlines(keepends=True)
        gridmap.write_text("".join(line for line in lines if "Other User" in line))
        with serving(home, grid, gridmap=gridmap) as server:
            yield server
