"""Getting in to a real OpenSSH server, or not: host keys, keys, passwords, and what is said about it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.clients.sftp.paramiko import Library
from pegasus_toolkit.transfer.clients.sftp.program import Program
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from tests.servers.common import free_port, program, public_directory
from tests.servers.sshd import PASSPHRASE, PASSWORD, Sshd, serving, with_password

BOTH = pytest.mark.parametrize("programs", [os.environ["PATH"], ""], ids=["ssh", "paramiko"])


def reach(
    tmp_path: Path, server: Sshd, section: str, programs: str, environ: Mapping[str, str] | None = None
) -> None:
    """Logs in and asks for one thing."""
    file = tmp_path / "credentials.conf"
    file.touch(mode=0o600)
    file.write_text(f"[127.0.0.1:{server.port}]\n{section}\n")
    known = Credentials.load({"PEGASUS_CREDENTIALS": str(file), **(environ or {})})
    settings = Settings(known, {"PATH": programs, **(environ or {})}, connect_timeout=20)
    backend = open_backend(Endpoint("scp", server.authority, "here"), settings)
    try:
        assert backend.stat("/").directory
    finally:
        backend.close()


@pytest.fixture(scope="session")
def guarded() -> Iterator[Sshd]:
    """A server that knows our password, too."""
    with public_directory("sshd-") as home, with_password(home) as server:
        yield server


def login(server: Sshd) -> str:
    return f"private_key = {server.key}\n"


@BOTH
def test_a_key_and_a_known_host(sshd: Sshd, tmp_path: Path, programs: str) -> None:
    reach(tmp_path, sshd, login(sshd) + f"known_hosts = {sshd.known_hosts}", programs)


@BOTH
def test_an_unknown_host_is_refused_with_advice(sshd: Sshd, tmp_path: Path, programs: str) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(Denied) as caught:
        reach(tmp_path, sshd, login(sshd) + f"known_hosts = {empty}", programs)
    said = str(caught.value)
    assert "not known" in said and f"127.0.0.1]:{sshd.port}" in said
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1" in said and str(empty) in said
    assert empty.read_text() == ""


@BOTH
def test_a_changed_host_key_is_refused(sshd: Sshd, tmp_path: Path, programs: str) -> None:
    other = " ".join(Path(f"{sshd.key}.pub").read_text().split()[:2])
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {other}\n")
    for check in ("strict", "accept-new"):
        section = login(sshd) + f"known_hosts = {known}\nhost_key_check = {check}"
        with pytest.raises(Denied, match=r"not the one that is known.*ssh-keygen -R"):
            reach(tmp_path, sshd, section, programs)


@BOTH
def test_a_new_host_is_accepted_once_where_the_site_says_so(
    sshd: Sshd, tmp_path: Path, programs: str
) -> None:
    known = tmp_path / "known hosts %1"
    section = login(sshd) + f"known_hosts = {known}\nhost_key_check = accept-new"
    reach(tmp_path, sshd, section, programs)
    assert sshd.host_key in known.read_text()
    reach(tmp_path, sshd, login(sshd) + f"known_hosts = {known}", programs)


@BOTH
def test_a_pinned_host_key_is_the_only_one(sshd: Sshd, tmp_path: Path, programs: str) -> None:
    reach(tmp_path, sshd, login(sshd) + f"host_key = {sshd.host_key}", programs)
    other = " ".join(Path(f"{sshd.key}.pub").read_text().split()[:2])
    with pytest.raises(Denied, match="host_key of"):
        reach(tmp_path, sshd, login(sshd) + f"host_key = {other}", programs)


@BOTH
def test_a_wrong_key_is_refused(sshd: Sshd, tmp_path: Path, programs: str) -> None:
    section = f"private_key = {sshd.wrong_key}\nknown_hosts = {sshd.known_hosts}"
    with pytest.raises(Denied, match=r"login was refused.*127\.0\.0\.1.*SSH_PRIVATE_KEY"):
        reach(tmp_path, sshd, section, programs)


@BOTH
def test_a_key_named_by_the_environment(sshd: Sshd, tmp_path: Path, programs: str) -> None:
    section = f"known_hosts = {sshd.known_hosts}"
    environ = {"SSH_PRIVATE_KEY": str(sshd.wrong_key), "SSH_PRIVATE_KEY_here": str(sshd.key)}
    reach(tmp_path, sshd, section, programs, environ)
    del environ["SSH_PRIVATE_KEY_here"]
    with pytest.raises(Denied):
        reach(tmp_path, sshd, section, programs, environ)


def test_a_key_that_others_can_read_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(sshd.key.read_bytes())
    key.chmod(0o640)
    section = f"known_hosts = {sshd.known_hosts}"
    for environ, text in (({"SSH_PRIVATE_KEY": str(key)}, section), ({}, f"{section}\nprivate_key = {key}")):
        with pytest.raises(CredentialError, match="chmod 600 "):
            reach(tmp_path, sshd, text, os.environ["PATH"], environ)


def test_a_key_with_a_passphrase(sshd: Sshd, tmp_path: Path) -> None:
    section = f"private_key = {sshd.locked_key}\nknown_hosts = {sshd.known_hosts}\npassphrase = "
    reach(tmp_path, sshd, section + PASSPHRASE, os.environ["PATH"])
    with pytest.raises(Denied, match="passphrase does not fit") as caught:
        reach(tmp_path, sshd, section + "s3cret-guess", os.environ["PATH"])
    assert "s3cret-guess" not in everything(caught.value)


def test_a_password(guarded: Sshd, tmp_path: Path) -> None:
    section = f"known_hosts = {guarded.known_hosts}\npassword = "
    reach(tmp_path, guarded, section + PASSWORD, os.environ["PATH"])
    with pytest.raises(Denied, match="login was refused") as caught:
        reach(tmp_path, guarded, section + "s3cret-guess", os.environ["PATH"])
    assert "s3cret-guess" not in everything(caught.value)


def test_a_password_is_not_sent_to_an_unknown_host(guarded: Sshd, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(Denied, match="host key is not known"):
        reach(tmp_path, guarded, f"known_hosts = {empty}\npassword = {PASSWORD}", os.environ["PATH"])


def everything(error: BaseException) -> str:
    """All that an error and those behind it would show."""
    text = ""
    while error is not None:
        text += f"{error!r} {error} {vars(error)} "
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return text


@BOTH
def test_nobody_there(sshd: Sshd, tmp_path: Path, programs: str) -> None:
    gone = sshd._replace(port=free_port())
    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1.*{gone.port}"):
        reach(tmp_path, gone, login(sshd) + f"host_key = {sshd.host_key}", programs)


def test_a_login_that_prints_something(tmp_path: Path) -> None:
    noise = 'ForceCommand echo "Welcome to the cluster, dear user"'
    with serving(tmp_path, more=noise) as server, pytest.raises(Unsupported, match="login scripts"):
        reach(tmp_path, server, login(server) + f"host_key = {server.host_key}", os.environ["PATH"])


@BOTH
def test_a_server_without_sftp(tmp_path: Path, programs: str) -> None:
    with serving(tmp_path, subsystem="") as server, pytest.raises(Unsupported, match="no SFTP"):
        reach(tmp_path, server, login(server) + f"host_key = {server.host_key}", programs)


@pytest.mark.parametrize(
    "authority",
    [
        "-oProxyCommand=touch$IFS/tmp/x",
        "-l@host",
        "us;er@host",
        "host`id`",
        "host:22x",
        "host:0",
        "host:99999",
        "a b",
        "$(id)@host",
        "",
    ],
)
def test_what_is_no_host_reaches_no_program(authority: str) -> None:
    with pytest.raises(BadSpecification):
        open_backend(Endpoint("scp", authority, "here"), Settings(Credentials.none()))


def test_the_argument_list_holds_what_the_url_says_behind_its_options() -> None:
    settings = Settings(Credentials.none(), {"PATH": os.environ["PATH"]})
    backend = open_backend(Endpoint("sftp", "me@[::1]:2222", "here"), settings)
    connector = backend.client.connector  # type: ignore[attr-defined]
    assert isinstance(connector, Program)
    argv = connector.argv(["-s"], "sftp", "", 30)
    assert argv[-3:] == ["--", "::1", "sftp"] and argv[argv.index("-p") + 1] == "2222"
    assert "-oStrictHostKeyChecking=yes" in argv and "-oBatchMode=yes" in argv


def test_secrets_go_by_the_library(tmp_path: Path) -> None:
    file = tmp_path / "credentials.conf"
    file.touch(mode=0o600)
    file.write_text("[host]\npassword = s3cret\n")
    known = Credentials.load({"PEGASUS_CREDENTIALS": str(file)})
    backend = open_backend(Endpoint("scp", "host", ""), Settings(known, {"PATH": os.environ["PATH"]}))
    assert isinstance(backend.client.connector, Library)  # type: ignore[attr-defined]


def test_nothing_is_left_in_the_temporary_directory(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pinned key goes by a file, which is public, and gone afterwards."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    reach(tmp_path, sshd, login(sshd) + f"host_key = {sshd.host_key}", os.environ["PATH"])
    assert list(temporary.iterdir()) == []


def test_an_old_ssh_that_knows_no_preferred_ciphers_serves_all_the_same(sshd: Sshd, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    old = programs / "ssh"
    real = program("ssh")
    complaint = "command-line line 0: Bad SSH2 cipher spec '^aes'."
    script = f'case "$*" in *Ciphers=^*) echo "{complaint}" >&2; exit 255;; esac\nexec {real} "$@"\n'
    old.write_text(f"#!/bin/sh\n{script}")
    old.chmod(0o755)
    reach(tmp_path, sshd, login(sshd) + f"host_key = {sshd.host_key}", str(programs))


def test_an_agent_that_is_not_there_is_told(sshd: Sshd, tmp_path: Path) -> None:
    environ = {"SSH_AUTH_SOCK": str(tmp_path / "gone"), "HOME": str(tmp_path)}
    with pytest.raises(Denied, match=f"no agent answers at SSH_AUTH_SOCK, {tmp_path}/gone"):
        reach(tmp_path, sshd, f"known_hosts = {sshd.known_hosts}\nuser = nobody", os.environ["PATH"], environ)


def test_a_command_in_the_configuration_is_not_run(sshd: Sshd, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    config = tmp_path / "config"
    config.write_text("Host *\n  RemoteCommand /bin/false\n")
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {program("ssh")} -F {config} "$@"\n')
    (programs / "ssh").chmod(0o755)
    reach(tmp_path, sshd, login(sshd) + f"known_hosts = {sshd.known_hosts}", str(programs))
