"""Logins by WLCG token (``ztn``) to a real XRootD server that checks their signatures (SciTokens).

Its issuer's keys stand in the cache of the server's library, so that no issuer needs to answer.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import Denied, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from tests.material import fetch_job, given, settle, store_job
from tests.servers.common import missing, public_directory
from tests.servers.grid_pki import Grid
from tests.servers.xrootd import Xrootd, serve, tls

ISSUER, AUDIENCE = "https://issuer.test/", "https://wlcg.cern.ch/jwt/v1/any"
KEY = ec.generate_private_key(ec.SECP256R1())
PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
READS, WRITES = "storage.read:/", "storage.read:/ storage.modify:/"


def plugin() -> Path:
    """Debian's xrootd-scitokens-plugins."""
    for place in PLACES:
        path = Path(place, "libXrdAccSciTokens-5.so")
        if path.exists():
            return path
    missing("xrootd-scitokens-plugins")


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(scope: str, key: ec.EllipticCurvePrivateKey = KEY) -> str:
    now = int(time.time())
    head = {"alg": "ES256", "typ": "JWT", "kid": "one"}
    claims = {"iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "wlcg.ver": "1.0", "scope": scope}
    times = {"iat": now, "nbf": now - 5, "exp": now + 600, "jti": os.urandom(4).hex()}
    signed = ".".join(text(json.dumps(part).encode()) for part in (head, {**claims, **times}))
    numbers = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{text(b''.join(number.to_bytes(32, 'big') for number in numbers))}"


def know_issuer(cache: Path) -> None:
    """As if the server's library had just asked it for its keys."""
    point = KEY.public_key().public_numbers()
    key = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one"}
    key |= {"x": text(point.x.to_bytes(32, "big")), "y": text(point.y.to_bytes(32, "big"))}
    now = int(time.time())
    known = {"expires": now + 86400, "next_update": now + 86400, "jwks": {"keys": [key]}}
    (cache / "scitokens").mkdir(parents=True)
    base = sqlite3.connect(cache / "scitokens/scitokens_cpp.sqllite")
    base.execute("CREATE TABLE keycache (issuer text UNIQUE PRIMARY KEY NOT NULL, keys text NOT NULL)")
    base.execute("INSERT INTO keycache VALUES (?, ?)", (ISSUER, json.dumps(known)))
    base.commit()
    base.close()


@pytest.fixture(scope="module")
def server(trusted_grid: Grid) -> Iterator[Xrootd]:
    """Nobody gets in without a token; what it allows counts."""
    library = plugin()
    with public_directory("xrootd-ztn-") as home, pytest.MonkeyPatch.context() as patch:
        know_issuer(home / "cache")
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        configuration = home / "scitokens.cfg"
        configuration.write_text(
            f"[Global]\naudience = {AUDIENCE}\n[Issuer one]\nissuer = {ISSUER}\nbase_path = /data\n"
        )
        lines = ["xrootd.seclib libXrdSec.so", f"sec.protocol ztn -tokenlib {library}", "ofs.authorize 1"]
        lines.append(f"ofs.authlib {library} config={configuration}")
        with serve(home, [*tls(home, trusted_grid), *lines]) as made:
            made.write("/data/file", b"content")
            yield made


def tried(server: Xrootd, secret: str) -> tuple[bytes | None, TransferError | None]:
    """What can be read with a token, and what writing comes to."""
    environ = {"BEARER_TOKEN_site": secret} if secret else {}
    settings = Settings(Credentials(environ, "", ""), environ, stall_timeout=20)
    backend = open_backend(Endpoint("root" if secret else "roots", server.authority, "site"), settings)
    try:
        (got,) = backend.get(iter([fetch_job("/data/file")]))
        (put,) = backend.put(iter([store_job("/data/new", given(b"new"))]))
        return settle(got), put.error
    finally:
        backend.close()


def test_token_opens_what_it_allows(server: Xrootd) -> None:
    content, error = tried(server, token(READS))
    assert content == b"content" and isinstance(error, Denied)
    assert not (server.data / "new").exists()
    assert tried(server, token(WRITES)) == (b"content", None)
    assert (server.data / "new").read_bytes() == b"new"


@pytest.mark.parametrize("forged", [False, True])
def test_no_login_without_a_good_token(server: Xrootd, forged: bool) -> None:
    """None at all, or one that somebody else has signed."""
    secret = token(WRITES, ec.generate_private_key(ec.SECP256R1())) if forged else ""
    with pytest.raises(Denied) as caught:
        content, error = tried(server, secret)
        assert content is None and error is not None
        raise error
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize("unseen", [False, True])
def test_token_that_is_renewed(server: Xrootd, tmp_path: Path, unseen: bool) -> None:
    """Whether its file is seen to have changed, or only the server's refusal tells: then at the next try."""
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(token(READS) + " " * 200)
    environ = {"BEARER_TOKEN_FILE": str(file)}
    settings = Settings(Credentials(environ, "", ""), environ, stall_timeout=20)
    backend = open_backend(Endpoint("root", server.authority, "site"), settings)

    def put() -> TransferError | None:
        (job,) = backend.put(iter([store_job("/data/renewed", given(b"new"))]))
        return job.error

    try:
        assert isinstance(put(), Denied)
        before = file.stat()
        file.write_text(token(WRITES))
        if unseen:
            file.write_text(token(WRITES) + " " * (before.st_size - file.stat().st_size))
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
            error = put()
            assert isinstance(error, ServerFault) and "renewed" in str(error)
        assert put() is None
        assert (server.data / "renewed").read_bytes() == b"new"
    finally:
        backend.close()
