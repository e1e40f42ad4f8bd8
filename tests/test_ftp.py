"""FTP against real servers: the whole contract, with and without TLS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote

import pytest

from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import ListingSuite, WritableSuite
from tests.http_world import credentials
from tests.servers.ftp import FtpServer
from tests.servers.nginx import PASSWORD, USER
from tests.servers.pki import Pki


class Area(WritableSuite):
    """A directory of its own below the server's files."""

    scheme: ClassVar[str] = "ftp"
    section: ClassVar[str] = ""
    cannot_name = frozenset({"tab\there", "new\nline"})
    server: FtpServer

    def begin(self, server: FtpServer, pki: Pki, tmp_path: Path) -> Iterator[None]:
        self.server, self.pki, self.directory = server, pki, tmp_path
        self.root = server.data / tmp_path.name
        self.root.mkdir()
        yield
        shutil.rmtree(self.root)

    def open(self) -> Backend:
        section = self.section.format(ca=self.pki.ca)
        text = f"[{self.scheme}://{self.server.authority}]\n{section}\n" if section else ""
        settings = Settings(credentials(self.directory, text), stall_timeout=20)
        return open_backend(Endpoint(self.scheme, self.server.authority, "here"), settings)

    def path(self, name: str) -> str:
        return f"{self.server.prefix}/{self.root.name}/{quote(name)}"

    def file(self, path: str) -> Path:
        return self.server.data / unquote(path).removeprefix(f"{self.server.prefix}/")

    def read(self, path: str) -> bytes | None:
        file = self.file(path)
        return file.read_bytes() if file.exists() else None

    def write(self, path: str, content: bytes) -> None:
        file = self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def stored(self) -> set[str]:
        return {
            self.path(str(file.relative_to(self.root))) for file in self.root.rglob("*") if file.is_file()
        }


class TestAnonymous(Area, ListingSuite):
    """pyftpdlib, which knows MLSD; nobody in particular."""

    @pytest.fixture(autouse=True)
    def area(self, ftp_plain: FtpServer, pki: Pki, tmp_path: Path) -> Iterator[None]:
        yield from self.begin(ftp_plain, pki, tmp_path)


class TestTls(Area):
    """A password, in TLS that is asked for."""

    section = f"username = {USER}\npassword = {PASSWORD}\nca_file = {{ca}}"

    @pytest.fixture(autouse=True)
    def area(self, ftp_tls: FtpServer, pki: Pki, tmp_path: Path) -> Iterator[None]:
        yield from self.begin(ftp_tls, pki, tmp_path)


class TestVsftpd(Area, ListingSuite):
    """A server that knows neither MLST nor MLSD."""

    @pytest.fixture(autouse=True)
    def area(self, vsftpd: FtpServer, pki: Pki, tmp_path: Path) -> Iterator[None]:
        yield from self.begin(vsftpd, pki, tmp_path)
