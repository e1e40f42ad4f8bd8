"""The conformance suite notices what a new backend may do wrong: the right one passes, each defect fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Backend
from tests.conformance import LinkSuite, ListingSuite
from tests.new_backend import DEFECTS, NewBackend


class TestNewBackend(LinkSuite, ListingSuite):
    defect = ""

    @pytest.fixture(autouse=True)
    def area(self, tmp_path: Path) -> None:
        self.root = tmp_path

    def open(self) -> Backend:
        return NewBackend(self.defect)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else str(self.root)

    def read(self, path: str) -> bytes | None:
        return Path(path).read_bytes() if Path(path).is_file() else None

    def write(self, path: str, content: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    def link(self, path: str, target: str) -> None:
        Path(path).symlink_to(target)

    def stored(self) -> set[str]:
        return {str(path) for path in self.root.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("defect", DEFECTS)
def test_suite_notices(defect: str, tmp_path: Path) -> None:
    suite = TestNewBackend()
    suite.root, suite.defect = tmp_path, defect
    name, arguments = DEFECTS[defect]
    backend = suite.open()
    with pytest.raises((AssertionError, TransferError, OSError, pytest.fail.Exception)):
        getattr(suite, f"test_{name}")(backend, *arguments)
    NewBackend.close(backend)  # type: ignore[arg-type]
