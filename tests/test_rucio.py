"""Rucio: the real server with PostgreSQL; files at a real WebDAV server, and at others."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.conformance import ListingSuite
from tests.material import AWKWARD, content
from tests.servers.nginx import PASSWORD, USER
from tests.servers.pki import Pki
from tests.servers.rucio import SCOPE, Rucio, place
from tests.servers.webdav import Dav

NUMBERS = itertools.count()
NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_")


class Element:
    """An RSE whose files are those of a directory of this machine, behind a real WebDAV server."""

    def __init__(self, rucio: Rucio, dav: Dav, pki: Pki) -> None:
        self.rucio = rucio
        self.name = f"T{os.getpid()}-{next(NUMBERS)}_SCRATCHDISK"
        self.root = dav.data / self.name
        self.root.mkdir()
        self.root.chmod(0o777)
        rucio.rse(self.name, ("davs", "localhost", dav.tls_port, f"/basic/{self.name}/"))
        login = f"username = {USER}\npassword = {PASSWORD}\nca_file = {pki.ca}\n"
        self.section = f"[davs://{dav.tls_authority}]\n{login}"

    def file(self, did: str) -> Path:
        return self.root / place(did)

    def write(self, files: dict[str, bytes], register: bool = True) -> None:
        """Files and their replicas, by DID."""
        for did, data in files.items():
            path = self.file(did)
            missing = [parent for parent in path.parents if not parent.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            for parent in missing:
                parent.chmod(0o777)
            path.write_bytes(data)
        if register:
            for at in range(0, len(files), 500):
                self.rucio.register(self.name, dict(list(files.items())[at : at + 500]))


@pytest.fixture(scope="module")
def element(rucio: Rucio, apache_dav: Dav, pki: Pki) -> Element:
    return Element(rucio, apache_dav, pki)


def settings(directory: Path, *sections: str, **more: str) -> Settings:
    path = directory / "credentials.conf"
    path.touch(0o600)
    path.write_text("\n".join(sections))
    environ = {"PEGASUS_CREDENTIALS": str(path), **more}
    return Settings(Credentials(environ, home="", shared=""), environ, stall_timeout=20, connect_timeout=5)


def opened(directory: Path, element: Element, authority: str = "rucio", **more: str) -> Backend:
    told = settings(directory, element.rucio.section(**more), element.section)
    return open_backend(Endpoint("rucio", authority, "here"), told)


class TestRucio(ListingSuite):
    # Rucio's usual schema takes few letters, and 250 of them in all.
    cannot_name = frozenset(name for name in AWKWARD if not set(name) <= NAME or len(name) > 100)

    @pytest.fixture(autouse=True)
    def area(self, element: Element, tmp_path: Path) -> None:
        self.element = element
        self.directory = tmp_path
        self.top = f"/{SCOPE}:n{os.getpid()}-{next(NUMBERS)}"

    def open(self) -> Backend:
        return opened(self.directory, self.element)

    def path(self, name: str) -> str:
        return f"{self.top}/{name}" if name else self.top

    def read(self, path: str) -> bytes | None:
        file = self.element.file(path[1:])
        return file.read_bytes() if file.is_file() else None

    def write(self, path: str, content: bytes) -> None:
        self.element.write({path[1:]: content})

    def make(self, count: int, size: int = 100) -> dict[str, bytes]:
        made = {self.path(f"file{n}"): content(size, n) for n in range(count)}
        self.element.write({path[1:]: data for path, data in made.items()})
        return made

    def test_list_finds_all_at_any_depth(self, backend: Backend) -> None:
        made = {
            self.path(f"d/{name}"): content(size)
            for size, name in enumerate(["a", "b/c", "b/d/e", "b/d/f--g", "z"])
        }
        for path, data in (made | {self.path("d2/not-below"): b"x"}).items():
            self.write(path, data)
        assert {entry.path: entry.size for entry in backend.list(self.path("d"))} == {
            path: len(data) for path, data in made.items()
        }

    def test_list_of_many(self, backend: Backend) -> None:
        made = {self.path(f"d/file{n:04}") for n in range(1100)}
        self.element.write({path[1:]: b"" for path in made})
        assert {entry.path for entry in backend.list(self.path("d"))} == made
