"""PEGASUS_FORCE_GUC: the bytes of GridFTP moved by the real globus-url-copy."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.gridftp.direct import GridFtp
from pegasus_toolkit.transfer.backends.gridftp.guc import Guc
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, NotFound, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement, Sink, Source
from pegasus_toolkit.transfer.streams.files import FileSink, FileSource
from tests.material import AWKWARD, content, sha256
from tests.servers.common import program, public_directory
from tests.servers.grid_pki import Grid
from tests.servers.gridftp import GridFtpServer, serving

NAMES = [name for name in AWKWARD if "\n" not in name]


@pytest.fixture
def top(gridftp: GridFtpServer) -> Path:
    made = gridftp.data / os.urandom(4).hex()
    made.mkdir()
    return made


def opened(server: GridFtpServer, proxy: Path | None = None) -> Guc:
    program("globus-url-copy")
    settings = server.settings(proxy, PEGASUS_FORCE_GUC="1", GLOBUS_HOSTNAME="localhost")
    backend = open_backend(Endpoint("gsiftp", server.authority, "grid"), settings)
    assert isinstance(backend, Guc)
    return backend


def get_job(path: Path, to: Path) -> Job[Sink]:
    return Job[Sink](str(path), "", Requirement(), FileSink(str(to), Requirement(), Control()))


def put_job(file: Path, to: Path) -> Job[Source]:
    return Job[Source](str(to), "", Requirement(), FileSource(str(file), Requirement(), Control()))


def test_down_with_odd_names_and_one_missing(gridftp: GridFtpServer, top: Path, tmp_path: Path) -> None:
    made = {name: content(1000 * n, n) for n, name in enumerate(NAMES)}
    for name, data in made.items():
        (top / name).write_bytes(data)
    jobs = [get_job(top / name, tmp_path / "d" / name) for name in made]
    jobs.insert(7, get_job(top / "missing", tmp_path / "d/missing"))
    backend = opened(gridftp)
    over = list(backend.get(iter(jobs)))
    backend.close()
    assert [type(job.error) for job in over if job.error is not None] == [NotFound]
    digests = [job.end.commit() for job in over if job.error is None]
    assert digests == [sha256(data) for data in made.values()]
    jobs[7].end.abort()
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == made


def test_up_with_odd_names_over_what_is_there(gridftp: GridFtpServer, top: Path, tmp_path: Path) -> None:
    made = {name: content(1000 * n, n) for n, name in enumerate(NAMES)}
    (top / "d").mkdir()
    (top / "d" / NAMES[3]).write_bytes(b"old")
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    backend = opened(gridftp)
    over = list(backend.put(put_job(tmp_path / name, top / "d" / name) for name in made))
    backend.close()
    for job in over:
        job.end.close()
    assert [job.error for job in over] == [None] * len(made)
    assert {path.name: path.read_bytes() for path in (top / "d").iterdir()} == made


def test_files_after_one_that_fails_are_moved(gridftp: GridFtpServer, top: Path, tmp_path: Path) -> None:
    """The tool stops at the first; here the server changes under it: a file goes between look and copy."""
    for n in range(6):
        (top / f"f{n}").write_bytes(content(100, n))
    jobs = [get_job(top / f"f{n}", tmp_path / f"f{n}") for n in range(6)]
    backend = opened(gridftp)
    run = backend._run

    def sabotaged(*arguments: object) -> tuple[int, str]:
        (top / "f2").unlink(missing_ok=True)
        return run(*arguments)  # type: ignore[arg-type]

    backend._run = sabotaged  # type: ignore[method-assign, assignment]
    over = list(backend.get(iter(jobs)))
    backend.close()
    assert [type(job.error) for job in over] == [type(None)] * 2 + [NotFound] + [type(None)] * 3
    assert all(job.end.commit() for job in over if job.error is None)
    jobs[2].end.abort()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f0", "f1", "f3", "f4", "f5"]


def test_closing_ends_the_tool_and_leaves_nothing(gridftp: GridFtpServer, top: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content(200 << 20))
    backend = opened(gridftp)
    job = put_job(tmp_path / "file", top / "file")
    started = threading.Event()
    wait = backend._wait

    def waiting(*arguments: object) -> int:
        started.set()
        return wait(*arguments)  # type: ignore[arg-type]

    backend._wait = waiting  # type: ignore[method-assign, assignment]
    closer = threading.Thread(target=lambda: (started.wait(), backend.close()))
    closer.start()
    with pytest.raises(TransferError):
        list(backend.put(iter([job])))
    closer.join()
    job.end.close()
    assert list(top.iterdir()) == []


def test_a_proxy_that_the_server_does_not_trust(gridftp: GridFtpServer, top: Path, tmp_path: Path) -> None:
    backend = opened(gridftp, gridftp.grid.untrusted)
    with pytest.raises(Denied):
        list(backend.get(iter([get_job(top / "x", tmp_path / "x")])))
    backend.close()


def test_without_the_tool_the_error_says_what_to_install(gridftp: GridFtpServer, tmp_path: Path) -> None:
    settings = gridftp.settings(PEGASUS_FORCE_GUC="1", PATH=str(tmp_path))
    with pytest.raises(Unsupported, match="globus-gass-copy-progs"):
        open_backend(Endpoint("gsiftp", gridftp.authority, "grid"), settings)


def test_server_that_insists_on_encrypted_data(grid: Grid, tmp_path: Path) -> None:
    """Our own client cannot, and says what can; the tool is then told to."""
    (tmp_path / "here").write_bytes(content(5000))
    with public_directory("gridftp-") as home, serving(home, grid, ["-encrypt-data"]) as server:
        there = server.data / "file"
        plain = open_backend(Endpoint("gsiftp", server.authority, "grid"), server.settings())
        (job,) = plain.put(iter([put_job(tmp_path / "here", there)]))
        assert job.error is not None and "PEGASUS_FORCE_GUC" in job.error.hint
        plain.close()
        assert not there.exists()
        backend = opened(server)
        (job,) = backend.put(iter([put_job(tmp_path / "here", there)]))
        assert job.error is None and there.read_bytes() == content(5000)
        (got,) = backend.get(iter([get_job(there, tmp_path / "back")]))
        assert got.error is None and got.end.commit() == sha256(content(5000))
        backend.close()


@pytest.mark.parametrize(("value", "kind"), [("self", Guc), ("none", GridFtp), ("perhaps", None)])
def test_the_sites_section_asks_for_authenticated_data(
    gridftp: GridFtpServer, tmp_path: Path, value: str, kind: type[GridFtp] | None
) -> None:
    program("globus-url-copy")
    path = tmp_path / "credentials.conf"
    path.write_text(f"[gsiftp://{gridftp.authority}]\ndata_channel_authentication = {value}\n")
    path.chmod(0o600)
    settings = gridftp.settings(PEGASUS_CREDENTIALS=str(path), GLOBUS_HOSTNAME="localhost")
    endpoint = Endpoint("gsiftp", gridftp.authority, "grid")
    if kind is None:
        with pytest.raises(BadSpecification, match="data_channel_authentication"):
            open_backend(endpoint, settings)
        return
    backend = open_backend(endpoint, settings)
    assert type(backend) is kind
    backend.close()
