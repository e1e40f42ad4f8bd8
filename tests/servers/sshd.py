"""A real OpenSSH server on loopback, with host keys and a client key of its own."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers.common import free_port, listens, missing, program, public_directory, running

CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PidFile {home}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin yes
{subsystem}
MaxStartups 100:30:200
MaxSessions 100
LogLevel VERBOSE
{more}
"""


class Sshd(NamedTuple):
    """Where it listens, and the files with which a client gets in. ``home`` may hold test data."""

    port: int
    home: Path
    pid: int

    @property
    def authority(self) -> str:
        return f"{account()}@127.0.0.1:{self.port}"

    @property
    def key(self) -> Path:
        return self.home / "client_key"

    @property
    def locked_key(self) -> Path:
        """Opens it too, with the passphrase ``PASSPHRASE``."""
        return self.home / "locked_key"

    @property
    def wrong_key(self) -> Path:
        """Nobody lets it in."""
        return self.home / "wrong_key"

    @property
    def known_hosts(self) -> Path:
        return self.home / "known_hosts"

    @property
    def host_key(self) -> str:
        """Type and key, as ``host_key`` in credentials.conf."""
        return " ".join((self.home / "host_key.pub").read_text().split()[:2])

    def sessions(self) -> list[int]:
        """Pids of the processes that serve connections: the children of the listening one."""
        return children(self.pid)

    def cut(self) -> None:
        """Ends every connection, at once, as a network that fails; the server goes on."""
        for pid in self.sessions():
            for child in [*children(pid), pid]:
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    continue


PASSPHRASE = "pass phrase %1"
PASSWORD = "pass%word $1"


def account() -> str:
    """Who runs the tests, and so who logs in."""
    return pwd.getpwuid(os.geteuid()).pw_name


def children(pid: int) -> list[int]:
    """Of a process, by what the kernel tells."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


@contextmanager
def serving(
    home: Path, *, subsystem: str = "internal-sftp", more: str = "", before: str = ""
) -> Iterator[Sshd]:
    """One more server, which keeps its keys in ``home`` (made where they are missing).

    ``before``: shell commands run in a mount namespace of its own just before it starts; what they
    mount, this server alone sees, and nothing is left of it afterwards. ``subsystem``: "" for no SFTP.
    """
    binary = program("sshd")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Debian's privilege separation wants it
    port = free_port()
    _write_files(home, port)
    line = f"Subsystem sftp {subsystem}" if subsystem else ""
    text = CONFIGURATION.format(port=port, home=home, subsystem=line, more=more)
    (home / "sshd_config").write_text(text)
    argv = [binary, "-D", "-e", "-f", str(home / "sshd_config")]
    if before:
        if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
            missing("no mount namespaces here")
        argv = ["unshare", "-m", "sh", "-ec", f'{before}\nexec "$@"', "sh", *argv]
    with running(argv, home / "output.log", lambda: listens(port)) as process:
        server = Sshd(port, home, process.pid)
        try:
            yield server
        finally:
            server.cut()


def _write_files(home: Path, port: int) -> None:
    passphrases = {"host_key": "", "client_key": "", "wrong_key": "", "locked_key": PASSPHRASE}
    for name, passphrase in passphrases.items():
        if not (home / name).exists():
            _make_key(home / name, passphrase)
    keys = [(home / f"{name}.pub").read_text() for name in ("client_key", "locked_key")]
    (home / "authorized_keys").write_text("".join(keys))
    host_key = " ".join((home / "host_key.pub").read_text().split()[:2])
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")


def _make_key(path: Path, passphrase: str) -> None:
    command = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@contextmanager
def with_password(home: Path) -> Iterator[Sshd]:
    """A server to which our account's password is ``PASSWORD``; for all others it stays what it is."""
    if os.geteuid() != 0:
        missing("only root can give an account another password")
    command = [program("openssl"), "passwd", "-6", "-stdin"]
    hashed = subprocess.run(command, input=PASSWORD, text=True, capture_output=True, check=True).stdout
    shadow = home / "shadow"
    shadow.touch(mode=0o600)
    shadow.write_text(f"{account()}:{hashed.strip()}:19000:0:99999:7:::\n")
    with serving(home, before=f"mount --bind '{shadow}' /etc/shadow") as server:
        yield server


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """One server for all tests."""
    with public_directory("sshd-") as home, serving(home) as server:
        yield server
