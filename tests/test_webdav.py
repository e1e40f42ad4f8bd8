"""WebDAV against real servers: the whole contract, with every way to log in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import Unsupported
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import ListingSuite, WritableSuite
from tests.http_world import credentials
from tests.material import AWKWARD
from tests.servers.grid_pki import Grid
from tests.servers.nginx import PASSWORD, USER
from tests.servers.pki import Pki
from tests.servers.webdav import Dav
from tests.servers.xrootd_https import XrootdHttps

LOGIN = f"username = {USER}\npassword = {PASSWORD}"


class Area(WritableSuite):
    """A directory of its own below the server's files, under the prefix of the class."""

    prefix: ClassVar[str] = "dav"
    scheme: ClassVar[str] = "webdav"
    section: ClassVar[str] = ""
    server: Dav
    root: Path

    def begin(self, server: Dav, pki: Pki, tmp_path: Path) -> Iterator[None]:
        self.server, self.pki, self.directory = server, pki, tmp_path
        self.root = server.data / tmp_path.name
        self.root.mkdir()
        self.root.chmod(0o777)
        yield
        shutil.rmtree(self.root)

    def open(self) -> Backend:
        authority = (
            self.server.tls_authority
            if self.scheme in ("https", "webdavs", "davs")
            else self.server.authority
        )
        section = self.section.format(ca=self.pki.ca, pki=self.pki)
        text = f"[{self.scheme}://{authority}]\n{section}\n" if section else ""
        settings = Settings(credentials(self.directory, text), stall_timeout=20)
        return open_backend(Endpoint(self.scheme, authority, "here"), settings)

    def path(self, name: str) -> str:
        return f"/{self.prefix}/{self.root.name}/{quote(name)}"

    def file(self, path: str) -> Path:
        return self.server.data / unquote(path).removeprefix(f"/{self.prefix}/")

    def read(self, path: str) -> bytes | None:
        file = self.file(path)
        return file.read_bytes() if file.exists() else None

    def write(self, path: str, content: bytes) -> None:
        file = self.file(path)
        if not file.parent.exists():
            for parent in reversed(file.parents):
                if not parent.exists():
                    parent.mkdir()
                    parent.chmod(0o777)
        file.write_bytes(content)

    def stored(self) -> set[str]:
        own = ("/.DAV/", "/.davfs.tmp")  # Apache's: properties, and what it has not removed yet
        every = (file for file in self.root.rglob("*") if file.is_file())
        files = [file for file in every if not any(mark in str(file) for mark in own)]
        return {self.path(str(file.relative_to(self.root))) for file in files}


class Apache(Area):
    """mod_dav."""

    @pytest.fixture(autouse=True)
    def area(self, apache_dav: Dav, pki: Pki, tmp_path: Path) -> Iterator[None]:
        yield from self.begin(apache_dav, pki, tmp_path)


class TestApacheDigest(Apache):
    """Digest authentication, over http: no password is shown."""

    prefix = "digest"
    section = LOGIN


class TestApacheBasicTls(Apache, ListingSuite):
    """A password by Basic authentication, in TLS."""

    prefix = "basic"
    scheme = "davs"
    section = f"{LOGIN}\nca_file = {{ca}}"


class TestWsgiDav(Area, ListingSuite):
    """WsgiDAV, open to all. It cuts a MOVE's destination at these, and that is noticed."""

    cannot_name = frozenset(name for name in AWKWARD if set("?;#\t\n") & set(name))

    @pytest.fixture(autouse=True)
    def area(self, wsgidav: Dav, pki: Pki, tmp_path: Path) -> Iterator[None]:
        yield from self.begin(wsgidav, pki, tmp_path)


class Nginx(Area):
    """A server without PROPFIND, by an URL of plain HTTP that the credentials file marks as WebDAV."""

    scheme = "http"
    section = "webdav = yes"
    cannot_name = frozenset({".hidden", "..."})  # not in its index

    @pytest.fixture(autouse=True)
    def area(self, nginx_dav: Dav, pki: Pki, tmp_path: Path) -> Iterator[None]:
        yield from self.begin(nginx_dav, pki, tmp_path)


class TestNginx(Nginx, ListingSuite):
    """With MOVE."""


class TestNginxPutOnly(Nginx):
    """A server without MOVE: files are sent under their own names."""

    prefix = "put-only"
    refuses_directory = Unsupported  # 409, which may mean anything


class TestXrootd(Area, ListingSuite):
    """A grid server, with an X.509 proxy. It decodes no name in a destination, where it cannot
    read these; and its listings are wrong about a space in front."""

    prefix = "data"
    scheme = "davs"
    cannot_name = frozenset(
        name for name in AWKWARD if set("?;#%\t\n") & set(name) or name[0] == " " or not name.isascii()
    )

    @pytest.fixture(autouse=True)
    def area(
        self, xrootd_https: tuple[XrootdHttps, XrootdHttps], grid: Grid, tmp_path: Path
    ) -> Iterator[None]:
        self.xrootd, self.grid = xrootd_https[0], grid
        self.root = self.xrootd.data / tmp_path.name
        self.root.mkdir()
        self.root.chmod(0o777)
        yield
        shutil.rmtree(self.root)

    def open(self) -> Backend:
        environ = {"X509_USER_PROXY": str(self.grid.proxy), "X509_CERT_DIR": str(self.grid.certificates)}
        settings = Settings(Credentials(environ, shared=""), environ, stall_timeout=20)
        return open_backend(Endpoint("davs", self.xrootd.authority, "here"), settings)

    def file(self, path: str) -> Path:
        return self.xrootd.data / unquote(path).removeprefix("/data/")

    def write(self, path: str, content: bytes) -> None:
        super().write(path, content)
        self.file(path).chmod(0o666)
