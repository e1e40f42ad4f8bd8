"""A throw-away certificate authority, and what it has signed for this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import program, public_directory


class Pki(NamedTuple):
    """Paths of PEM files.

    ``cert`` and ``key`` are for localhost and 127.0.0.1; ``other_ca`` signed nothing.
    """

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path
    other_ca: Path


def make(directory: Path) -> Pki:
    """Writes a new one there."""
    openssl = program("openssl")

    def certificate(name: str, *options: str) -> tuple[Path, Path]:
        cert, key = directory / f"{name}.pem", directory / f"{name}.key"
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        files = ["-keyout", str(key), "-out", str(cert), "-subj", f"/O=Throw-away/CN={name}"]
        subprocess.run([openssl, "req", "-x509", *new, *files, *options], check=True, capture_output=True)
        key.chmod(0o600)
        return cert, key

    ca, ca_key = certificate("ca", "-addext", "keyUsage=critical,keyCertSign")
    other, _ = certificate("other-ca", "-addext", "keyUsage=critical,keyCertSign")
    signed = ("-CA", str(ca), "-CAkey", str(ca_key), "-addext", "basicConstraints=critical,CA:FALSE")
    cert, key = certificate("localhost", *signed, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    client, client_key = certificate("client", *signed, "-addext", "extendedKeyUsage=clientAuth")
    return Pki(ca, cert, key, client, client_key, other)


@pytest.fixture(scope="session")
def pki() -> Iterator[Pki]:
    with public_directory("pki-") as directory:
        yield make(directory)
