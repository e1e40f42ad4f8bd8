"""A SeaweedFS service, and single transfers with it, for the tests of S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.s3.backend import S3
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement, Settings
from tests.material import (
    content,
    fetch_job,
    store_job,
)
from tests.servers.seaweed import Seaweed

MIB = 1 << 20
BIG = content(20 * MIB + 7)
REMOTE = Requirement("sha256", "", None, True)


class Service:
    """The server, a backend for it, and a look behind its back."""

    def __init__(self, server: Seaweed, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.client = server.client()
        self.backends: list[S3] = []
        self.client.make_bucket("test")
        self.client.delete("test", self.client.list("test"))

    def open(self, user: str = "admin", scheme: str = "s3", **options: str) -> S3:
        environ = {"PEGASUS_CREDENTIALS": str(self.server.credentials(self.directory, **options))}
        settings = Settings(Credentials.load(environ), environ, connect_timeout=5, stall_timeout=20)
        return self.keep(open_backend(Endpoint(scheme, f"{user}@weed", "weed"), settings))

    def plain(self, bucket: str = "test", **environ: str) -> S3:
        """``s3://bucket/key`` with that environment."""
        settings = Settings(Credentials.none(), environ)
        return self.keep(open_backend(Endpoint("s3", bucket, "local"), settings))

    def keep(self, backend: Any) -> S3:
        assert isinstance(backend, S3)
        self.backends.append(backend)
        return backend

    def uploads(self) -> list[str]:
        """Keys of uploads that were neither finished nor given up."""
        return self.client.uploads("test")

    def read(self, key: str) -> bytes:
        return self.client.read("test", key)

    def write(self, key: str, data: bytes) -> None:
        self.client.write("test", key, data)

    def close(self) -> None:
        for backend in self.backends:
            backend.close()
        self.client.close()


@pytest.fixture
def service(seaweed: Seaweed, tmp_path: Path) -> Iterator[Service]:
    with closing(Service(seaweed, tmp_path)) as service:
        yield service


@pytest.fixture
def secure(seaweed_tls: Seaweed, tmp_path: Path) -> Iterator[Service]:
    with closing(Service(seaweed_tls, tmp_path)) as service:
        yield service


def put(backend: S3, path: str, end: Any, required: Requirement | None = None) -> Job[Any]:
    (job,) = backend.put(iter([store_job(path, end, required)]))
    return job


def get(backend: S3, path: str, end: Any = None) -> Job[Any]:
    (job,) = backend.get(iter([fetch_job(path, end)]))
    return job


def copy(backend: S3, source: str, target: str, required: Requirement | None = None) -> Job[None]:
    (job,) = backend.copy(iter([Job(source, target, required or Requirement(), None)]), backend, Control())
    return job
