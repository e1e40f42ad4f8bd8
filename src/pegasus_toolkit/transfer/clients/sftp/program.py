"""SSH by the ``ssh`` program: its configuration, agent, keys, proxies and known hosts are the user's own."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pegasus_toolkit.credentials import SshCredential
from pegasus_toolkit.transfer.clients.sftp.address import Address
from pegasus_toolkit.transfer.clients.sftp.said import BAD_CIPHER, said
from pegasus_toolkit.transfer.errors import TransferError

SAID = 16384  # bytes of what the program says that are read
LOOK = 0.2  # seconds: how soon it is noticed that a command is to be stopped
LINGER = 1.0  # seconds for it to end by itself and to say why
PINNED = "pinned"  # the name by which a pinned host key is looked up

# What must not come from the user's configuration: prompts, other sessions' sockets, forwardings.
ALWAYS = (
    "BatchMode=yes", "ControlMaster=no", "ControlPath=none", "ClearAllForwardings=yes", "ForwardAgent=no",
    "ForwardX11=no", "PermitLocalCommand=no", "UpdateHostKeys=no", "LogLevel=ERROR", "RequestTTY=no",
    "RemoteCommand=none",
)  # fmt: skip
FAST = "aes128-gcm@openssh.com,aes256-gcm@openssh.com"


Stopped = Callable[[], bool]


class Program:
    """Starts ``ssh`` for one server."""

    waits = False

    def __init__(
        self, binary: str, address: Address, credential: SshCredential, environ: Mapping[str, str]
    ) -> None:
        self.binary = binary
        self.address = address
        self.credential = credential
        self.environ = {**environ, "LC_ALL": "C"}  # its messages are the only thing that tells its errors
        self.prefer_fast = aes_in_hardware()
        self.cipher_refused = False

    def sftp(self, timeout: float) -> Child:
        """Connects to the server's SFTP subsystem."""
        return Child(self, ["-s"], "sftp", timeout)

    def retry_with_less(self) -> bool:
        """Whether it was the preferred ciphers that an ``ssh`` before 8.1 does not understand."""
        relents, self.cipher_refused = self.cipher_refused and self.prefer_fast, False
        if relents:
            self.prefer_fast = False
        return relents

    def run(self, command: str, given: bytes, timeout: float, stopped: Stopped) -> tuple[int, bytes]:
        """Runs a fixed command there with that standard input: exit status and what it printed."""
        child = Child(self, [], command, timeout)
        try:
            return child.converse(given, timeout, stopped)
        finally:
            child.close()

    def argv(self, options: Sequence[str], command: str, known_hosts: str, timeout: float) -> list[str]:
        """The argument list; nothing in it is secret, nothing goes through a shell here."""
        settings = [*ALWAYS, f"ConnectTimeout={max(1, round(timeout))}"]
        credential = self.credential
        check = "accept-new" if credential.accept_new else "yes"
        settings.append(f"StrictHostKeyChecking={check}")
        if known_hosts:
            settings += [f"UserKnownHostsFile={_quoted(known_hosts)}", "GlobalKnownHostsFile=none"]
        if credential.host_key:
            settings.append(f"HostKeyAlias={PINNED}")
        if credential.private_key:
            settings += [f"IdentityFile={_quoted(credential.private_key)}", "IdentitiesOnly=yes"]
        if self.prefer_fast:
            settings.append(f"Ciphers=^{FAST}")
        argv = [self.binary, "-T", *(f"-o{setting}" for setting in settings), *options]
        if self.address.port:
            argv += ["-p", str(self.address.port)]
        if self.address.user:
            argv += ["-l", self.address.user]
        return [*argv, "--", self.address.host, command]


class Child:
    """One running ``ssh``: its input and output are our end of a socket pair."""

    def __init__(self, program: Program, options: Sequence[str], command: str, timeout: float) -> None:
        self.program = program
        self._pinned = ""
        self.sock, theirs = socket.socketpair()
        try:
            for end in (self.sock, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            known_hosts = self._known_hosts()
            self.process = subprocess.Popen(
                program.argv(options, command, known_hosts, timeout),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,  # read at the end; what is more than the pipe holds only blocks ssh
                env=program.environ,
                start_new_session=True,  # Ctrl-C is for us; and it has no terminal to ask on
            )
        except BaseException:
            self.sock.close()
            self._forget()
            raise
        finally:
            theirs.close()

    def _known_hosts(self) -> str:
        credential = self.program.credential
        if not credential.host_key:
            return credential.known_hosts
        fd, self._pinned = tempfile.mkstemp(prefix="pegasus-transfer-known-host-")
        with os.fdopen(fd, "w") as file:
            file.write(f"{PINNED} {credential.host_key}\n")
        return self._pinned

    def lost(self) -> TransferError:
        """Why it ended: by its exit status and what it said."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LINGER)
        self.process.kill()
        status = self.process.wait()
        text = self._tail()
        self.program.cipher_refused = BAD_CIPHER in text
        return said(text, status, self.program.address, self.program.credential, self.program.environ)

    def _tail(self) -> bytes:
        pipe = self.process.stderr
        if pipe is None or pipe.closed:
            return b""
        os.set_blocking(pipe.fileno(), False)  # another process may hold its other end
        return pipe.read(SAID) or b""

    def converse(self, given: bytes, timeout: float, stopped: Stopped) -> tuple[int, bytes]:
        """Gives it its input, waits for its end. Raises what ended it when it could not connect."""
        printed = self._printed(given, timeout, stopped)
        status = self.process.wait()
        if status == 255:
            raise self.lost()
        return status, printed

    def _printed(self, given: bytes, timeout: float, stopped: Stopped) -> bytes:
        self.sock.settimeout(LOOK)
        deadline = time.monotonic() + timeout
        printed = b""
        try:
            self.sock.sendall(given)
            self.sock.shutdown(socket.SHUT_WR)
            while len(printed) < SAID and not stopped() and time.monotonic() < deadline:
                with suppress(TimeoutError):
                    data = self.sock.recv(SAID)
                    if not data:
                        return printed
                    printed += data
        except OSError:
            pass  # its status tells more
        self.process.kill()
        return b""

    def close(self) -> None:
        """Ends it, by its pid."""
        self.process.kill()
        self.process.wait()
        self.sock.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self._forget()

    def _forget(self) -> None:
        if self._pinned:
            Path(self._pinned).unlink(missing_ok=True)


def _quoted(path: str) -> str:
    """A path as ssh's configuration reads it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def aes_in_hardware() -> bool:
    """Whether AES-GCM is the fastest of the ciphers here; all that are offered are equally trusted."""
    if platform.machine() in ("arm64",):
        return True
    try:
        with open("/proc/cpuinfo", "rb") as file:  # noqa: PTH123
            head = file.read(4096)
    except OSError:
        return False
    return b" aes" in head
