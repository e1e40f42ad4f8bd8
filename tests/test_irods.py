"""iRODS by python-irodsclient, against a stand-in that speaks its protocol."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.irods import files, lanes
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    NoSpace,
    NotFound,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Identified, Requirement, Settings
from tests.command import lines, run
from tests.conformance import ListingSuite, WritableSuite
from tests.material import content, fetch_job, given, settle, store_job
from tests.servers.common import free_port
from tests.servers.irods import PASSWORD, USER, ZONE, Zone
from tests.servers.pki import Pki

HOME = f"/{ZONE}/home/{USER}"


def connect(authority: str, **environ: object) -> Backend:
    told = {key: str(value) for key, value in environ.items()}
    settings = Settings(Credentials.load(told, home=""), told, stall_timeout=20)
    return open_backend(Endpoint("irods", authority, "site"), settings)


class TestIrods(WritableSuite, ListingSuite):
    @pytest.fixture(autouse=True)
    def area(self, irods: Zone, tmp_path: Path) -> None:
        self.zone = irods
        self.environment = irods.environment(tmp_path)
        self.top = f"{HOME}/{tmp_path.name}"
        self.real = irods.home / tmp_path.name
        self.real.mkdir()

    def open(self) -> Backend:
        return connect(self.zone.authority, IRODS_ENVIRONMENT_FILE=self.environment)

    def path(self, name: str) -> str:
        return f"{self.top}/{name}" if name else self.top

    def _at(self, path: str) -> Path:
        return Path(f"{self.zone.top}{path}")

    def read(self, path: str) -> bytes | None:
        return self._at(path).read_bytes() if self._at(path).is_file() else None

    def write(self, path: str, content: bytes) -> None:
        self._at(path).parent.mkdir(parents=True, exist_ok=True)
        self._at(path).write_bytes(content)

    def stored(self) -> set[str]:
        return {str(file)[len(str(self.zone.top)) :] for file in self.real.rglob("*") if file.is_file()}


def authenticated(irods: Zone, directory: Path) -> Backend:
    return connect(irods.authority, IRODS_ENVIRONMENT_FILE=irods.environment(directory))


@pytest.fixture
def area(irods: Zone, tmp_path: Path) -> Iterator[str]:
    (irods.home / tmp_path.name).mkdir()
    yield f"{HOME}/{tmp_path.name}"
    for name in ("full", "checksum"):
        (irods.top / name).unlink(missing_ok=True)


def store(backend: Backend, path: str, data: bytes, required: Requirement | None = None) -> Any:
    (job,) = backend.put(iter([store_job(path, given(data), required or Requirement())]))
    return job


def test_the_servers_checksum_is_registered_and_compared(irods: Zone, area: str, tmp_path: Path) -> None:
    backend = authenticated(irods, tmp_path)
    job = store(backend, f"{area}/file", b"content")
    assert (job.error, job.proven, set(job.stored)) == (None, True, {"size", "digest"})
    assert backend.stat(f"{area}/file").digest == ("sha256", sha256(b"content").hexdigest())
    (irods.top / "checksum").touch()  # from now on its checksums are wrong
    job = store(backend, f"{area}/other", b"content")
    assert isinstance(job.error, Corrupted)
    assert os.listdir(irods.top / area[1:]) == ["file"]


def test_what_is_read_must_have_the_registered_checksum(irods: Zone, area: str, tmp_path: Path) -> None:
    backend = authenticated(irods, tmp_path)
    store(backend, f"{area}/file", b"content")
    (irods.top / area[1:] / "file").write_bytes(b"spoiled")
    job = fetch_job(f"{area}/file")
    (job,) = backend.get(iter([job]))
    with pytest.raises(Corrupted):
        settle(job)


def test_a_quota_is_told_as_no_room(irods: Zone, area: str, tmp_path: Path) -> None:
    backend = authenticated(irods, tmp_path)
    (irods.top / "full").touch()
    job = store(backend, f"{area}/file", content(3 << 20))
    assert isinstance(job.error, NoSpace)
    assert "quota" in str(job.error)
    assert os.listdir(irods.top / area[1:]) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"irodsPassword": "wrong-s3cr3t"}, "the login failed"),
        ({"irods_user_name": "eve"}, "the login failed"),
    ],
)
def test_a_wrong_login(
    irods: Zone, area: str, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    backend = connect(irods.authority, IRODS_ENVIRONMENT_FILE=irods.environment(tmp_path, **changes))
    with pytest.raises(Denied, match=message) as caught:
        backend.stat(area)
    assert "iinit" in str(caught.value)
    assert "wrong-s3cr3t" not in str(caught.value)


def test_nobody_there(tmp_path: Path, irods: Zone) -> None:
    backend = connect(f"localhost:{free_port()}", IRODS_ENVIRONMENT_FILE=irods.environment(tmp_path))
    with pytest.raises(Unreachable):
        backend.stat(HOME)


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_checked(irods_tls: Zone, pki: Pki, tmp_path: Path, trusted: bool) -> None:
    """The library would take any where no authority is named."""
    more = {"irods_client_server_negotiation": "request_server_negotiation"}
    more |= {"irods_client_server_policy": "CS_NEG_REQUIRE", "irods_encryption_key_size": 32}
    more |= {"irods_encryption_salt_size": 8, "irods_encryption_num_hash_rounds": 16}
    more |= {"irods_encryption_algorithm": "AES-256-CBC"}
    more |= {"irods_ssl_ca_certificate_file": str(pki.ca)} if trusted else {}
    backend = connect(irods_tls.authority, IRODS_ENVIRONMENT_FILE=irods_tls.environment(tmp_path, **more))
    if trusted:
        assert backend.stat(HOME).directory
        return
    with pytest.raises(TransferError, match=r"TLS.*irods_ssl_ca_certificate_file"):
        backend.stat(HOME)


@pytest.mark.parametrize("policy", [None, "CS_NEG_DONT_CARE"])
def test_tls_as_the_server_likes(
    irods: Zone, irods_tls: Zone, pki: Pki, tmp_path: Path, policy: str | None
) -> None:
    more = {"irods_client_server_policy": policy, "irods_ssl_ca_certificate_file": str(pki.ca)}
    for zone in (irods, irods_tls):
        backend = connect(zone.authority, IRODS_ENVIRONMENT_FILE=zone.environment(tmp_path, **more))
        assert backend.stat(HOME).directory
        backend.close()


@pytest.mark.parametrize(
    "more", [{"irods_authentication_scheme": "pam"}, {"irods_client_server_policy": "CS_NEG_REQUIRE"}]
)
def test_no_agreement_about_tls(irods: Zone, tmp_path: Path, more: dict[str, object]) -> None:
    """A password of PAM is sent as it is, so never without TLS."""
    backend = connect(irods.authority, IRODS_ENVIRONMENT_FILE=irods.environment(tmp_path, **more))
    with pytest.raises(Denied, match="no agreement with the server about TLS"):
        backend.stat(HOME)
    backend.close()


def test_the_environment_of_another_server(irods: Zone, tmp_path: Path) -> None:
    """Its password is not for this one."""
    other = irods.environment(tmp_path, irods_host="elsewhere.example.org")
    with pytest.raises(CredentialError, match=r"is for elsewhere\.example\.org, not for localhost"):
        connect(irods.authority, IRODS_ENVIRONMENT_FILE=other)


def test_a_ticket_is_shown_to_the_server(irods: Zone, area: str, tmp_path: Path) -> None:
    (tmp_path / "c").touch(0o600)
    (tmp_path / "c").write_text(f"[irods://{irods.authority}]\nzone = {ZONE}\nticket = t1ck3t\n")
    backend = connect(irods.authority, PEGASUS_CREDENTIALS=tmp_path / "c")
    assert isinstance(backend, Identified)
    assert backend.identity().kind == "ticket"
    assert backend.stat(area).directory
    assert "session t1ck3t" in (irods.top / "tickets").read_text()


def test_what_the_section_says_is_stronger(irods: Zone, area: str, tmp_path: Path) -> None:
    (tmp_path / "c").touch(0o600)
    text = f"[irods://localhost:{irods.port}]\nusername = {USER}\npassword = {PASSWORD}\nzone = {ZONE}\n"
    (tmp_path / "c").write_text(text)
    wrong = irods.environment(tmp_path, irodsPassword="wrong", irods_user_name="eve")
    backend = connect(irods.authority, PEGASUS_CREDENTIALS=tmp_path / "c", IRODS_ENVIRONMENT_FILE_site=wrong)
    assert backend.stat(area).directory


def test_credentials_that_cannot_be_used(irods: Zone, tmp_path: Path) -> None:
    open_to_all = irods.environment(tmp_path)
    open_to_all.chmod(0o644)
    with pytest.raises(CredentialError, match="others"):
        connect(irods.authority, IRODS_ENVIRONMENT_FILE=open_to_all)
    without = irods.environment(tmp_path, irodsPassword=None)
    with pytest.raises(CredentialError, match="no password for the iRODS user 'joe'"):
        connect(irods.authority, IRODS_ENVIRONMENT_FILE=without)
    without.write_text("{")
    with pytest.raises(CredentialError, match="not JSON"):
        connect(irods.authority, IRODS_ENVIRONMENT_FILE=without)
    with pytest.raises(CredentialError, match="No such file"):
        connect(irods.authority, IRODS_ENVIRONMENT_FILE=tmp_path / "nothing")


def test_the_password_that_iinit_leaves(irods: Zone, area: str, tmp_path: Path) -> None:
    from irods.password_obfuscation import encode

    without = irods.environment(tmp_path, irodsPassword=None)
    (tmp_path / ".irodsA").touch(0o600)
    (tmp_path / ".irodsA").write_text(encode(PASSWORD, uid=os.getuid()))
    assert connect(irods.authority, IRODS_ENVIRONMENT_FILE=without).stat(area).directory
    (tmp_path / ".irodsA").chmod(0o644)
    with pytest.raises(CredentialError, match=r"\.irodsA"):
        connect(irods.authority, IRODS_ENVIRONMENT_FILE=without)


def test_there_and_back_by_the_command(irods: Zone, area: str, tmp_path: Path) -> None:
    names = ("a", "it's", "b c", "d/e%20f")
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    environ = {"IRODS_ENVIRONMENT_FILE": str(irods.environment(tmp_path))}
    base = f"irods://{irods.authority}{area}"
    up = run("in/", f"{base}/x/", "--report", "r", cwd=tmp_path, env=environ)
    assert up.returncode == 0, up.stderr
    stored = [set(line["stored"]) for line in lines(tmp_path / "r") if line["type"] == "transfer"]
    assert stored == [{"size", "digest"}] * len(names)
    down = run(f"{base}/x/", "back/", cwd=tmp_path, env=environ)
    assert down.returncode == 0, down.stderr
    assert {name: (tmp_path / "back" / name).read_text() for name in names} == {name: name for name in names}
    missing = run(f"{base}/nothing", "out", cwd=tmp_path, env=environ)
    assert missing.returncode == 2
    assert PASSWORD not in up.stderr + down.stderr + missing.stderr + json.dumps(lines(tmp_path / "r"))


def test_what_is_not_there(irods: Zone, area: str, tmp_path: Path) -> None:
    backend = authenticated(irods, tmp_path)
    for look in (backend.stat, lambda path: list(backend.list(path))):
        with pytest.raises(NotFound):
            look(f"{area}/nothing")


@pytest.mark.parametrize("size", [200_000, 1_000_003])
def test_a_large_one_goes_over_several_connections(
    irods: Zone, area: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    for name, value in (("LARGE", 300_000), ("PART", 30_000)):
        monkeypatch.setattr(lanes, name, value)
    monkeypatch.setattr(files, "PART", 30_000)
    monkeypatch.setattr(files, "SMALL", 100_000)
    backend, counts, real = authenticated(irods, tmp_path), [], lanes.opened

    def counted(*told: Any) -> Any:
        found = real(*told)
        counts.append(len(found))
        return found

    monkeypatch.setattr(lanes, "opened", counted)
    data = content(size)
    job = store(backend, f"{area}/file", data)
    assert (job.error, job.proven) == (None, True)
    assert (irods.top / area[1:] / "file").read_bytes() == data
    (job,) = backend.get(iter([fetch_job(f"{area}/file")]))
    assert (job.error, settle(job)) == (None, data)
    assert counts == [lanes.LANES if size > 300_000 else 1] * 2
    backend.close()


@pytest.mark.parametrize("cut", [0, 500_000])
def test_a_large_one_that_shrinks_is_not_taken(
    irods: Zone, area: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    for module, name, value in ((lanes, "LARGE", 300_000), (files, "PART", 30_000), (files, "SMALL", 100)):
        monkeypatch.setattr(module, name, value)
    (irods.top / area[1:] / "file").write_bytes(content(1_000_003))
    real = lanes.opened

    def shrunk(*told: Any) -> Any:
        os.truncate(irods.top / area[1:] / "file", cut)
        return real(*told)

    monkeypatch.setattr(lanes, "opened", shrunk)
    backend = authenticated(irods, tmp_path)
    (job,) = backend.get(iter([fetch_job(f"{area}/file")]))
    assert isinstance(job.error, TransferError)
    assert f"ended after {cut} bytes of 1000003" in str(job.error)
    backend.close()


@pytest.mark.parametrize("size", [10, 1_000_003])
def test_what_stands_there_stays_until_the_new_one_is_proven(
    irods: Zone, area: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    for module, name, value in ((lanes, "LARGE", 300_000), (files, "PART", 30_000), (files, "SMALL", 100)):
        monkeypatch.setattr(module, name, value)
    backend = authenticated(irods, tmp_path)
    assert store(backend, f"{area}/file", b"old").error is None
    (irods.top / "checksum").touch()
    assert isinstance(store(backend, f"{area}/file", content(size)).error, Corrupted)
    assert os.listdir(irods.top / area[1:]) == ["file"]
    assert (irods.top / area[1:] / "file").read_bytes() == b"old"
    (irods.top / "checksum").unlink()
    assert store(backend, f"{area}/file", content(size)).error is None
    assert (irods.top / area[1:] / "file").read_bytes() == content(size)
    assert os.listdir(irods.top / area[1:]) == ["file"]
    backend.close()


def test_the_environment_file_says_where_the_server_is(irods: Zone, area: str, tmp_path: Path) -> None:
    there = irods.environment(tmp_path, irods_host="localhost", irods_port=irods.port)
    backend = connect("", IRODS_ENVIRONMENT_FILE=there)
    assert backend.stat(area).directory
    backend.close()
    with pytest.raises(BadSpecification, match="names no host"):
        connect("", IRODS_ENVIRONMENT_FILE=irods.environment(tmp_path))
