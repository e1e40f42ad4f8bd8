"""The memory backend runs the suite that every backend runs."""

from __future__ import annotations

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import ListingSuite, WritableSuite


class TestMemory(WritableSuite, ListingSuite):
    @pytest.fixture(autouse=True)
    def area(self) -> None:
        self.settings = Settings(Credentials.none())

    def open(self) -> Backend:
        return open_backend(Endpoint("memory", "store", "local"), self.settings)

    def path(self, name: str) -> str:
        return f"/area/{name}" if name else "/area"

    def read(self, path: str) -> bytes | None:
        return self.settings.memory["store"].get(path)

    def write(self, path: str, content: bytes) -> None:
        self.settings.memory.setdefault("store", {})[path] = content

    def stored(self) -> set[str]:
        return set(self.settings.memory["store"])
