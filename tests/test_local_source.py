"""Local files as sources: verified as they are read, refused where they are no files."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    Denied,
    IsDirectory,
    NotFound,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Control, Requirement
from pegasus_toolkit.transfer.streams.checked import BLOCK
from pegasus_toolkit.transfer.streams.files import FileSink, FileSource
from tests.material import content


class TestSource:
    @pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "empty"])
    @pytest.mark.parametrize("size", [100, 2 * BLOCK])
    def test_changes_under_it(self, tmp_path: Path, change: str, size: int) -> None:
        path = tmp_path / "file"
        path.write_bytes(content(size))
        source = FileSource(str(path), Requirement(), Control())
        first = len(source.read(10))
        assert first == 10
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "rewrite":
            path.write_bytes(content(size, 2))
            os.utime(path, ns=(0, source._info.st_mtime_ns + 1))
        else:
            os.truncate(path, 0 if change == "empty" else size - 1)
        with pytest.raises(Corrupted, match="changed while it was read"):
            source.read()
        with pytest.raises(Corrupted):
            source.read(1)
        source.close()

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "d").mkdir()
        (tmp_path / "dangling").symlink_to("nowhere")
        (tmp_path / "circle").symlink_to("circle")
        (tmp_path / "file").touch()
        expected: dict[str, type[TransferError]] = {
            f"{tmp_path}/fifo": Unsupported,
            "/dev/zero": Unsupported,
            "/proc/self/status": Unsupported,
            f"{tmp_path}/d": IsDirectory,
            f"{tmp_path}/missing": NotFound,
            f"{tmp_path}/dangling": NotFound,
            f"{tmp_path}/file/x": NotFound,
            f"{tmp_path}/circle": BadSpecification,
            f"{tmp_path}/nul\0": BadSpecification,
            "": NotFound,
        }
        for path, kind in expected.items():
            with pytest.raises(kind) as caught:
                FileSource(path, Requirement(), Control())
            assert caught.value.side == "source"

    def test_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"data")
        (tmp_path / "link").symlink_to("file")
        source = FileSource(str(tmp_path / "link"), Requirement(), Control())
        assert source.read() == b"data"
        source.close()

    def test_closed_by_another_thread(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(content(5000))
        source = FileSource(str(tmp_path / "file"), Requirement(), Control())
        thread = threading.Thread(target=source.close)
        thread.start()
        thread.join()
        with pytest.raises(Cancelled):
            source.read(100)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of a user who is not root, and this process as that user."""
    with tempfile.TemporaryDirectory() as name:
        root = os.geteuid() == 0
        if root:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


def test_source_that_may_not_be_read(unprivileged: Path) -> None:
    (unprivileged / "file").write_bytes(b"data")
    (unprivileged / "file").chmod(0)
    with pytest.raises(Denied):
        FileSource(str(unprivileged / "file"), Requirement(), Control())


def test_directory_that_may_not_be_written(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)
    for name in ("file", "d/file"):
        end = FileSink(f"{unprivileged}/{name}", Requirement(), Control())
        with pytest.raises(Denied):
            end.write(b"data")
        end.abort()
    assert list(unprivileged.iterdir()) == []
    unprivileged.chmod(0o700)
