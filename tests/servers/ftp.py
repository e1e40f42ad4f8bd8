"""Real FTP servers on loopback: pyftpdlib, plain or with TLS on demand; vsftpd, plain or all in TLS."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import free_port, listens, missing, program, public_directory, running
from tests.servers.nginx import PASSWORD, USER
from tests.servers.pki import Pki

VSFTPD = """
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
run_as_launching_user=YES
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
no_anon_password=YES
anon_root={home}/root
secure_chroot_dir={home}/empty
seccomp_sandbox=NO
vsftpd_log_file={home}/log
xferlog_enable=YES
hide_ids=YES
"""
IMPLICIT = """
ssl_enable=YES
implicit_ssl=YES
allow_anon_ssl=YES
force_anon_data_ssl=YES
force_anon_logins_ssl=YES
rsa_cert_file={pki.cert}
rsa_private_key_file={pki.key}
require_ssl_reuse={reuse}
"""


class FtpServer(NamedTuple):
    """Where it listens, and its files: those below ``data`` as ``prefix``/NAME."""

    port: int
    data: Path
    prefix: str
    log: Path

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"


@contextmanager
def serve_pyftpdlib(home: Path, pki: Pki | None = None) -> Iterator[FtpServer]:
    """A user with a password; ``reader`` and ``looker``, who may only do that; without TLS anybody."""
    needed = ["pyftpdlib"] + (["OpenSSL"] if pki else [])
    for module in needed:
        if find_spec(module) is None:
            missing(f"the Python package {module} is not installed")
    server = FtpServer(free_port(), home / "data", "", home / "output.log")
    server.data.mkdir()
    cert, key = (str(pki.cert), str(pki.key)) if pki else ("", "")
    config = {"port": server.port, "user": USER, "password": PASSWORD, "data": str(server.data)}
    (home / "config.json").write_text(json.dumps({**config, "cert": cert, "key": key}))
    script = Path(__file__).with_name("ftp_pyftpdlib.py")
    argv = [sys.executable, "-W", "ignore", str(script), str(home / "config.json")]
    with running(argv, server.log, lambda: listens(server.port)):
        yield server


@contextmanager
def serve_vsftpd(home: Path, more: str = "") -> Iterator[FtpServer]:
    """Open to all; as root it changes into its directory for good."""
    binary = program("vsftpd")
    server = FtpServer(free_port(), home / "root" / "pub", "/pub", home / "output.log")
    (home / "empty").mkdir()
    server.data.mkdir(parents=True)
    for directory in (home, home / "root"):
        directory.chmod(0o755)
    config = home / "vsftpd.conf"
    config.write_text(VSFTPD.format(port=server.port, home=home) + more)
    if os.geteuid() == 0:
        os.chown(config, 0, 0)
    with running([binary, str(config)], server.log, lambda: listens(server.port)):
        yield server


@pytest.fixture(scope="session")
def ftp_plain() -> Iterator[FtpServer]:
    with public_directory("ftp-") as home, serve_pyftpdlib(home) as server:
        yield server


@pytest.fixture(scope="session")
def ftp_tls(pki: Pki) -> Iterator[FtpServer]:
    with public_directory("ftp-tls-") as home, serve_pyftpdlib(home, pki) as server:
        yield server


@pytest.fixture(scope="session")
def vsftpd() -> Iterator[FtpServer]:
    with public_directory("vsftpd-") as home, serve_vsftpd(home) as server:
        yield server
