"""Google Storage against an emulator: the suite that every backend runs."""

from __future__ import annotations

import uuid

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.gs.backend import Gs
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Requirement, Settings
from tests.conformance import ListingSuite, WritableSuite
from tests.material import content, fetch_job, given, store_job
from tests.servers.gcs import Gcs


class TestGs(WritableSuite, ListingSuite):
    @pytest.fixture(autouse=True)
    def area(self, gcs: Gcs) -> None:
        self.server = gcs
        self.bucket = f"suite-{uuid.uuid4().hex}"
        gcs.make_bucket(self.bucket)
        self.settings = Settings(Credentials.none(), {"STORAGE_EMULATOR_HOST": gcs.endpoint})

    def open(self) -> Backend:
        return open_backend(Endpoint("gs", self.bucket, "local"), self.settings)

    def path(self, name: str) -> str:
        return f"/area/{name}" if name else "/area"

    def read(self, path: str) -> bytes | None:
        return self.server.read(self.bucket, path[1:])

    def write(self, path: str, content: bytes) -> None:
        self.server.write(self.bucket, path[1:], content)

    def stored(self) -> set[str]:
        return {f"/{key}" for key in self.server.list(self.bucket, "area/")}


class TestGsInChunks(TestGs):
    """The same with chunks so small that all but the smallest objects go in several."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pegasus_toolkit.transfer.backends.gs.upload.WHOLE", 100_000)
        monkeypatch.setattr("pegasus_toolkit.transfer.backends.gs.upload.CHUNK", 1 << 20)


def test_times_are_kept(gcs: Gcs) -> None:
    """As rclone keeps them; an object that nobody gave one tells when it was put."""
    bucket = f"times-{uuid.uuid4().hex}"
    gcs.make_bucket(bucket)
    settings = Settings(Credentials.none(), {"STORAGE_EMULATOR_HOST": gcs.endpoint})
    backend = open_backend(Endpoint("gs", bucket, "local"), settings)
    assert isinstance(backend, Gs)
    when = 1_000_000_000_123_456_789
    for key, size in (("/d/small", 5), ("/d/large", 9 << 20)):
        (job,) = backend.put(iter([store_job(key, given(content(size)), Requirement(modified=when))]))
        assert job.error is None
        fetched = fetch_job(key)
        list(backend.get(iter([fetched])))
        assert (backend.stat(key).modified, fetched.end.modified) == (when, when)
    gcs.write(bucket, "d/other", b"x")
    found = {entry.path: entry.modified for entry in backend.list("/d")}
    assert found.pop("/d/other") not in (None, when)
    assert found == {"/d/small": when, "/d/large": when}
    gcs.write(bucket, "d/below/x", b"x")
    assert {(entry.path, entry.directory) for entry in backend.scan("/d")} == {
        ("/d/small", False), ("/d/large", False), ("/d/other", False), ("/d/below", True)
    }  # fmt: skip
    backend.close()
