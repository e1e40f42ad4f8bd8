"""SSH by paramiko: where there is no ``ssh`` program, for passwords, and for keys with a passphrase.

A thread each way carries bytes between paramiko's channel and a socket, so that the SFTP client is
the same. Host keys are checked against known_hosts; ``~/.ssh/config`` is not read.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko

from pegasus_toolkit.credentials import SshCredential
from pegasus_toolkit.transfer.clients.sftp.address import Address
from pegasus_toolkit.transfer.clients.sftp.said import CHANGED, UNKNOWN, advice
from pegasus_toolkit.transfer.errors import (
    Denied,
    ServerFault,
    TransferError,
    Unreachable,
    Unsupported,
    from_oserror,
)

WINDOW = 1 << 26  # bytes that the server may send before they are taken
PACKET = 1 << 15  # bytes, as OpenSSH sends them
PIECE = 1 << 18  # bytes handed on at a time
LOGIN_REFUSED = "the login was refused"


LOOK = 0.2  # seconds: how soon it is noticed that a command is to be stopped

Stopped = Callable[[], bool]


class Library:
    """Logs in with paramiko."""

    waits = True

    def __init__(self, address: Address, credential: SshCredential, environ: Mapping[str, str]) -> None:
        self.address = address
        self.credential = credential
        self.environ = environ

    def sftp(self, timeout: float) -> Tunnel:
        """Connects to the server's SFTP subsystem."""
        client = self._login(timeout)
        try:
            channel = _channel(client, timeout)
            channel.invoke_subsystem("sftp")
        except (paramiko.SSHException, EOFError, OSError) as error:
            client.close()
            raise self._error(error, Unsupported("the server offers no SFTP")) from None
        return Tunnel(client, channel, self.address)

    def retry_with_less(self) -> bool:
        """Never: nothing more than needed is asked for."""
        return False

    def run(self, command: str, given: bytes, timeout: float, stopped: Stopped) -> tuple[int, bytes]:
        """Runs a fixed command there with that standard input: exit status and what it printed."""
        client = self._login(timeout)
        try:
            channel = _channel(client, timeout)
            channel.exec_command(command)
            channel.sendall(given)
            channel.shutdown_write()
            channel.settimeout(LOOK)
            printed = b""
            deadline = time.monotonic() + timeout
            while len(printed) < PIECE and not stopped() and time.monotonic() < deadline:
                with suppress(TimeoutError):
                    data = channel.recv(PIECE)
                    if not data:
                        return channel.recv_exit_status(), printed
                    printed += data
            return 255, b""
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._error(error, ServerFault("the command could not be run")) from None
        finally:
            client.close()

    def _login(self, timeout: float) -> paramiko.SSHClient:
        credential = self.credential
        client = paramiko.SSHClient()
        try:
            self._known_hosts(client)
            client.set_missing_host_key_policy(_Policy(self))
            alone = bool(credential.private_key or credential.password)
            client.connect(
                self.address.host,
                self.address.port or 22,
                self.address.user or None,
                password=None if credential.password is None else credential.password.reveal(),
                pkey=self._key(),
                timeout=timeout,
                banner_timeout=timeout,
                auth_timeout=timeout,
                allow_agent=not alone,
                look_for_keys=not alone,
            )
        except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
            client.close()
            raise self._error(error, Unreachable("the connection could not be made")) from None
        return client

    def _key(self) -> paramiko.PKey | None:
        """The private key, unlocked. Raises ``Denied``."""
        credential = self.credential
        if not credential.private_key:
            return None
        passphrase = credential.passphrase
        password: Any = None if passphrase is None else passphrase.reveal().encode()  # its types say text
        try:
            return paramiko.PKey.from_path(credential.private_key, password)
        except (paramiko.SSHException, ValueError, TypeError):  # by the kind of key and of mistake
            right = "that passphrase does not fit" if passphrase else "it may need a passphrase"
            hint = f"private_key and passphrase in credentials.conf: {right}"
            message = f"the private key {credential.private_key} cannot be read"
            raise Denied(message, host=self.address.shown, hint=hint) from None

    def _known_hosts(self, client: paramiko.SSHClient) -> None:
        credential = self.credential
        if credential.host_key:
            kind, key = credential.host_key.split()
            line = paramiko.hostkeys.HostKeyEntry.from_line(f"{self.address.shown} {kind} {key}")
            if line is None or line.key is None:
                raise Unsupported(f"host_key of [{credential.section}] is of an unknown kind: {kind}")
            client.get_host_keys().add(self.address.shown, kind, line.key)
            return
        home = self.environ.get("HOME") or str(Path("~").expanduser())
        file = credential.known_hosts or f"{home}/.ssh/known_hosts"
        if Path(file).exists():
            client.load_host_keys(file)
        if not credential.known_hosts and Path("/etc/ssh/ssh_known_hosts").exists():
            client.load_system_host_keys("/etc/ssh/ssh_known_hosts")

    def denied(self, message: str) -> Denied:
        """An error of trust or of login, with what to do."""
        hint = advice(message, self.address, self.credential)
        return Denied(message, host=self.address.shown, hint=hint)

    def _error(self, error: Exception, otherwise: TransferError) -> TransferError:
        """By type; never with paramiko's text, which may hold anything."""
        if isinstance(error, TransferError):
            return error
        for kind, message in (
            (paramiko.BadHostKeyException, UNKNOWN if self.credential.host_key else CHANGED),
            (paramiko.AuthenticationException, LOGIN_REFUSED),
        ):
            if isinstance(error, kind):
                return self.denied(message)
        if isinstance(error, OSError):  # no errno: several addresses, none of which answers
            message = from_oserror(error).message if error.errno else "nobody answers there"
            return Unreachable(message, host=self.address.shown)
        otherwise.host = self.address.shown
        return otherwise


class _Policy(paramiko.MissingHostKeyPolicy):
    """What happens to a host that no file knows."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        credential = self.library.credential
        if not credential.accept_new:
            raise self.library.denied(UNKNOWN)
        home = self.library.environ.get("HOME") or str(Path("~").expanduser())
        file = Path(credential.known_hosts or f"{home}/.ssh/known_hosts")
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with file.open("a") as out:
            out.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


class Tunnel:
    """paramiko's channel behind a socket."""

    def __init__(self, client: paramiko.SSHClient, channel: paramiko.Channel, address: Address) -> None:
        self.sock, self._inner = socket.socketpair()
        self._client = client
        self._channel = channel
        self._address = address
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._up, self._down)]
        for thread in self._threads:
            thread.start()

    def _up(self) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):
            while data := self._inner.recv(PIECE):
                self._channel.sendall(data)
        self._channel.close()

    def _down(self) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):
            while data := self._channel.recv(PIECE):
                self._inner.sendall(data)
        with suppress(OSError):
            self._inner.shutdown(socket.SHUT_RDWR)

    def lost(self) -> TransferError:
        """paramiko tells no more than that it ended."""
        return ServerFault("the connection was lost", host=self._address.shown)

    def close(self) -> None:
        """Ends the connection and both threads."""
        self._client.close()
        with suppress(OSError):
            self._inner.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for thread in self._threads:
            thread.join(5)
        self._inner.close()


def _channel(client: paramiko.SSHClient, timeout: float) -> paramiko.Channel:
    transport = client.get_transport()
    if transport is None:
        raise EOFError
    return transport.open_session(window_size=WINDOW, max_packet_size=PACKET, timeout=timeout)
