"""The local backend runs the suite that every backend runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import LinkSuite, ListingSuite


class TestLocal(LinkSuite, ListingSuite):
    @pytest.fixture(autouse=True)
    def area(self, tmp_path: Path) -> None:
        self.root = tmp_path

    def open(self) -> Backend:
        return open_backend(Endpoint("file", "", "local"), Settings(Credentials.none()))

    def path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else str(self.root)

    def read(self, path: str) -> bytes | None:
        file = Path(path)
        return file.read_bytes() if file.is_file() else None

    def write(self, path: str, content: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    def link(self, path: str, target: str) -> None:
        Path(path).symlink_to(target)

    def stored(self) -> set[str]:
        return {str(path) for path in self.root.rglob("*") if not path.is_dir()}
