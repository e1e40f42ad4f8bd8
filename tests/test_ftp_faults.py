"""FTP when something is wrong, and what TLS and resuming mean there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.ftp.backend import Ftp
from pegasus_toolkit.transfer.backends.ftp.files import _facts, _listed, lines
from pegasus_toolkit.transfer.backends.shared.files import Found
from pegasus_toolkit.transfer.clients.curl.ftp import Commands, Listing
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    IsDirectory,
    NotFound,
    ServerFault,
    TransferError,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Control, Endpoint, Identity, Requirement, Settings, Sink
from pegasus_toolkit.transfer.streams.files import FileSink
from tests.faults import Full
from tests.http_world import credentials
from tests.material import content, fetch_job, given, kept, settle, sha256, store_job
from tests.servers.common import free_port, public_directory
from tests.servers.ftp import IMPLICIT, FtpServer, serve_vsftpd
from tests.servers.nginx import PASSWORD, USER
from tests.servers.odd_ftp import odd_ftp
from tests.servers.pki import Pki

MIB = 1 << 20
LOGIN = f"username = {USER}\npassword = {PASSWORD}"
Opens = Callable[..., Ftp]


@pytest.fixture
def open_ftp(tmp_path: Path) -> Iterator[Opens]:
    """Opens backends whose section holds the given lines, and closes them at the end."""
    opened: list[Ftp] = []

    def make(authority: str, section: str = "", scheme: str = "ftp") -> Ftp:
        text = f"[{scheme}://{authority.rpartition('@')[2]}]\n{section}\n" if section else ""
        backend = open_backend(
            Endpoint(scheme, authority, "here"), Settings(credentials(tmp_path, text), stall_timeout=20)
        )
        assert isinstance(backend, Ftp)
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        backend.close()


def put(backend: Ftp, path: str, data: bytes) -> TransferError | None:
    (job,) = backend.put(iter([store_job(path, given(data))]))
    return job.error


def get(backend: Ftp, path: str, end: Sink | None = None) -> TransferError | None:
    (job,) = backend.get(iter([fetch_job(path, end)]))
    return job.error


# -- who we are, and in TLS ------------------------------------------------------------------------------


def test_wrong_password(ftp_tls: FtpServer, pki: Pki, open_ftp: Opens) -> None:
    backend = open_ftp(ftp_tls.authority, f"username = {USER}\npassword = wrong-secret\nca_file = {pki.ca}")
    error = put(backend, "/file", b"x")
    assert isinstance(error, Denied)
    assert "wrong-secret" not in str(error) and "localhost" in str(error)
    assert isinstance(get(backend, "/file"), Denied)
    assert backend.identity() == Identity("user and password", f"section [ftp://{ftp_tls.authority}]")


def test_untrusted_authority(ftp_tls: FtpServer, pki: Pki, open_ftp: Opens) -> None:
    error = put(open_ftp(ftp_tls.authority, f"{LOGIN}\nca_file = {pki.other_ca}"), "/file", b"x")
    assert isinstance(error, Denied) and "ca_file" in str(error)


def test_password_is_not_sent_without_tls(ftp_plain: FtpServer, open_ftp: Opens, tmp_path: Path) -> None:
    before = ftp_plain.log.read_text().count(f"USER '{USER}'")
    error = put(open_ftp(ftp_plain.authority, LOGIN), f"/{tmp_path.name}", b"x")
    assert isinstance(error, Denied) and "allow_plain_password" in str(error)
    assert ftp_plain.log.read_text().count(f"USER '{USER}'") == before
    assert not (ftp_plain.data / tmp_path.name).exists()
    allowed = open_ftp(ftp_plain.authority, f"{LOGIN}\nallow_plain_password = yes")
    assert put(allowed, f"/{tmp_path.name}", b"x") is None
    assert ftp_plain.log.read_text().count(f"USER '{USER}'") > before


def test_nobody_is_let_in_without_a_password(ftp_tls: FtpServer, open_ftp: Opens) -> None:
    backend = open_ftp(ftp_tls.authority)
    assert backend.identity().kind == "anonymous"
    assert isinstance(get(backend, "/file"), Denied)


def test_ftps_at_another_port_asks_for_tls(
    ftp_tls: FtpServer, pki: Pki, open_ftp: Opens, tmp_path: Path
) -> None:
    backend = open_ftp(ftp_tls.authority, f"{LOGIN}\nca_file = {pki.ca}", scheme="ftps")
    assert put(backend, f"/{tmp_path.name}", content(2 * MIB)) is None
    assert (ftp_tls.data / tmp_path.name).read_bytes() == content(2 * MIB)


def test_no_permission(ftp_tls: FtpServer, pki: Pki, open_ftp: Opens, tmp_path: Path) -> None:
    root = ftp_tls.data / tmp_path.name
    root.mkdir()
    (root / "file").write_bytes(b"old")
    backend = open_ftp(ftp_tls.authority, f"username = reader\npassword = {PASSWORD}\nca_file = {pki.ca}")
    assert get(backend, f"/{root.name}/file") is None
    for size in (10, 2 * MIB):
        assert isinstance(put(backend, f"/{root.name}/file", content(size)), Denied)
        assert isinstance(put(backend, f"/{root.name}/new/file", content(size)), Denied)
    ((_, error),) = backend.remove([f"/{root.name}/file"])
    assert isinstance(error, Denied)
    with pytest.raises(Denied):
        backend.mkdir(f"/{root.name}/new")
    assert [file.name for file in root.iterdir()] == ["file"] and (root / "file").read_bytes() == b"old"


def test_nobody_there(open_ftp: Opens) -> None:
    backend = open_ftp(f"127.0.0.1:{free_port()}")
    assert isinstance(put(backend, "/x", b"x"), Unreachable)
    ((_, error),) = backend.remove(["/x"])
    assert isinstance(error, Unreachable)


# -- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a%0D%0ADELE%20precious", "a%0ADELE%20precious", "a%00b", "tab%09"])
def test_name_that_would_be_a_command(
    ftp_plain: FtpServer, open_ftp: Opens, tmp_path: Path, name: str
) -> None:
    root = ftp_plain.data / tmp_path.name
    root.mkdir()
    (root / "precious").write_bytes(b"x")
    backend, path = open_ftp(ftp_plain.authority), f"/{root.name}/{name}"
    assert isinstance(put(backend, path, b"x"), BadSpecification)
    assert isinstance(get(backend, path), BadSpecification)
    assert [type(error) for _, error in backend.remove([path])] == [BadSpecification]
    for call in (backend.mkdir, backend.stat, lambda path: list(backend.list(path))):
        with pytest.raises(BadSpecification):
            call(path)
    good = [fetch_job(path), fetch_job(f"/{root.name}/precious")]
    assert [type(job.error) for job in backend.get(iter(good))] == [BadSpecification, type(None)]
    assert [file.name for file in root.iterdir()] == ["precious"]


def test_directory_is_told_from_what_is_missing(
    ftp_plain: FtpServer, vsftpd: FtpServer, open_ftp: Opens, tmp_path: Path
) -> None:
    for server in (ftp_plain, vsftpd):
        root = server.data / tmp_path.name
        (root / "d").mkdir(parents=True)
        (root / "d" / "file").write_bytes(b"x")
        backend, path = open_ftp(server.authority), f"{server.prefix}/{root.name}"
        assert isinstance(get(backend, f"{path}/d"), IsDirectory)
        assert isinstance(get(backend, f"{path}/none"), NotFound)
        for size in (10, 2 * MIB):
            assert isinstance(put(backend, f"{path}/d", content(size)), IsDirectory)
        assert backend.stat(f"{path}/d").directory
        with pytest.raises(NotFound):
            list(backend.list(f"{path}/d/file"))
        assert [file.name for file in (root / "d").iterdir()] == ["file"]
        assert [entry.directory for entry in backend.list(path)] == [False]
        assert backend.free(path) is None


def test_file_that_may_not_be_read_is_not_missing(
    ftp_tls: FtpServer, pki: Pki, open_ftp: Opens, tmp_path: Path
) -> None:
    (ftp_tls.data / tmp_path.name).write_bytes(b"x")
    looker = open_ftp(ftp_tls.authority, f"username = looker\npassword = {PASSWORD}\nca_file = {pki.ca}")
    assert isinstance(get(looker, f"/{tmp_path.name}"), Denied)
    assert isinstance(get(looker, f"/{tmp_path.name}-none"), NotFound)


# -- large files ------------------------------------------------------------------------------------------


def test_interrupted_download_goes_on(ftp_plain: FtpServer, open_ftp: Opens, tmp_path: Path) -> None:
    data = content(5 * MIB)
    file = ftp_plain.data / f"{tmp_path.name}-big"
    file.write_bytes(data)
    os.utime(file, (time.time() - 3600,) * 2)
    backend, control = open_ftp(ftp_plain.authority), Control(keep_partial=True)
    required = Requirement("sha256", sha256(data), len(data))
    first = FileSink(str(tmp_path / "out"), required, control)
    (job,) = backend.get(iter([fetch_job(f"/{file.name}", Full(first, 3 * MIB), required)]))
    assert job.error is not None
    job.end.abort()
    assert not (tmp_path / "out").exists()
    second = FileSink(str(tmp_path / "out"), required, control)
    (job,) = backend.get(iter([fetch_job(f"/{file.name}", second, required)]))
    assert job.error is None
    assert second.commit() == sha256(data)
    assert (tmp_path / "out").read_bytes() == data
    assert "REST" in ftp_plain.log.read_text() or control.bytes < 8 * MIB


def test_changed_file_begins_again(ftp_plain: FtpServer, open_ftp: Opens, tmp_path: Path) -> None:
    file = ftp_plain.data / f"{tmp_path.name}-big"
    backend, control = open_ftp(ftp_plain.authority), Control(keep_partial=True)
    for n, old in enumerate((7200, 3600)):
        file.write_bytes(content(5 * MIB, n))
        os.utime(file, (time.time() - old,) * 2)
        sink = FileSink(str(tmp_path / "out"), Requirement(), control)
        end: Sink = Full(sink, 3 * MIB) if n == 0 else sink
        (job,) = backend.get(iter([fetch_job(f"/{file.name}", end)]))
        if n == 0:
            job.end.abort()
    assert job.error is None
    sink.commit()
    assert (tmp_path / "out").read_bytes() == content(5 * MIB, 1)


def test_connections_are_kept(ftp_plain: FtpServer, open_ftp: Opens, tmp_path: Path) -> None:
    before = ftp_plain.log.read_text().count("FTP session opened")
    backend = open_ftp(ftp_plain.authority)
    root = f"/{tmp_path.name}"
    jobs = [store_job(f"{root}/{n}", given(content(100, n))) for n in range(60)]
    assert [job.error for job in backend.put(iter(jobs))] == [None] * 60
    over = list(backend.get(fetch_job(f"{root}/{n}", kept()) for n in range(60)))
    assert sum(settle(job) is not None for job in over) == 60
    assert ftp_plain.log.read_text().count("FTP session opened") - before <= 16


def test_implicit_tls(pki: Pki, open_ftp: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS from the first byte, at the port where that is what ``ftps`` means."""
    from pegasus_toolkit.transfer.backends.ftp import site as core

    with (
        public_directory("vsftpd-tls-") as home,
        serve_vsftpd(home, IMPLICIT.format(pki=pki, reuse="YES")) as server,
    ):
        monkeypatch.setattr(core, "IMPLICIT", server.port)
        backend = open_ftp(server.authority, f"ca_file = {pki.ca}", scheme="ftps")
        for size in (0, 10, 2 * MIB):
            assert put(backend, f"/pub/d/{size}", content(size)) is None
            assert (server.data / "d" / str(size)).read_bytes() == content(size)
            assert get(backend, f"/pub/d/{size}") is None


# -- listings as servers write them ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-rw-r--r--   1 ftp      ftp          1234 Nov 22 10:00 a file", Found("a file", False, 1234)),
        ("-rw-r--r--   1 ftp      ftp          1234 Nov 22  2024  lead", Found(" lead", False, 1234)),
        ("drwxr-xr-x+  2 0        0            4096 Jan 01 2020 dir", Found("dir", True, None)),
        (
            "lrwxrwxrwx   1 0        0               7 Jan 01 2020 link -> a -> b",
            Found("link -> a", None, None, link=True),
        ),
        ("11-22-26  10:15AM       <DIR>          some dir", Found("some dir", True, None)),
        ("11-22-2026  10:15PM              1234 file.txt", Found("file.txt", False, 1234)),
        ("total 8", None),
    ],
)
def test_line_of_list(line: str, found: Found | None) -> None:
    assert _listed(line) == found


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("LIST -a", "QPGMR            3 01/01/24 00:00:00 *STMF     a.txt"),
        ("LIST -a", "-rw-r--r--   1 user  3 Jan 01 2024 a.txt"),
        ("LIST -a", "A.TXT;1    1/3   1-JAN-2024 00:00:00 [G,U] (RWED,RWED,RE,)"),
        ("MLSD", "a.txt"),
        ("MLSD", "type=file;size=3; up/../a.txt"),
        ("MLSD", f"type=file;size={'9' * 40}; long"),
        ("LIST -a", f"-rw-r--r-- 1 u g {'9' * 40} 2024-01-01 00:00 long"),
        ("LIST -a", f"01-01-24  10:15AM {'9' * 40} long"),
    ],
)
def test_line_that_is_not_understood_is_an_error(method: str, line: str, open_ftp: Opens) -> None:
    """The other lines are, all the same."""
    known = {"MLSD": "type=file;size=3; good", "LIST -a": "-rw-r--r-- 1 u g 3 2024-01-01 00:00 good"}[method]
    listing = Listing(open_ftp("127.0.0.1:1").files.session, "/d", 1000)
    listing.method = method
    listing.body += f"total 4\r\n{line}\r\n{known}\r\n".encode()
    page, _ = lines(listing)
    assert page.found == [Found("good", False, 3)]
    assert isinstance(page.wrong, Unsupported) and line in str(page.wrong)


def test_facts() -> None:
    found = Found("a; b", False, 6, modified=1767225600 * 10**9)
    assert _facts("Type=file;Size=6;Modify=20260101000000; a; b") == found
    assert _facts("type=cdir;perm=el; .") == Found(".", True)
    assert _facts("type=OS.unix=slink:/x;size=3; link") == Found("link", None, 3, link=True)


def test_cut_in_the_middle(ftp_plain: FtpServer, open_ftp: Opens, tmp_path: Path) -> None:
    """The data connection dies: the server keeps what came, under a name aside, and we take it away."""
    from tests.faults import Broken

    root = ftp_plain.data / tmp_path.name
    root.mkdir()
    backend = open_ftp(ftp_plain.authority)
    (job,) = backend.put(iter([store_job(f"/{root.name}/file", Broken(given(content(3 * MIB)), 2 * MIB))]))
    assert isinstance(job.error, ServerFault)
    assert list(root.iterdir()) == []


def test_an_answer_that_asks_for_more_is_no_success(open_ftp: Opens) -> None:
    """A server that takes the name, and waits for something else."""

    def answer(command: str, argument: str) -> str | None:
        return "350 go on" if command == "RNTO" else None

    with odd_ftp(answer) as server:
        (job,) = open_ftp(server.authority).put(iter([store_job("/file", given(b"new"))]))
    assert isinstance(job.error, ServerFault) and "350" in str(job.error)


def test_names_aside_that_are_all_refused_are_told(open_ftp: Opens) -> None:
    def answer(command: str, argument: str) -> str | None:
        return "553 no such names here" if command == "STOR" else None

    with odd_ftp(answer) as server:
        (job,) = open_ftp(server.authority).put(iter([store_job("/file", given(b"new"))]))
    assert isinstance(job.error, Denied) and "temporary_names" in job.error.hint


@pytest.mark.parametrize("line", ["((( what", "\xff\xfe\xfd", "22", ""])
def test_reply_that_is_none_is_passed_over(open_ftp: Opens, line: str) -> None:
    exchange = Commands(open_ftp("127.0.0.1:1").files.session, "/", "NOOP")
    exchange.lines = [f"{line}\r\n".encode("latin-1"), b"220-a\r\n(((\r\n220 b\r\n"]
    assert [reply.code for reply in exchange.replies] == [220]


@pytest.mark.parametrize("refused", ["RNFR", "RNTO"])
def test_old_content_survives_a_server_that_refuses_to_rename(open_ftp: Opens, refused: str) -> None:
    """Nothing is removed before the new file can take its place, and nothing stays aside."""
    with public_directory("vsftpd-still-") as home, serve_vsftpd(home, f"cmds_denied={refused}\n") as server:
        (server.data / "file").write_bytes(b"old")
        (server.data / "file").chmod(0o666)
        backend = open_ftp(server.authority)
        (job,) = backend.put(iter([store_job(f"{server.prefix}/file", given(b"new"))]))
        assert isinstance(job.error, Denied) and "temporary_names" in str(job.error)
        assert {path.name: path.read_bytes() for path in server.data.iterdir()} == {"file": b"old"}
        own = open_ftp(server.authority, "temporary_names = none")
        (job,) = own.put(iter([store_job(f"{server.prefix}/file", given(b"new"))]))
        assert job.error is None and (server.data / "file").read_bytes() == b"new"


def test_a_server_without_passive_mode_is_told_as_one(open_ftp: Opens) -> None:
    """EPSV and PASV are refused, and libcurl's own word for that is "weird"."""
    with public_directory("vsftpd-active-") as home, serve_vsftpd(home, "pasv_enable=NO\n") as server:
        (server.data / "file").write_bytes(b"x")
        (job,) = open_ftp(server.authority).get(iter([fetch_job(f"{server.prefix}/file")]))
        assert isinstance(job.error, Unsupported)
        assert "no data connection" in str(job.error) and "passive mode" in job.error.hint
