"""What the ``ssh`` program says, as an error of ours.

It knows one exit status (255) for all that can go wrong, so this is the one place where an error is
told by its message. The program runs with LC_ALL=C; what no line of the table fits is Unreachable.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from pegasus_toolkit.credentials import SshCredential
from pegasus_toolkit.transfer.clients.sftp.address import Address
from pegasus_toolkit.transfer.errors import Denied, TransferError, Unreachable, Unsupported

CHANGED = "the host key is not the one that is known: it may be another machine that answers"
UNKNOWN = "the host key is not known"

REFUSED = "the login was refused"

BAD_CIPHER = b"Bad SSH2 cipher spec"

TABLE: tuple[tuple[str, type[TransferError], str], ...] = (
    ("HOST IDENTIFICATION HAS CHANGED", Denied, CHANGED),
    ("Host key verification failed", Denied, UNKNOWN),
    ("host key is known for", Denied, UNKNOWN),
    ("Permission denied (", Denied, REFUSED),
    ("Too many authentication failures", Denied, "the login was refused: too many keys were offered"),
    ("subsystem request failed", Unsupported, "the server offers no SFTP"),
    ("Unable to negotiate", Unsupported, "no common cipher, key exchange or kind of host key"),
    ("Bad configuration option", Unsupported, "the ssh program or its configuration is too old"),
    (BAD_CIPHER.decode(), Unsupported, "the ssh program does not know a cipher"),
    ("Could not resolve hostname", Unreachable, "the host's name is not known"),
    ("Connection refused", Unreachable, "nothing listens there"),
    ("timed out", Unreachable, "no answer in time"),
)


def said(
    text: bytes, status: int, address: Address, credential: SshCredential, environ: Mapping[str, str]
) -> TransferError:
    """The error for an ``ssh`` that ended with that status and said that; names the host, shows no secret."""
    words = text.decode("utf-8", "replace")
    cls, message = next(((c, m) for mark, c, m in TABLE if mark in words), (Unreachable, ""))
    if not message:
        lines = [line.strip() for line in words.splitlines() if line.strip()]
        last = lines[-1][:200] if lines else f"ssh said nothing, exit status {status}"
        message = f"the connection ended: {last}"
    hint = advice(message, address, credential)
    if message == REFUSED and not credential.private_key and (agent := environ.get("SSH_AUTH_SOCK")):
        hint = hint if answers(agent) else f"no agent answers at SSH_AUTH_SOCK, {agent}; {hint}"
    return cls(message, host=address.shown, hint=hint)


def answers(agent: str) -> bool:
    """Whether somebody listens at a socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(agent)
        except OSError:
            return False
    return True


def advice(message: str, address: Address, credential: SshCredential) -> str:
    """What to do about it."""
    port = f"-p {address.port} " if address.port else ""
    if message in (UNKNOWN, CHANGED) and credential.host_key:
        return f"the key that answers is not host_key of [{credential.section}]"
    if message == UNKNOWN:
        file = credential.known_hosts or "~/.ssh/known_hosts"
        return (
            f"compare the output of: ssh-keyscan {port}{address.host}, with what its operators publish and"
            f" add it to {file}, or set host_key or host_key_check = accept-new in credentials.conf"
        )
    if message == CHANGED:
        return "ask its operators; the old key is removed by: ssh-keygen -R " + repr(address.shown)
    if message == REFUSED:
        return "check the user's name and SSH_PRIVATE_KEY, the agent, or private_key in credentials.conf"
    return ""
