"""Bearer tokens: found as the WLCG says, never one that is over, and never sent to just anybody."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials
from tests.servers.grid_pki import write_private


def jwt(**claims: object) -> str:
    parts = [json.dumps({"alg": "ES256"}).encode(), json.dumps(claims).encode(), b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def open_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def found(environ: dict[str, str], shared: Path | str = "", scheme: str = "davs") -> str | None:
    token = Credentials(environ, "", str(shared)).token(scheme, "se.example.org:2880", "cern-1")
    return None if token is None else token.secret.reveal()


def test_order_of_discovery(tmp_path: Path) -> None:
    """Each place counts only where those before it are silent."""
    name = f"bt_u{os.geteuid()}"
    runtime, shared, condor = (tmp_path / part for part in ("runtime", "shared", "condor"))
    for directory in (runtime, shared, condor):
        directory.mkdir(0o700)
    environ = {
        "BEARER_TOKEN_cern-1": "t1",
        "BEARER_TOKEN_FILE_cern-1": str(write_private(tmp_path / "t2", b" t2\n")),
        "BEARER_TOKEN_cern_1": "t3",
        "BEARER_TOKEN_FILE_cern_1": str(write_private(tmp_path / "t4", b"t4\n")),
        "BEARER_TOKEN": " t5 ",
        "BEARER_TOKEN_FILE": str(write_private(tmp_path / "t6", b"t6")),
        "_CONDOR_CREDS": str(condor),
        "XDG_RUNTIME_DIR": str(runtime),
    }
    write_private(condor / "scitokens.use", b'{"access_token": "t7", "expires_in": 600}')
    write_private(runtime / name, b"\nt8\n\n")
    write_private(shared / name, b"t9")
    for number, variable in enumerate([*environ], start=1):
        assert found(environ, shared) == f"t{number}"
        del environ[variable]
    assert found(environ, shared) == "t9"
    assert found(environ, "") is None
    assert found({"BEARER_TOKEN": "", "BEARER_TOKEN_FILE": ""}, shared) == "t9", "empty is as not set"


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["cern-1.use", "scitokens.use", "z.use"], "cern-1.use"),
        (["cern_1.use", "scitokens.use"], "cern_1.use"),
        (["a.use", "scitokens.use"], "scitokens.use"),
        (["box_handle.use", "box_handle.top"], "box_handle.use"),
        (["a.use", "b.use"], None),
        ([], None),
    ],
)
def test_tokens_of_condor(tmp_path: Path, files: list[str], chosen: str | None) -> None:
    for name in files:
        write_private(tmp_path / name, name.encode())
    assert found({"_CONDOR_CREDS": str(tmp_path)}) == chosen


def test_the_credentials_file_goes_first_and_may_ask_for_discovery(tmp_path: Path) -> None:
    text = "[davs://se.example.org]\ntoken = mine\n[https://se.example.org]\ntoken = discover\n"
    path = write_private(tmp_path / "credentials.conf", text.encode())
    environ = {"PEGASUS_CREDENTIALS": str(path), "BEARER_TOKEN": "theirs"}
    assert found(environ) == "mine"
    assert found(environ, scheme="root") == "theirs"
    assert found(environ, scheme="https") == "theirs"
    token = Credentials(environ, "").http("https", "se.example.org").token
    assert token is not None and token.reveal() == "theirs"
    del environ["BEARER_TOKEN"]
    with pytest.raises(CredentialError, match="token = discover, but there is none"):
        Credentials(environ, "", "").http("https", "se.example.org")


def test_discovery_for_plain_http_is_refused(tmp_path: Path) -> None:
    path = write_private(tmp_path / "credentials.conf", b"[se.example.org]\ntoken = discover\n")
    credentials = Credentials({"PEGASUS_CREDENTIALS": str(path), "BEARER_TOKEN": "t"}, "")
    for scheme in ("http", "webdav", "dav"):
        with pytest.raises(CredentialError, match="not sent without encryption"):
            credentials.http(scheme, "se.example.org")


@pytest.mark.parametrize("scheme", ["http", "https", "webdav", "dav", "s3", "ftp", "gsiftp", "sftp"])
def test_found_tokens_are_for_few_schemes(scheme: str) -> None:
    assert found({"BEARER_TOKEN": "t"}, scheme=scheme) is None


@pytest.mark.parametrize("scheme", ["davs", "webdavs", "root", "roots", "osdf", "pelican"])
def test_and_for_these(scheme: str) -> None:
    assert found({"BEARER_TOKEN": "t"}, scheme=scheme) == "t"


def test_expiry_is_read_and_an_expired_token_is_an_error() -> None:
    later = time.time() + 3600
    token = Credentials({"BEARER_TOKEN": jwt(exp=later, aud="any")}, "").token("davs", "host")
    assert token is not None and token.expires == later
    left = token.left()
    assert left is not None and 3500 < left <= 3600
    secret = jwt(exp=time.time() - 60, sub="me")
    with pytest.raises(CredentialError) as caught:
        found({"BEARER_TOKEN_cern_1": secret})
    assert "BEARER_TOKEN_cern_1: the token expired at 20" in str(caught.value)
    assert secret not in str(caught.value) and secret.split(".")[1] not in str(caught.value)
    with pytest.raises(CredentialError, match="not valid before"):
        found({"BEARER_TOKEN": jwt(nbf=time.time() + 3600)})


@pytest.mark.parametrize(
    "text",
    ["opaque", "a.b.c", "a..c", f"a.{base64.b64encode(b'[1]').decode()}.c", jwt(exp="soon"), jwt(exp=True)],
)
def test_tokens_that_tell_no_end(text: str) -> None:
    token = Credentials({"BEARER_TOKEN": text}, "").token("davs", "host")
    assert token is not None and token.expires is None and token.left() is None


def test_what_is_over_at_the_usual_place_matters_where_it_is_needed(tmp_path: Path) -> None:
    write_private(tmp_path / f"bt_u{os.geteuid()}", jwt(exp=1).encode())
    credentials = Credentials({}, "", str(tmp_path))
    assert credentials.token("davs", "host", needed=False) is None
    with pytest.raises(CredentialError, match="expired"):
        credentials.token("davs", "host")


def test_file_must_be_private_or_in_a_private_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = open_file(tmp_path / "token", "t")
    with pytest.raises(CredentialError) as caught:
        found({"BEARER_TOKEN_FILE": str(path)})
    assert "named by BEARER_TOKEN_FILE" in str(caught.value) and f"chmod 600 {path}" in str(caught.value)
    tmp_path.chmod(0o700)
    assert found({"BEARER_TOKEN_FILE": str(path)}) == "t"
    (tmp_path / "sub").mkdir(0o755)
    path.rename(tmp_path / "sub" / "token")
    (tmp_path / "link").symlink_to(tmp_path / "sub" / "token")
    with pytest.raises(CredentialError, match="chmod 600"):
        found({"BEARER_TOKEN_FILE": str(tmp_path / "link")})


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match=r"named by BEARER_TOKEN_FILE.* does not exist"):
        found({"BEARER_TOKEN_FILE": str(tmp_path / "none")})


def test_file_of_another_user_at_the_usual_place_is_not_looked_at(tmp_path: Path) -> None:
    planted = write_private(tmp_path / f"bt_u{os.geteuid()}", b"t")
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(planted, 12345, 12345)
    assert found({}, tmp_path) is None


@pytest.mark.parametrize("text", ["two words", "a\nb", "a\x00b", "tökén", "a\r\nX-Evil: 1"])
def test_what_can_be_no_token(text: str) -> None:
    with pytest.raises(CredentialError) as caught:
        found({"BEARER_TOKEN": text})
    assert text not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "{}", '{"access_token": 7}', "[" * 10_000])
def test_broken_json(tmp_path: Path, content: str) -> None:
    path = write_private(tmp_path / "token", content.encode())
    if content.startswith("["):
        assert found({"BEARER_TOKEN_FILE": str(path)}) is not None, "not JSON as HTCondor writes it"
        return
    with pytest.raises(CredentialError, match="without an access_token"):
        found({"BEARER_TOKEN_FILE": str(path)})


def test_a_token_is_never_shown() -> None:
    token = Credentials({"BEARER_TOKEN": "s3cr3t"}, "").token("davs", "host")
    assert "s3cr3t" not in f"{token!r} {token}"
