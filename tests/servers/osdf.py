"""A federation on loopback: a real XRootD origin, two more that can only be read, and a director of our own.

No registry has Pelican's director; this one answers as it does (redirects with ``Link`` and
``X-Pelican-Namespace``), over https. What stands for its caches are XRootD servers over the origin's files:
Debian's XRootD 5.5 crashes as a cache when connections are broken off.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.servers.common import free_port, listens, program, public_directory, running
from tests.servers.grid_pki import Grid
from tests.servers.odd_http import Answer, Odd
from tests.servers.xrootd import ACCOUNT, own
from tests.servers.xrootd_https import XrootdHttps, serve

CACHE = """
all.role server
xrd.port {port}
all.export /data r/o
oss.localroot {origin}
all.adminpath {home}/admin
all.pidpath {home}/run
xrootd.chksum max 4 adler32 md5
xrd.tls {home}/host.pem {home}/host.key
xrd.tlsca certdir {grid.certificates}
xrd.protocol http:{port} libXrdHttp.so
"""


@dataclass
class Federation:
    """``origin``: what is there; ``caches``: ports of the two; ``asked``: what the director was asked."""

    host: str
    grid: Grid
    origin: XrootdHttps
    caches: tuple[int, int]
    asked: list[str] = field(default_factory=list)
    sources: tuple[str, ...] = ()  # in place of the caches
    token: bool = False
    listed: bool = True
    issuer: str = ""
    writer: str = ""  # in place of the origin
    within: str = ""  # a namespace within the other, which needs a token

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """What the director says."""
        if path == "/.well-known/pelican-configuration":
            return 200, {}, json.dumps({"director_endpoint": f"https://{self.host}"}).encode()
        for kind in ("origin", "object"):
            path = path.removeprefix(f"/api/v1.0/director/{kind}")
        self.asked.append(f"{method} {path}")
        if not path.startswith("/data/"):
            return 404, {}, b'{"msg": "no namespace for that path", "status": "error"}'
        origin = self.writer or f"https://{self.origin.authority}"
        caches = self.sources or tuple(f"https://localhost:{port}" for port in self.caches)
        urls = [url + path for url in (caches if method == "GET" else (origin,))]
        links = [f'<{url}>; rel="duplicate"; pri={n}; depth=1' for n, url in enumerate(urls, 1)]
        inner = bool(self.within) and path.startswith(f"{self.within}/")
        told = f"namespace={self.within if inner else '/data'}"
        told += f", require-token={'true' if self.token or inner else 'false'}"
        if self.listed:
            told += f", collections-url={origin}"
        headers = {"Location": urls[0], "Link": ", ".join(reversed(links)), "X-Pelican-Namespace": told}
        if self.issuer:
            headers["X-Pelican-Authorization"] = f"issuer={self.issuer}"
        return 307, headers, b""


class Director(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        federation: Federation = self.server.federation  # type: ignore[attr-defined]
        status, headers, body = federation.answer(self.command, self.path)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_PROPFIND = do_DELETE = _do

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def cache(grid: Grid, origin: XrootdHttps) -> Iterator[int]:
    """The port of a server that gives what is at the origin."""
    with public_directory("osdf-cache-") as home:
        port = free_port()
        for name in ("data", "admin", "run", "test"):
            (home / name).mkdir()
        shutil.copyfile(grid.host_cert, home / "host.pem")
        shutil.copyfile(grid.host_key, home / "host.key")
        (home / "host.key").chmod(0o600)
        text = CACHE.format(port=port, home=home, origin=origin.home, grid=grid)
        (home / "xrootd.cfg").write_text(text)
        argv = [program("xrootd"), "-c", str(home / "xrootd.cfg"), "-n", "test", "-I", "v4"]
        if os.geteuid() == 0:
            own(home)
            argv += ["-R", ACCOUNT]
        environ = {"X509_USER_PROXY": "", "X509_CERT_DIR": str(grid.certificates)}
        with running(argv, home / "output.log", lambda: listens(port), env=environ, cwd=home):
            yield port


@contextmanager
def federation(grid: Grid) -> Iterator[Federation]:
    """With all its servers."""
    with ExitStack() as stack:
        home: Path = stack.enter_context(public_directory("osdf-origin-"))
        origin = stack.enter_context(serve(home, grid))
        caches = stack.enter_context(cache(grid, origin)), stack.enter_context(cache(grid, origin))
        director = ThreadingHTTPServer(("127.0.0.1", 0), Director)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(grid.host_cert, grid.host_key)
        director.socket = context.wrap_socket(director.socket, True, do_handshake_on_connect=False)
        found = Federation(f"localhost:{director.server_port}", grid, origin, caches)
        director.federation = found  # type: ignore[attr-defined]
        thread = threading.Thread(target=director.serve_forever, daemon=True)
        thread.start()
        yield found
        director.shutdown()
        director.server_close()
        thread.join()


@pytest.fixture(scope="session")
def osdf_servers(grid: Grid) -> Iterator[Federation]:
    """One federation for all tests."""
    with federation(grid) as found:
        yield found


@pytest.fixture
def osdf(osdf_servers: Federation) -> Iterator[Federation]:
    """As it is when nothing is changed; so it is again for the next."""
    osdf_servers.asked.clear()
    yield osdf_servers
    osdf_servers.sources, osdf_servers.token, osdf_servers.listed = (), False, True
    osdf_servers.issuer = osdf_servers.writer = osdf_servers.within = ""


@pytest.fixture
def odd_tls(odd: Callable[[Answer], Odd], grid: Grid) -> Callable[[Answer], Odd]:
    """The same with TLS, by the grid's host certificate."""

    def make(answer: Answer) -> Odd:
        server = odd(answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(grid.host_cert, grid.host_key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        return server

    return make
