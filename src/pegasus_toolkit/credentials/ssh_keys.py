"""What is wrong with the file of an SSH key, where that can be seen: ssh only says "permission denied"."""

from __future__ import annotations

import base64
import binascii
import re
import struct

_ARMOUR = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----\s(.*?)-----END \1PRIVATE KEY-----", re.DOTALL)
_MAGIC = b"openssh-key-v1\0"


def problem(content: bytes, unlocked: bool) -> str:
    """One phrase; "" where nothing is to be seen. ``unlocked``: a passphrase, or an agent, is there."""
    found = _ARMOUR.search(content)
    if found is None:
        if b"-----BEGIN " in content and b"PRIVATE KEY-----" in content:
            return "is damaged: its end is missing"
        if content.lstrip().startswith((b"ssh-", b"ecdsa-", b"sk-")):  # it may name one that an agent has
            return "" if unlocked else "is a public key; the private one is wanted"
        return "is no private key that ssh can read"
    kind, body = found[1].strip(), found[2]
    locked = kind == b"ENCRYPTED" or b"ENCRYPTED" in body.partition(b"\n\n")[0]
    if not locked:
        try:
            data = base64.b64decode(b"".join(body.split()), validate=True)
            locked = _openssh(data) if kind == b"OPENSSH" else _der(data)
        except (ValueError, IndexError, binascii.Error, struct.error):
            return "is damaged: what is in it cannot be decoded"
    return "has a passphrase" if locked and not unlocked else ""


def _openssh(data: bytes) -> bool:
    """Whether it is encrypted. Raises ``ValueError`` or ``struct.error`` for what is cut or changed."""
    if not data.startswith(_MAGIC):
        raise ValueError("not OpenSSH's form")
    at = len(_MAGIC)
    cipher, at = _string(data, at)
    for _ in ("kdf", "its options"):
        _, at = _string(data, at)
    (keys,) = struct.unpack_from(">I", data, at)
    at += 4
    for _ in range(keys + 1):  # the public ones, and all private ones as one
        _, at = _string(data, at)
    return cipher != b"none"


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise ValueError("cut off")
    return data[at + 4 : end], end


def _der(data: bytes) -> bool:
    """``False``: a plain one. Raises ``ValueError`` for what is no whole sequence."""
    if data[0] != 0x30:
        raise ValueError("not a sequence")
    length, start = data[1], 2
    if length & 0x80:
        digits = length & 0x7F
        length, start = int.from_bytes(data[2 : 2 + digits], "big"), 2 + digits
    if start + length > len(data):
        raise ValueError("cut off")
    return False
