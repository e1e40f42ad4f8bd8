"""How the fused loop moves the bytes of large files: holes, kernel calls, shared blocks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends.local import copy as local_copy
from pegasus_toolkit.transfer.backends.local import copy_bytes as local_pump
from pegasus_toolkit.transfer.backends.local.backend import Local
from pegasus_toolkit.transfer.errors import (
    Corrupted,
)
from pegasus_toolkit.transfer.interface import Control, Job, Requirement
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests.material import content, sha256

LARGE = local_pump.THREADED + 12345  # hashed by a thread of its own
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


SPARSE = {
    "hole then data": [(4 * BLOCK, b"end")],
    "data then hole": [(0, b"begin")],
    "islands": [(BLOCK, b"one" * 3000), (5 * BLOCK + 17, b"two")],
    "nothing but a hole": [],
}


@pytest.mark.parametrize("shape", SPARSE)
@DIGESTS
@pytest.mark.parametrize("size", [8 * BLOCK, LARGE])
def test_sparse_files_stay_sparse(tmp_path: Path, shape: str, algorithm: str, size: int) -> None:
    file, out = tmp_path / "file", tmp_path / "copy"
    with file.open("wb") as made:
        for at, data in SPARSE[shape]:
            made.seek(at)
            made.write(data)
        made.truncate(size)
    assert file.stat().st_blocks * 512 < BLOCK, "this file system knows no holes"
    job = copy(file, out, Requirement(algorithm))
    assert out.read_bytes() == file.read_bytes()
    assert out.stat().st_blocks * 512 < BLOCK
    assert (job.size, job.digest) == (size, sha256(file.read_bytes()) if algorithm else "")


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("size", [3 * BLOCK + 1, 20 * BLOCK])
def test_kernel_that_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ways: int, size: int) -> None:
    """Without copy_file_range, or without sendfile too, as across some file systems."""

    def cannot(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    for name in ("copy_file_range", "sendfile")[:ways]:
        monkeypatch.setattr(os, name, cannot)
    (tmp_path / "file").write_bytes(content(size))
    control = Control("run")
    assert copy(tmp_path / "file", tmp_path / "copy", Requirement(""), control).size == size
    assert (tmp_path / "copy").read_bytes() == content(size)
    assert control.bytes == size


@DIGESTS
@pytest.mark.parametrize("good", [True, False])
def test_clone_is_hashed_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, good: bool
) -> None:
    """On file systems that share blocks; here something else stands in for the ioctl."""

    def clone(fd: int, out: int) -> bool:
        data = os.pread(fd, size, 0)
        return os.write(out, data if good else data[:-1] + b"!") == size

    size = 3 * BLOCK + 5
    monkeypatch.setattr(local_copy, "clone", clone)
    (tmp_path / "file").write_bytes(content(size))
    required, control = (
        Requirement(algorithm, sha256(content(size)) if algorithm else "", size),
        Control("run"),
    )
    if good or not algorithm:
        assert copy(tmp_path / "file", tmp_path / "copy", required, control).size == size
        assert control.bytes == size
    else:
        with pytest.raises(Corrupted):
            copy(tmp_path / "file", tmp_path / "copy", required)
        assert names(tmp_path) == {"file"}
