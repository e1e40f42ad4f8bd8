"""What is printed never holds a password, a token or a signature."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.transfer import redact

SECRET = "s3cr3t-S3CR3T"


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@host/path",
        f"https://user:{SECRET}%2F@host:8080/path?x=1",
        f"https://user:{SECRET}/with/slashes@host/path",
        f"https://user:x{SECRET}#?@host/path",
        f"ftp://:{SECRET}@host/",
        f"https://host/b/k?X-Amz-Credential=a&X-Amz-Signature={SECRET}",
        f"https://host/b/k?x=1&x-amz-security-token={SECRET}#a",
        f"https://host/k?Signature={SECRET}&Expires=1",
        f"https://host/k?sig={SECRET}",
        f"root://host//store/f?authz=Bearer%20{SECRET}",
        f"https://host/k#access_token={SECRET}",
        f"https://host/k?a=1;token={SECRET}",
        "https://host/k?blob=AbCdEfGhIjKl0123456789s3cr3t",
        "https://ghp_AbCdEfGhIjKl0123456789s3cr3t@host/k",
    ],
)
def test_secrets_are_hidden(url: str) -> None:
    shown = redact.url(url)
    assert "s3cr3t" not in shown.lower()
    assert redact.HIDDEN in shown
    assert "host" in shown
    assert "s3cr3t" not in redact.message(f"could not read <{url}>: refused").lower()


@pytest.mark.parametrize(
    "url",
    [
        "file:///data/what?token=1&x@y#z",
        "/data/a@b:c?d=e",
        "https://host:8080/a%20b/c.root?version=3&file=run1.root",
        "s3://alice@site/bucket/key",
        "gsiftp://host:2811/a@b",
        "https://[::1]:8443/a",
        "not an url",
    ],
)
def test_what_is_no_secret_stays(url: str) -> None:
    assert redact.url(url) == url


def test_bearer_and_basic_credentials_in_messages_are_hidden() -> None:
    text = redact.message("sent Authorization: Bearer abc.def-ghi and basic: dXNlcjpwYXNz")
    assert "abc.def" not in text and "dXNlcjpwYXNz" not in text


def test_parameters_of_a_bare_path() -> None:
    assert redact.path("/f?x=1&sig=s3cr3t") == "/f?x=1&sig=***"
    text = redact.message("no such file: /b/k?x=1&X-Amz-Signature=s3cr3t (at h)")
    assert text == "no such file: /b/k?x=1&X-Amz-Signature=*** (at h)"


@given(st.text(), st.text(alphabet="abcXYZ019%-_~.!$'()*+,=", min_size=9))
def test_no_password_of_any_letters_is_shown(path: str, password: str) -> None:
    secret = f"Q{password}Q"
    assert secret not in redact.url(f"https://user:{secret}@host/{path.replace(secret, '')}")
