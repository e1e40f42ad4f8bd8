"""Which SSH credential serves which URL, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials, SshCredential

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHcqaNEWuFqPnDmiKQ4xGVRkPgHZl3GUrRVUxDT0Qezh"


def load(directory: Path, text: str, **environ: str) -> Credentials:
    file = directory / "credentials.conf"
    file.touch(mode=0o600)
    file.write_text(text)
    return Credentials.load({"PEGASUS_CREDENTIALS": str(file), **environ}, home=str(directory))


# The smallest file that may be a key: an empty sequence.
PLAIN = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"


def private(path: Path, text: str = "") -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def test_nothing_is_said() -> None:
    assert Credentials.none().ssh("scp", "host", "site") == SshCredential()


@pytest.mark.parametrize(
    ("authority", "user"),
    [
        ("box", "plain"),
        ("somebody@box", "plain"),
        ("BOX:22", "plain"),
        ("box:2222", "port"),
        ("other", "by site"),
        ("box.", "plain"),
    ],
)
def test_the_most_specific_section_counts(tmp_path: Path, authority: str, user: str) -> None:
    text = "[box]\nuser = plain\n[box:2222]\nuser = port\n[cluster]\nuser = by site\n[x@cluster]\nkey = k\n"
    assert load(tmp_path, text).ssh("scp", authority, "cluster").user == user


def test_scp_and_sftp_are_one_protocol(tmp_path: Path) -> None:
    known = load(tmp_path, "[sftp://box]\nuser = me\n")
    assert known.ssh("scp", "box").user == known.ssh("sftp", "box").user == "me"


def test_a_site_that_is_for_another_protocol_is_left_alone(tmp_path: Path) -> None:
    text = "[cluster]\nendpoint = https://s3.example.org\nregion = x\n"
    assert load(tmp_path, text).ssh("scp", "box", "cluster") == SshCredential()


def test_all_that_a_section_may_say(tmp_path: Path) -> None:
    key, known = private(tmp_path / "key", PLAIN), private(tmp_path / "hosts")
    text = f"[box]\nuser = me\nport = 2222\nprivate_key = ~/key\npassphrase = p%1\nknown_hosts = {known}\n"
    found = load(tmp_path, text).ssh("scp", "box")
    assert (found.user, found.port, found.private_key, found.known_hosts) == (
        "me",
        2222,
        str(key),
        str(known),
    )
    assert found.passphrase is not None and found.passphrase.reveal() == "p%1"
    assert "p%1" not in repr(found)
    assert not found.accept_new and found.section == "box"


def test_a_section_goes_before_the_environment_and_the_site_before_all(tmp_path: Path) -> None:
    one, two, three = (private(tmp_path / name, PLAIN) for name in ("one", "two", "three"))
    environ = {"SSH_PRIVATE_KEY": str(one), "SSH_PRIVATE_KEY_my_site": str(two)}
    known = load(tmp_path, f"[box]\nprivate_key = {three}\n", **environ)
    assert known.ssh("scp", "box", "my-site").private_key == str(three)
    assert known.ssh("scp", "elsewhere", "my-site").private_key == str(two)
    assert known.ssh("scp", "elsewhere", "other").private_key == str(one)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("pasword = s3cret", "is not known"),
        ("port = 0", "port is not"),
        ("port = 99999", "port is not"),
        ("port = 22 -oProxyCommand=x", "port is not"),
        ("host_key_check = no", "neither strict nor accept-new"),
        ("host_key = AAAA", "not of the form"),
        (f"host_key = ssh-rsa {KEY.split()[1]}", "not of the form"),
        (f"host_key = {KEY}\nhost_key_check = accept-new", "stands alone"),
        ("passphrase = s3cret", "without private_key"),
        ("private_key = missing", "does not exist"),
        ("known_hosts = missing", "not a file"),
        ("known_hosts = no/such/directory/file\nhost_key_check = accept-new", "in no directory"),
        ("user = a\nusername = b", "one is enough"),
    ],
)
def test_what_cannot_be_right_is_said_without_the_secret(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(CredentialError, match=words) as caught:
        load(tmp_path, f"[box]\n{section}\n").ssh("scp", "box")
    assert "s3cret" not in str(caught.value) and "credentials.conf" in str(caught.value)


def test_a_password_of_a_site_would_go_to_any_host(tmp_path: Path) -> None:
    known = load(tmp_path, "[cluster]\nuser = me\npassword = s3cret\n")
    with pytest.raises(CredentialError, match="section of its host") as caught:
        known.ssh("scp", "evil.example.org", "cluster")
    assert "s3cret" not in str(caught.value)


def test_a_pinned_key_is_taken_without_its_comment(tmp_path: Path) -> None:
    assert load(tmp_path, f"[box]\nhost_key = {KEY} root@box\n").ssh("scp", "box").host_key == KEY


def test_a_key_named_by_a_variable_must_be_there_and_private(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "gone", "does not exist"), (tmp_path / "open", r"chmod 600 .*open")):
        if path.name == "open":
            path.touch(mode=0o644)
        with pytest.raises(CredentialError, match=words) as caught:
            load(tmp_path, "", SSH_PRIVATE_KEY=str(path)).ssh("scp", "box")
        assert "private key" in str(caught.value) and "SSH_PRIVATE_KEY" in str(caught.value)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real ones, as ssh-keygen makes them: plain and locked, in its own form and as PEM."""
    place = tmp_path_factory.mktemp("keys")
    for name, options in (("plain", ["-N", ""]), ("locked", ["-N", "secret words"])):
        for form in ("", "pem"):
            pem = ["-m", "PEM", "-t", "rsa", "-b", "2048"] if form else ["-t", "ed25519"]
            command = ["ssh-keygen", "-q", *pem, *options, "-f", str(place / (name + form))]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return place


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
class TestKeyFiles:
    def ask(self, tmp_path: Path, key: Path, section: str = "", **environ: str) -> SshCredential:
        text = f"[box]\nprivate_key = {key}\n{section}\n"
        return load(tmp_path, text, **environ).ssh("sftp", "box")

    def test_good_ones(self, tmp_path: Path, keys: Path) -> None:
        for name in ("plain", "plainpem"):
            assert self.ask(tmp_path, keys / name).private_key == str(keys / name)
        for name in ("locked", "lockedpem"):
            self.ask(tmp_path, keys / name, "passphrase = secret words")
            self.ask(tmp_path, keys / name, SSH_AUTH_SOCK="/run/agent")

    @pytest.mark.parametrize("name", ["locked", "lockedpem"])
    def test_locked(self, tmp_path: Path, keys: Path, name: str) -> None:
        with pytest.raises(CredentialError, match="has a passphrase; write it as passphrase into"):
            self.ask(tmp_path, keys / name)
        with pytest.raises(CredentialError, match="has a passphrase"):
            load(tmp_path, "", SSH_PRIVATE_KEY=str(keys / name)).ssh("sftp", "box")

    @pytest.mark.parametrize("name", ["plain", "plainpem"])
    def test_damaged(self, tmp_path: Path, keys: Path, name: str) -> None:
        lines = (keys / name).read_text().splitlines()
        cut = [*lines[:2], *lines[3:]] if len(lines) < 10 else [*lines[:3], lines[-1]]
        for text in ("\n".join(lines[:-1]), "\n".join(cut), "\n".join([lines[0], "@@@@", *lines[2:]])):
            with pytest.raises(CredentialError, match="is damaged"):
                self.ask(tmp_path, private(tmp_path / "key", text + "\n"))

    def test_what_is_no_private_key(self, tmp_path: Path, keys: Path) -> None:
        (keys / "plain.pub").chmod(0o600)
        with pytest.raises(CredentialError, match="is a public key"):
            self.ask(tmp_path, keys / "plain.pub")
        with pytest.raises(CredentialError, match="is no private key"):
            self.ask(tmp_path, private(tmp_path / "key", "my thesis"))
