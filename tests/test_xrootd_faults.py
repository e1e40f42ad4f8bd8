"""What can go wrong with XRootD: each the right error, no secret in it, nothing partial left behind."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    TransferError,
    Transient,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Job, Requirement, Settings, Sink, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests import command
from tests.material import Calling, CallingSource, content, fetch_job, given, settle, store_job
from tests.servers.common import free_port, public_directory
from tests.servers.cutting import cutting
from tests.servers.grid_pki import Grid
from tests.servers.xrootd import Xrootd, macaroon, serve

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.s3cr3t-signature"


def connect(authority: str, scheme: str = "root", *, stall: float = 60.0, **environ: Path | str) -> Backend:
    variables = {name: str(value) for name, value in environ.items()}
    settings = Settings(Credentials(variables, "", ""), variables, connect_timeout=5, stall_timeout=stall)
    return open_backend(Endpoint(scheme, authority, "site"), settings)


def get(backend: Backend, path: str, required: Requirement | None = None) -> Job[Sink]:
    (job,) = backend.get(iter([fetch_job(path, required=required)]))
    return job


def put(backend: Backend, path: str, data: bytes, required: Requirement | None = None) -> Job[Source]:
    (job,) = backend.put(iter([store_job(path, given(data, required), required)]))
    return job


def stored(server: Xrootd, path: str) -> dict[str, bytes]:
    top = server.home / path.strip("/")
    return {str(file.relative_to(top)): file.read_bytes() for file in top.rglob("*") if file.is_file()}


# -- credentials -------------------------------------------------------------------------------------


def test_expired_proxy_is_told_before_any_connection(grid: Grid) -> None:
    with pytest.raises(CredentialError, match=r"named by X509_USER_PROXY_site\) expired at"):
        connect(f"localhost:{free_port()}", X509_USER_PROXY_site=grid.expired)


def test_proxy_of_an_authority_that_the_server_does_not_trust(xrootd_gsi: Xrootd, grid: Grid) -> None:
    xrootd_gsi.write("/data/trust/file", b"x")
    backend = connect(xrootd_gsi.authority, X509_USER_PROXY=grid.untrusted)
    error = get(backend, "//data/trust/file").error
    assert isinstance(error, Denied)
    assert "a proxy or key was shown" in str(error) and xrootd_gsi.authority in str(error)


def test_no_proxy_where_one_is_needed(xrootd_gsi: Xrootd, tmp_path: Path) -> None:
    error = put(connect(xrootd_gsi.authority), "//data/trust/none", b"x").error
    assert isinstance(error, Denied) and "no credential was shown" in str(error)


def test_each_end_has_its_own_proxy(xrootd_gsi: Xrootd, grid: Grid) -> None:
    """In one process, at one server, two endpoints are two users."""
    xrootd_gsi.write("/data/two/file", b"x")
    for proxy in (grid.proxy, grid.other_proxy):
        backend = connect(xrootd_gsi.authority, X509_USER_PROXY=proxy)
        assert get(backend, "//data/two/file").error is None
    log = xrootd_gsi.log.read_text(errors="replace")
    assert {"/O=Test Grid/CN=Test User", "/O=Test Grid/CN=Other User"} <= set(logins(log))


def logins(log: str) -> Iterator[str]:
    for line in log.splitlines():
        _, found, name = line.partition(" login as ")
        if found:
            yield name.strip()


def test_server_of_an_authority_that_we_do_not_trust(xrootd_gsi: Xrootd, grid: Grid, tmp_path: Path) -> None:
    xrootd_gsi.write("/data/trust/file", b"x")
    url = f"root://{xrootd_gsi.authority}//data/trust/file"
    spec = command.write(tmp_path / "in", [command.entry(url, tmp_path / "out")])
    environ = {"X509_USER_PROXY": str(grid.proxy), "X509_CERT_DIR": str(grid.nobody)}
    done = command.run("-f", spec, cwd=tmp_path, env=environ)
    assert done.returncode == 2, done.stderr
    assert "denied" in done.stderr + done.stdout
    assert not (tmp_path / "out").exists()
    environ["X509_CERT_DIR"] = str(grid.certificates)
    assert command.run("-f", spec, cwd=tmp_path, env=environ).returncode == 0


def test_each_end_has_its_own_token(xrootd_token: Xrootd) -> None:
    """In one process, at one server, each endpoint can do what its token allows, and no more."""
    xrootd_token.write("/data/mine/file", b"content")
    reader = connect(xrootd_token.authority, BEARER_TOKEN=macaroon("DOWNLOAD", "READ_METADATA"))
    writer = connect(xrootd_token.authority, BEARER_TOKEN=macaroon("UPLOAD", "MANAGE", "READ_METADATA"))
    elsewhere = connect(xrootd_token.authority, BEARER_TOKEN=macaroon("DOWNLOAD", path="/data/theirs"))
    late = connect(xrootd_token.authority, BEARER_TOKEN=macaroon("DOWNLOAD", seconds=-60))
    nobody = connect(xrootd_token.authority, "roots")
    assert settle(get(reader, "//data/mine/file")) == b"content"
    assert put(writer, "//data/mine/new", b"new").error is None
    for refused in (
        put(reader, "//data/mine/other", b"x").error,
        get(writer, "//data/mine/file").error,
        get(elsewhere, "//data/mine/file").error,
        get(late, "//data/mine/file").error,
        get(nobody, "//data/mine/file").error,
    ):
        assert isinstance(refused, Denied)
    assert stored(xrootd_token, "/data/mine") == {"file": b"content", "new": b"new"}


def test_server_whose_certificate_is_not_trusted_gets_no_token(
    xrootd_token: Xrootd, grid: Grid, tmp_path: Path
) -> None:
    xrootd_token.write("/data/tls/file", b"content")
    url = f"roots://{xrootd_token.authority}//data/tls/file"
    spec = command.write(tmp_path / "in", [command.entry(url, tmp_path / "out")])
    environ = {"BEARER_TOKEN": macaroon("DOWNLOAD"), "X509_CERT_DIR": str(grid.nobody)}
    done = command.run("-f", spec, cwd=tmp_path, env=environ)
    assert done.returncode == 2, done.stderr
    assert "not trusted" in done.stderr + done.stdout
    assert not (tmp_path / "out").exists()
    environ["X509_CERT_DIR"] = str(grid.certificates)
    done = command.run("-f", spec, cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b"content"


def test_token_is_never_shown(xrootd: Xrootd, tmp_path: Path) -> None:
    """It goes along through TLS alone, and stands in no error and no output."""
    url = f"root://{xrootd.authority}//data/none/file"
    spec = command.write(tmp_path / "in", [command.entry(url, tmp_path / "out")])
    report = tmp_path / "report"
    environ = {"BEARER_TOKEN_local": TOKEN, "XRD_LOGLEVEL": "Dump"}
    done = command.run("-d", "-f", spec, "--report", report, cwd=tmp_path, env=environ)
    assert done.returncode == 2, done.stderr
    everything = done.stdout + done.stderr + report.read_text()
    assert "s3cr3t-signature" not in everything
    assert "not found" in everything


def test_found_token_does_not_keep_from_a_server_without_tls(xrootd: Xrootd) -> None:
    xrootd.write("/data/plain/file", b"content")
    backend = connect(xrootd.authority, BEARER_TOKEN=TOKEN)
    job = get(backend, "//data/plain/file")
    assert job.error is None and settle(job) == b"content"


def test_token_given_to_that_server_is_not_sent_without_tls(xrootd: Xrootd, tmp_path: Path) -> None:
    path = tmp_path / "credentials.conf"
    path.touch(0o600)
    path.write_text(f"[root://{xrootd.authority}]\ntoken = {TOKEN}\n")
    xrootd.write("/data/plain/file", b"content")
    error = get(connect(xrootd.authority, PEGASUS_CREDENTIALS=path), "//data/plain/file").error
    assert isinstance(error, Denied) and "TLS" in str(error)
    assert "s3cr3t-signature" not in str(error)


@pytest.mark.parametrize("names", ["plain", "none"])
def test_how_uploads_are_called_until_they_are_whole(xrootd: Xrootd, tmp_path: Path, names: str) -> None:
    path = tmp_path / "credentials.conf"
    path.touch(0o600)
    path.write_text(f"[root://{xrootd.authority}]\ntemporary_names = {names}\n")
    folder = f"/data/names-{names}"
    xrootd.make(folder)
    assert put(connect(xrootd.authority), f"/{folder}/file", b"old").error is None
    seen: set[str] = set()
    end = CallingSource(given(content(3 * BLOCK)), lambda: seen.update(stored(xrootd, folder)))
    backend = connect(xrootd.authority, PEGASUS_CREDENTIALS=path)
    (job,) = backend.put(iter([store_job(f"/{folder}/file", end)]))
    assert job.error is None
    assert stored(xrootd, folder) == {"file": content(3 * BLOCK)}
    aside = seen - {"file"}
    assert all(name.startswith("file.") and name.endswith(".tmp") for name in aside)
    assert len(aside) == (1 if names == "plain" else 0)


def test_nothing_of_a_token_stays_open(xrootd: Xrootd) -> None:
    """Its file in memory lives as long as the backend."""
    gc.collect()
    before = tokens_in_memory()
    backends = [connect(xrootd.authority, BEARER_TOKEN=TOKEN) for _ in range(20)]
    assert tokens_in_memory() == before + 20
    while backends:
        backends.pop().close()
    gc.collect()
    assert tokens_in_memory() == before


def tokens_in_memory() -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += "memfd:token" in str(descriptor.readlink())
    return count


def test_no_token_goes_out_where_the_library_gave_up_on_tls(xrootd: Xrootd, tmp_path: Path) -> None:
    """Without authorities there is no TLS, and the error says what to set."""
    xrootd.write("/data/clear/file", b"content")
    unfit = tmp_path / "authorities"
    unfit.mkdir()
    unfit.chmod(0o777)  # which it refuses
    code = f"""
import os
os.environ["X509_CERT_DIR"] = {str(unfit)!r}
from tests.test_xrootd_faults import TOKEN, connect, get
print(get(connect({xrootd.authority!r}), "//data/clear/file").error)
try:
    print(get(connect({xrootd.authority!r}, "roots", BEARER_TOKEN=TOKEN), "//data/clear/file").error)
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, _ = done.stdout.split("\n")
    assert first == "None"
    assert "no TLS" in second and "X509_CERT_DIR" in second


@pytest.mark.parametrize("parameter", ["xrd.gsiusrpxy=/tmp/x", "a=b&xrd.ztn=/etc/passwd", "xrdcl.unzip=a"])
def test_parameters_of_the_client_are_refused_in_urls(xrootd: Xrootd, parameter: str) -> None:
    error = get(connect(xrootd.authority), f"//data/file?{parameter}").error
    assert isinstance(error, BadSpecification)


def test_other_parameters_go_to_the_server(xrootd: Xrootd) -> None:
    xrootd.write("/data/parameters/file", b"content")
    backend = connect(xrootd.authority)
    assert settle(get(backend, "//data/parameters/file?svcClass=tape")) == b"content"
    assert put(backend, "/data/parameters/new?svcClass=tape", b"new").error is None
    assert stored(xrootd, "/data/parameters") == {"file": b"content", "new": b"new"}


# -- permissions, space, the network -----------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="the server must run as another user")
def test_no_permission(xrootd: Xrootd) -> None:
    xrootd.write("/data/closed/file", b"secret")
    (xrootd.data / "closed" / "file").chmod(0)
    (xrootd.data / "closed").chmod(0o755)
    backend = connect(xrootd.authority)
    assert isinstance(get(backend, "//data/closed/file").error, Denied)
    assert isinstance(put(backend, "//data/closed/new", b"x").error, Denied)
    assert set(os.listdir(xrootd.data / "closed")) == {"file"}


def test_path_that_is_not_exported(xrootd: Xrootd) -> None:
    backend = connect(xrootd.authority)
    assert isinstance(get(backend, "//etc/passwd").error, Denied)
    assert isinstance(put(backend, "//etc/new", b"x").error, Denied)
    with pytest.raises(Denied):
        backend.mkdir("//etc/new")


def test_directory_in_place_of_a_file(xrootd: Xrootd) -> None:
    xrootd.write("/data/dir/sub/file", b"x")
    backend = connect(xrootd.authority)
    assert isinstance(get(backend, "//data/dir/sub").error, IsDirectory)
    assert isinstance(put(backend, "//data/dir/sub", b"x").error, IsDirectory)
    assert isinstance(put(backend, "//data/dir/sub/file/below", b"x").error, TransferError)
    assert stored(xrootd, "/data/dir") == {"sub/file": b"x"}
    with pytest.raises(TransferError):
        backend.mkdir("//data/dir/sub/file")
    with pytest.raises(NotFound):
        list(backend.list("//data/dir/sub/file"))


def test_nobody_listens() -> None:
    job = get(connect(f"localhost:{free_port()}"), "//data/file")
    assert isinstance(job.error, Unreachable)


def test_name_that_is_none() -> None:
    assert isinstance(get(connect("no-such-host.invalid"), "//data/file").error, Unreachable)


@pytest.mark.parametrize("silent", [False, True])
def test_connection_that_breaks_in_a_get(xrootd: Xrootd, silent: bool) -> None:
    data = content(6 * BLOCK)
    xrootd.write("/data/cut/get", data)
    with cutting(xrootd.port, down=2 * BLOCK, silent=silent) as relay:
        job = get(connect(relay.authority, stall=1), "//data/cut/get")
        assert isinstance(job.error, Transient), job.error
    job = get(connect(xrootd.authority), "//data/cut/get")
    assert settle(job) == data


@pytest.mark.parametrize("silent", [False, True])
def test_connection_that_breaks_in_a_put(xrootd: Xrootd, silent: bool) -> None:
    xrootd.write("/data/cut/put/file", b"old")
    with cutting(xrootd.port, up=2 * BLOCK, silent=silent) as relay:
        job = put(connect(relay.authority, stall=1), "//data/cut/put/file", content(6 * BLOCK))
        assert isinstance(job.error, Transient), job.error
    assert stored(xrootd, "/data/cut/put")["file"] == b"old"
    assert put(connect(xrootd.authority), "//data/cut/put/file", b"new").error is None
    assert stored(xrootd, "/data/cut/put")["file"] == b"new"


def test_closing_ends_the_wait_for_a_silent_server(xrootd: Xrootd) -> None:
    xrootd.write("/data/cut/silent", content(4 * BLOCK))
    with cutting(xrootd.port, down=2 * BLOCK, silent=True) as relay:
        backend = connect(relay.authority, stall=600)
        batch = backend.get(iter([fetch_job("//data/cut/silent", Calling(backend.close))]))
        with pytest.raises(Cancelled):
            list(batch)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root")
def test_full_disk_leaves_the_old_content() -> None:
    with public_directory("xrootd-full-") as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(place)], check=True)
        try:
            with serve(place) as server:
                server.write("/data/d/file", b"old")
                job = put(connect(server.authority), "//data/d/file", content(8 * BLOCK))
                assert isinstance(job.error, NoSpace), job.error
                assert stored(server, "/data/d") == {"file": b"old"}
        finally:
            subprocess.run(["umount", str(place)], check=True)
