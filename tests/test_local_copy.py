"""The fused loop: from local file to local file in one pass."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.backends.local import copy as local_copy
from pegasus_toolkit.transfer.backends.local import copy_bytes as local_pump
from pegasus_toolkit.transfer.backends.local.backend import Local
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    IsDirectory,
    NotFound,
    Permanent,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Control, Job, Requirement
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests.material import AWKWARD, SIZES, content, sha256

LARGE = local_pump.THREADED + 12345  # hashed by a thread of its own
BOTH = pytest.mark.parametrize("size", [100, 3 * BLOCK])  # one for each of the two ways
DIGESTS = pytest.mark.parametrize("algorithm", ["sha256", ""])


def copy(
    path: Path | str, to: Path | str, required: Requirement | None = None, control: Control | None = None
) -> Job[None]:
    """Copies one file; raises the job's error."""
    job = Job[None](str(path), str(to), required or Requirement(), None)
    backend = Local()
    assert list(backend.copy(iter([job]), backend, control or Control("run"))) == [job]
    if job.error is not None:
        raise job.error
    return job


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


@DIGESTS
@pytest.mark.parametrize("size", [*SIZES, LARGE])
def test_copies(tmp_path: Path, size: int, algorithm: str) -> None:
    data = content(size)
    (tmp_path / "file").write_bytes(data)
    control = Control("run")
    job = copy(tmp_path / "file", tmp_path / "new/copy", Requirement(algorithm, "", size), control)
    assert (tmp_path / "new/copy").read_bytes() == data
    assert (job.size, job.digest) == (size, sha256(data) if algorithm else "")
    assert control.bytes == size
    assert names(tmp_path / "new") == {"copy"}


@pytest.mark.parametrize("algorithm", ["blake3", "md5"])
@BOTH
def test_other_digests(tmp_path: Path, size: int, algorithm: str) -> None:
    (tmp_path / "file").write_bytes(content(size))
    hasher = digests.new(algorithm)
    hasher.update(content(size))
    required = Requirement(algorithm, hasher.hexdigest(), size, also=(("sha256", sha256(content(size))),))
    assert copy(tmp_path / "file", tmp_path / "copy", required).digest == hasher.hexdigest()


@BOTH
def test_mode_that_cannot_be_set_is_no_matter(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "file").write_bytes(content(size))
    (tmp_path / "copy").touch(mode=0o600)
    monkeypatch.setattr(os, "fchmod", refuse)
    copy(tmp_path / "file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content(size)
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [1, 100, BLOCK, 3 * BLOCK, LARGE])
@pytest.mark.parametrize("old", [None, b"old"])
def test_wrong_content_publishes_nothing(tmp_path: Path, size: int, old: bytes | None) -> None:
    (tmp_path / "file").write_bytes(content(size))
    (tmp_path / "d").mkdir()
    if old is not None:
        (tmp_path / "d/copy").write_bytes(old)
    requirements = [
        Requirement("sha256", sha256(b"other")),
        Requirement("", "", size + 1),
        Requirement("sha256", "", size - 1),
        Requirement("sha256", sha256(content(size)), size, also=(("md5", "0" * 32),)),
        Requirement("", also=(("md5", "0" * 32),)),
        Requirement("sha256", sha256(b"other"), remote=True),
    ]
    for required in requirements:
        with pytest.raises(Corrupted) as caught:
            copy(tmp_path / "file", tmp_path / "d/copy", required)
        assert caught.value.side == "source"
    assert names(tmp_path / "d") == ({"copy"} if old else set())
    assert old is None or (tmp_path / "d/copy").read_bytes() == old


@BOTH
def test_proven_when_read_back(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(content(size))
    job = copy(tmp_path / "file", tmp_path / "copy", Requirement("sha256", remote=True))
    assert job.proven
    assert job.digest == sha256(content(size))
    assert not copy(tmp_path / "file", tmp_path / "copy").proven


@BOTH
@DIGESTS
def test_mode_as_cp(tmp_path: Path, size: int, algorithm: str) -> None:
    (tmp_path / "file").write_bytes(content(size))
    old = os.umask(0o027)
    try:
        for mode, expected in ((0o755, 0o750), (0o600, 0o600), (0o444, 0o440), (0o4755, 0o750)):
            (tmp_path / "file").chmod(mode)
            copy(tmp_path / "file", tmp_path / f"{mode:o}", Requirement(algorithm))
            assert stat.S_IMODE((tmp_path / f"{mode:o}").stat().st_mode) == expected
        (tmp_path / "600").chmod(0o617)
        copy(tmp_path / "file", tmp_path / "600", Requirement(algorithm))
        assert stat.S_IMODE((tmp_path / "600").stat().st_mode) == 0o617, "a replaced file keeps its mode"
    finally:
        os.umask(old)


@BOTH
def test_same_file_is_left_alone(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(content(size))
    (tmp_path / "hard").hardlink_to(file)
    (tmp_path / "link").symlink_to("file")
    before = file.stat()
    for path, to in (("file", "file"), ("file", "./file"), ("file", "hard"), ("link", "file")):
        job = copy(f"{tmp_path}/{path}", f"{tmp_path}/{to}")
        assert (job.size, job.digest) == (size, sha256(content(size)))
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with pytest.raises(Corrupted):
        copy(file, file, Requirement("sha256", sha256(b"other")))
    assert names(tmp_path) == {"file", "hard", "link"}


@BOTH
def test_link_at_the_destination_is_replaced(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(content(size))
    (tmp_path / "archive").write_bytes(b"precious")
    (tmp_path / "to-archive").symlink_to("archive")
    (tmp_path / "to-file").symlink_to("file")
    for name in ("to-archive", "to-file"):
        copy(tmp_path / "file", tmp_path / name)
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == content(size)
    assert (tmp_path / "archive").read_bytes() == b"precious"


@BOTH
@DIGESTS
def test_source_links_are_followed(tmp_path: Path, size: int, algorithm: str) -> None:
    (tmp_path / "file").write_bytes(content(size))
    (tmp_path / "link").symlink_to("file")
    copy(tmp_path / "link", tmp_path / "copy", Requirement(algorithm))
    assert not (tmp_path / "copy").is_symlink()
    assert (tmp_path / "copy").read_bytes() == content(size)


@BOTH
@DIGESTS
def test_devices(tmp_path: Path, size: int, algorithm: str) -> None:
    (tmp_path / "file").write_bytes(content(size))
    job = copy(tmp_path / "file", "/dev/null", Requirement(algorithm))
    assert job.size == size
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@BOTH
def test_bad_destinations(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(content(size))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "d").mkdir()
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "socket"))
    before = names(tmp_path)
    expected: dict[str, type[TransferError]] = {
        "fifo": Unsupported,
        "socket": Unsupported,
        "d": IsDirectory,
        "d/": IsDirectory,
        "new/": IsDirectory,
        "file/x": Permanent,
        "file/x/y": Permanent,
        "n" * 256: BadSpecification,
        "nul\0": BadSpecification,
        "nul\0d/x": BadSpecification,
    }
    for name, kind in expected.items():
        with pytest.raises(kind) as caught:
            copy(tmp_path / "file", f"{tmp_path}/{name}")
        assert caught.value.side == "destination"
        assert str(tmp_path) in caught.value.url
    with pytest.raises(TransferError):
        copy(tmp_path / "file", "")
    assert names(tmp_path) == before
    bound.close()


def test_bad_sources(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "d").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").touch()
    expected: dict[str, type[TransferError]] = {
        f"{tmp_path}/fifo": Unsupported,
        f"{tmp_path}/d": IsDirectory,
        f"{tmp_path}/d/": IsDirectory,
        f"{tmp_path}/missing": NotFound,
        f"{tmp_path}/missing/x": NotFound,
        f"{tmp_path}/dangling": NotFound,
        f"{tmp_path}/file/x": NotFound,
        f"{tmp_path}/nul\0": BadSpecification,
        "/dev/zero": Unsupported,
        "/proc/self/status": Unsupported,
        "": NotFound,
    }
    for path, kind in expected.items():
        with pytest.raises(kind) as caught:
            copy(path, tmp_path / "out/copy")
        assert caught.value.side == "source"
        assert caught.value.url == path
    assert "out" not in names(tmp_path)


def test_many_with_one_missing(tmp_path: Path) -> None:
    made = {f"d{n % 90}/e/file{n}": content(50, n) for n in range(500)}  # more directories than are held open
    for name, data in made.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in/d7/e/file7").unlink()
    backend = Local()
    jobs = [
        Job[None](f"{tmp_path}/in/{name}", f"{tmp_path}/out/{name}", Requirement(), None) for name in made
    ]
    opened = len(os.listdir("/proc/self/fd"))
    over = list(backend.copy(iter(jobs), backend, Control("run")))
    assert len(os.listdir("/proc/self/fd")) == opened
    assert over == jobs
    assert [job.path for job in over if job.error is not None] == [f"{tmp_path}/in/d7/e/file7"]
    del made["d7/e/file7"]
    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in tmp_path.rglob("out/**/file*")}
    assert found == made


def test_awkward_names(tmp_path: Path) -> None:
    backend = Local()
    odd = [*AWKWARD, "n" * 255, "é" * 127, "a\udcff\udcfe" * 85]
    for n, name in enumerate(odd):
        (tmp_path / f"in {name}"[:120]).mkdir()
        Path(f"{tmp_path / f'in {name}'[:120]}/{name}").write_bytes(content(50, n))
    jobs = [
        Job[None](f"{tmp_path / f'in {name}'[:120]}/{name}", f"{tmp_path}/out/{name}", Requirement(), None)
        for name in odd
    ]
    assert [job.error for job in backend.copy(iter(jobs), backend, Control("run"))] == [None] * len(odd)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in odd} == {
        name: content(50, n) for n, name in enumerate(odd)
    }
    assert names(tmp_path / "out") == set(odd)


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"data")
    copy("file", "copy")
    copy("./copy", "d/e/copy")
    copy("d/e/../e/copy", "-leading")
    assert (tmp_path / "-leading").read_bytes() == b"data"


def test_directories_that_come_and_go_in_mid_batch(tmp_path: Path) -> None:
    """Directories are held open; one that was removed and made again is found again."""
    backend, file, out = Local(), tmp_path / "in/file", tmp_path / "out"

    def jobs() -> Iterator[Job[None]]:
        for n in range(4):
            file.parent.mkdir()
            file.write_bytes(b"data %d" % n)
            yield Job[None](str(file), f"{out}/copy{n}", Requirement(), None)
            assert (out / f"copy{n}").read_bytes() == b"data %d" % n
            (out / f"copy{n}").unlink()
            out.rmdir()
            file.unlink()
            file.parent.rmdir()

    assert [job.error for job in backend.copy(jobs(), backend, Control("run"))] == [None] * 4


@BOTH
@DIGESTS
def test_cancelled(tmp_path: Path, size: int, algorithm: str) -> None:
    (tmp_path / "file").write_bytes(content(size))
    control = Control("run")
    control.stop = Cancelled("told to stop")
    with pytest.raises(Cancelled):
        copy(tmp_path / "file", tmp_path / "copy", Requirement(algorithm), control)
    assert names(tmp_path) == {"file"}


class StopAfter:
    """A bandwidth limit that stops the run once so many bytes have passed."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, n: int, control: Control) -> None:
        self.left -= n
        if self.left <= 0:
            control.stop = Cancelled("told to stop")


@DIGESTS
@pytest.mark.parametrize("size", [20 * BLOCK, LARGE])
def test_cancelled_in_the_middle(tmp_path: Path, size: int, algorithm: str) -> None:
    (tmp_path / "file").write_bytes(content(size))
    control = Control("run", StopAfter(4 * BLOCK))
    with pytest.raises(Cancelled):
        copy(tmp_path / "file", tmp_path / "copy", Requirement(algorithm), control)
    assert names(tmp_path) == {"file"}
    assert control.bytes < size


@DIGESTS
@pytest.mark.parametrize("size", [5 * BLOCK, LARGE])
@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_source_changes_while_it_is_read(tmp_path: Path, change: str, size: int, algorithm: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content(size))

    class Changes:
        done = False

        def take(self, n: int, control: Control) -> None:
            if self.done:
                return
            self.done = True
            if change == "grow":
                with file.open("ab") as out:
                    out.write(b"more")
            elif change == "shrink":
                os.truncate(file, size - BLOCK)
            else:
                os.utime(file, ns=(0, 1))

    with pytest.raises(Corrupted):
        copy(file, tmp_path / "copy", Requirement(algorithm), Control("run", Changes()))
    assert names(tmp_path) == {"file"}


def test_names_aside_are_new_for_each_run(tmp_path: Path) -> None:
    """What a killed run left under its own name neither stops nor mixes with this one."""
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / ".copy.run.part").write_bytes(b"of a killed run with the same name")
    copy(tmp_path / "file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"data"
    assert names(tmp_path) == {"file", "copy", ".copy.run.part"}


@pytest.mark.parametrize("size", [0, 50, 99, 101])
def test_small_source_changes_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    opened = local_copy.open_source

    def then_changes(*where: object) -> tuple[int, os.stat_result]:
        found = opened(*where)  # type: ignore[arg-type]
        os.truncate(tmp_path / "file", size)
        return found

    monkeypatch.setattr(local_copy, "open_source", then_changes)
    (tmp_path / "file").write_bytes(content(100))
    with pytest.raises(Corrupted, match="changed"):
        copy(tmp_path / "file", tmp_path / "copy")
    assert names(tmp_path) == {"file"}


def test_cancelled_at_the_last_block(tmp_path: Path) -> None:
    """It is hashed after it was written; the verdict still comes before the rename."""
    (tmp_path / "file").write_bytes(content(LARGE))
    with pytest.raises(Cancelled):
        copy(tmp_path / "file", tmp_path / "copy", control=Control("run", StopAfter(LARGE - LARGE % BLOCK)))
    assert names(tmp_path) == {"file"}


def test_few_open_files_are_enough(tmp_path: Path) -> None:
    """Directories are held open for speed; a low limit (ulimit -n) costs that, not the files."""
    for n in range(100):
        (tmp_path / f"d{n}").mkdir()
        (tmp_path / f"d{n}" / "file").write_bytes(b"%d" % n)
    script = (
        "import resource, sys\n"
        "from pegasus_toolkit.transfer.backends.local.backend import Local\n"
        "from pegasus_toolkit.transfer.interface import Control, Job, Requirement\n"
        "import hashlib, pegasus_toolkit.integrity.digests\n"
        "top = sys.argv[1]\n"
        "def job(n): return Job(f'{top}/d{n}/file', f'{top}/o{n}/file', Requirement(), None)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))\n"
        "local = Local()\n"
        "print([str(j.error) for j in local.copy(map(job, range(100)), local, Control('r')) if j.error])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    assert [(tmp_path / f"o{n}" / "file").read_bytes() for n in range(100)] == [b"%d" % n for n in range(100)]


def test_a_limit_that_is_too_low_is_told_as_that(tmp_path: Path) -> None:
    """Not as a defect; nor is a thread that cannot be started."""
    script = (
        "import os, resource, threading\n"
        "from pegasus_toolkit.transfer.errors import from_oserror, translate\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
        "os.getuid() or os.setuid(65534)\n"
        "try:\n"
        "    threading.Thread(target=print).start()\n"
        "except RuntimeError as error:\n"
        "    print(translate(error).kind, translate(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("resource limit no thread can be started; ")
