"""Storage elements of the real Rucio server, and what opens them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.command import entry, lines, run, write
from tests.material import fetch_job, settle
from tests.servers.nginx import PASSWORD, USER
from tests.servers.pki import Pki
from tests.servers.rucio import Rucio, place
from tests.servers.webdav import Dav

NUMBERS = itertools.count()


class Element:
    """An RSE whose files are those of a directory of this machine, and are read and written there."""

    section = ""

    def __init__(self, rucio: Rucio, directory: Path, kind: str = "SCRATCHDISK") -> None:
        self.rucio = rucio
        self.name = f"T{os.getpid()}-{next(NUMBERS)}_{kind}"
        self.root = directory / self.name
        self.root.mkdir()
        rucio.rse(self.name, self.way())

    def way(self) -> tuple[str, str, int, str]:
        return "file", "localhost", 0, f"{self.root}/"

    def file(self, did: str) -> Path:
        return self.root / place(did)

    def write(self, files: dict[str, bytes]) -> None:
        """Files and their replicas, by DID."""
        for did, data in files.items():
            path = self.file(did)
            missing = [parent for parent in path.parents if not parent.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            for parent in missing:
                parent.chmod(0o777)  # servers run under accounts of their own
            path.write_bytes(data)
        self.rucio.register(self.name, files)


class DavElement(Element):
    """The same behind a real WebDAV server that wants a login."""

    def __init__(self, rucio: Rucio, dav: Dav, pki: Pki) -> None:
        self.dav = dav
        super().__init__(rucio, dav.data)
        self.root.chmod(0o777)
        login = f"username = {USER}\npassword = {PASSWORD}\nca_file = {pki.ca}\n"
        self.section = f"[davs://{dav.tls_authority}]\n{login}"

    def way(self) -> tuple[str, str, int, str]:
        return "davs", "localhost", self.dav.tls_port, f"/basic/{self.name}/"


def settings(directory: Path, *sections: str, **more: str) -> Settings:
    """What these sections of a credentials file, and these variables, make."""
    path = directory / "credentials.conf"
    path.touch(0o600)
    path.write_text("\n".join(sections))
    environ = {"PEGASUS_CREDENTIALS": str(path), **more}
    return Settings(Credentials(environ, home="", shared=""), environ, stall_timeout=60, connect_timeout=10)


def opened(directory: Path, element: Element, authority: str = "rucio", **more: str) -> Backend:
    """``more``: keys of section [rucio]."""
    told = settings(directory, element.rucio.section(**more), element.section)
    return open_backend(Endpoint("rucio", authority, "here"), told)


def fetched(backend: Backend, *paths: str) -> dict[str, bytes | TransferError | None]:
    """Content, or what went wrong; closes the backend."""
    found: dict[str, bytes | TransferError | None] = {}
    for job in backend.get(map(fetch_job, paths)):
        try:
            data = settle(job)
        except TransferError as error:
            job.error = error
        found[job.path] = job.error or data
    backend.close()
    return found


def command(
    directory: Path, element: Element, source: str | Path, target: str | Path, *words: str
) -> tuple[Any, list[dict[str, Any]]]:
    """What ``pegasus-transfer`` did, and its report."""
    told = settings(directory, element.rucio.section(), element.section)
    spec = write(directory / "spec.json", [entry(source, target)])
    argv = ["-f", spec, "--report", directory / "report", *words]
    done = run(*argv, cwd=directory, env={**told.environ, "HOME": str(directory)})
    return done, lines(directory / "report") if (directory / "report").exists() else []
