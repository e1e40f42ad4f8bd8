"""Real XRootD servers on loopback: open to all, by X.509 proxy, by shared secret, with TLS and tokens."""

from __future__ import annotations

import base64
import hmac
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import free_port, listens, program, public_directory, running
from tests.servers.grid_pki import Grid

ACCOUNT = "xrootd"  # which the Debian package makes; the server refuses to be root

CONFIGURATION = """
all.role server
xrd.port {port}
xrd.allow host localhost
all.export /data
all.export /readonly r/o
oss.localroot {home}
all.adminpath {home}/admin
all.pidpath {home}/run
xrootd.chksum {checksums}
ofs.tpc fcreds ?gsi =X509_USER_PROXY ttl 60 60 xfr 9 pgm {xrdcp} --server
"""

CHECKSUMS = "max 4 adler32 crc32c md5"


class Xrootd(NamedTuple):
    """``data``: what it serves below /data, as files; ``log``: what it said."""

    port: int
    home: Path

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"  # the name in its certificate

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "output.log"

    def write(self, path: str, content: bytes) -> None:
        """Puts a file there (``path`` as in an URL) that the server may replace, and its parents."""
        file = Path(self.home, path.lstrip("/"))
        self.make(str(file.parent.relative_to(self.home)))
        file.write_bytes(content)
        file.chmod(0o666)

    def make(self, path: str) -> None:
        """A directory there that the server may write to, and its parents."""
        directory = Path(self.home, path.lstrip("/"))
        for parent in [*reversed(directory.parents), directory]:
            if not parent.exists():
                parent.mkdir()
                parent.chmod(0o777)


@contextmanager
def serve(home: Path, lines: Sequence[str] = (), checksums: str = CHECKSUMS) -> Iterator[Xrootd]:
    """One server with its files in ``home``; ``lines`` are added to its configuration."""
    server = Xrootd(free_port(), home)
    for name in ("data", "readonly", "admin", "run", "test"):
        (home / name).mkdir()
    text = CONFIGURATION.format(port=server.port, home=home, checksums=checksums, xrdcp=program("xrdcp"))
    (home / "xrootd.cfg").write_text(text + "\n".join(lines) + "\n")
    argv = [program("xrootd"), "-c", str(home / "xrootd.cfg"), "-n", "test", "-I", "v4"]
    if os.geteuid() == 0:
        own(home)
        argv += ["-R", ACCOUNT]
    environ = {"X509_USER_PROXY": ""}
    with running(argv, home / "output.log", lambda: listens(server.port), env=environ, cwd=home):
        yield server


def own(directory: Path) -> None:
    """Gives what is there to the account that the server runs under."""
    for path in [directory, *directory.rglob("*")]:
        if path.name != "client.keytab":
            shutil.chown(path, ACCOUNT, ACCOUNT)


def gsi(home: Path, grid: Grid) -> list[str]:
    """X.509 proxies of the grid's users, of nobody else."""
    cert, key = _host(home, grid)
    options = f"-certdir:{grid.certificates} -cert:{cert} -key:{key} -gmapopt:10 -gridmap:none -crl:0"
    return ["xrootd.seclib libXrdSec.so", f"sec.protocol gsi {options} -dlgpxy:0"]


def shared_secret(home: Path) -> list[str]:
    """The keys of ``server.keytab``; ``client.keytab`` is for the client."""
    keytab = home / "server.keytab"
    argv = [program("xrdsssadmin"), "-k", "test", "-u", "someone", "-g", "some", "add", str(keytab)]
    subprocess.run(argv, input=b"y\n", check=True, capture_output=True)
    shutil.copyfile(keytab, home / "client.keytab")
    (home / "client.keytab").chmod(0o600)
    return ["xrootd.seclib libXrdSec.so", f"sec.protocol sss -s {keytab}"]


def tls(home: Path, grid: Grid) -> list[str]:
    """TLS for those that ask for it."""
    cert, key = _host(home, grid)
    trust = f"xrd.tlsca certdir {grid.certificates}"
    return [f"xrd.tls {cert} {key}", trust, "xrootd.tls capable all"]


SECRET = b"a secret of the server's, at least 32 bytes of it"


def tokens(home: Path, grid: Grid) -> list[str]:
    """TLS, and nothing for those without a bearer token (see :func:`macaroon`)."""
    secret = home / "secret"
    secret.write_bytes(base64.encodebytes(SECRET))
    secret.chmod(0o600)
    lines = ["all.sitename test", "ofs.authorize 1", "ofs.authlib libXrdMacaroons.so"]
    return [*tls(home, grid), *lines, f"macaroons.secretkey {secret}", "macaroons.onmissing deny"]


def macaroon(*activities: str, path: str = "/data", seconds: float = 600) -> str:
    """A bearer token for that server: ``DOWNLOAD``, ``UPLOAD``, ``DELETE``, ``MANAGE``, ``LIST``."""
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    signature = hmac.digest(b"macaroons-key-generator".ljust(32, b"\0"), SECRET, "sha256")
    packets = [("location", b"test"), ("identifier", b"1")]
    signature = hmac.digest(signature, b"1", "sha256")
    for caveat in ("name:someone", f"activity:{','.join(activities)}", f"path:{path}", f"before:{ends}"):
        signature = hmac.digest(signature, caveat.encode(), "sha256")
        packets.append(("cid", caveat.encode()))
    packets.append(("signature", signature))
    text = b""
    for key, value in packets:
        body = key.encode() + b" " + value + b"\n"
        text += f"{len(body) + 4:04x}".encode() + body
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _host(home: Path, grid: Grid) -> tuple[Path, Path]:
    """Copies that the server's account may read."""
    cert, key = home / "host.pem", home / "host.key"
    shutil.copyfile(grid.host_cert, cert)
    shutil.copyfile(grid.host_key, key)
    key.chmod(0o600)
    return cert, key


CLUSTER = """
all.role {role}
all.export /data
all.manager 127.0.0.1:{cms}
cms.delay startup 1 servers 1 lookup 1 full 1
xrd.port {port}
if exec cmsd
xrd.port {own}
fi
xrd.allow host *
cms.allow host *
oss.localroot {home}
all.adminpath {home}/admin
all.pidpath {home}/run
xrootd.chksum max 2 adler32
"""


@contextmanager
def cluster(home: Path, servers: Sequence[str] = ("one", "two")) -> Iterator[dict[str, Xrootd]]:
    """A manager, called "manager", and data servers."""
    cms, made = free_port(), {}
    with ExitStack() as stack:
        for name in ("manager", *servers):
            made[name] = server = Xrootd(free_port(), home / name)
            for folder in ("data", "admin", "run"):
                (server.home / folder).mkdir(parents=True)
            role, own_port = ("manager", cms) if name == "manager" else ("server", free_port())
            text = CLUSTER.format(role=role, cms=cms, port=server.port, own=own_port, home=server.home)
            (server.home / "xrootd.cfg").write_text(text)
            user = ["-R", ACCOUNT] if os.geteuid() == 0 else []
            if user:
                own(server.home)
            for part, port in (("cmsd", own_port), ("xrootd", server.port)):
                argv = [program(part), *user, "-c", str(server.home / "xrootd.cfg"), "-n", name, "-I", "v4"]
                log = server.home / f"{part}.log"
                listening = (
                    partial(listens, port) if part == "xrootd" or role == "manager" else (lambda: True)
                )
                stack.enter_context(running(argv, log, listening, cwd=server.home))
        yield made


@pytest.fixture(scope="session")
def trusted_grid(grid: Grid) -> Iterator[Grid]:
    """The library takes authorities from the environment, when it first connects: before all tests of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("X509_CERT_DIR", str(grid.certificates))
        yield grid


@pytest.fixture(scope="session")
def xrootd(trusted_grid: Grid) -> Iterator[Xrootd]:
    """Open to everybody."""
    with public_directory("xrootd-") as home, serve(home) as server:
        yield server


@pytest.fixture(scope="session")
def xrootd_gsi(trusted_grid: Grid) -> Iterator[Xrootd]:
    """For those with a proxy."""
    with public_directory("xrootd-gsi-") as home, serve(home, gsi(home, trusted_grid)) as server:
        yield server


@pytest.fixture(scope="session")
def xrootd_sss(trusted_grid: Grid) -> Iterator[Xrootd]:
    """For those with the key in ``home/client.keytab``."""
    with public_directory("xrootd-sss-") as home, serve(home, shared_secret(home)) as server:
        yield server


@pytest.fixture(scope="session")
def xrootd_token(trusted_grid: Grid) -> Iterator[Xrootd]:
    """With TLS, for those with a token."""
    with public_directory("xrootd-token-") as home, serve(home, tokens(home, trusted_grid)) as server:
        yield server
