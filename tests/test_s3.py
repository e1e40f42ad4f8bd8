"""S3 against a real server: the suite that every backend runs."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import ClassVar

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
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
        self.client = server.client()
        self.client.make_bucket("suite")
        self.prefix = uuid.uuid4().hex

    def open(self) -> Backend:
        return open_backend(Endpoint(self.scheme, "admin@weed", "weed"), self.settings)

    def path(self, name: str) -> str:
        return f"/suite/{self.prefix}/{name}" if name else f"/suite/{self.prefix}"

    def read(self, path: str) -> bytes | None:
        try:
            return self.client.read("suite", path[7:])
        except NotFound:
            return None

    def write(self, path: str, content: bytes) -> None:
        self.client.write("suite", path[7:], content)

    def stored(self) -> set[str]:
        return {f"/suite/{key}" for key in self.client.list("suite", f"{self.prefix}/")}


class TestS3(S3Suite):
    @pytest.fixture(autouse=True)
    def area(self, seaweed: Seaweed, tmp_path: Path) -> None:
        self.use(seaweed, tmp_path)


class TestS3InParts(S3Suite):
    """The same with parts so small that all but the smallest objects go in several."""

    options: ClassVar[dict[str, str]] = {"part_size": "5MiB"}

    @pytest.fixture(autouse=True)
    def area(self, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pegasus_toolkit.transfer.backends.s3.files.WHOLE", 100_000)
        self.use(seaweed, tmp_path)


class TestS3Tls(S3Suite):
    scheme = "s3s"

    @pytest.fixture(autouse=True)
    def area(self, seaweed_tls: Seaweed, tmp_path: Path) -> None:
        self.use(seaweed_tls, tmp_path)
