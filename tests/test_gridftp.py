"""GridFTP against real Globus servers: with proxies, through ssh, and from one to another."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.gridftp.backend import GridFtp
from pegasus_toolkit.transfer.clients.gridftp import data as gridftp_data
from pegasus_toolkit.transfer.clients.gridftp.client import Client, Listing
from pegasus_toolkit.transfer.clients.gridftp.wire import Reply
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    ServerFault,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Backend, Control, Endpoint, Job, Requirement, Settings
from pegasus_toolkit.transfer.streams.checked import NullSink
from tests.conformance import LinkSuite, ListingSuite
from tests.material import content, errors, fetch_job, given, settle, sha256, store_job
from tests.servers.common import free_port, program, public_directory
from tests.servers.gridftp import GridFtpServer, serving
from tests.servers.sshd import Sshd


class DirectorySuite(LinkSuite, ListingSuite):
    """What both ways in share: files below a directory of the server's."""

    top: Path
    cannot_name = frozenset({"new\nline"})

    def path(self, name: str) -> str:
        return f"{self.top}/{name}" if name else str(self.top)

    def read(self, path: str) -> bytes | None:
        file = Path(path)
        return file.read_bytes() if file.is_file() else None

    def write(self, path: str, content: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    def link(self, path: str, target: str) -> None:
        os.symlink(target, path)

    def stored(self) -> set[str]:
        return {str(path) for path in self.top.rglob("*") if path.is_file()}


class TestGridFtp(DirectorySuite):
    @pytest.fixture(autouse=True)
    def area(self, gridftp: GridFtpServer) -> None:
        self.server = gridftp
        self.top = fresh(gridftp)

    def open(self) -> Backend:
        return opened(self.server)


class TestStreamMode(TestGridFtp):
    """As behind a firewall: every data connection is ours to make."""

    @pytest.fixture(autouse=True)
    def apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gridftp_data, "reachable", lambda session: False)


class TestThroughSsh(DirectorySuite):
    cannot_name = DirectorySuite.cannot_name | {"Grüße-日本-🚀", "e\u0301 is not \u00e9"}

    @pytest.fixture(autouse=True)
    def area(self, sshd: Sshd, tmp_path: Path) -> None:
        self.server = sshd
        self.top = tmp_path / "area"
        self.top.mkdir()

    def open(self) -> Backend:
        return open_backend(Endpoint("sshftp", self.server.authority, "ssh-site"), ssh_settings(self.server))


def fresh(server: GridFtpServer) -> Path:
    top = server.data / os.urandom(4).hex()
    top.mkdir()
    return top


def opened(server: GridFtpServer, proxy: Path | None = None, **more: str) -> GridFtp:
    backend = open_backend(Endpoint("gsiftp", server.authority, "grid"), server.settings(proxy, **more))
    assert isinstance(backend, GridFtp)
    return backend


def ssh_settings(server: Sshd, key: Path | None = None) -> Settings:
    remote = [program("globus-gridftp-server"), "-ssh", "-c", os.devnull, "-data-interface", "127.0.0.1"]
    remote += ["-control-idle-timeout", "15"]  # nobody else ends what a test has cut off
    if os.geteuid() == 0:
        remote += ["-allow-root", "-aa", "-anonymous-user", "root"]
    conf = server.home / f"sshftp-{os.urandom(4).hex()}.conf"
    conf.touch(0o600)
    conf.write_text(f"[ssh-site]\nknown_hosts = {server.known_hosts}\nprivate_key = {key or server.key}\n")
    environ = {
        "PATH": os.environ["PATH"],
        "PEGASUS_CREDENTIALS": str(conf),
        "GLOBUS_REMOTE_SSHFTP": shlex.join(remote),
    }
    return Settings(Credentials.load(environ, str(server.home)), environ, stall_timeout=20.0)


def test_through_ssh_a_name_that_the_server_would_change_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    backend = open_backend(Endpoint("sshftp", sshd.authority, "ssh-site"), ssh_settings(sshd))
    over = list(
        backend.put(
            iter([store_job(f"{tmp_path}/Grü", given(b"x")), store_job(f"{tmp_path}/ok", given(b"y"))])
        )
    )
    backend.close()
    assert [type(job.error) for job in over] == [BadSpecification, type(None)]
    assert [path.name for path in tmp_path.iterdir()] == ["ok"]


# -- from server to server -----------------------------------------------------------------------------


@pytest.fixture
def ends(gridftp: GridFtpServer, other_gridftp: GridFtpServer) -> Iterator[tuple[GridFtp, GridFtp]]:
    """Two servers; the second lets in only another user than we are at the first."""
    giver, taker = opened(gridftp), opened(other_gridftp, other_gridftp.grid.other_proxy)
    yield giver, taker
    giver.close()
    taker.close()


def copy_job(source: Path, destination: Path, required: Requirement | None = None) -> Job[None]:
    return Job[None](str(source), str(destination), required or Requirement(), None)


def test_third_party_with_two_proxies(
    ends: tuple[GridFtp, GridFtp], gridftp: GridFtpServer, other_gridftp: GridFtpServer
) -> None:
    here, there = fresh(gridftp), fresh(other_gridftp)
    made = {f"f{n}": content(size, n) for n, size in enumerate((0, 1, 5000, 3 << 20))}
    for name, data in made.items():
        (here / name).write_bytes(data)
    giver, taker = ends
    assert giver.copies(taker, Requirement())
    jobs = [copy_job(here / name, there / "d" / name) for name in made]
    jobs.insert(2, copy_job(here / "missing", there / "d/missing"))
    over = list(giver.copy(iter(jobs), taker, Control()))
    assert [job.path for job in over if job.error is not None] == [str(here / "missing")]
    assert isinstance(jobs[2].error, NotFound)
    assert jobs[2].error.side == "source"
    assert {path.name: path.read_bytes() for path in (there / "d").iterdir()} == made
    assert [job.digest for job in over if job.error is None] == [sha256(data) for data in made.values()]
    assert all(job.proven for job in over if job.error is None)


@pytest.mark.parametrize(
    "required",
    [
        Requirement("sha256", sha256(b"other")),
        Requirement("", "", 7),
        Requirement("sha256", also=(("md5", "0" * 32),)),
        Requirement("blake3", "0" * 64),
    ],
)
def test_third_party_of_what_is_wrong_keeps_the_old(
    ends: tuple[GridFtp, GridFtp], gridftp: GridFtpServer, other_gridftp: GridFtpServer, required: Requirement
) -> None:
    here, there = fresh(gridftp), fresh(other_gridftp)
    (here / "file").write_bytes(content(5000))
    (there / "file").write_bytes(b"old")
    (job,) = ends[0].copy(iter([copy_job(here / "file", there / "file", required)]), ends[1], Control())
    assert isinstance(job.error, Corrupted)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {"file": b"old"}


def test_third_party_read_back_where_the_server_lacks_the_algorithm(
    ends: tuple[GridFtp, GridFtp], gridftp: GridFtpServer, other_gridftp: GridFtpServer
) -> None:
    import blake3

    here, there = fresh(gridftp), fresh(other_gridftp)
    (here / "file").write_bytes(content(5000))
    digest = blake3.blake3(content(5000)).hexdigest()
    (job,) = ends[0].copy(
        iter([copy_job(here / "file", there / "file", Requirement("blake3", digest))]), ends[1], Control()
    )
    assert (job.error, job.digest) == (None, digest)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


# -- what goes wrong -----------------------------------------------------------------------------------


def refusal(backend: Backend, path: str) -> TransferError:
    with pytest.raises(TransferError) as caught:
        backend.stat(path)
    backend.close()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("proxy", "text"), [("expired", "expired"), ("future", "not valid before")])
def test_a_proxy_that_is_over_is_told_before_connecting(
    gridftp: GridFtpServer, proxy: str, text: str
) -> None:
    with pytest.raises(CredentialError, match=text):
        opened(gridftp, getattr(gridftp.grid, proxy))


def test_a_proxy_that_the_server_does_not_trust(gridftp: GridFtpServer) -> None:
    assert isinstance(refusal(opened(gridftp, gridftp.grid.untrusted), "/"), Denied)


def test_a_user_whom_the_server_does_not_know(other_gridftp: GridFtpServer) -> None:
    assert isinstance(refusal(opened(other_gridftp), "/"), Denied)


def test_a_server_that_we_do_not_trust(gridftp: GridFtpServer) -> None:
    error = refusal(opened(gridftp, X509_CERT_DIR=str(gridftp.grid.nobody)), "/")
    assert isinstance(error, Denied)
    assert "X509_CERT_DIR" in error.hint


def test_a_server_of_another_name(gridftp: GridFtpServer) -> None:
    endpoint = Endpoint("gsiftp", f"127.1:{gridftp.port}", "grid")  # the same address
    assert isinstance(refusal(open_backend(endpoint, gridftp.settings()), "/"), Denied)


def test_nobody_there(gridftp: GridFtpServer) -> None:
    endpoint = Endpoint("gsiftp", f"localhost:{free_port()}", "grid")
    assert isinstance(refusal(open_backend(endpoint, gridftp.settings()), "/"), Unreachable)


def test_no_proxy_at_all(gridftp: GridFtpServer) -> None:
    environ = {"X509_CERT_DIR": str(gridftp.grid.certificates)}
    settings = Settings(Credentials(environ, "", shared=""), environ)
    with pytest.raises(CredentialError, match="grid-proxy-init"):
        open_backend(Endpoint("gsiftp", gridftp.authority, "grid"), settings)


def test_a_path_that_the_server_does_not_serve(gridftp: GridFtpServer) -> None:
    assert isinstance(refusal(opened(gridftp), "/etc/passwd"), Denied)


def test_a_directory_is_no_file(gridftp: GridFtpServer) -> None:
    top = fresh(gridftp)
    (top / "d").mkdir()
    backend = opened(gridftp)
    assert isinstance(errors(backend.get(iter([fetch_job(str(top / "d"))])))[0], IsDirectory)
    assert isinstance(errors(backend.put(iter([store_job(str(top / "d"), given(b"x"))])))[0], IsDirectory)
    backend.close()
    assert [path.name for path in top.iterdir()] == ["d"]


def test_disk_full_on_the_server(gridftp: GridFtpServer, small_disk: Path) -> None:
    with public_directory("gridftp-") as home, serving(home, gridftp.grid, data=small_disk) as server:
        (small_disk / "old").write_bytes(b"old")
        backend = opened(server)
        jobs = [
            store_job(f"{small_disk}/{name}", given(content(size)))
            for name, size in (("old", 1 << 20), ("new", 10))
        ]
        over = list(backend.put(iter(jobs)))
        backend.close()
        assert [type(job.error) for job in over] == [NoSpace, type(None)]
        assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == {
            "old": b"old",
            "new": content(10),
        }


def test_no_permission_on_the_server(gridftp: GridFtpServer) -> None:
    if os.geteuid():
        pytest.skip("only root can map a user to another account")
    with public_directory("gridftp-") as home:
        gridmap = home / "gridmap"
        gridmap.write_text(gridftp.grid.gridmap.read_text().replace(" root", " nobody"))
        with serving(home, gridftp.grid, gridmap=gridmap) as server:
            (server.data / "secret").write_bytes(b"x")
            (server.data / "secret").chmod(0o600)
            backend = opened(server)
            (got,) = backend.get(iter([fetch_job(f"{server.data}/secret")]))
            (put,) = backend.put(iter([store_job(f"{server.data}/new", given(b"x"))]))
            removed = dict(backend.remove([f"{server.data}/secret"]))
            backend.close()
            assert [type(error) for error in (got.error, put.error, *removed.values())] == [Denied] * 3
            assert [path.name for path in server.data.iterdir()] == ["secret"]


def test_digest_told_by_the_server(gridftp: GridFtpServer) -> None:
    top = fresh(gridftp)
    backend = opened(gridftp)
    required = Requirement("sha256", remote=True)
    job = store_job(str(top / "file"), given(content(5000), required), required)
    assert errors(backend.put(iter([job]))) == [None]
    assert job.proven
    assert backend.inspect(str(top / "file"), "sha256").digest == ("sha256", sha256(content(5000)))
    assert backend.inspect(str(top / "file"), "blake3").digest is None
    backend.close()


def test_connections_that_were_lost_are_made_again(gridftp: GridFtpServer) -> None:
    top = fresh(gridftp)
    (top / "file").write_bytes(b"data")
    backend = opened(gridftp)
    (job,) = backend.get(iter([fetch_job(str(top / "file"))]))
    assert settle(job) == b"data"
    assert backend.client.names is not None
    backend.client.names.interrupt()
    assert backend.stat(str(top / "file")).size == 4
    backend.close()


@pytest.mark.parametrize("spoiled", [False, True])
def test_proof_by_reading_back_the_name_aside(
    gridftp: GridFtpServer, monkeypatch: pytest.MonkeyPatch, spoiled: bool
) -> None:
    """The server has no blake3: what it stored is read back, and an old file stays where it differs."""
    top = gridftp.data / os.urandom(4).hex()
    top.mkdir()
    (top / "file").write_bytes(b"old")
    required = Requirement("blake3", remote=True)
    backend = opened(gridftp)
    if spoiled:
        monkeypatch.setattr(NullSink, "commit", lambda sink: "0" * 64)
    jobs = [store_job(str(top / name), given(content(3000, 1), required), required) for name in ("file", "b")]
    over = list(backend.put(iter(jobs)))
    backend.close()
    assert [job.proven for job in over] == [not spoiled] * 2
    assert all(isinstance(job.error, Corrupted) == spoiled for job in over)
    found = {file.name: file.read_bytes() for file in top.iterdir()}
    assert found == ({"file": b"old"} if spoiled else dict.fromkeys(("file", "b"), content(3000, 1)))


@pytest.mark.parametrize("line", ["Type=file;Size=3; ../elsewhere", "what is this", "Size=3; no kind"])
def test_listing_that_is_not_understood_is_an_error(
    gridftp: GridFtpServer, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    top = gridftp.data / os.urandom(4).hex()
    top.mkdir()
    (top / "kept").write_bytes(b"x")

    def said(self: Client, listing: Listing) -> None:
        listing.lines, listing.reply = [line], Reply(226, ("done",))

    monkeypatch.setattr(Client, "_list", said)
    backend = opened(gridftp)
    with pytest.raises(ServerFault, match=r"not understood|has an entry with the name"):
        list(backend.list(str(top)))
    ((_, error),) = backend.remove([str(top)], recursive=True)
    backend.close()
    assert isinstance(error, ServerFault)
    assert (top / "kept").exists()
