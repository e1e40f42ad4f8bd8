"""Which section serves which server; and S3's sections as upstream's users have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials


def load(tmp_path: Path, text: str, name: str = "credentials.conf") -> Credentials:
    path = tmp_path / name
    path.write_text(text)
    path.chmod(0o600)
    return Credentials.load({"PEGASUS_CREDENTIALS": str(path)}, str(tmp_path))


SECTIONS = [
    "https://data.example.org:8443",
    "https://data.example.org",
    "http://data.example.org",
    "data.example.org:8443",
    "data.example.org",
    "https://Upper.Example.ORG/",
    "https://only.example.org",
    "https://[2001:db8::1]:8443",
    "site",
    "joe@data.example.org",
    "https://path.example.org/dir",
]


@pytest.mark.parametrize(
    ("scheme", "authority", "section"),
    [
        ("https", "data.example.org:8443", "https://data.example.org:8443"),
        ("https", "data.example.org", "https://data.example.org"),
        ("https", "data.example.org:443", "https://data.example.org"),
        ("https", "data.example.org:9", "https://data.example.org"),
        ("HTTPS", "DATA.example.org", "https://data.example.org"),
        ("http", "data.example.org:8443", "http://data.example.org"),
        ("webdav", "data.example.org:8443", "data.example.org:8443"),
        ("webdav", "data.example.org", "data.example.org"),
        ("https", "joe@data.example.org", "https://data.example.org"),
        ("https", "upper.example.org.", "https://Upper.Example.ORG/"),
        ("https", "[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        # Never for another scheme, host or port.
        ("http", "only.example.org", ""),
        ("https", "[2001:db8::1]", ""),
        ("https", "[2001:db8::2]:8443", ""),
        ("https", "data.example.org.evil.net", ""),
        ("https", "evil-data.example.org", ""),
        ("https", "data.example.org@evil.net", ""),
        ("https", "evil.net:443@evil.net", ""),
        ("https", "example.org", ""),
        ("https", "path.example.org", ""),
        ("https", "", ""),
        ("https", "only.example.org:x", "https://only.example.org"),
    ],
)
def test_the_most_specific_section_serves(tmp_path: Path, scheme: str, authority: str, section: str) -> None:
    text = "".join(f"[{name}]\nheader.X-Section = {name}\n" for name in SECTIONS)
    found = load(tmp_path, text).http(scheme, authority, "site")
    assert found.section == section
    assert [(name, value.reveal()) for name, value in found.headers] == (
        [("X-Section", section)] if section else []
    )


def test_a_site_label_alone_sends_no_secret_to_a_host(tmp_path: Path) -> None:
    """The specification is not trusted: it may put any label beside any URL."""
    credentials = load(tmp_path, "[cern]\nusername = joe\npassword = p\n")
    assert credentials.http("https", "evil.net", "cern").password is None


def test_a_port_that_is_the_schemes_own_need_not_be_written(tmp_path: Path) -> None:
    credentials = load(tmp_path, "[https://a:443]\nheader.A = x\n[b:80]\nheader.B = y\n")
    assert credentials.http("https", "a").section == "https://a:443"
    assert credentials.http("http", "b").section == "b:80"
    assert credentials.http("https", "b").section == ""


def test_all_that_an_http_section_can_hold(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch(0o600)
    (tmp_path / "ca.pem").chmod(0o644)
    credentials = load(
        tmp_path,
        f"[h]\nHeader.X-Api-Key = a%b;c#d: e=f\nUsername = joe\npassword = %(p)s  p\nVERIFY = No\n"
        f"ca_file = ca.pem\nclient_certificate = {tmp_path}/cert.pem\nclient_key = ~/key.pem\n",
    )
    found = credentials.http("https", "h")
    assert [(name, value.reveal()) for name, value in found.headers] == [("X-Api-Key", "a%b;c#d: e=f")]
    assert (found.username, found.password and found.password.reveal()) == ("joe", "%(p)s  p")
    assert found.token is None
    assert found.insecure
    assert found.ca_file == f"{tmp_path}/ca.pem"
    assert found.client_certificate == f"{tmp_path}/cert.pem"
    assert found.client_key == f"{tmp_path}/key.pem"
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(
        CredentialError, match=r"client_key of \[h\] in \S+\) can be accessed by others.*chmod 600"
    ):
        credentials.http("https", "h")


def test_a_certificate_that_holds_its_own_key_is_as_private(tmp_path: Path) -> None:
    (tmp_path / "both.pem").touch()
    (tmp_path / "both.pem").chmod(0o644)
    (tmp_path / "key.pem").touch(0o600)
    credentials = load(
        tmp_path,
        "[h]\nclient_certificate = both.pem\n[k]\nclient_certificate = both.pem\nclient_key = key.pem\n",
    )
    assert credentials.http("https", "k").client_certificate == f"{tmp_path}/both.pem"
    with pytest.raises(CredentialError, match=r"client_certificate of \[h\] in \S+\) can be accessed"):
        credentials.http("https", "h")


@pytest.mark.parametrize(("word", "insecure"), [("no", True), ("NO", True), ("yes", False), ("", False)])
def test_only_the_word_no_turns_the_check_of_certificates_off(
    tmp_path: Path, word: str, insecure: bool
) -> None:
    text = (
        f"[h]\nverify = {word}\n[s]\nendpoint=https://h\nverify={word}\n[u@s]\naccess_key=a\nsecret_key=b\n"
    )
    credentials = load(tmp_path, text)
    assert credentials.http("https", "h").insecure is insecure
    assert credentials.s3("u", "s").insecure is insecure


@pytest.mark.parametrize("word", ["false", "0", "off", "none", "n", "nо"])
def test_other_words_for_it_are_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(CredentialError, match="verify is neither yes nor no"):
        load(tmp_path, f"[h]\nverify = {word}\n").http("https", "h")


# -- S3 ----------------------------------------------------------------------------------------------

S3 = """
# as in upstream's manual
[amazon]
endpoint = https://s3.amazonaws.com/
region = eu-west-1
max_object_size = 5
secret_key = stray

[joe@amazon]
access_key = 90c4143642cb097c88fe2ec66ce4ad4e
Secret_Key = a/b+c%d%%=e

[s3.example.org]
endpoint = http://127.0.0.1:8333
[joe@s3.example.org]
access_key = x
secret_key = y
session_token = z
"""


def test_s3_as_upstreams_users_have_it(tmp_path: Path) -> None:
    found = load(tmp_path, S3).s3("joe", "amazon")
    assert (found.endpoint, found.region) == ("https://s3.amazonaws.com", "eu-west-1")
    assert found.access_key.reveal() == "90c4143642cb097c88fe2ec66ce4ad4e"
    assert found.secret_key.reveal() == "a/b+c%d%%=e"
    assert found.session_token is None
    assert dict(found.options) == {"max_object_size": "5"}
    assert (found.section, found.insecure, found.ca_file) == ("joe@amazon", False, "")


def test_an_s3_site_that_is_called_as_a_host(tmp_path: Path) -> None:
    credentials = load(tmp_path, S3)
    token = credentials.s3("joe", "s3.example.org").session_token
    assert token is not None
    assert token.reveal() == "z"
    http = credentials.http("https", "s3.example.org")
    assert (http.headers, http.password, http.token) == ((), None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[joe@amazon]\naccess_key=a\nsecret_key=b\n", "no section [amazon]"),
        ("[amazon]\nendpoint=https://h\n", "no section [joe@amazon]"),
        ("[other]\n", "no section [amazon] and no section [joe@amazon] in "),
        ("[amazon]\n[joe@amazon]\naccess_key=a\nsecret_key=b\n", "section [amazon]: no endpoint"),
        ("[amazon]\nendpoint=https://h\n[joe@amazon]\nsecret_key=b\n", "section [joe@amazon]: no access_key"),
        (
            "[amazon]\nendpoint=https://h\n[joe@amazon]\naccess_key=b\nsecret_key=\n",
            "[joe@amazon]: no secret_key",
        ),
        ("[amazon]\nendpoint=h:80\n[joe@amazon]\naccess_key=a\nsecret_key=b\n", "endpoint is not a URL"),
        ("[amazon]\nendpoint=ftp://h\n[joe@amazon]\naccess_key=a\nsecret_key=b\n", "endpoint is not a URL"),
        ("[amazon]\nendpoint=https://u:p@h\n[joe@amazon]\naccess_key=a\nsecret_key=b\n", "user or password"),
        (
            "[amazon]\nendpoint=https://h\n[joe@amazon]\naccess_key=a\nsecret_key=b\n c\n",
            "secret_key holds a line end",
        ),
    ],
)
def test_what_is_missing_is_named_with_section_key_and_file(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(CredentialError) as caught:
        load(tmp_path, text).s3("joe", "amazon")
    assert expected in str(caught.value)
    assert str(tmp_path / "credentials.conf") in str(caught.value)


def test_old_places_of_s3_credentials(tmp_path: Path) -> None:
    old = tmp_path / "s3cfg"
    old.write_text(S3)
    old.chmod(0o600)
    assert Credentials.load({"S3CFG": str(old)}).s3("joe", "amazon").region == "eu-west-1"
    assert Credentials.load({"S3CFG": str(old)}).http("https", "s3.example.org").section == ""
    (tmp_path / ".pegasus").mkdir()
    old.rename(tmp_path / ".pegasus/s3cfg")
    home = Credentials.load({}, str(tmp_path))
    assert home.s3("joe", "amazon").region == "eu-west-1"
    new = tmp_path / ".pegasus/credentials.conf"
    new.write_text(S3.replace("eu-west-1", "new"))
    new.chmod(0o600)
    assert home.s3("joe", "amazon").region == "new"
