"""Our protocols as file systems of fsspec: its own abstract suite, pandas and zarr, at real servers."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.tests import abstract

from pegasus_toolkit import NotFound, Unreachable
from pegasus_toolkit.files import filesystem
from pegasus_toolkit.files.filesystem import PegasusFileSystem
from pegasus_toolkit.schemes import known
from tests.servers.seaweed import Seaweed
from tests.servers.sshd import Sshd
from tests.test_cli_plain import server

COPIES = (abstract.AbstractCopyTests, abstract.AbstractGetTests, abstract.AbstractPutTests)
OTHERS = (abstract.AbstractOpenTests, abstract.AbstractPipeTests)


class LocalFixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self) -> PegasusFileSystem:
        return fsspec.filesystem("pegasus+file")

    @pytest.fixture
    def fs_path(self, tmp_path: Path) -> str:
        return str(tmp_path / "fs")


class TestLocal(LocalFixtures, *COPIES, *OTHERS):
    """All of fsspec's suite."""


class SftpFixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, sshd: Sshd, tmp_path: Path) -> PegasusFileSystem:
        _, environ = server(sshd, tmp_path)
        return fsspec.filesystem("pegasus+sftp", authority=sshd.authority, environ=environ)

    @pytest.fixture
    def fs_path(self, tmp_path: Path) -> str:
        return f"{tmp_path}/server"


class TestSftpOpen(SftpFixtures, *OTHERS):
    """What is quick at a server; the rest is the same code."""


class S3Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, seaweed: Seaweed, tmp_path: Path) -> PegasusFileSystem:
        environ = {"PEGASUS_CREDENTIALS": str(seaweed.credentials(tmp_path))}
        return fsspec.filesystem("pegasus+s3", authority="admin@weed", environ=environ)

    @pytest.fixture
    def fs_path(self) -> str:
        return f"/fsspec/{os.urandom(4).hex()}"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class TestS3Open(S3Fixtures, *OTHERS):
    """SeaweedFS goes on to list directories whose last object went, which the other suites take for a
    fault."""


@pytest.fixture(params=["sftp", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A directory at a server, and what opens it."""
    if request.param == "sftp":
        base, environ = server(request.getfixturevalue("sshd"), tmp_path)
    else:
        weed: Seaweed = request.getfixturevalue("seaweed")
        environ = {"PEGASUS_CREDENTIALS": str(weed.credentials(tmp_path))}
        base = f"s3://admin@weed/fsspec/{os.urandom(4).hex()}"
    yield f"pegasus+{base}", {"environ": environ}


def test_pandas(place: tuple[str, dict[str, Any]]) -> None:
    pandas = pytest.importorskip("pandas")
    url, options = place
    frame = pandas.DataFrame({"site": ["a", "b"], "files": [1, 2]})
    frame.to_csv(f"{url}/table.csv", index=False, storage_options=options)
    back = pandas.read_csv(f"{url}/table.csv", storage_options=options)
    assert back.equals(frame)
    frame.to_csv(f"{url}/table.csv.gz", index=False, storage_options=options)
    assert pandas.read_csv(f"{url}/table.csv.gz", storage_options=options).equals(frame)
    with pytest.raises(FileNotFoundError):
        pandas.read_csv(f"{url}/none.csv", storage_options=options)


def test_zarr(place: tuple[str, dict[str, Any]]) -> None:
    zarr = pytest.importorskip("zarr")
    url, options = place
    where = f"{url}/array.zarr"
    array = zarr.create_array(where, shape=(40,), chunks=(10,), dtype="i4", storage_options=options)
    array[:] = range(40)
    again = zarr.open_array(where, mode="r", storage_options=options)
    assert list(again[5:15]) == list(range(5, 15))
    assert int(again[:].sum()) == sum(range(40))


def test_by_url(place: tuple[str, dict[str, Any]]) -> None:
    url, options = place
    fs, root = fsspec.url_to_fs(url, **options)
    with fsspec.open(f"{url}/d/a.txt", "w", **options) as stream:
        stream.write("alpha")
    assert fs.cat_file(f"{root}/d/a.txt") == b"alpha"
    assert fs.cat_file(f"{root}/d/a.txt", start=1, end=3) == b"lp"
    assert fs.unstrip_protocol(f"{root}/d/a.txt") == f"{url}/d/a.txt"
    assert [one["name"] for one in fs.ls(root)] == [f"{root}/d"]
    assert fs.info(f"{root}/d/a.txt")["size"] == 5 and fs.info(f"{root}/d")["type"] == "directory"
    assert fs.glob(f"{root}/**/*.txt") == [f"{root}/d/a.txt"]
    with fs.open(f"{root}/d/a.txt", "ab") as stream:
        stream.write(b" and more")
    assert fs.cat(f"{root}/d/a.txt") == b"alpha and more"
    fs.mv(f"{root}/d/a.txt", f"{root}/d/b.txt")
    assert fs.find(root) == [f"{root}/d/b.txt"]
    assert fs.modified(f"{root}/d/b.txt").year >= 2026
    fs.rm(f"{root}/d", recursive=True)
    assert not fs.exists(f"{root}/d/b.txt")
    with pytest.raises(NotFound):
        fs.open(f"{root}/d/b.txt")


def test_times_are_kept(place: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    url, options = place
    fs, root = fsspec.url_to_fs(url, **options)
    (tmp_path / "file").write_text("content")
    os.utime(tmp_path / "file", (1_600_000_000, 1_600_000_000))
    fs.put_file(tmp_path / "file", f"{root}/file")
    assert fs.info(f"{root}/file")["mtime"] == 1_600_000_000
    fs.get_file(f"{root}/file", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "content"


def test_nobody_sees_a_part(tmp_path: Path) -> None:
    fs = fsspec.filesystem("pegasus+file")
    with fs.open(f"{tmp_path}/whole", "wb") as stream:
        stream.write(b"a part")
        assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError), fs.open(f"{tmp_path}/broken", "wb") as stream:
        stream.write(b"a part")
        raise ZeroDivisionError
    with fs.transaction, fs.open(f"{tmp_path}/later", "wb") as stream:
        stream.write(b"in a transaction")
        stream.close()
        assert not (tmp_path / "later").exists()
    assert sorted(os.listdir(tmp_path)) == ["later", "whole"]


def test_what_is_large_waits_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "IN_MEMORY", 1000)
    fs = fsspec.filesystem("pegasus+file")
    content = os.urandom(5000)
    with fs.open(f"{tmp_path}/large", "wb") as stream:
        for at in range(0, 5000, 700):
            stream.write(content[at : at + 700])
    with fs.open(f"{tmp_path}/large", "rb") as stream:
        assert not isinstance(stream, io.BytesIO)
        assert stream.read() == content
        stream.seek(4000)
        assert stream.read(10) == content[4000:4010]


def test_a_pickled_file_system_holds_no_secret(tmp_path: Path) -> None:
    """As dask sends it to its workers."""
    conf = tmp_path / "credentials.conf"
    conf.touch(0o600)
    conf.write_text("[host]\nusername = me\npassword = hidden-away\n")
    fs = fsspec.filesystem("pegasus+davs", authority="host", environ={"PEGASUS_CREDENTIALS": str(conf)})
    told = pickle.dumps(fs)
    assert b"hidden-away" not in told
    assert pickle.loads(told) == fs
    assert "hidden-away" not in fs.to_json()


def test_a_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "PAUSES", (0.01,))
    with pytest.raises(Unreachable):
        fsspec.filesystem("pegasus+sftp", authority="127.0.0.1:1", environ={}).ls("/")


def test_every_protocol_is_registered() -> None:
    names = {one.name: one for one in entry_points(group="fsspec.specs") if one.name.startswith("pegasus+")}
    assert {"pegasus+sftp", "pegasus+s3", "pegasus+https", "pegasus+davs", "pegasus+root"} <= names.keys()
    for name, one in names.items():
        found = one.load()
        assert found.protocol == name and found.scheme in known()
