"""Google Storage against an emulator: the suite that every backend runs."""

from __future__ import annotations

import uuid

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import ListingSuite, WritableSuite
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
