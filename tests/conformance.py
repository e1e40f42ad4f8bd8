"""The suite that every backend runs. A backend's test is a fixture:

    class TestSftp(WritableSuite, ListingSuite):
        @pytest.fixture(autouse=True)
        def area(self, sshd, tmp_path): ...      # an empty area, kept on self
        def open(self) -> Backend: ...           # a backend at that area's endpoint
        def path(self, name: str) -> str: ...    # plain name -> path there, encoded; "" is the area itself
        def read(self, path: str) -> bytes | None: ...   # what the storage holds, without the backend
        def write(self, path: str, content: bytes) -> None: ...  # parents made on demand
        def stored(self) -> set[str]: ...        # paths of all files in the area, temporary ones too

``BackendSuite`` reads; ``WritableSuite`` adds put, remove and mkdir, ``ListingSuite`` adds list,
``LinkSuite`` symbolic links. What a protocol does not do at all is a suite that its class does not take, so
that nothing is skipped. ``tests/test_new_backend.py`` proves what the suite notices.
"""

from __future__ import annotations

from tests.conformance_read import BackendSuite, ListingSuite
from tests.conformance_write import LinkSuite, WritableSuite

__all__ = ["BackendSuite", "LinkSuite", "ListingSuite", "WritableSuite"]
