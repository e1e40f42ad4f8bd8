"""``symlink:`` and ``moveto:`` destinations."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends.local.backend import Local
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    IsDirectory,
    NotFound,
    Permanent,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Control, Job, Requirement
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests.material import content, sha256


def link(path: Path | str, to: Path | str, verify: bool = True) -> None:
    job = Job[None](str(path), str(to), Requirement(), None)
    assert list(Local().link(iter([job]), Control("run"), verify)) == [job]
    if job.error is not None:
        raise job.error


def move(path: Path | str, to: Path | str, required: Requirement | None = None) -> Job[None]:
    job = Job[None](str(path), str(to), required or Requirement(), None)
    assert list(Local().rename(iter([job]), Control("run"))) == [job]
    if job.error is not None:
        raise job.error
    return job


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(b"data")
    return file


class TestLink:
    def test_points_there(self, tmp_path: Path, file: Path) -> None:
        link(file, tmp_path / "new/d/link")
        assert str((tmp_path / "new/d/link").readlink()) == str(file)
        assert names(tmp_path / "new/d") == {"link"}

    def test_relative_source_becomes_absolute(
        self, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        link("file", "d/link")
        link("./d/../file", "link")
        monkeypatch.chdir("/")
        assert (tmp_path / "d/link").read_bytes() == b"data"
        assert (tmp_path / "link").read_bytes() == b"data"

    def test_replaces_files_and_links(self, tmp_path: Path, file: Path) -> None:
        (tmp_path / "archive").write_bytes(b"precious")
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "to-archive").symlink_to("archive")
        (tmp_path / "dangling").symlink_to("nowhere")
        for name in ("old", "to-archive", "dangling", "to-archive"):
            link(file, tmp_path / name)
            assert (tmp_path / name).read_bytes() == b"data"
        assert (tmp_path / "archive").read_bytes() == b"precious"
        assert names(tmp_path) == {"file", "archive", "old", "to-archive", "dangling"}

    def test_never_replaces_its_own_source(self, tmp_path: Path, file: Path) -> None:
        (tmp_path / "way").symlink_to("file")
        for path, to in (("file", "file"), ("way", "way"), ("way", "file"), ("file", "./file")):
            link(f"{tmp_path}/{path}", f"{tmp_path}/{to}")
            assert file.read_bytes() == b"data"
            assert not file.is_symlink()
            assert (tmp_path / "way").read_bytes() == b"data"

    @pytest.mark.parametrize("name", ["d", "to-d", "d/", "new/"])
    def test_never_replaces_a_directory(self, tmp_path: Path, file: Path, name: str) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "to-d").symlink_to("d")
        with pytest.raises(IsDirectory):
            link(file, f"{tmp_path}/{name}")
        assert names(tmp_path) == {"file", "d", "to-d"}
        assert names(tmp_path / "d") == set()

    def test_never_replaces_a_device(self, tmp_path: Path, file: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        for path in (tmp_path / "fifo", Path("/dev/null")):
            with pytest.raises(Unsupported):
                link(file, path)
            assert not path.is_symlink()

    def test_verifies_the_source(self, tmp_path: Path) -> None:
        (tmp_path / "dangling").symlink_to("nowhere")
        os.mkfifo(tmp_path / "fifo")
        for name, kind in (("missing", NotFound), ("dangling", NotFound), ("fifo", Unsupported)):
            with pytest.raises(kind) as caught:
                link(tmp_path / name, tmp_path / "link")
            assert caught.value.side == "source"
        assert names(tmp_path) == {"dangling", "fifo"}

    def test_unless_told_not_to(self, tmp_path: Path) -> None:
        link("/only/on/the/worker", tmp_path / "link", verify=False)
        assert str((tmp_path / "link").readlink()) == "/only/on/the/worker"

    def test_to_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        link(tmp_path / "d", tmp_path / "link")
        assert str((tmp_path / "link").readlink()) == f"{tmp_path}/d"

    def test_bad_destinations(self, tmp_path: Path, file: Path) -> None:
        for name, kind in (("file/x", Permanent), ("nul\0", BadSpecification), ("n" * 256, BadSpecification)):
            with pytest.raises(kind):
                link(file, f"{tmp_path}/{name}")
        assert names(tmp_path) == {"file"}


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system than pytest's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


class TestMove:
    def test_renames(self, tmp_path: Path, file: Path) -> None:
        inode = file.stat().st_ino
        job = move(file, tmp_path / "new/d/moved", Requirement("sha256", sha256(b"data"), 4))
        assert (job.size, job.digest) == (4, sha256(b"data"))
        assert (tmp_path / "new/d/moved").stat().st_ino == inode
        assert names(tmp_path) == {"new"}
        assert move(tmp_path / "new/d/moved", file, Requirement("")).digest == ""

    @pytest.mark.parametrize("size", [0, 100, 2 * BLOCK])
    def test_across_file_systems(self, tmp_path: Path, elsewhere: Path, size: int) -> None:
        file = tmp_path / "file"
        file.write_bytes(content(size))
        assert file.stat().st_dev != elsewhere.stat().st_dev
        job = move(file, elsewhere / "d/moved", Requirement("sha256", sha256(content(size)), size))
        assert (job.size, job.digest) == (size, sha256(content(size)))
        assert (elsewhere / "d/moved").read_bytes() == content(size)
        assert names(tmp_path) == set()
        assert names(elsewhere / "d") == {"moved"}

    @pytest.mark.parametrize("required", [Requirement("sha256", sha256(b"other")), Requirement("", "", 3)])
    def test_wrong_content_stays_where_it_is(
        self, tmp_path: Path, elsewhere: Path, file: Path, required: Requirement
    ) -> None:
        (tmp_path / "old").write_bytes(b"old")
        for to in (tmp_path / "old", tmp_path / "new", elsewhere / "new"):
            with pytest.raises(Corrupted) as caught:
                move(file, to, required)
            assert caught.value.side == "source"
        assert file.read_bytes() == b"data"
        assert (tmp_path / "old").read_bytes() == b"old"
        assert names(tmp_path) == {"file", "old"}
        assert names(elsewhere) == set()

    def test_replaces_files_and_links(self, tmp_path: Path) -> None:
        (tmp_path / "archive").write_bytes(b"precious")
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "to-archive").symlink_to("archive")
        for name in ("old", "to-archive"):
            (tmp_path / "file").write_bytes(b"data")
            move(tmp_path / "file", tmp_path / name)
            assert not (tmp_path / name).is_symlink()
            assert (tmp_path / name).read_bytes() == b"data"
        assert (tmp_path / "archive").read_bytes() == b"precious"
        assert names(tmp_path) == {"archive", "old", "to-archive"}

    def test_onto_itself(self, tmp_path: Path, file: Path) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "way").symlink_to(tmp_path)
        for to in ("file", "./file", "d/../file", "way/file"):
            move(file, f"{tmp_path}/{to}")
            assert file.read_bytes() == b"data"

    def test_onto_another_name_of_itself(self, tmp_path: Path, file: Path) -> None:
        """rename(2) would leave both names."""
        (tmp_path / "hard").hardlink_to(file)
        move(file, tmp_path / "hard")
        assert names(tmp_path) == {"hard"}
        assert (tmp_path / "hard").read_bytes() == b"data"

    @pytest.mark.parametrize("target", ["file", "d/../file"])
    def test_link_gives_its_content(self, tmp_path: Path, file: Path, target: str) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "link").symlink_to(target)
        move(tmp_path / "link", tmp_path / "moved")
        assert names(tmp_path) == {"file", "d", "moved"}
        assert not (tmp_path / "moved").is_symlink()
        assert (tmp_path / "moved").read_bytes() == b"data"

    def test_link_onto_its_target(self, tmp_path: Path, file: Path) -> None:
        (tmp_path / "link").symlink_to("file")
        move(tmp_path / "link", file)
        assert file.read_bytes() == b"data"
        assert not file.is_symlink()

    def test_directory(self, tmp_path: Path, elsewhere: Path) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "d/file").write_bytes(b"data")
        with pytest.raises(IsDirectory):
            move(tmp_path / "d", elsewhere / "d")
        move(tmp_path / "d", tmp_path / "new/e")
        assert (tmp_path / "new/e/file").read_bytes() == b"data"
        (tmp_path / "full/x").mkdir(parents=True)
        with pytest.raises(IsDirectory):
            move(tmp_path / "new/e", tmp_path / "full")
        assert (tmp_path / "new/e/file").exists()

    def test_bad_destinations(self, tmp_path: Path, file: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "d").mkdir()
        for name, kind in (
            ("fifo", Unsupported),
            ("d", IsDirectory),
            ("new/", IsDirectory),
            ("nul\0", BadSpecification),
        ):
            with pytest.raises(kind):
                move(file, f"{tmp_path}/{name}")
        with pytest.raises(Unsupported):
            move(file, "/dev/null")
        assert names(tmp_path) == {"fifo", "d", "file"}

    def test_bad_sources(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "dangling").symlink_to("nowhere")
        for name, kind in (("fifo", Unsupported), ("dangling", NotFound), ("missing", NotFound)):
            with pytest.raises(kind) as caught:
                move(tmp_path / name, tmp_path / "moved")
            assert caught.value.side == "source"
        assert names(tmp_path) == {"fifo", "dangling"}

    def test_cancelled(self, tmp_path: Path, file: Path) -> None:
        control = Control("run")
        control.stop = Cancelled("told to stop")
        jobs = [Job[None](str(file), f"{tmp_path}/moved", Requirement(""), None)]
        for verb in (Local().rename(iter(jobs), control), Local().link(iter(jobs), control, True)):
            assert [type(job.error) for job in verb] == [Cancelled]
        assert names(tmp_path) == {"file"}
