"""A bucket of an emulator behind a stand-in of ours, for the tests of Google Storage."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.gs import upload
from pegasus_toolkit.transfer.backends.gs.backend import Gs
from pegasus_toolkit.transfer.interface import Endpoint, Job, Requirement, Settings, Source
from tests.material import content, fetch_job, given, store_job
from tests.servers.gcs import Gcs
from tests.servers.gcs_front import Front, serve

MIB = 1 << 20
BIG = content(3 * MIB + 77)


class World:
    """A bucket, and backends for it."""

    def __init__(self, front: Front, directory: Path) -> None:
        self.front = front
        self.directory = directory
        self.bucket = f"bucket-{uuid.uuid4().hex}"
        self.opened: list[Gs] = []
        front.behind.make_bucket(self.bucket)

    def file(self, name: str, text: str | bytes) -> str:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def environ(self, **environ: str) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.front.url, **environ}

    def open(self, bucket: str = "", **environ: str) -> Gs:
        """As the service account, where nothing else is told."""
        if not environ:
            environ = {"GOOGLE_APPLICATION_CREDENTIALS": self.file("key.json", self.front.key())}
        told = self.environ(**environ)
        settings = Settings(Credentials(told, "", ""), told, connect_timeout=5, stall_timeout=10)
        backend = open_backend(Endpoint("gs", bucket or self.bucket, "my-site"), settings)
        assert isinstance(backend, Gs)
        self.opened.append(backend)
        return backend

    def read(self, key: str) -> bytes | None:
        return self.front.behind.read(self.bucket, key)


@pytest.fixture
def cloud(gcs: Gcs, tmp_path: Path) -> Iterator[World]:
    with serve(gcs) as front:
        world = World(front, tmp_path)
        yield world
        for backend in world.opened:
            backend.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of three or four chunks, and no waiting."""
    monkeypatch.setattr(upload, "WHOLE", 512 << 10)
    monkeypatch.setattr(upload, "CHUNK", MIB)
    monkeypatch.setattr(upload, "PAUSES", (0.0,) * 5)


def put(backend: Gs, key: str, end: Source | bytes, required: Requirement | None = None) -> Job[Any]:
    source = given(end) if isinstance(end, bytes) else end
    (job,) = backend.put(iter([store_job(f"/{key}", source, required)]))
    return job


def get(backend: Gs, key: str, required: Requirement | None = None) -> Job[Any]:
    (job,) = backend.get(iter([fetch_job(f"/{key}", required=required)]))
    return job
