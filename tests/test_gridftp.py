"""GridFTP against a real Globus server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends.gridftp import GridFtp, open_backend
from pegasus_toolkit.transfer.interface import Backend, Endpoint
from tests.conformance import ListingSuite, WritableSuite
from tests.servers.gridftp import GridFtpServer



class TestGridFtp(WritableSuite, ListingSuite):
    cannot_name = frozenset({"new\nline"})

    @pytest.fixture(autouse=True)
    def area(self, gridftp: GridFtpServer, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.server = gridftp
        self.top = gridftp.data / os.urandom(4).hex()
        self.top.mkdir()

    def open(self) -> Backend:
        endpoint = Endpoint("gsiftp", self.server.authority, "grid")
        return open_backend(endpoint, self.server.settings())

    def path(self, name: str) -> str:
        return f"{self.top}/{name}" if name else str(self.top)

    def read(self, path: str) -> bytes | None:
        file = Path(path)
        return file.read_bytes() if file.is_file() else None

    def write(self, path: str, content: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    def stored(self) -> set[str]:
        return {str(path) for path in self.top.rglob("*") if path.is_file()}
