"""What an engine and its zygote say to each other, over a Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec

_LENGTH = 4  # bytes before each message


class Start(msgspec.Struct, frozen=True, tag=True):
    """Start a program in a session of its own.

    ``entry``: ``module:function`` of ours, which is called without arguments, in place of an executable.
    ``stdin``, ``stdout``, ``stderr``: absolute paths; "" is /dev/null. Output is cut to nothing first.
    """

    id: int
    argv: tuple[bytes, ...]
    environ: tuple[tuple[bytes, bytes], ...]
    cwd: bytes
    stdin: bytes = b""
    stdout: bytes = b""
    stderr: bytes = b""
    append: bool = False
    entry: str = ""


class Signal(msgspec.Struct, frozen=True, tag=True):
    """Send a signal to all processes of a program's session; nothing happens if it is over."""

    id: int
    number: int


class Started(msgspec.Struct, frozen=True, tag=True):
    """It runs; ``pid`` is its process group, too."""

    id: int
    pid: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """It could not be started."""

    id: int
    reason: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """It is over. ``status``: exit code, or the negative signal; CPU seconds; epoch seconds."""

    id: int
    status: int
    user: float
    system: float
    at: float


Request = Start | Signal
Reply = Started | Refused | Ended


class Channel:
    """Messages one way and the other. ``send`` waits until all is written."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = b""

    def send(self, message: Request | Reply) -> None:
        content = self._encoder.encode(message)
        self.socket.sendall(len(content).to_bytes(_LENGTH, "big") + content)

    def receive(self) -> Iterator[bytes]:
        """What has come, at least a part of a message; raises :class:`EOFError` when nobody is there."""
        content = self.socket.recv(1 << 18)
        if not content:
            raise EOFError
        buffer, at = self._buffer + content, 0
        while len(buffer) - at >= _LENGTH:
            end = at + _LENGTH + int.from_bytes(buffer[at : at + _LENGTH], "big")
            if len(buffer) < end:
                break
            yield buffer[at + _LENGTH : end]
            at = end
        self._buffer = buffer[at:]
