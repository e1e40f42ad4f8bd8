"""HTTP against a real nginx: the conformance suite, and all that nginx can do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends.http import Http
from pegasus_toolkit.transfer.backends.http_get import Tuning
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import BackendSuite, ListingSuite
from tests.servers.nginx import PASSWORD, TOKEN, USER, Nginx


def credentials(directory: Path, text: str) -> Credentials:
    """Those of a credentials file that holds ``text``."""
    path = directory / "credentials.conf"
    path.touch(mode=0o600)
    path.write_text(text)
    return Credentials.load({"PEGASUS_CREDENTIALS": str(path)})


class Area(BackendSuite):
    """A directory of its own below nginx's files, under the prefix of the class."""

    prefix: ClassVar[str] = "files"
    scheme: ClassVar[str] = "http"
    section: ClassVar[str] = ""

    @pytest.fixture(autouse=True)
    def area(self, nginx: Nginx, tmp_path: Path) -> Iterator[None]:
        self.nginx = nginx
        self.tmp_path = tmp_path
        self.root = nginx.data / tmp_path.name
        self.root.mkdir()
        yield
        shutil.rmtree(self.root)

    @property
    def authority(self) -> str:
        return self.nginx.tls_authority if self.scheme == "https" else self.nginx.authority

    def open(self, environ: Mapping[str, str] | None = None, tuning: Tuning | None = None) -> Backend:
        section = self.section.format(ca=self.nginx.pki.ca, pki=self.nginx.pki)
        text = f"[{self.scheme}://{self.authority}]\n{section}\n" if section else ""
        settings = Settings(credentials(self.tmp_path, text), environ or {}, stall_timeout=10)
        return Http(Endpoint(self.scheme, self.authority, "here"), settings, tuning)

    def path(self, name: str) -> str:
        return f"/{self.prefix}/{self.root.name}/{quote(name)}"

    def read(self, path: str) -> bytes | None:
        raise AssertionError("nothing is written by plain HTTP")

    def write(self, path: str, content: bytes) -> None:
        from urllib.parse import unquote

        file = self.nginx.data / unquote(path).removeprefix(f"/{self.prefix}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


class TestPlain(Area):
    """http, no credentials."""


class TestTls(Area):
    """https with the test's own certificate authority."""

    scheme = "https"
    section = "ca_file = {ca}"


class TestBasic(Area):
    """A user and password; the credentials file doubles no percent sign."""

    prefix = "private"
    section = f"username = {USER}\npassword = {PASSWORD}"


class TestBearer(Area):
    prefix = "token"
    section = f"token = {TOKEN}"


class TestHeader(Area):
    prefix = "header"
    section = f"header.X-Token = {TOKEN}"


class TestRedirected(Area):
    prefix = "redirect"
    cannot_name = frozenset({"q?x=1&y=2", "new\nline"})  # nginx's rewrite loses them


class TestWithoutRanges(Area):
    """No ETag, no ranges."""

    prefix = "bare"


class TestListed(Area, ListingSuite):
    """nginx lists no names that begin with a dot."""

    prefix = "json"
    cannot_name = frozenset({".hidden", "..."})
