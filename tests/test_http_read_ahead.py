"""Large local files are read ahead, in a thread that has ended when its source is closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends.webdav.backend import WebDav
from pegasus_toolkit.transfer.errors import Corrupted, Denied, TransferError
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement, Settings, Source
from pegasus_toolkit.transfer.streams.files import FileSource
from tests.material import content, sha256, store_job
from tests.servers.webdav import Dav

SIZE = (20 << 20) + 17
DATA = content(SIZE)


class Watched(FileSource):
    """Remembers which threads have read it."""

    def __init__(self, path: Path, required: Requirement, control: Control | None = None) -> None:
        super().__init__(str(path), required, control or Control())
        self.readers: set[str] = set()

    def read(self, n: int = -1) -> bytes:
        self.readers.add(threading.current_thread().name)
        return super().read(n)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "http-reader"]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def area(apache_dav: Dav, tmp_path: Path) -> Path:
    made = apache_dav.data / tmp_path.name
    made.mkdir()
    made.chmod(0o777)
    return made


@pytest.fixture
def backend(apache_dav: Dav) -> Iterator[WebDav]:
    opened = WebDav(Endpoint("webdav", apache_dav.authority, "here"), Settings(Credentials.none()))
    yield opened
    opened.close()


def test_whole_and_hashed(backend: WebDav, area: Path, large: Path) -> None:
    end = Watched(large, Requirement())
    (job,) = backend.put(iter([store_job(f"/dav/{area.name}/file", end)]))
    assert job.error is None
    assert (area / "file").read_bytes() == DATA
    assert end.readers == {"http-reader"}
    assert end.digest == sha256(DATA)
    assert not readers()


@pytest.mark.parametrize(
    "required", [Requirement(digest="0" * 64), Requirement(size=SIZE + 1), Requirement(size=SIZE - 1)]
)
def test_wrong_content_is_not_published(
    backend: WebDav, area: Path, large: Path, required: Requirement
) -> None:
    (job,) = backend.put(iter([store_job(f"/dav/{area.name}/file", Watched(large, required), required)]))
    assert isinstance(job.error, Corrupted)
    assert not (area / "file").exists()
    assert not readers()


def test_file_that_shrinks_is_not_published(backend: WebDav, area: Path, large: Path) -> None:
    end = Watched(large, Requirement())
    os.truncate(large, SIZE // 2)
    (job,) = backend.put(iter([store_job(f"/dav/{area.name}/file", end)]))
    assert isinstance(job.error, Corrupted)
    assert not (area / "file").exists()
    assert not readers()


def test_refused_while_it_is_read(backend: WebDav, area: Path, large: Path) -> None:
    """The server wants none of it: nobody reads on after the job is over."""
    area.chmod(0o555)
    end = Watched(large, Requirement())
    (job,) = backend.put(iter([store_job(f"/dav/{area.name}/file", end)]))
    assert isinstance(job.error, TransferError)
    assert not readers()
    area.chmod(0o777)


def test_batch_that_is_broken_off(backend: WebDav, area: Path, large: Path) -> None:
    """Its readers have ended when the engine closes the sources; others begin where they should."""
    small = area.parent / "small"
    small.write_bytes(b"small")
    ends = [Watched(large, Requirement()) for _ in range(3)]

    def jobs() -> Iterator[Job[Source]]:
        for n, end in enumerate(ends):
            yield store_job(f"/dav/{area.name}/file{n}", end)
        yield store_job(f"/dav/{area.name}/small", Watched(small, Requirement()))

    batch = backend.put(jobs())
    next(batch)
    batch.close()  # type: ignore[attr-defined]
    assert not readers()
    assert not [name for name in os.listdir(area) if name.endswith(".part")]
    again = Watched(large, Requirement(digest=sha256(DATA)))
    (job,) = backend.put(iter([store_job(f"/dav/{area.name}/again", again)]))
    assert job.error is None and (area / "again").read_bytes() == DATA


def test_cancelled_run_ends_the_reader(backend: WebDav, area: Path, large: Path) -> None:
    control = Control()
    control.stop = Denied("told to stop")
    end = Watched(large, Requirement(), control)
    (job,) = backend.put(iter([store_job(f"/dav/{area.name}/file", end)]))
    assert job.error is control.stop
    assert not readers()
