"""S3 against a real server: the suite that every backend runs."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import ClassVar

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.s3.keys import Keys
from pegasus_toolkit.transfer.backends.s3.wire import Request
from pegasus_toolkit.transfer.errors import NotFound
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import ListingSuite, WritableSuite
from tests.servers.seaweed import Seaweed


class S3Suite(WritableSuite, ListingSuite):
    cannot_name: ClassVar[frozenset[str]] = frozenset({"back\\slash"})  # SeaweedFS makes it back/slash
    options: ClassVar[dict[str, str]] = {}
    scheme = "s3"

    def use(self, server: Seaweed, directory: Path) -> None:
        environ = {"PEGASUS_CREDENTIALS": str(server.credentials(directory, **self.options))}
        self.settings = Settings(Credentials.load(environ), environ)
        self.wire = server.wire()
        self.keys = Keys(self.wire)
        self.keys.make_bucket("suite")
        self.prefix = uuid.uuid4().hex

    def open(self) -> Backend:
        return open_backend(Endpoint(self.scheme, "admin@weed", "weed"), self.settings)

    def path(self, name: str) -> str:
        return f"/suite/{self.prefix}/{name}" if name else f"/suite/{self.prefix}"

    def read(self, path: str) -> bytes | None:
        try:
            return self.wire.send(Request("GET", "suite", path[7:])).read()
        except NotFound:
            return None

    def write(self, path: str, content: bytes) -> None:
        self.wire.send(Request("PUT", "suite", path[7:], body=content)).read()

    def stored(self) -> set[str]:
        return {f"/suite/{one.key}" for one in self.keys.list("suite", f"{self.prefix}/")}


class TestS3(S3Suite):
    @pytest.fixture(autouse=True)
    def area(self, seaweed: Seaweed, tmp_path: Path) -> None:
        self.use(seaweed, tmp_path)


class TestS3InParts(S3Suite):
    """The same with parts so small that all but the smallest objects go in several."""

    options: ClassVar[dict[str, str]] = {"part_size": "5MiB"}

    @pytest.fixture(autouse=True)
    def area(self, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pegasus_toolkit.transfer.backends.s3.parts.GET_PART", 300_000)
        monkeypatch.setattr("pegasus_toolkit.transfer.backends.s3.backend.WHOLE", 100_000)
        monkeypatch.setattr("pegasus_toolkit.transfer.backends.s3.backend.SMALL", 50_000)
        self.use(seaweed, tmp_path)


class TestS3Tls(S3Suite):
    scheme = "s3s"

    @pytest.fixture(autouse=True)
    def area(self, seaweed_tls: Seaweed, tmp_path: Path) -> None:
        self.use(seaweed_tls, tmp_path)
