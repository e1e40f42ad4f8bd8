"""Settings for registries, and images pulled from them as the engine would."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.backends.images.backend import open_backend
from pegasus_toolkit.transfer.interface import Backend, Settings
from tests.material import content, fetch_job, settle
from tests.servers.registry import Image, Registries, image, layer

Known = Callable[..., Settings]
"""Makes settings: with the text of a credentials file, and variables of the environment."""


@pytest.fixture
def known(tmp_path: Path) -> Known:
    def make(config: str = "", **environ: str) -> Settings:
        home = tmp_path / "home"
        (home / ".pegasus").mkdir(parents=True, exist_ok=True)
        file = home / ".pegasus" / "credentials.conf"
        file.write_text(config)
        file.chmod(0o600)
        environ = {"PATH": os.environ["PATH"], "HOME": str(home), **environ}
        return Settings(credentials=Credentials.load(environ), environ=environ, stall_timeout=20)

    return make


def opened(url: str, settings: Settings) -> tuple[Backend, str]:
    place = urls.parse(url, "local", {})
    return open_backend(place.endpoint, settings), place.path


def pulled(url: str, settings: Settings, destination: str = "", type: str = "") -> bytes:
    backend, path = opened(url, settings)
    try:
        job = fetch_job(path)
        job.destination, job.type = destination, type
        assert list(backend.get(iter([job]))) == [job]
        found = settle(job)
        if job.error is not None:
            raise job.error
        assert found is not None
        return found
    finally:
        backend.close()


def unpacked(archive: bytes, tmp_path: Path) -> dict[str, bytes]:
    path = tmp_path / "archive.tar"
    path.write_bytes(archive)
    with tarfile.open(path) as tar:
        found = {}
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
        return found


@pytest.fixture(scope="session")
def hello(registries: Registries) -> Image:
    one = image(layer(hello=b"hello\n"), layer(more=content(300_000)), layer(hello=b"hello\n"))
    return registries.push("tests/hello", "1", one)
