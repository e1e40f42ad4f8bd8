"""XRootD against real servers: the suite that every backend runs; open, by proxy, by shared secret."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import ClassVar

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import ListingSuite, WritableSuite
from tests.servers.grid_pki import Grid
from tests.servers.xrootd import Xrootd, macaroon


class XrootdSuite(WritableSuite, ListingSuite):
    # What follows "?" are parameters; the client library gives up on listings with line ends in names.
    cannot_name: ClassVar[frozenset[str]] = frozenset({"q?x=1&y=2", "new\nline"})
    environ: dict[str, str]
    server: Xrootd

    def use(self, server: Xrootd, environ: dict[str, str] | None = None) -> None:
        self.server = server
        self.environ = environ or {}
        self.top = f"data/{uuid.uuid4().hex}"
        server.make(self.top)

    def open(self) -> Backend:
        credentials = Credentials(self.environ, "", "")
        return open_backend(
            Endpoint("root", self.server.authority, "site"), Settings(credentials, self.environ)
        )

    def path(self, name: str) -> str:
        return f"//{self.top}/{name}" if name else f"//{self.top}"

    def file(self, path: str) -> Path:
        return self.server.home / path.lstrip("/")

    def read(self, path: str) -> bytes | None:
        file = self.file(path)
        return file.read_bytes() if file.is_file() else None

    def write(self, path: str, content: bytes) -> None:
        self.server.write(path, content)

    def stored(self) -> set[str]:
        top = self.server.home / self.top
        return {self.path(str(file.relative_to(top))) for file in top.rglob("*") if not file.is_dir()}


class TestXrootd(XrootdSuite):
    @pytest.fixture(autouse=True)
    def area(self, xrootd: Xrootd) -> None:
        self.use(xrootd)


class TestXrootdProxy(XrootdSuite):
    """With an X.509 proxy, named for the site alone."""

    @pytest.fixture(autouse=True)
    def area(self, xrootd_gsi: Xrootd, grid: Grid) -> None:
        self.use(xrootd_gsi, {"X509_USER_PROXY_site": str(grid.proxy)})


class TestXrootdSharedSecret(XrootdSuite):
    """With a key of the server's, named for the site alone."""

    @pytest.fixture(autouse=True)
    def area(self, xrootd_sss: Xrootd) -> None:
        self.use(xrootd_sss, {"XrdSecSSSKT_site": str(xrootd_sss.home / "client.keytab")})


class TestXrootdToken(XrootdSuite):
    """With a bearer token, found in the environment; that it is there asks for TLS by itself."""

    @pytest.fixture(autouse=True)
    def area(self, xrootd_token: Xrootd) -> None:
        everything = macaroon("DOWNLOAD", "UPLOAD", "DELETE", "MANAGE", "LIST", "READ_METADATA")
        self.use(xrootd_token, {"BEARER_TOKEN_site": everything})
