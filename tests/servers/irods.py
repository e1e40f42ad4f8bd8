"""A stand-in for an iRODS zone on loopback (``irods_stub``): real messages, no real server."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import free_port, listens, missing, running
from tests.servers.pki import Pki

ZONE, USER, PASSWORD = "tempZone", "joe", "s3cr3t-irods"


class Zone(NamedTuple):
    """``top``: the directory that ``/`` is; ``/tempZone/home/joe`` is there."""

    port: int
    top: Path

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"

    @property
    def home(self) -> Path:
        return self.top / ZONE / "home" / USER

    def environment(self, directory: Path, **more: object) -> Path:
        """An environment file as Pegasus' users have it, with the password."""
        told = {"irods_user_name": USER, "irods_zone_name": ZONE, "irodsPassword": PASSWORD, **more}
        path = directory / "irods_environment.json"
        path.touch(0o600)
        kept = {key: value for key, value in told.items() if value is not None}
        path.write_text(json.dumps(kept, indent=1))  # upstream reads it line by line
        return path


@contextmanager
def serve(top: Path, *pair: Path) -> Iterator[Zone]:
    """``pair``: certificate and key; TLS is wanted then."""
    if find_spec("irods") is None:
        missing("python-irodsclient is not installed")
    zone = Zone(free_port(), top / "zone")
    zone.top.mkdir()
    argv = [sys.executable, "-m", "tests.servers.irods_stub", str(zone.port), str(zone.top)]
    argv += [ZONE, USER, PASSWORD, *map(str, pair)]
    root = Path(__file__).resolve().parent.parent.parent
    with running(argv, top / "log", lambda: listens(zone.port), cwd=root):
        yield zone


@pytest.fixture(scope="session")
def irods() -> Iterator[Zone]:
    with tempfile.TemporaryDirectory(prefix="irods-") as top, serve(Path(top)) as zone:
        yield zone


@pytest.fixture(scope="session")
def irods_tls(pki: Pki) -> Iterator[Zone]:
    with tempfile.TemporaryDirectory(prefix="irods-") as top, serve(Path(top), pki.cert, pki.key) as zone:
        yield zone
