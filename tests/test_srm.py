"""SRM: the real gfal2 against a stand-in storage, whose bytes go to a real GridFTP server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from pegasus_toolkit.credentials import CredentialError
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.srm.backend import Srm
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    IsDirectory,
    NotFound,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import (
    Control,
    Endpoint,
    Entry,
    Job,
    Requirement,
    Settings,
    Sink,
    Source,
)
from pegasus_toolkit.transfer.streams.files import FileSink, FileSource
from tests.material import content, sha256
from tests.servers.common import free_port, public_directory
from tests.servers.grid_pki import Grid
from tests.servers.gridftp import serving as gridftp_serving
from tests.servers.srm_stub import SrmStub, gfal2
from tests.servers.srm_stub import serving as srm_serving

PREFIX = "/srm/managerv2?SFN="


@pytest.fixture
def top(srm: SrmStub) -> Path:
    made = srm.gridftp.data / os.urandom(4).hex()
    made.mkdir()
    return made


@pytest.fixture
def backend(srm: SrmStub) -> Iterator[Srm]:
    backend = opened(srm)
    yield backend
    backend.close()


def opened(srm: SrmStub, settings: Settings | None = None, scheme: str = "srm") -> Srm:
    found = open_backend(Endpoint(scheme, srm.authority, "grid"), settings or srm.gridftp.settings())
    assert isinstance(found, Srm)
    return found


def get_job(path: Path, to: Path, required: Requirement | None = None) -> Job[Sink]:
    required = required or Requirement()
    return Job[Sink](f"{PREFIX}{path}", "", required, FileSink(str(to), required, Control()))


def put_job(file: Path, to: Path, required: Requirement | None = None) -> Job[Source]:
    required = required or Requirement()
    return Job[Source](f"{PREFIX}{to}", "", required, FileSource(str(file), required, Control()))


NAMES = ("plain", "two words", "100%", "%20", "a&b;c", "#hash", "'q' \"d\"", "$HOME $(id)", "-x", "q?x=1")


def test_download_of_many_with_one_missing(backend: Srm, top: Path, tmp_path: Path) -> None:
    made = {name: content(1000 + n, n) for n, name in enumerate(NAMES)}
    for name, data in made.items():
        (top / name).write_bytes(data)
    jobs = [get_job(top / quote(name), tmp_path / "d" / name) for name in made]
    jobs.insert(3, get_job(top / "missing", tmp_path / "d/missing"))
    over = list(backend.get(iter(jobs)))
    assert {Path(job.path).name: str(job.error) for job in over if job.error is not None}.keys() == {
        "missing"
    }
    assert isinstance(jobs[3].error, NotFound)
    for job in over:
        if job.error is None:
            assert job.end.commit() == sha256(made[unquote(job.path.rpartition("/")[2])])
        else:
            job.end.abort()
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == made


def test_upload_of_many(backend: Srm, top: Path, tmp_path: Path) -> None:
    made = {name: content(1000 + n, n) for n, name in enumerate(NAMES)}
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    jobs = [put_job(tmp_path / name, top / "some/where" / quote(name)) for name in made]
    over = list(backend.put(iter(jobs)))
    for job in over:
        job.end.close()
    assert [str(job.error) for job in over if job.error is not None] == []
    assert {path.name: path.read_bytes() for path in (top / "some/where").iterdir()} == made


@pytest.mark.parametrize("name", ["Grüße", quote("Grüße"), "new\nline", "%0a"])
def test_a_name_that_would_be_changed_is_refused(backend: Srm, top: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (job,) = backend.put(iter([put_job(tmp_path / "file", top / name)]))
    job.end.close()
    assert isinstance(job.error, BadSpecification)
    assert list(top.iterdir()) == []


def test_replaces_what_is_there(backend: Srm, top: Path, tmp_path: Path) -> None:
    (top / "file").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new content")
    (job,) = backend.put(iter([put_job(tmp_path / "new", top / "file")]))
    job.end.close()
    assert job.error is None
    assert {path.name: path.read_bytes() for path in top.iterdir()} == {"file": b"new content"}


def test_wrong_digest_is_not_published(backend: Srm, top: Path, tmp_path: Path) -> None:
    (top / "file").write_bytes(b"data")
    (job,) = backend.get(
        iter([get_job(top / "file", tmp_path / "file", Requirement("sha256", sha256(b"other")))])
    )
    assert job.error is None
    with pytest.raises(Corrupted):
        job.end.commit()
    job.end.abort()
    assert list(tmp_path.iterdir()) == []


def test_names(backend: Srm, top: Path) -> None:
    backend.mkdir(f"{PREFIX}{top}/d/e")
    (top / "odd").mkdir()
    (top / "odd/100% #1").write_bytes(b"1")
    assert [entry.path for entry in backend.list(f"{PREFIX}{top}/odd")] == [
        f"{PREFIX}{top}/odd/100%25%20%231"
    ]
    assert list(backend.remove([f"{PREFIX}{top}/odd"], recursive=True)) == [(f"{PREFIX}{top}/odd", None)]
    backend.mkdir(f"{PREFIX}{top}/d/e")
    (top / "d/e/f").write_bytes(b"123")
    (top / "d/g").mkdir()
    assert backend.stat(f"{PREFIX}{top}/d/e/f") == Entry(f"{PREFIX}{top}/d/e/f", 3)
    assert backend.stat(f"{PREFIX}{top}/d").directory
    found = {(entry.path, entry.size, entry.directory) for entry in backend.list(f"{PREFIX}{top}/d")}
    assert found == {(f"{PREFIX}{top}/d/e/f", 3, False), (f"{PREFIX}{top}/d/g", None, True)}
    ((_, error),) = backend.remove([f"{PREFIX}{top}/d"])
    assert isinstance(error, IsDirectory)
    paths = [f"{PREFIX}{top}/d", f"{PREFIX}{top}/missing"]
    assert dict(backend.remove(paths, recursive=True)) == dict.fromkeys(paths)
    assert list(top.iterdir()) == []
    with pytest.raises(NotFound):
        backend.stat(f"{PREFIX}{top}/d")


def test_the_storage_tells_its_checksum(backend: Srm, top: Path) -> None:
    (top / "file").write_bytes(b"Wikipedia")
    assert backend.inspect(f"{PREFIX}{top}/file", "adler32").digest == ("adler32", "11e60398")
    assert backend.inspect(f"{PREFIX}{top}/file", "blake3").digest is None


def test_httpg_is_the_same(srm: SrmStub, top: Path) -> None:
    (top / "file").write_bytes(b"123")
    backend = opened(srm, scheme="httpg")
    assert backend.stat(f"{PREFIX}{top}/file").size == 3
    backend.close()


@pytest.mark.parametrize(("said", "asked"), [("", []), ("data_channel_authentication = none", ["DCAU N"])])
def test_who_is_at_the_data_connections(grid: Grid, tmp_path: Path, said: str, asked: list[str]) -> None:
    """As the server hears it: a login begins with DCAU A, which gfal2 by itself changes to N."""
    gfal2()
    with (
        public_directory("gridftp-") as home,
        gridftp_serving(home, grid, ["-log-level", "ALL"]) as server,
        srm_serving(server) as storage,
    ):
        conf = tmp_path / "credentials.conf"
        conf.touch(0o600)
        conf.write_text(f"[srm://{storage.authority}]\n{said}\n")
        (server.data / "file").write_bytes(b"old")
        backend = opened(storage, server.settings(PEGASUS_CREDENTIALS=str(conf)))
        (job,) = backend.get(iter([get_job(server.data / "file", tmp_path / "file")]))
        backend.close()
        assert job.error is None
        job.end.abort()
        deadline = time.monotonic() + 30
        while "RETR" not in (log := server.log.read_text()):  # told once the session has ended
            assert time.monotonic() < deadline
            time.sleep(0.02)
        heard = set(re.findall(r"DCAU \w", log))
    assert heard == set(asked)


@pytest.mark.parametrize("proxy", ["expired", "future"])
def test_a_proxy_that_is_over_is_told_before_connecting(srm: SrmStub, proxy: str) -> None:
    with pytest.raises(CredentialError):
        opened(srm, srm.gridftp.settings(getattr(srm.gridftp.grid, proxy)))


def test_a_proxy_that_is_not_trusted(srm: SrmStub, top: Path) -> None:
    backend = opened(srm, srm.gridftp.settings(srm.gridftp.grid.untrusted))
    with pytest.raises(TransferError):
        backend.stat(f"{PREFIX}{top}")
    backend.close()


def test_nobody_there(srm: SrmStub) -> None:
    endpoint = Endpoint("srm", f"localhost:{free_port()}", "grid")
    backend = open_backend(endpoint, srm.gridftp.settings())
    with pytest.raises(TransferError) as caught:
        backend.stat(f"{PREFIX}/x")
    assert not isinstance(caught.value, Denied | NotFound)
    backend.close()


def test_old_file_survives_a_refused_rename(
    backend: Srm, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SRM renames over nothing: the old file is set aside, and put back on failure."""
    (top / "file").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new content")
    ask = backend.files.gfal.ask

    def refusing(verb: str, *arguments: str | int, **options: Any) -> Any:
        if verb == "rename" and Path(str(arguments[0]).partition("SFN=")[2]).read_bytes() == b"new content":
            raise Denied("told to")
        return ask(verb, *arguments, **options)

    monkeypatch.setattr(backend.files.gfal, "ask", refusing)
    (job,) = backend.put(iter([put_job(tmp_path / "new", top / "file")]))
    job.end.close()
    assert isinstance(job.error, Denied)
    assert {file.name: file.read_bytes() for file in top.iterdir()} == {"file": b"old"}


def test_without_gfal2_the_error_says_what_to_install(
    srm: SrmStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pegasus_toolkit.transfer.clients.gfal.process.PYTHONS", ())
    backend = opened(srm)
    with pytest.raises(Unsupported, match="python3-gfal2"):
        backend.stat(f"{PREFIX}/x")
    backend.close()


def test_closing_ends_the_helper(srm: SrmStub, top: Path) -> None:
    backend = opened(srm)
    backend.stat(f"{PREFIX}{top}")
    process = backend.files.gfal._process
    assert process is not None
    backend.close()
    assert process.returncode is not None
