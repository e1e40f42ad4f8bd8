"""A real registry of container images (docker-registry) on loopback: open, with a password, with tokens."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from bcrypt import gensalt, hashpw
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.servers.common import free_port, listens, program, public_directory, running
from tests.servers.pki import Pki

USER, PASSWORD = "wflow", "pass:wo%rd"
OCI = "application/vnd.oci.image.{}.v1+json"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
SIF = "application/vnd.sylabs.sif.layer.v1.sif"


def blob(content: bytes) -> str:
    """Its name."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Image(NamedTuple):
    """A configuration, layers (tar files in gzip), and the manifest that names them."""

    config: bytes
    layers: tuple[bytes, ...]
    manifest: bytes

    @property
    def digest(self) -> str:
        return blob(self.manifest)


def descriptor(content: bytes, media: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media, "digest": blob(content), "size": len(content), **more}


def layer(**files: bytes) -> bytes:
    """A tar file with these in it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def image(*tars: bytes, architecture: str = "amd64") -> Image:
    """One of these layers."""
    packed = tuple(gzip.compress(tar, 1, mtime=0) for tar in tars)
    roots = {"type": "layers", "diff_ids": [blob(tar) for tar in tars]}
    config = json.dumps(
        {"architecture": architecture, "os": "linux", "config": {"Cmd": ["/hello"]}, "rootfs": roots}
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI.format("manifest"),
        "config": descriptor(config, OCI.format("config")),
        "layers": [descriptor(one, GZIP) for one in packed],
    }
    return Image(config, packed, json.dumps(manifest).encode())


def index(**images: Image) -> bytes:
    """For several architectures."""
    found = [
        descriptor(
            one.manifest, OCI.format("manifest"), platform={"os": "linux", "architecture": architecture}
        )
        for architecture, one in images.items()
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI.format("index"), "manifests": found}).encode()


def sif(content: bytes) -> Image:
    """A file as ``oras`` or ``apptainer push`` stores it."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI.format("manifest"),
        "config": descriptor(b"{}", "application/vnd.sylabs.sif.config.v1+json"),
        "layers": [descriptor(content, SIF)],
    }
    return Image(b"{}", (content,), json.dumps(manifest).encode())


class Registries(NamedTuple):
    """Doors to one store: ``open`` (HTTP), ``private`` (HTTPS, a password), ``token`` (HTTP, tokens)."""

    open: str
    private: str
    token: str
    data: Path
    pki: Pki | None
    connection: HTTPConnection

    def push(self, name: str, tag: str, one: Image) -> Image:
        """Stores an image."""
        for content in (one.config, *one.layers):
            self.upload(name, content)
        self.tag(name, tag, one.manifest)
        return one

    def upload(self, name: str, content: bytes) -> None:
        """Stores a blob."""
        begun = self._ask("POST", f"/v2/{name}/blobs/uploads/", b"")
        place = begun.headers["Location"]
        self._ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={blob(content)}", content)

    def tag(self, name: str, tag: str, manifest: bytes) -> None:
        """Stores a manifest."""
        kind = json.loads(manifest)["mediaType"]
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", manifest, kind)

    def damage(self, content: bytes) -> None:
        """Replaces a blob by another of its length."""
        digest = blob(content)[7:]
        path = self.data / f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])

    def _ask(self, method: str, target: str, body: bytes, kind: str = "application/octet-stream") -> Any:
        self.connection.request(
            method, target.partition(self.open)[2] or target, body, {"Content-Type": kind}
        )
        answer = self.connection.getresponse()
        told = answer.read()
        assert answer.status < 300, told
        return answer


CONFIGURATION = """
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http:
  addr: 127.0.0.1:{port}
{more}
"""


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens(BaseHTTPRequestHandler):
    """The service that a registry sends its users to; the registry believes what it signs."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        pair = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic "))
        self._answer(asked, pair == f"{USER}:{PASSWORD}".encode())

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(form, form.get("refresh_token") == [PASSWORD])

    def _answer(self, asked: dict[str, list[str]], good: bool) -> None:
        if not good:
            self._send(401, {"errors": [{"code": "UNAUTHORIZED", "message": "bad name or password"}]})
            return
        kind, name, actions = asked["scope"][0].split(":")
        now = int(time.time())
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        claims = {
            "iss": "tests", "sub": USER, "aud": asked["service"][0], "nbf": now - 60, "iat": now,
            "exp": now + 300, "jti": "1", "access": access,
        }  # fmt: skip
        self._send(200, {"token": self._signed(claims)})

    def _signed(self, claims: dict[str, Any]) -> str:
        key, chain = self.server.key, self.server.chain  # type: ignore[attr-defined]
        head = {"typ": "JWT", "alg": "ES256", "x5c": [chain]}
        text = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        first, second = decode_dss_signature(key.sign(text.encode(), ECDSA(SHA256())))
        return f"{text}.{_base64(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def token_service(pki: Pki) -> Iterator[int]:
    """Its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    key = load_pem_private_key(pki.key.read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    server.key = key  # type: ignore[attr-defined]
    pem = pki.cert.read_text().partition("CERTIFICATE-----")[2].partition("-----END")[0]
    server.chain = "".join(pem.split())  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def registries(pki: Pki) -> Iterator[Registries]:
    """Three processes over one directory."""
    binary = program("docker-registry")
    with public_directory("registry-") as home, ExitStack() as stack:
        service = stack.enter_context(token_service(pki))
        (home / "htpasswd").write_bytes(f"{USER}:".encode() + hashpw(PASSWORD.encode(), gensalt(5, b"2a")))
        ports = [free_port() for _ in range(3)]
        more = (
            "",
            f"  tls: {{certificate: {pki.cert}, key: {pki.key}}}\n"
            f"auth: {{htpasswd: {{realm: test, path: {home}/htpasswd}}}}",
            f"auth: {{token: {{realm: 'http://127.0.0.1:{service}/token', service: tests, issuer: tests,"
            f" rootcertbundle: {pki.ca}}}}}",
        )
        for port, text in zip(ports, more, strict=True):
            file = home / f"{port}.yml"
            file.write_text(CONFIGURATION.format(data=home / "data", port=port, more=text))
            ready = lambda port=port: listens(port)  # noqa: E731
            stack.enter_context(running([binary, "serve", str(file)], home / f"{port}.log", ready))
        doors = [f"127.0.0.1:{port}" for port in ports]
        connection = stack.enter_context(closing(HTTPConnection(doors[0])))
        yield Registries(doors[0], f"localhost:{ports[1]}", doors[2], home / "data", pki, connection)
