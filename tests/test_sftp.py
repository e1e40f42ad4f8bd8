"""SFTP against a real OpenSSH server: the conformance suite by the ``ssh`` program."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import LinkSuite, ListingSuite
from tests.servers.sshd import Sshd


def credentials(directory: Path, server: Sshd, text: str) -> Credentials:
    """Those of a credentials file with one section, for the server."""
    path = directory / "credentials.conf"
    path.touch(mode=0o600)
    path.write_text(f"[127.0.0.1:{server.port}]\n{text}\n")
    return Credentials.load({"PEGASUS_CREDENTIALS": str(path)})


class Area(LinkSuite, ListingSuite):
    """A directory of its own, which the tests see directly."""

    scheme = "scp"
    path_of_programs = os.environ["PATH"]

    @pytest.fixture(autouse=True)
    def area(self, sshd: Sshd, tmp_path: Path) -> Iterator[None]:
        self.server = sshd
        self.tmp_path = tmp_path
        self.root = tmp_path / "area"
        self.root.mkdir()
        yield
        shutil.rmtree(self.root)

    def section(self) -> str:
        return f"private_key = {self.server.key}\nknown_hosts = {self.server.known_hosts}"

    def open(self) -> Backend:
        found = credentials(self.tmp_path, self.server, self.section())
        settings = Settings(found, {"PATH": self.path_of_programs}, stall_timeout=20)
        return open_backend(Endpoint(self.scheme, self.server.authority, "here"), settings)

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
        return {str(file) for file in self.root.rglob("*") if file.is_file()}


class TestProgram(Area):
    """By the ``ssh`` program."""


class TestLibrary(Area):
    """By paramiko, where there is no ``ssh`` program."""

    scheme = "sftp"
    path_of_programs = ""
