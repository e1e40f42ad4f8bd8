"""What has expired is told with its date: signed URLs, and certificates that a section names."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pegasus_toolkit.credentials import CredentialError, Credentials, presigned
from pegasus_toolkit.transfer.errors import Denied
from tests.http_world import World, failure
from tests.servers.odd_http import Odd, Reply


@pytest.mark.parametrize(
    ("query", "expires"),
    [
        ("X-Amz-Date=20200102T030405Z&X-Amz-Expires=60&X-Amz-Signature=x", 1577934305.0),
        ("X-Goog-Date=20200102T030405Z&X-Goog-Expires=60", 1577934305.0),
        ("sig=x&se=2020-01-02T03%3A04%3A05Z&sp=r", 1577934245.0),
        ("Signature=x&Expires=1577934245&AWSAccessKeyId=y", 1577934245.0),
        ("Expires=1577934245", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=60", None),
        ("se=2020-01-02", None),
        ("", None),
    ],
)
def test_when_a_signed_url_ends(query: str, expires: float | None) -> None:
    assert presigned.expiry(f"https://h/f?{query}") == expires


def test_a_signed_url_that_expired_is_told_so(odd: Callable[..., Odd], world: World) -> None:
    backend = world.open(odd(lambda _: Reply(b"no", 403)).authority)
    error = failure(backend, "/f?X-Amz-Date=20200102T030405Z&X-Amz-Expires=60&X-Amz-Signature=secret")
    assert isinstance(error, Denied)
    assert "the signed URL expired at 2020-01-02 03:05:05 UTC" in str(error)
    later = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    error = failure(backend, f"/f?X-Amz-Date={later}&X-Amz-Expires=600&X-Amz-Signature=secret")
    assert "expired" not in str(error)


def certificate(path: Path, days: int) -> Path:
    """One that ended, or will end, so many days from now; with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - datetime.timedelta(days=90))
        .not_valid_after(end)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    path.touch(mode=0o600)
    path.write_bytes(
        made.public_bytes(form)
        + key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def test_a_client_certificate_that_expired_is_told_with_its_date(tmp_path: Path) -> None:
    config = tmp_path / "credentials.conf"
    config.touch(mode=0o600)
    for days in (3, -3):
        config.write_text(f"[https://h]\nclient_certificate = {certificate(tmp_path / f'c{days}', days)}\n")
        known = Credentials.load({"PEGASUS_CREDENTIALS": str(config)})
        if days > 0:
            assert known.http("https", "h").client_certificate
            continue
        ended = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3 * 86400))
        with pytest.raises(CredentialError, match=rf"section \[https://h\].*expired at {ended}"):
            known.http("https", "h")


class Silent(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("days", [30, -3])
def test_a_server_whose_certificate_expired_is_told_with_its_date(
    tmp_path: Path, world: World, days: int
) -> None:
    pem = certificate(tmp_path / "server.pem", days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  a client that hangs up is no news
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        authority = f"127.0.0.1:{server.server_address[1]}"
        backend = world.open(authority, scheme="https", section=f"ca_file = {pem}")
        error = failure(backend, "/f")
        server.shutdown()
    if days > 0:
        assert "expired" not in str(error)
        return
    ended = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 3 * 86400))
    assert isinstance(error, Denied)
    assert f"certificate not accepted: it expired at {ended}" in str(error)
    assert "renew" in str(error)
