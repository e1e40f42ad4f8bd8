"""GridFTP's control connection: commands go out without waiting, replies come back in their order."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from pegasus_toolkit.transfer.clients.gridftp.guard import Guard
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
)

GROUP = 4096  # bytes of commands that go out together
LINE = 1 << 20  # bytes of one line of a reply, at most


class Reply(NamedTuple):
    """A whole reply: its number, and its lines without it."""

    code: int
    lines: tuple[str, ...]

    @property
    def preliminary(self) -> bool:
        """Whether another reply to the same command will come."""
        return self.code < 200

    @property
    def good(self) -> bool:
        """Whether the command was carried out, or waits for its second half."""
        return self.code < 400

    @property
    def text(self) -> str:
        """On one line, as for people."""
        return " ".join(line.strip() for line in self.lines if line.strip())[:400]


Then = Callable[[Reply], None]


class Link(Protocol):
    """What carries the lines: a connection, and how they are protected on it."""

    sock: socket.socket
    guard: Guard | None  # of data connections, where these are authenticated

    def seal(self, line: bytes) -> bytes:
        """A command as it goes out."""

    def unseal(self, line: bytes) -> bytes:
        """What a line that came holds: none, one or more lines. Raises for one that is not protected."""

    def close(self) -> None:
        """Idempotent."""


class Session:
    """One logged-in control connection. Raises ``ServerFault`` or ``Unreachable`` once it is lost."""

    def __init__(self, link: Link, host: str, url: str) -> None:
        self.link = link
        self.host = host
        self.url = url  # scheme and authority, for errors
        self.guard = link.guard
        self.waiting: deque[Then] = deque()  # one for each reply to come
        self.broken = False
        self.algorithms: frozenset[str] = frozenset()  # of CKSM, as FEAT tells
        self._raw = bytearray()
        self._inner = b""
        self._out = b""

    def send(self, command: str, then: Then | None = None) -> None:
        """Sends it, together with others; ``then`` gets the final reply when ``pump`` comes to it."""
        if any(c in command for c in "\r\n\0"):
            raise BadSpecification("a line break or NUL in a name, which FTP cannot carry", url=self.url)
        try:
            self._out += self.link.seal(os.fsencode(command))
        except TransferError as error:
            error.url = self.url
            raise
        if len(self._out) > GROUP:
            self.flush()
        if then is not None:
            self.waiting.append(then)

    def flush(self) -> None:
        """Sends what was held back to go out together; waiting for a reply does so too."""
        out, self._out = self._out, b""
        try:
            if out:
                self.link.sock.sendall(out)
        except OSError as error:
            raise self.lost(error) from None

    def pump(self) -> None:
        """Waits for the next final reply that somebody waits for."""
        reply = self.reply()
        while reply.preliminary:
            reply = self.reply()
        self.waiting.popleft()(reply)

    def ask(self, command: str) -> Reply:
        """Its final reply, after all that was sent before."""
        found: list[Reply] = []
        self.send(command, found.append)
        while not found:
            self.pump()
        return found[0]

    def reply(self) -> Reply:
        """The next reply, preliminary ones too."""
        line = self._line()
        lines = [line[4:]]
        if line[3:4] == "-":
            last = line[:3] + " "
            while not (line := self._line()).startswith(last):
                lines.append(line.removeprefix(last[:3] + "-"))
            lines.append(line[4:])
        if not (line[:3].isascii() and line[:3].isdigit()):
            raise self.lost(None, "what it sends is not FTP")
        code = int(line[:3])
        if code == 421:  # it hangs up, whatever was asked
            raise self.lost(None, " ".join(lines).strip())
        return Reply(code, tuple(lines))

    def _line(self) -> str:
        while b"\n" not in self._inner:
            self.flush()
            self._inner += self.link.unseal(self._whole_line())
        line, _, self._inner = self._inner.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "surrogateescape")

    def _whole_line(self) -> bytes:
        """As it comes."""
        while (end := self._raw.find(b"\n")) < 0:
            try:
                more = self.link.sock.recv(1 << 16)
            except OSError as error:
                raise self.lost(error) from None
            if not more or len(self._raw) > LINE:
                raise self.lost(None)
            self._raw += more
        line = bytes(self._raw[: end + 1])
        del self._raw[: end + 1]
        return line

    @property
    def heard(self) -> bool:
        """Whether something came that no reply was made of yet."""
        return b"\n" in self._inner or b"\n" in self._raw

    def lost(self, error: Exception | None, why: str = "") -> TransferError:
        """The error for a connection that cannot be used any more."""
        self.broken = True
        if isinstance(error, TimeoutError):
            return TimedOut("the GridFTP server fell silent", url=self.url, host=self.host)
        why = why or getattr(error, "strerror", None) or "it closed the connection"
        return ServerFault(f"lost the GridFTP server: {why}", url=self.url, host=self.host)

    def patience(self, seconds: float) -> None:
        """How long to wait for a reply."""
        with suppress(OSError):
            self.link.sock.settimeout(seconds)

    def interrupt(self) -> None:
        """From another thread: whatever waits for the server returns."""
        self.broken = True
        with suppress(OSError):
            self.link.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Idempotent."""
        self.broken = True
        self.link.close()


class Plain:
    """Lines as they are: for what is protected already, such as a connection through ssh."""

    guard: Guard | None = None

    def __init__(self, sock: socket.socket, ended: Callable[[], None] = lambda: None) -> None:
        self.sock = sock
        self._ended = ended

    def seal(self, line: bytes) -> bytes:
        """A command as it goes out. Raises for what is not ASCII: Globus' server drops such letters."""
        if not line.isascii():
            raise BadSpecification("a name with letters outside ASCII, which the server would drop")
        return line + b"\r\n"

    def unseal(self, line: bytes) -> bytes:
        """The line."""
        return line

    def close(self) -> None:
        """Idempotent."""
        self.sock.close()
        self._ended()


def connect(host: str, port: int, timeout: float, url: str) -> socket.socket:
    """A TCP connection without delay of small packets. Raises ``Unreachable`` or ``TimedOut``."""
    try:
        sock = socket.create_connection((host, port), timeout)
    except TimeoutError:
        raise TimedOut(f"no connection within {timeout:.0f} s", url=url, host=f"{host}:{port}") from None
    except OSError as error:
        why = error.strerror or "no such host"
        raise Unreachable(f"cannot connect: {why}", url=url, host=f"{host}:{port}") from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


_link: type[Link] = Plain
