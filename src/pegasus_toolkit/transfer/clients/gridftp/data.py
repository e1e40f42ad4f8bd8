"""GridFTP's data connections: where the bytes of files go.

Files are sent, and taken where the server can connect to us, in extended block mode: one connection
serves many files, each block says where it belongs. Elsewhere (address translation, firewalls) a
file is taken in stream mode, a connection for each, which we make.

Where the session has a guard, each data connection begins with both sides showing who they are. A server
sends its first word on a file before, after, or instead of that, so that both are awaited at once.
"""

from __future__ import annotations

import ipaddress
import re
import select
import socket
import struct
from collections.abc import Callable, Generator
from contextlib import suppress
from io import BufferedReader

from pegasus_toolkit.transfer.clients.gridftp.errors import failure
from pegasus_toolkit.transfer.clients.gridftp.errors import hint as way_out
from pegasus_toolkit.transfer.clients.gridftp.wire import Reply, Session, connect
from pegasus_toolkit.transfer.errors import ServerFault, TimedOut, TransferError, Unsupported

BLOCK = 1 << 20  # bytes of one block that is sent, and of the buffer for what comes
SMALL = 1 << 16  # bytes: below this a copy is cheaper than a second call
AHEAD = 64 << 20  # bytes that may come before their turn
HEADER = struct.Struct(">BQQ")  # descriptor, length, offset
WORD = 2.0  # seconds for the server to say why there is no data connection
LAST, ENDED, CLOSING = 64, 8, 4  # bits of the descriptor: end of file, of data, of the connection

Write = Callable[[memoryview], None]


class Channel:
    """A session for files in one direction. Not usable once anything went wrong: make another."""

    def __init__(self, session: Session, patience: float) -> None:
        self.session = session
        self.patience = patience
        self.sock: socket.socket | None = None
        self.meeting: Generator[socket.socket, None, None] | None = None
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Agrees with the server on how data go; nothing here."""

    def must(self, command: str) -> Reply:
        """Its reply, which must be a good one."""
        reply = self.session.ask(command)
        if not reply.good:
            what = f"the server refuses {command}: {reply.code} {reply.text}"
            raise Unsupported(what, host=self.session.host, hint=way_out(reply))
        return reply

    def agree(self, mode: str, who: str = "A") -> None:
        """How data go: that mode, and ``who`` must be at the other end, as ``DCAU`` says it."""
        self.must(f"MODE {mode}")
        guard = self.session.guard
        if guard is None:
            self.session.send("DCAU N", _ignored)  # through ssh it is unknown; who insists says so later
            return
        reply = self.session.ask(f"DCAU {who}")
        if not reply.good:
            what = f"the server does not authenticate data connections: {reply.code} {reply.text}"
            hint = "data_channel_authentication = none in its section does without"
            raise Unsupported(what, host=self.session.host, hint=hint)
        if guard.private:
            self.must("PBSZ 1048576")
            self.must("PROT P")

    def met(self, sock: socket.socket, accepted: bool) -> Generator[socket.socket, None, None]:
        """Greets who is at the other end of a new connection."""
        self.sock = sock
        guard = self.session.guard
        if guard is not None:
            tls = guard.wrap(sock, accepted)
            self.sock = tls
            self.sock = yield from guard.greet(tls)
        self.sock.settimeout(self.patience)

    def begin(self) -> Reply:
        """The server's first word on the file asked for next: 125, 150 once bytes can go, or its refusal."""
        reply = self._word()
        while reply.preliminary and reply.code not in (125, 150):
            reply = self._word()
        if reply.preliminary:
            self._meet(False)
        return reply

    def _word(self) -> Reply:
        self.session.flush()
        self._meet(True)
        return self.session.reply()

    def _meet(self, listening: bool) -> None:
        """Goes on meeting the other side, until the server says something where that is listened to."""
        heard = listening and self.session.heard
        while self.meeting is not None and not heard:
            try:
                awaited = next(self.meeting, None)
            except TransferError:
                self.session.broken = True
                raise
            except OSError as error:
                self.meeting = None
                if listening and self._wait(None, WORD):
                    return  # the server says why
                raise self.lost(error, "no data connection") from None
            if awaited is None:
                self.meeting = None
                return
            if listening:
                heard = self._wait(awaited, self.patience)
            elif not select.select([awaited], [], [], self.patience)[0]:
                raise self.lost(TimeoutError(), "")

    def _wait(self, awaited: socket.socket | None, seconds: float) -> bool:
        """Until the server says something, or the socket has something to read; whether it was the server."""
        control = self.session.link.sock
        socks = [control] if awaited is None else [control, awaited]
        ready = select.select(socks, [], [], seconds)[0]
        if awaited is not None and not ready:
            raise self.lost(TimeoutError(), "")
        return control in ready

    def passive(self) -> tuple[str, int]:
        """Where the server waits for our connection."""
        return spot(self.must(passive(self.session)), self.session)

    def last_word(self) -> Reply:
        """The server's, on the file under way."""
        while (reply := self.session.reply()).preliminary:
            pass
        return reply

    def lost(self, error: OSError | None, why: str) -> ServerFault | TimedOut:
        """The error for a data connection that ended too early."""
        self.session.broken = True
        host = self.session.host
        if isinstance(error, TimeoutError):
            return TimedOut("no data came or went", host=host)
        return ServerFault(f"{why}: {getattr(error, 'strerror', None) or 'closed'}", host=host)

    def close(self) -> None:
        """Idempotent."""
        if self.sock is not None:
            self.sock.close()
        self.session.close()

    def interrupt(self) -> None:
        """From another thread."""
        self.session.interrupt()
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


class Sender(Channel):
    """Files to the server, one after the other over one connection that we make."""

    def _prepare(self) -> None:
        self.agree("E")
        for reports in ("PERF", "RESTART"):  # several lines a file, which nobody reads
            self.session.send(f"TREV {reports} 0", _ignored)
        host, port = self.passive()
        sock = connect(host, port, self.patience, self.session.url)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.sock = sock
        self.meeting = self.met(sock, False)

    def ask(self, path: str) -> None:
        """Says which file comes next; several may be asked for before the first is sent."""
        self.session.send(f"STOR {path}")

    def send(self, fill: Callable[[memoryview], int], buffer: memoryview) -> int:
        """Sends what ``fill`` gives until it gives nothing; bytes sent. ``OSError`` is ours to explain."""
        assert self.sock is not None
        offset = 0
        held = b""  # a small block goes out together with the end of the file
        while n := fill(buffer):
            header = HEADER.pack(0, n, offset)
            if held:
                self.sock.sendall(held)
                held = b""
            if n < SMALL:
                held = header + buffer[:n]
            else:
                self.sock.sendall(header)
                self.sock.sendall(buffer[:n])
            offset += n
        self.sock.sendall(held + HEADER.pack(LAST | ENDED, 0, 1))
        return offset


class Receiver(Channel):
    """Files from the server in extended block mode; the server connects to us."""

    def __init__(self, session: Session, patience: float) -> None:
        here = session.link.sock.getsockname()[0]
        family = socket.AF_INET6 if ":" in here else socket.AF_INET
        self.listener = socket.create_server((here, 0), family=family, backlog=1)
        self.listener.settimeout(patience)
        self._buffer = memoryview(bytearray(BLOCK))
        self.file: BufferedReader | None = None
        super().__init__(session, patience)

    def _prepare(self) -> None:
        self.agree("E")
        here, port, *_ = self.listener.getsockname()
        if self.listener.family == socket.AF_INET6:
            self.must(f"EPRT |2|{here}|{port}|")
        else:
            self.must(f"PORT {here.replace('.', ',')},{port >> 8},{port & 255}")
        self.meeting = self._accepted()

    def ask(self, path: str) -> None:
        """Says which file is wanted next."""
        self.session.send(f"RETR {path}")

    def receive(self, write: Write) -> Reply:
        """Takes the next file that was asked for; the server's last word on it."""
        reply = self.begin()
        if not reply.preliminary:
            return reply
        self._blocks(write)
        return self.last_word()

    def _accepted(self) -> Generator[socket.socket, None, None]:
        """The server's connection to us."""
        yield self.listener
        sock, (peer, *_) = self.listener.accept()
        if peer != self.session.link.sock.getpeername()[0]:
            sock.close()
            raise self.lost(None, f"{peer} connected to us instead of the server")
        yield from self.met(sock, True)
        assert self.sock is not None
        file = self.sock.makefile("rb", 1 << 16)
        assert isinstance(file, BufferedReader)
        self.file = file

    def _header(self, first: bool) -> tuple[int, int, int]:
        try:
            head = self._file.read(HEADER.size)
            if not head and first:  # it makes a new connection for each file
                self._forget()
                self.meeting = self._accepted()
                self._meet(False)
                head = self._file.read(HEADER.size)
        except OSError as error:
            raise self.lost(error, "the data connection broke") from None
        if len(head) != HEADER.size:
            raise self.lost(None, "the data connection ended in mid-file")
        descriptor, length, offset = HEADER.unpack(head)
        return descriptor, length, offset

    def _blocks(self, write: Write) -> None:
        at = held = 0
        early: dict[int, bytes] = {}
        first = True
        while True:
            descriptor, length, offset = self._header(first)
            first = False
            if descriptor & LAST and offset > 1:
                raise self.lost(None, f"the server wants {offset} data connections")
            if length and offset == at:
                self._payload(length, write)
                at += length
                while at in early:
                    block = early.pop(at)
                    write(memoryview(block))
                    at, held = at + len(block), held - len(block)
            elif length:
                held += length
                if held > AHEAD or offset < at:
                    raise self.lost(None, "blocks come in disorder")
                early[offset] = bytes(self._file.read(length))
            if descriptor & ENDED:
                break
        if early:
            raise self.lost(None, "a block is missing")

    def _payload(self, length: int, write: Write) -> None:
        while length:
            try:
                n = self._file.readinto(self._buffer[: min(length, BLOCK)])
            except OSError as error:
                raise self.lost(error, "the data connection broke") from None
            if not n:
                raise self.lost(None, "the data connection ended in mid-file")
            write(self._buffer[:n])
            length -= n

    @property
    def _file(self) -> BufferedReader:
        assert self.file is not None
        return self.file

    def _forget(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def close(self) -> None:
        """Idempotent."""
        self.listener.close()
        self._forget()
        super().close()

    def interrupt(self) -> None:
        """From another thread."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        super().interrupt()


class Streamer(Channel):
    """Files (and listings) from the server in stream mode, one connection each, which we make."""

    def _prepare(self) -> None:
        self.agree("S")
        while self.session.waiting:  # from here on replies are read one by one
            self.session.pump()
        self._buffer = memoryview(bytearray(BLOCK))

    def ask(self, path: str, verb: str = "RETR") -> None:
        """Says which file is wanted next."""
        self.session.send(passive(self.session))
        self.session.send(f"{verb} {path}")

    def receive(self, write: Write) -> Reply:
        """Takes the next file that was asked for; the server's last word on it."""
        host, port = spot(self.session.reply(), self.session)
        self.sock = connect(host, port, self.patience, self.session.url)
        self.meeting = self.met(self.sock, False)
        reply = self.begin()
        if not reply.preliminary:
            self.meeting = None
            self.sock.close()
            return reply
        try:
            while n := self.sock.recv_into(self._buffer):
                write(self._buffer[:n])
        except TimeoutError as error:
            raise self.lost(error, "") from None
        except ConnectionError as error:
            raise self.lost(error, "the data connection broke") from None
        finally:
            self.sock.close()
        return self.last_word()


def _ignored(reply: Reply) -> None:
    """The reply to what a server need not know."""


def receiver(session: Session, patience: float, near: bool) -> Receiver | Streamer:
    """The faster way where the server may be able to connect to us, else the one that works always."""
    if near and reachable(session):
        return Receiver(session, patience)
    return Streamer(session, patience)


def reachable(session: Session) -> bool:
    """Whether both sides are in one kind of network: neither address is translated on the way."""
    sock = session.link.sock
    here, there = (
        ipaddress.ip_address(s[0].partition("%")[0]) for s in (sock.getsockname(), sock.getpeername())
    )
    return here.is_loopback == there.is_loopback and here.is_private and there.is_private


def passive(session: Session) -> str:
    """The command that asks where to connect to."""
    return "EPSV" if session.link.sock.family == socket.AF_INET6 else "PASV"


def spot(reply: Reply, session: Session) -> tuple[str, int]:
    """Address and port of a reply to PASV or EPSV."""
    if reply.code == 229 and (found := re.search(r"\|\|\|(\d+)\|", reply.text)):
        return session.link.sock.getpeername()[0], int(found[1])
    found = re.search(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", reply.text)
    if reply.code != 227 or found is None:
        raise failure(reply, session.url, session.host)
    parts = [int(part) for part in found.groups()]
    return ".".join(map(str, parts[:4])), parts[4] * 256 + parts[5]
