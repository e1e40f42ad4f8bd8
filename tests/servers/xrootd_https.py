"""Real XRootD servers that speak HTTPS as grid sites do: digests, and copies from server to server."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import free_port, listens, program, public_directory, running
from tests.servers.grid_pki import Grid
from tests.servers.xrootd import ACCOUNT, own

CONFIGURATION = """
all.role server
xrd.port {port}
all.export /data
oss.localroot {home}
all.adminpath {home}/admin
all.pidpath {home}/run
xrootd.chksum max 4 adler32 md5
xrd.tls {home}/host.pem {home}/host.key
xrd.tlsca certdir {grid.certificates}
xrd.protocol http:{port} libXrdHttp.so
http.exthandler xrdtpc libXrdHttpTPC.so
http.desthttps yes
http.listingdeny no
"""
MACAROONS = """
http.exthandler xrdmacaroons libXrdMacaroons.so
ofs.authlib ++ libXrdMacaroons.so
macaroons.secretkey {home}/macaroon.secret
all.sitename test
acc.authdb {home}/authdb
ofs.authorize 1
"""


class XrootdHttps(NamedTuple):
    """``https://authority/data/NAME`` is the file NAME in ``data``."""

    port: int
    home: Path

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"

    @property
    def data(self) -> Path:
        return self.home / "data"


@contextmanager
def serve(home: Path, grid: Grid, more: str = "") -> Iterator[XrootdHttps]:
    """One server with its files in ``home``."""
    binary = program("xrootd")
    server = XrootdHttps(free_port(), home)
    for name in ("data", "admin", "run", "test"):
        (home / name).mkdir()
    shutil.copyfile(grid.host_cert, home / "host.pem")
    shutil.copyfile(grid.host_key, home / "host.key")
    (home / "host.key").chmod(0o600)
    (home / "macaroon.secret").write_text(secrets.token_hex(64))
    (home / "authdb").write_text("g /O=Test_Grid /data a\nu testuser /data a\n")
    text = (CONFIGURATION + more).format(port=server.port, home=home, grid=grid)
    (home / "xrootd.cfg").write_text(text)
    argv = [binary, "-c", str(home / "xrootd.cfg"), "-n", "test", "-I", "v4"]
    if os.geteuid() == 0:
        own(home)
        argv += ["-R", ACCOUNT]
    environ = {"X509_USER_PROXY": "", "X509_CERT_DIR": str(grid.certificates)}
    with running(argv, home / "output.log", lambda: listens(server.port), env=environ, cwd=home):
        yield server


@pytest.fixture(scope="module")
def xrootd_https(grid: Grid) -> Iterator[tuple[XrootdHttps, XrootdHttps]]:
    """Two servers, open to everybody."""
    with ExitStack() as stack:
        homes = [stack.enter_context(public_directory("xrootd-https-")) for _ in range(2)]
        first, second = (stack.enter_context(serve(home, grid)) for home in homes)
        yield first, second
