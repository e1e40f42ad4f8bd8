"""Who we are at Google Storage, and what may be done there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from pegasus_toolkit.transfer.errors import Denied, Unreachable
from tests import command
from tests.gs_world import BIG, World, get, put
from tests.material import settle
from tests.servers.common import free_port
from tests.servers.gcs_front import EMAIL, KEY, Reply, pem, refusal

pytestmark = pytest.mark.usefixtures("small")


def p12(password: bytes = b"notasecret", key: rsa.RSAPrivateKey = KEY) -> bytes:
    kept = serialization.BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(b"key", key, None, None, kept)


def identities(cloud: World) -> dict[str, dict[str, str]]:
    """Environments that open the same bucket."""
    uri = f"[OAuth2]\nprovider_token_uri = {cloud.front.url}/token\n"
    boto = f"[Credentials]\ngs_service_client_id = {EMAIL}\n"
    named = f"{boto}gs_service_key_file = {{}}\n{uri}".format
    refresh = "[Credentials]\ngs_oauth2_refresh_token = refresh-me\n"
    client = f"{uri}client_id = me\nclient_secret = hush\n"
    user = {
        "type": "authorized_user",
        "refresh_token": "refresh-me",
        "client_id": "me",
        "client_secret": "hush",
    }
    section = f"[gs://{cloud.bucket}]\nkey_file = {{}}\nproject = test\n".format
    key = cloud.file("a.json", cloud.front.key())
    cloud.front.tokens.add("told")
    return {
        "key": {"GOOGLE_APPLICATION_CREDENTIALS": key},
        "key of the site": {
            "GOOGLE_APPLICATION_CREDENTIALS_my_site": key,
            "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere",
        },
        "section": {"PEGASUS_CREDENTIALS": cloud.file("credentials.conf", section(key))},
        "boto, JSON": {"BOTO_CONFIG": cloud.file("b1", named(key))},
        "boto, PKCS12": {"BOTO_CONFIG": cloud.file("b2", named(cloud.file("k.p12", p12())))},
        "boto of the site before a key for all": {
            "BOTO_CONFIG_my_site": cloud.file("b3", named(key)),
            "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere",
        },
        "PKCS12 of the site": {
            "BOTO_CONFIG": cloud.file("b4", f"{boto}{uri}"),
            "GOOGLE_PKCS12_my_site": cloud.file("k2.p12", p12()),
        },
        "PKCS12 with a password": {
            "BOTO_CONFIG": cloud.file("b5", f"{boto}gs_service_key_file_password = pass%word\n{uri}"),
            "GOOGLE_PKCS12": cloud.file("k3.p12", p12(b"pass%word")),
        },
        "refresh token": {"BOTO_CONFIG": cloud.file("b6", refresh + client)},
        "gcloud's": {
            "GOOGLE_APPLICATION_CREDENTIALS": cloud.file(
                "user.json", json.dumps({**user, "token_uri": f"{cloud.front.url}/token"})
            )
        },
        "token": {
            "PEGASUS_CREDENTIALS": cloud.file("c2", f"[gs://{cloud.bucket}]\ntoken = told\n"),
        },
    }


NAMES = [
    "key", "key of the site", "section", "boto, JSON", "boto, PKCS12",
    "boto of the site before a key for all",
    "PKCS12 of the site", "PKCS12 with a password", "refresh token", "gcloud's", "token",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_who_may_write(cloud: World, name: str) -> None:
    """And no key is left anywhere."""
    environ = identities(cloud)[name]
    before = {path: path.read_bytes() for path in cloud.directory.iterdir()}
    backend = cloud.open(**environ)
    assert put(backend, "key", b"content").error is None
    assert settle(get(backend, "key")) == b"content"
    assert backend.identity().kind in ("service account", "authorized user", "bearer token")
    assert {path: path.read_bytes() for path in cloud.directory.iterdir()} == before
    assert cloud.front.grants <= 1, "a token serves until it ends"


def test_public_data_needs_nobody(cloud: World) -> None:
    cloud.front.behind.write(cloud.bucket, "key", b"content")
    nobody = cloud.open(HOME="/nowhere")
    error = get(nobody, "key").error
    assert isinstance(error, Denied) and "GOOGLE_APPLICATION_CREDENTIALS" in str(error)
    cloud.front.open = True
    assert settle(get(nobody, "key")) == b"content"
    assert nobody.identity().kind == "anonymous" and cloud.front.grants == 0


def bad_keys(cloud: World) -> dict[str, tuple[dict[str, str], str]]:
    """Environments, and what is said of them."""
    key = cloud.file("good.json", cloud.front.key())
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    shared = cloud.file("shared.json", cloud.front.key())
    Path(shared).chmod(0o644)
    boto = f"[Credentials]\ngs_service_client_id = {EMAIL}\n"
    gac = "GOOGLE_APPLICATION_CREDENTIALS"
    return {
        "missing": ({gac: "/no/such"}, "does not exist"),
        "read by others": ({gac: shared}, "chmod 600"),
        "no JSON": ({gac: cloud.file("x", "hello")}, "no key file of Google's"),
        "no key in it": ({gac: cloud.file("y", cloud.front.key(private_key="x"))}, "no key that can be used"),
        "another's": (
            {gac: cloud.file("z", cloud.front.key(private_key=pem(other)))},
            "Invalid JWT Signature",
        ),
        "boto without account": (
            {"BOTO_CONFIG": cloud.file("b", "[Boto]\n"), "GOOGLE_PKCS12": cloud.file("p", p12())},
            "gs_service_client_id",
        ),
        "wrong password": (
            {"BOTO_CONFIG": cloud.file("b2", boto), "GOOGLE_PKCS12": cloud.file("p2", p12(b"other"))},
            "no key that can be used",
        ),
        "HMAC": ({"BOTO_CONFIG": cloud.file("b3", "[Credentials]\ngs_access_key_id = a\n")}, "HMAC"),
        "no client": (
            {"BOTO_CONFIG": cloud.file("b4", "[Credentials]\ngs_oauth2_refresh_token = a\n")},
            "client_id",
        ),
        "misspelt": (
            {"PEGASUS_CREDENTIALS": cloud.file("c", f"[gs://{cloud.bucket}]\nkeyfile = {key}\n")},
            "not known",
        ),
        "a token without encryption": (
            {gac: key, "STORAGE_EMULATOR_HOST": "http://storage.example.org"},
            "without encryption",
        ),
    }


@pytest.mark.parametrize(
    "name",
    [
        "missing", "read by others", "no JSON", "no key in it", "another's", "boto without account",
        "wrong password", "HMAC", "no client", "misspelt", "a token without encryption",
    ],
)  # fmt: skip
def test_key_of_no_use_is_one_clear_line(cloud: World, name: str) -> None:
    environ, text = bad_keys(cloud)[name]
    with pytest.raises(Denied) as caught:
        error = put(cloud.open(**environ), "key", b"x").error
        if error is not None:
            raise error
    assert text in str(caught.value) and "PRIVATE KEY" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_token_service_that_is_down_is_tried_again(cloud: World) -> None:
    uri = f"http://127.0.0.1:{free_port()}/token"
    backend = cloud.open(GOOGLE_APPLICATION_CREDENTIALS=cloud.file("k", cloud.front.key(token_uri=uri)))
    assert isinstance(put(backend, "key", b"x").error, Unreachable)


def test_token_that_is_revoked_is_asked_for_again(cloud: World) -> None:
    backend = cloud.open()
    assert put(backend, "key", b"x").error is None
    cloud.front.tokens.clear()
    assert settle(get(backend, "key")) == b"x"
    assert cloud.front.grants == 2
    cloud.front.rule = lambda method, path: refusal(401, "authError")
    assert isinstance(get(backend, "key").error, Denied)
    assert cloud.front.grants == 3


def test_secrets_stay_secret(cloud: World) -> None:
    """What Google says of a session's address, or of a token, is in no error."""
    backend = cloud.open()
    cloud.front.rule = lambda method, path: refusal(403, "forbidden") if "upload_id" in path else None
    error = put(backend, "key", BIG).error
    assert isinstance(error, Denied) and "upload_id" not in str(error) and "key.json" in str(error)


@pytest.mark.parametrize(
    ("granted", "lacking"),
    [
        (["storage.objects.get", "storage.objects.create", "storage.objects.delete"], ""),
        (["storage.objects.get"], "storage.objects.create, storage.objects.delete"),
    ],
)
def test_what_the_account_may_do_is_asked_before_anything_moves(
    cloud: World, granted: list[str], lacking: str
) -> None:
    told = Reply(200, json.dumps({"permissions": granted}).encode())
    cloud.front.rule = lambda method, path: told if "/iam/testPermissions" in path else None
    assert cloud.open().lacks(True, True) == lacking
    environ = cloud.environ(GOOGLE_APPLICATION_CREDENTIALS=cloud.file("key.json", cloud.front.key()))
    (cloud.directory / "in").write_bytes(b"x")
    spec = command.write(
        cloud.directory / "up", [command.entry(cloud.directory / "in", f"gs://{cloud.bucket}/key")]
    )
    done = command.run("-f", spec, "--check", cwd=cloud.directory, env=environ)
    assert done.returncode == (2 if lacking else 0), done.stderr
    assert lacking in done.stdout and "service account" in done.stdout
