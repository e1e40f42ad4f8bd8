"""A disk that fills up: one clear error, nothing partial, the old content intact. On a real file system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends.local.backend import Local
from pegasus_toolkit.transfer.errors import NoSpace
from pegasus_toolkit.transfer.interface import Backend, Control, Job, Requirement, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK
from pegasus_toolkit.transfer.streams.files import FileSink
from tests.command import entry, run, write
from tests.material import content, given

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="a tmpfs of a given size needs root"
)
ROOM = 4 * BLOCK


@contextmanager
def mounted(place: Path) -> Iterator[Path]:
    """A file system of 4 MiB that holds one old file."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)], check=True)
    try:
        (place / "old").write_bytes(b"old content")
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk") as place:
        yield place


def only_the_old(disk: Path) -> bool:
    return {path.name for path in disk.iterdir()} == {"old"} and (disk / "old").read_bytes() == b"old content"


def fill(disk: Path, left: int) -> None:
    """Leaves so many bytes free; what fills the disk has no name."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "old").write_bytes(b"old content")
    with (disk / "filler").open("wb") as filler:
        filler.write(bytes(free - left))


def test_a_directory_that_something_is_mounted_on(disk: Path) -> None:
    ((_, error),) = Local().remove([str(disk.parent)], recursive=True)
    assert error is not None
    assert error.url == str(disk), "the whole path of what is busy"
    assert "mounted there" in str(error)
    assert error.exit_code == 1


@pytest.mark.parametrize("algorithm", ["sha256", ""])
@pytest.mark.parametrize("size", [ROOM + 1, 3 * ROOM, 40 * BLOCK])
def test_copy(disk: Path, tmp_path: Path, size: int, algorithm: str) -> None:
    (tmp_path / "file").write_bytes(content(size))
    jobs = [
        Job[None](f"{tmp_path}/file", f"{disk}/{name}", Requirement(algorithm), None)
        for name in ("old", "new")
    ]
    backend: Local = Local()
    for job in backend.copy(iter(jobs), backend, Control("run")):
        assert isinstance(job.error, NoSpace)
        assert job.error.side == "destination"
    assert only_the_old(disk)


def test_copy_that_fails_in_the_middle(disk: Path, tmp_path: Path) -> None:
    """Another fills the disk while this copy runs, so that no look beforehand can tell."""
    (tmp_path / "file").write_bytes(content(3 * BLOCK))

    class Fills:
        def take(self, n: int, control: Control) -> None:
            if not (disk / "filler").exists():
                fill(disk, BLOCK // 2)

    job = Job[None](f"{tmp_path}/file", f"{disk}/old", Requirement(), None)
    backend = Local()
    list(backend.copy(iter([job]), backend, Control("run", Fills())))
    assert isinstance(job.error, NoSpace)
    (disk / "filler").unlink()
    assert only_the_old(disk)


def test_small_copies(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content(BLOCK - 1))
    fill(disk, 10_000)
    backend = Local()
    for name in ("old", "new"):
        job = Job[None](f"{tmp_path}/file", f"{disk}/{name}", Requirement(), None)
        list(backend.copy(iter([job]), backend, Control("run")))
        assert isinstance(job.error, NoSpace)
    (disk / "filler").unlink()
    assert only_the_old(disk)


def test_sink(disk: Path) -> None:
    sink = FileSink(f"{disk}/old", Requirement(), Control("run"))
    with pytest.raises(NoSpace) as caught:
        for n in range(8):
            sink.write(content(BLOCK, n))
    assert caught.value.side == "destination"
    sink.abort()
    assert only_the_old(disk)


def test_sink_says_it_beforehand(disk: Path) -> None:
    sink = FileSink(f"{disk}/d/new", Requirement(), Control("run"))
    with pytest.raises(NoSpace, match="free"):
        sink.announce(64 * BLOCK)
    sink.abort()
    assert only_the_old(disk)


def test_no_inode_left(disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=3", str(disk)], check=True)
    (disk / "filler").touch()
    for end in (
        FileSink(f"{disk}/new", Requirement(), Control()),
        FileSink(f"{disk}/d/new", Requirement(), Control()),
    ):
        with pytest.raises(NoSpace):
            end.write(b"data")
        end.abort()
    (disk / "filler").unlink()
    assert only_the_old(disk)


def test_put(disk: Path) -> None:
    backend: Backend = Local()
    jobs = [
        Job[Source](f"{disk}/old", "", Requirement(), given(content(2 * ROOM))),
        Job[Source](f"{disk}/fits", "", Requirement(), given(b"small")),
    ]
    assert [type(job.error) for job in backend.put(iter(jobs))] == [NoSpace, type(None)]
    (disk / "fits").unlink()
    assert only_the_old(disk)


def test_move_from_another_file_system(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content(2 * ROOM))
    job = Job[None](f"{tmp_path}/file", f"{disk}/old", Requirement(), None)
    list(Local().rename(iter([job]), Control("run")))
    assert isinstance(job.error, NoSpace)
    assert (tmp_path / "file").read_bytes() == content(2 * ROOM)
    assert only_the_old(disk)


def test_equal_inodes_on_two_disks_are_two_files(disk: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk2") as other:
        (disk / "old").write_bytes(b"new content")
        assert (disk / "old").stat().st_ino == (other / "old").stat().st_ino
        job = Job[None](f"{disk}/old", f"{other}/old", Requirement(), None)
        backend = Local()
        assert [job.error for job in backend.copy(iter([job]), backend, Control("run"))] == [None]
        assert (other / "old").read_bytes() == b"new content"


def test_limit_of_file_size(tmp_path: Path) -> None:
    """``ulimit -f`` answers EFBIG; in a process of its own, since the limit is one of the process."""
    (tmp_path / "file").write_bytes(content(3 * BLOCK))
    script = """if True:
        import resource, sys
        from pegasus_toolkit.transfer.backends.local.backend import Local
        from pegasus_toolkit.transfer.interface import Control, Job, Requirement
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        job = Job(sys.argv[1] + "/file", sys.argv[1] + "/copy", Requirement(), None)
        list(Local().copy(iter([job]), Local(), Control("run")))
        print(type(job.error).__name__)
    """
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert told.stdout == "NoSpace\n"
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_previews_say_no_to_what_does_not_fit(disk: Path, tmp_path: Path) -> None:
    """Each file would fit, but not both."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(ROOM * 3 // 4))
    both = [entry(tmp_path / name, disk / name) for name in ("a", "b")]
    spec = write(tmp_path / "s", both)
    for preview in ("--dry-run", "--check"):
        for words in (("-f", spec), (tmp_path / "a", tmp_path / "b", disk)):
            done = run(preview, *words, cwd=tmp_path)
            assert done.returncode == 1, done.stderr
            assert f"{ROOM * 3 // 2} bytes to be written" in done.stdout + done.stderr
        assert run(preview, tmp_path / "a", disk, cwd=tmp_path).returncode == 0
    assert only_the_old(disk)
