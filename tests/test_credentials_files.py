"""Credential files: where they are found, which are refused, and what no error ever tells."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.credentials import CredentialError, Credentials, HttpCredential

GOOD = "[host]\nheader.X-Token = hunter2\n"


def private(path: Path, text: str | bytes = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def token(credentials: Credentials, host: str = "host", site: str = "") -> str:
    headers = credentials.http("https", host, site).headers
    return headers[0][1].reveal() if headers else ""


def refusal(path: Path) -> str:
    """What asking for a credential in that file says; no frame of ours may show a secret either."""
    credentials = Credentials.load({"PEGASUS_CREDENTIALS": str(path)})
    with pytest.raises(CredentialError) as caught:
        credentials.http("https", "host")
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [str(frame.locals) for frame in trace.stack if "pegasus_toolkit" in frame.filename]
    assert ours
    assert "hunter2" not in "".join(ours)
    assert "hunter2" not in "".join(trace.format())
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- where they are found ----------------------------------------------------------------------------


def test_the_site_has_a_file_of_its_own_then_the_common_one(tmp_path: Path) -> None:
    environ = {
        "PEGASUS_CREDENTIALS": str(
            private(tmp_path / "common", "[host]\ntoken=c\n[other]\nheader.A = common\n")
        ),
        "PEGASUS_CREDENTIALS_my_site": str(private(tmp_path / "own", "[host]\nheader.A = own\n")),
    }
    credentials = Credentials.load(environ, str(tmp_path))
    assert token(credentials, "host", "my-site") == "own"
    assert token(credentials, "other", "my-site") == "common"
    assert token(credentials, "other", "elsewhere") == "common"
    assert credentials.http("https", "host").token is not None


def test_the_usual_place_counts_where_nothing_is_named(tmp_path: Path) -> None:
    private(
        tmp_path / "home/.pegasus/credentials.conf", "[host]\nheader.A = home\n[other]\nheader.A = home\n"
    )
    named = private(tmp_path / "named")
    assert token(Credentials.load({"HOME": str(tmp_path / "home")})) == "home"
    assert token(Credentials.load({"HOME": "/nowhere"}, home=str(tmp_path / "home"))) == "home"
    environ = {"HOME": str(tmp_path / "home"), "PEGASUS_CREDENTIALS": str(named)}
    assert token(Credentials.load(environ)) == "hunter2"
    assert token(Credentials.load(environ), "other") == ""


def test_nothing_anywhere_is_no_credential(tmp_path: Path) -> None:
    for credentials in (Credentials.none(), Credentials.load({}), Credentials.load({}, str(tmp_path))):
        assert credentials.http("https", "host", "site") == HttpCredential()
        with pytest.raises(
            CredentialError, match="there is no credentials file; name one in PEGASUS_CREDENTIALS"
        ):
            credentials.s3("joe", "site")


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    credentials = Credentials.load({"PEGASUS_CREDENTIALS": str(tmp_path / "later")})
    private(tmp_path / "later")
    assert token(credentials) == "hunter2"
    (tmp_path / "later").unlink()
    assert token(credentials) == "hunter2"  # and once only


def test_many_threads_get_the_same_answer(tmp_path: Path) -> None:
    credentials = Credentials.load({"PEGASUS_CREDENTIALS": str(private(tmp_path / "c"))})
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(token(credentials))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["hunter2"] * 16


def test_another_kind_of_file_is_found_and_checked_the_same_way(tmp_path: Path) -> None:
    own, common = private(tmp_path / "own"), private(tmp_path / "common")
    environ = {"X509_USER_PROXY_my_site": str(own), "X509_USER_PROXY": str(common), "SSH_PRIVATE_KEY": ""}
    credentials = Credentials.load(environ)
    assert credentials.environment_file("X509_USER_PROXY", "my-site") == own
    assert credentials.environment_file("X509_USER_PROXY", "other") == common
    assert credentials.environment_file("SSH_PRIVATE_KEY", "my-site") is None
    common.chmod(0o640)
    with pytest.raises(CredentialError, match="named by X509_USER_PROXY"):
        credentials.environment_file("X509_USER_PROXY")


# -- which are refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o601, 0o644, 0o666, 0o777])
def test_a_file_that_others_can_access_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int
) -> None:
    path = private(tmp_path / "it's $HOME & more")
    path.chmod(mode)
    said = refusal(path)
    assert f"(named by PEGASUS_CREDENTIALS) can be accessed by others (mode {mode:04o})" in said
    command = said.partition("; ")[2]
    assert shlex.split(command) == ["chmod", "600", str(path)]
    subprocess.run(shlex.split(command), check=True)
    assert token(Credentials.load({"PEGASUS_CREDENTIALS": str(path)})) == "hunter2"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_that_only_its_owner_can_access_is_fine(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "c")
    path.chmod(mode)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert token(Credentials.load({"PEGASUS_CREDENTIALS": str(link)})) == "hunter2"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "file").touch()
    assert "does not exist" in refusal(tmp_path / "none")
    assert "does not exist" in refusal(tmp_path / "file" / "below")
    assert "is not a regular file" in refusal(tmp_path)
    assert "is not a regular file" in refusal(tmp_path / "fifo")
    assert "is not a regular file" in refusal(Path("/dev/zero"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives a file to another user")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "c")
    os.chown(path, 12345, -1)
    assert "belongs to another user (uid 12345)" in refusal(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[host]\npassword hunter2\n", "line 2: is neither [section] nor key = value"),
        ("hunter2 = x\n[host]\n", "line 1: stands before the first [section]"),
        ("[host]\n[host]\ntoken = hunter2", "line 2: the same [section] for the second time"),
        ("[host]\ntoken = hunter2\ntoken = hunter2", "line 3: the same key"),
        (b"[host]\na = b\ntoken = hunter2\xff\n", "line 3: is not UTF-8"),
        ("[host]\ntoken = hunter2\nTOKEN = hunter2", "section [host]: the same key twice"),
        ("[host]\nheader.A = x\n  hunter2\n", "header.A holds a line end"),
        ("[host]\nheader.A = a\rhunter2: c\n", "header.A holds a line end"),
        ("[host]\nheader.A = hunter2\x00\n", "header.A holds a line end or another control character"),
        ("[host]\nheader.A B = hunter2\n", "not the name of a header"),
        ("[host]\nheader. = hunter2\n", "not the name of a header"),
        (
            "[host]\npasword = hunter2\n",
            "the key in line 2 is not known; known are: allow_plain_password, ca_file",
        ),
        ("[host]\npassword = ab\npiece=c\n", "the key in line 3 is not known"),
        ("[host]\npassword = hunter2\n", "username and password go together"),
        ("[host]\nusername = joe\n", "username and password go together"),
        ("[host]\nusername = a\npassword = hunter2\ntoken = hunter2\n", "at most one of"),
        ("[host]\nheader.authorization = hunter2\ntoken = hunter2\n", "at most one of"),
        ("[host]\nverify = hunter2\n", "verify is neither yes nor no"),
        ("[host]\ntoken = hunter2\n more\n", "token holds a line end"),
        ("[host]\nca_file = /nowhere/ca.pem\n", "ca_file is not a file: /nowhere/ca.pem"),
        ("[host]\nclient_key = /nowhere/key.pem\n", "/nowhere/key.pem (client_key of [host] in "),
        ("[https://host]\n[https://HOST:443]\n[https://host:443]\n", "are for the same host"),
        ("#" * (1 << 20) + GOOD, "is larger than 1048576 bytes"),
    ],
)
def test_a_broken_file_is_named_with_the_place_and_not_its_content(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    said = refusal(private(tmp_path / "c.conf", text))
    assert expected in said
    assert "c.conf" in said
    assert "piece" not in said  # of a password that was written on two lines


def test_a_name_with_control_characters_stays_on_one_line(tmp_path: Path) -> None:
    assert "a\\nb" in refusal(tmp_path / "a\nb")


SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1).map(
    lambda s: f"s3cr{s}t"
)
LINES = st.lists(
    st.sampled_from(
        ["[host]", "[a]", "[b@a]", "[https://host]", "[a]\nendpoint = https://h", "[", "verify = maybe"]
    )
    | st.builds(
        "{}{}{}".format,
        st.sampled_from(
            ["password", "token", "access_key", "secret_key", "header.A", "header.A B", "x", "", " "]
        ),
        st.sampled_from([" = ", ": ", "=", " ", "\n", "\n  ", "\r", "\0", "]"]),
        SECRETS,
    )
)


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]))
def test_no_error_ever_holds_a_secret(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str
) -> None:
    path = private(tmp_path_factory.mktemp("c") / "conf", end.join(lines))
    credentials = Credentials.load({"PEGASUS_CREDENTIALS": str(path)})
    for ask in (lambda: credentials.http("https", "host", "a"), lambda: credentials.s3("b", "a")):
        try:
            found = ask()
        except CredentialError as error:
            texts = [str(error), repr(error), error.hint, *traceback.format_exception(error)]
        else:
            texts = [repr(found._replace(section=""))]
        assert "s3cr" not in "".join(texts).replace(str(path), "")
