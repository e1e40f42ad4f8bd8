"""The open door: filesystems that fsspec knows, through the suite that every backend runs."""

from __future__ import annotations

import errno
import io
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.fsspec_any import FsspecAny, options, renames
from pegasus_toolkit.transfer.errors import NotFound, ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests import command
from tests.conformance import ListingSuite, WritableSuite
from tests.material import content, errors, fetch_job, given, store_job


def endpoint(scheme: str, authority: str = "") -> Endpoint:
    return Endpoint(scheme, authority, "site")


SETTINGS = Settings(Credentials.none())


class TestLocal(WritableSuite, ListingSuite):
    """``local://``: a filesystem with renames."""

    @pytest.fixture(autouse=True)
    def area(self, tmp_path: Path) -> None:
        self.top = tmp_path / "area"
        self.top.mkdir()

    def open(self) -> Backend:
        return open_backend(endpoint("local"), SETTINGS)

    def path(self, name: str) -> str:
        return f"{self.top}/{name}" if name else str(self.top)

    def read(self, path: str) -> bytes | None:
        return Path(path).read_bytes() if Path(path).is_file() else None

    def write(self, path: str, content: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    def stored(self) -> set[str]:
        return {str(file) for file in self.top.rglob("*") if not file.is_dir()}


class TestObjects(WritableSuite, ListingSuite):
    """fsspec's own ``memory``, which has no rename: what an object store is for it."""

    @pytest.fixture(autouse=True)
    def area(self) -> Iterator[None]:
        self.fs: Any = fsspec.filesystem("memory")
        self.top = f"/{uuid.uuid4().hex}"
        yield
        if self.fs.exists(self.top):
            self.fs.rm(self.top, recursive=True)

    def open(self) -> Backend:
        return FsspecAny(endpoint("memory"), SETTINGS)  # our own serves the scheme

    def path(self, name: str) -> str:
        return f"{self.top}/{name}" if name else self.top

    def read(self, path: str) -> bytes | None:
        return self.fs.cat_file(path) if self.fs.isfile(path) else None

    def write(self, path: str, content: bytes) -> None:
        self.fs.pipe_file(path, content)

    def stored(self) -> set[str]:
        return set(self.fs.find(self.top))


class ArchiveSuite(ListingSuite):
    """Files in an archive on disk."""

    cannot_name: ClassVar[frozenset[str]] = frozenset({"q?x=1&y=2"})
    scheme: str

    @pytest.fixture(autouse=True)
    def area(self, tmp_path: Path) -> None:
        self.archive = tmp_path / "archive"
        self.files: dict[str, bytes] = {}

    def open(self) -> Backend:
        return open_backend(endpoint(self.scheme, "top"), SETTINGS)

    def path(self, name: str) -> str:
        return f"/{name}::{self.archive}" if name else f"::{self.archive}"

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def write(self, path: str, content: bytes) -> None:
        self.files[path] = content
        self.add("top" + path.removesuffix(f"::{self.archive}"), content)

    def add(self, name: str, content: bytes) -> None:
        raise AssertionError("the subclass adds a file to the archive")


class TestZip(ArchiveSuite):
    scheme = "zip"

    def add(self, name: str, content: bytes) -> None:
        with zipfile.ZipFile(self.archive, "a") as archive:
            archive.writestr(name, content)


class TestTar(ArchiveSuite):
    scheme = "tar"

    def add(self, name: str, content: bytes) -> None:
        with tarfile.open(self.archive, "a") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_a_scheme_that_nobody_knows() -> None:
    with pytest.raises(Unsupported, match="no protocol 'gopher' here, nor in fsspec"):
        open_backend(endpoint("gopher", "host"), SETTINGS)


@pytest.mark.parametrize("scheme", ["reference", "simplecache", "dir", "generic"])
def test_layers_that_are_no_storage_are_refused(scheme: str) -> None:
    assert scheme in fsspec.available_protocols()
    with pytest.raises(Unsupported, match="nor in fsspec"):
        open_backend(endpoint(scheme, "host"), SETTINGS)


def test_layers_are_refused_within_a_chain(tmp_path: Path) -> None:
    backend = open_backend(endpoint("zip", "a"), SETTINGS)
    with pytest.raises(Unsupported, match="simplecache"):
        backend.stat(f"::simplecache::file://{tmp_path}/a.zip")


def test_missing_fsspec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "fsspec" or "fsspec_any" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(Unsupported) as caught:
        open_backend(endpoint("smb", "host"), SETTINGS)
    assert "no protocol 'smb' here" in str(caught.value)
    assert "pip install 'pegasus-toolkit[fsspec]'" in str(caught.value)


def test_missing_driver_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(Unsupported) as caught:
        open_backend(endpoint("az", "container"), SETTINGS)
    assert "adlfs" in str(caught.value)


def test_writing_where_that_cannot_be(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"x")
    backend = open_backend(endpoint("zip", "new"), SETTINGS)
    before = (tmp_path / "a.zip").read_bytes()
    (job,) = backend.put(iter([store_job(f"::{tmp_path}/a.zip", given(b"y"))]))
    assert isinstance(job.error, TransferError)
    assert (tmp_path / "a.zip").read_bytes() == before


def test_archive_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"not a zip")
    backend = open_backend(endpoint("zip", "x"), SETTINGS)
    (job,) = backend.get(iter([fetch_job(f"::{tmp_path}/a.zip")]))
    assert isinstance(job.error, ServerFault) and "BadZipFile" in str(job.error)
    (job,) = backend.get(iter([fetch_job(f"::{tmp_path}/none.zip")]))
    assert isinstance(job.error, NotFound)


def test_large_file_for_an_object_store_is_verified_before_it_goes_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pegasus_toolkit.transfer.backends.fsspec_any.IN_MEMORY", 1000)
    fs = fsspec.filesystem("memory")
    assert not renames(type(fs))
    backend = FsspecAny(endpoint("memory"), SETTINGS)
    path = f"/{uuid.uuid4().hex}/large"
    assert errors(backend.put(iter([store_job(path, given(content(3000)))]))) == [None]
    assert fs.cat_file(path) == content(3000)
    fs.rm_file(path)


MOVE, LIST = LocalFileSystem.mv, LocalFileSystem.ls


def careful(fs: LocalFileSystem, old: str, new: str) -> None:
    """A rename replaces nothing, as over SMB."""
    if Path(new).exists():
        raise FileExistsError(errno.EEXIST, "exists", new)
    MOVE(fs, old, new)


def silent(fs: LocalFileSystem, old: str, new: str) -> None:
    """Nor says it so, as over WebHDFS."""
    if not Path(new).exists():
        MOVE(fs, old, new)


@pytest.mark.parametrize("rename", [careful, silent])
def test_driver_whose_rename_replaces_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rename: Any
) -> None:
    monkeypatch.setattr(LocalFileSystem, "mv", rename)
    backend = open_backend(endpoint("local"), SETTINGS)
    for data in (b"old", b"new", b"newer"):
        assert errors(backend.put(iter([store_job(f"{tmp_path}/file", given(data))]))) == [None]
        assert (tmp_path / "file").read_bytes() == data
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_listing_that_leads_elsewhere_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def leading(fs: LocalFileSystem, path: str, detail: bool = False) -> Any:
        return [*LIST(fs, path, detail=detail), fs.info("/etc/hostname")]

    monkeypatch.setattr(LocalFileSystem, "ls", leading)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ServerFault, match="leads elsewhere"):
        list(open_backend(endpoint("local"), SETTINGS).list(str(tmp_path)))


def test_options_of_each_part_of_a_chain(tmp_path: Path) -> None:
    path = tmp_path / "credentials.conf"
    path.write_text(
        "[smb://nas]\nusername = joe\npassword = s3cr3t\nport = 4455\nauto_mkdir = no\n[zip]\nx = y\n"
    )
    path.chmod(0o600)
    credentials = Credentials({"PEGASUS_CREDENTIALS": str(path)}, "")
    found = options("zip://a/b::smb://joe@nas/share/a.zip", "site", credentials)
    assert found == {"smb": {"username": "joe", "password": "s3cr3t", "port": 4455, "auto_mkdir": False}}


def test_the_report_names_who_served_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner/file", b"content")
    url = f"zip://inner/file::file://{tmp_path}/a.zip"
    spec, report = command.write(tmp_path / "in", [command.entry(url, tmp_path / "out")]), tmp_path / "report"
    done = command.run("-f", spec, "--report", report, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b"content"
    assert '"direct by fsspec"' in report.read_text()
