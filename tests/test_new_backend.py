"""The conformance suite notices what a new backend may do wrong: the right one passes, each defect fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends.shared.blocking import Calls
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.errors import BadSpecification, Defect, ResourceLimit, TransferError
from pegasus_toolkit.transfer.interface import Backend, Endpoint
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


@pytest.mark.parametrize("threads", [0, 2])
def test_an_exception_that_nobody_expected_fails_alone(threads: int) -> None:
    def wrong(error: Exception) -> Callable[[], object]:
        def call() -> object:
            raise error

        return call

    def story(call: Callable[[], object]) -> Steps[object]:
        return (yield call)

    asked = {"good": lambda: 1, "defect": wrong(KeyError("x")), "memory": wrong(MemoryError()), "last": str}
    calls = Calls(threads)
    tasks = Runner(calls).run(((name, story(call)) for name, call in asked.items()), 2)
    assert {task.item: type(task.error) for task in tasks} == {
        "good": type(None), "defect": Defect, "memory": ResourceLimit, "last": type(None),
    }  # fmt: skip
    calls.close()


@pytest.mark.parametrize(
    ("scheme", "authority", "address"),
    [
        ("irods", "host", ("host", 1247)),
        ("irods", "user@host:77", ("host", 77)),
        ("irods", "[::1]:77", ("::1", 77)),
        ("irods", "[2001:db8::1]", ("2001:db8::1", 1247)),
    ],
)
def test_address(scheme: str, authority: str, address: tuple[str, int]) -> None:
    assert Endpoint(scheme, authority, "").address() == address


@pytest.mark.parametrize(
    ("scheme", "authority"),
    [("irods", "host:0"), ("irods", "host:65536"), ("irods", "host:x"), ("irods", "::1"), ("new", "host")],
)
def test_no_address(scheme: str, authority: str) -> None:
    with pytest.raises(BadSpecification, match="not a host or host:port"):
        Endpoint(scheme, authority, "").address()
