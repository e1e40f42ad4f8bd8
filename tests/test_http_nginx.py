"""HTTP against a real nginx: the conformance suite, and all that nginx can do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote

import pytest

from pegasus_toolkit.transfer.backends.http.backend import Http
from pegasus_toolkit.transfer.backends.http.get import Tuning
from pegasus_toolkit.transfer.errors import (
    Denied,
    IsDirectory,
    NotFound,
    ServerFault,
    Throttled,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Backend
from tests.conformance import BackendSuite, ListingSuite
from tests.faults import Full
from tests.http_world import World, batch, failure, get
from tests.material import content, fetch_job, given, settle, store_job
from tests.servers.common import REQUIRE, program
from tests.servers.nginx import PASSWORD, TOKEN, USER, Nginx


class Area(BackendSuite):
    """A directory of its own below nginx's files, under the prefix of the class."""

    prefix: ClassVar[str] = "files"
    scheme: ClassVar[str] = "http"
    section: ClassVar[str] = ""

    @pytest.fixture(autouse=True)
    def area(self, nginx: Nginx, world: World) -> Iterator[None]:
        self.nginx = nginx
        self.world = world
        self.root = nginx.data / world.directory.name
        self.root.mkdir()
        yield
        shutil.rmtree(self.root)

    def open(self) -> Backend:
        authority = self.nginx.tls_authority if self.scheme == "https" else self.nginx.authority
        section = self.section.format(ca=self.nginx.pki.ca, pki=self.nginx.pki)
        return self.world.open(authority, scheme=self.scheme, section=section)

    def path(self, name: str) -> str:
        return f"/{self.prefix}/{self.root.name}/{quote(name)}"

    def read(self, path: str) -> bytes | None:
        raise AssertionError("nothing is written by plain HTTP")

    def write(self, path: str, data: bytes) -> None:
        file = self.nginx.data / unquote(path).removeprefix(f"/{self.prefix}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


class TestPlain(Area):
    """http, no credentials."""


class TestTls(Area):
    """https with the test's own certificate authority."""

    scheme = "https"
    section = "ca_file = {ca}"


class TestBasic(Area):
    """A user and password; the credentials file doubles no percent sign."""

    prefix = "private"
    section = f"username = {USER}\npassword = {PASSWORD}\nallow_plain_password = yes"


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


@pytest.fixture
def files(nginx: Nginx, world: World) -> Iterator[Path]:
    """A directory below nginx's files, of the name of the test's own directory."""
    root = nginx.data / world.directory.name
    root.mkdir()
    yield root
    shutil.rmtree(root)


def test_thousand_small_files_in_one_batch(nginx: Nginx, world: World, files: Path) -> None:
    made = {f"/files/{files.name}/{n}": content(200, n) for n in range(1000)}
    for path, data in made.items():
        (files / path.rpartition("/")[2]).write_bytes(data)
    before = len(nginx.log.read_text().splitlines())
    backend = world.open(nginx.authority)
    assert {job.path: settle(job) for job in batch(backend, list(made))} == made
    lines = nginx.log.read_text().splitlines()[before:]
    connections = {line.rpartition("connection=")[2] for line in lines}
    assert 1 <= len(connections) <= 8


def test_slow_file_comes_over_several_connections(nginx: Nginx, world: World, files: Path) -> None:
    data = content(12 << 20)
    (files / "file").write_bytes(data)
    tuning = Tuning(several=2 << 20, part=1 << 18, trial=0.05, rate=1e9)
    backend = world.open(nginx.authority, tuning=tuning)
    assert get(backend, f"/slow/{files.name}/file") == data
    parts = [line for line in nginx.log.read_text().splitlines() if f"/slow/{files.name}/file" in line]
    assert sum(line.startswith("206") for line in parts) >= 4


def test_truncated_file_is_resumed(nginx: Nginx, world: World, files: Path) -> None:
    """By Last-Modified, as this location tells no ETag."""
    data = content(3 << 20)
    (files / "file").write_bytes(data)
    os.utime(files / "file", (1e9, 1e9))
    backend = world.open(nginx.authority)
    path = f"/dated/{files.name}/file"
    (job,) = backend.get(iter([fetch_job(path, Full(world.sink(), 2 << 20))]))
    assert job.error is not None
    job.end.abort()
    get(backend, path, world.sink())
    assert world.file == data
    (line,) = [line for line in nginx.log.read_text().splitlines() if "206" in line[:3] and path in line]
    begun = int(line.partition('range="bytes=')[2].partition("-")[0])
    assert 0 < begun <= 2 << 20


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/busy/x", Throttled),
        ("/broken/x", ServerFault),
        ("/private/x", Denied),
        ("/token/x", Denied),
        ("/header/x", Denied),
        ("/loop/", ServerFault),
        ("/nowhere", NotFound),
    ],
)
def test_refusals_are_told_apart(nginx: Nginx, world: World, path: str, kind: type[Exception]) -> None:
    backend = world.open(nginx.authority)
    assert type(failure(backend, path)) is kind
    with pytest.raises(kind):
        backend.stat(path)
    with pytest.raises(kind):
        list(backend.list(path))


def test_busy_server_says_how_long(nginx: Nginx, world: World) -> None:
    error = failure(world.open(nginx.authority), "/busy/x")
    assert isinstance(error, Throttled) and error.retry_after == 7


def test_denied_says_where_credentials_were_looked_for(nginx: Nginx, world: World) -> None:
    error = failure(world.open(nginx.authority), "/private/x")
    assert f"no section [{nginx.authority}]" in str(error)
    login = "username = u\npassword = wrong-secret"
    kept = world.open(nginx.authority, section=login)
    error = failure(kept, "/private/x")
    assert isinstance(error, Denied)
    assert f"only where section [http://{nginx.authority}] says allow_plain_password = yes" in str(error)
    wrong = world.open(nginx.authority, section=f"{login}\nallow_plain_password = yes")
    error = failure(wrong, "/private/x")
    assert f"section [http://{nginx.authority}] were used" in str(error)
    assert "wrong-secret" not in str(error) + repr(error) + repr(vars(error))


def test_directory_is_no_file(nginx: Nginx, world: World, files: Path) -> None:
    (files / "d").mkdir()
    backend = world.open(nginx.authority)
    assert isinstance(failure(backend, f"/files/{files.name}/d"), IsDirectory)
    assert backend.stat(f"/files/{files.name}/d").directory
    assert backend.stat(f"/files/{files.name}/d/").directory


def test_user_in_the_url(nginx: Nginx, world: World, files: Path) -> None:
    (files / "file").write_bytes(b"abc")
    path = f"/private/{files.name}/file"
    named, allowed = f"{USER}:{quote(PASSWORD)}@{nginx.authority}", "allow_plain_password = yes"
    assert isinstance(failure(world.open(named), path), Denied)
    assert get(world.open(named, section=allowed), path) == b"abc"
    error = failure(world.open(f"{USER}:wrong-secret@{nginx.authority}", section=allowed), path)
    assert isinstance(error, Denied)
    assert "wrong-secret" not in f"{error} {vars(error)}"


def test_listing_in_html(nginx: Nginx, world: World, files: Path) -> None:
    made = {"a", "two words", "b/c", "b/d/100%", "b/Grüße", "b/<&\"'>", "b/q?x=1"}
    for name in made:
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(b"x")
    (files / "empty").mkdir()
    root = f"/files/{files.name}/"
    found = list(world.open(nginx.authority).list(root.rstrip("/")))
    assert {unquote(entry.path.removeprefix(root)) for entry in found if not entry.directory} == made
    assert [entry.path for entry in found if entry.directory] == [f"{root}empty"]


def test_listing_of_a_file_is_refused(nginx: Nginx, world: World, files: Path) -> None:
    (files / "file").write_bytes(b"x")
    with pytest.raises(NotFound):
        list(world.open(nginx.authority).list(f"/files/{files.name}/file"))


def test_nothing_can_be_written(nginx: Nginx, world: World) -> None:
    backend = world.open(nginx.authority)
    (job,) = backend.put(iter([store_job("/files/x", given(b"abc"))]))
    assert isinstance(job.error, Unsupported)
    assert [type(error) for _, error in backend.remove(["/files/a", "/files/b"])] == [Unsupported] * 2
    with pytest.raises(Unsupported):
        backend.mkdir("/files/d")
    assert not (nginx.data / "x").exists()


class TestCertificates:
    """TLS: who is trusted, and who is not."""

    @pytest.fixture(autouse=True)
    def file(self, nginx: Nginx, files: Path) -> None:
        (files / "file").write_bytes(b"abc")
        self.path = f"/files/{files.name}/file"
        self.pki = nginx.pki
        self.authority = nginx.tls_authority

    def open(self, world: World, section: str = "", **environ: str) -> Http:
        return world.open(self.authority, scheme="https", section=section, environ=environ)

    @pytest.mark.parametrize("section", ["", "ca_file = {other}"])
    def test_unknown_authority_is_denied(self, world: World, section: str) -> None:
        error = failure(self.open(world, section.format(other=self.pki.other_ca)), self.path)
        assert isinstance(error, Denied)
        counts = f"https://{self.authority}" if section else self.authority
        assert f"ca_file in section [{counts}]" in str(error)

    def test_name_that_is_not_in_the_certificate_is_denied(self, world: World) -> None:
        port = self.authority.rpartition(":")[2]
        backend = world.open(f"127.0.0.2:{port}", scheme="https", section=f"ca_file = {self.pki.ca}")
        assert isinstance(failure(backend, self.path), Denied)
        local = world.open(f"localhost:{port}", scheme="https", section=f"ca_file = {self.pki.ca}")
        assert get(local, self.path) == b"abc"

    @pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
    def test_authority_from_the_environment(self, world: World, variable: str) -> None:
        assert get(self.open(world, **{variable: str(self.pki.ca)}), self.path) == b"abc"

    @pytest.mark.parametrize("variable", ["SSL_CERT_DIR", "X509_CERT_DIR"])
    def test_directory_of_authorities(self, world: World, variable: str, tmp_path: Path) -> None:
        hashed = subprocess.run(
            [program("openssl"), "x509", "-hash", "-noout", "-in", str(self.pki.ca)],
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        (tmp_path / f"{hashed}.0").write_bytes(self.pki.ca.read_bytes())
        assert get(self.open(world, **{variable: str(tmp_path)}), self.path) == b"abc"

    def test_own_authority_alone_counts_for_its_site(self, world: World) -> None:
        backend = self.open(world, f"ca_file = {self.pki.other_ca}", SSL_CERT_FILE=str(self.pki.ca))
        assert isinstance(failure(backend, self.path), Denied)

    def test_check_can_be_waived_in_words(self, world: World) -> None:
        assert get(self.open(world, "verify = no"), self.path) == b"abc"

    def test_client_certificate(self, world: World, files: Path) -> None:
        path = f"/client/{files.name}/file"
        trust = f"ca_file = {self.pki.ca}\n"
        assert isinstance(failure(self.open(world, trust), path), Denied)
        pair = f"client_certificate = {self.pki.client_cert}\nclient_key = {self.pki.client_key}"
        backend = self.open(world, trust + pair)
        assert get(backend, path) == b"abc"
        assert get(backend, f"/away{self.path}") == b"abc"
        assert isinstance(failure(backend, f"/away{path}"), Denied), "localhost is not 127.0.0.1"
        assert get(backend, path) == b"abc"

    def test_redirect_out_of_https_is_refused(self, world: World) -> None:
        error = failure(self.open(world, f"ca_file = {self.pki.ca}"), "/to-http/")
        assert isinstance(error, Denied)
        assert "https to http" in str(error)


def test_missing_server_is_a_skip_or_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not installed"):
        program("no-such-server")
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is not installed"):
        program("no-such-server")
