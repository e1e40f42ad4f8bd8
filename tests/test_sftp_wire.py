"""What no server at hand does, and the protocol allows, or forbids: a peer at the other end of a socket."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from pegasus_toolkit.credentials import Credentials, SshCredential
from pegasus_toolkit.transfer.backends.ssh.backend import Sftp
from pegasus_toolkit.transfer.clients.sftp import wire
from pegasus_toolkit.transfer.errors import Corrupted, ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests.material import content, fetch_job, settle

Packet = tuple[int, int, bytes]  # kind, number, body


class Peer:
    """Serves one content under every name; ``answer`` makes packets of the requests that have come."""

    def __init__(self, data: bytes, answer: Callable[[list[Packet]], list[bytes]] | None = None) -> None:
        self.data = data
        self.answer = answer or (lambda came: [reply for packet in came for reply in self.honest(packet)])
        self.sock, self.inner = socket.socketpair()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        waiting = b""
        with suppress(OSError):
            while more := self.inner.recv(1 << 20):
                waiting += more
                came: list[Packet] = []
                while len(waiting) >= 9:
                    length, kind, number = wire.HEADER.unpack_from(waiting)
                    if len(waiting) < 4 + length:
                        break
                    came.append((kind, number, waiting[9 : 4 + length]))
                    waiting = waiting[4 + length :]
                self.inner.sendall(b"".join(self.answer(came)))

    def honest(self, packet: Packet, most: int = 1 << 20) -> Iterator[bytes]:
        kind, number, body = packet
        if kind == wire.INIT:
            yield reply(wire.VERSION, 3, b"")
        elif kind == wire.STAT:
            yield reply(wire.ATTRS, number, struct.pack(">IQ", 1, len(self.data)))
        elif kind == wire.OPEN:
            yield reply(wire.HANDLE, number, wire.string(b"handle"))
        elif kind == wire.READ:
            offset, count = wire.READ_TAIL.unpack_from(body, 10)
            data = self.data[offset : offset + min(count, most)]
            yield reply(wire.DATA, number, wire.string(data)) if data else status(number, wire.EOF)
        else:
            yield status(number, wire.OK)

    def lost(self) -> TransferError:
        return ServerFault("the peer hung up")

    def close(self) -> None:
        with suppress(OSError):
            self.inner.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(5)
        self.inner.close()


def reply(kind: int, number: int, body: bytes) -> bytes:
    return wire.HEADER.pack(len(body) + 5, kind, number) + body


def status(number: int, code: int) -> bytes:
    return reply(wire.STATUS, number, struct.pack(">I", code) + wire.string(b"") * 2)


class Straight:
    """Leads to the peer."""

    waits = True

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def sftp(self, timeout: float) -> Peer:
        return self.peer

    def retry_with_less(self) -> bool:
        return False

    def run(
        self, command: str, given: bytes, timeout: float, stopped: Callable[[], bool]
    ) -> tuple[int, bytes]:
        return 127, b""


Start = Callable[[Peer], Sftp]


@pytest.fixture
def reach() -> Iterator[Start]:
    opened: list[Sftp] = []

    def start(peer: Peer) -> Sftp:
        settings = Settings(Credentials.none(), connect_timeout=10, stall_timeout=10)
        opened.append(Sftp(Endpoint("scp", "peer", ""), settings, Straight(peer), SshCredential()))
        return opened[-1]

    yield start
    for backend in opened:
        backend.close()


def fetch(backend: Sftp, count: int = 1) -> list[bytes | None]:
    jobs = [fetch_job(f"/file{n}") for n in range(count)]
    over = list(backend.get(iter(jobs)))
    for job in over:
        if job.error is not None:
            raise job.error
    return [settle(job) for job in over]


@pytest.mark.parametrize("size", [0, 1, 40_000, BLOCK, 3 * BLOCK + 7])
@pytest.mark.parametrize("most", [1 << 20, 10_000], ids=["whole", "short"])
def test_answers_in_any_order_and_of_any_length(reach: Start, size: int, most: int) -> None:
    peer = Peer(content(size))

    def backwards(came: list[Packet]) -> list[bytes]:
        return [reply for packet in reversed(came) for reply in peer.honest(packet, most)]

    peer.answer = backwards
    assert fetch(reach(peer), 3) == [content(size)] * 3


def test_a_packet_may_come_in_pieces(reach: Start) -> None:
    peer = Peer(content(100_000))

    def drop_by_drop(came: list[Packet]) -> list[bytes]:
        for packet in came:
            for whole in peer.honest(packet):
                for at in range(0, len(whole), 7001):
                    peer.inner.sendall(whole[at : at + 3])
                    peer.inner.sendall(whole[at + 3 : at + 7001])
        return []

    peer.answer = drop_by_drop
    assert fetch(reach(peer)) == [content(100_000)]


def test_an_end_that_comes_too_early_is_corrupted(reach: Start) -> None:
    peer = Peer(content(5000))

    def less(came: list[Packet]) -> list[bytes]:
        return [
            status(number, wire.EOF) if kind == wire.READ else reply
            for kind, number, body in came
            for reply in peer.honest((kind, number, body))
        ]

    peer.answer = less
    with pytest.raises(Corrupted):
        fetch(reach(peer))


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\1\x67\0\0\0\0\0\0\0",
        struct.pack(">IBI", 9, wire.DATA, 12345) + b"\0\0\0\0",
        struct.pack(">IBI", 1 << 30, wire.STATUS, 1) + b"x" * 100,
        struct.pack(">IBII", 13, wire.DATA, 2, 0xFFFFFFFF) + b"xxxx",
        reply(wire.STATUS, 1, b""),
        reply(wire.ATTRS, 1, b"\xff\xff\xff\xff"),
    ],
)
def test_what_is_no_answer_ends_the_connection(reach: Start, garbage: bytes) -> None:
    peer = Peer(b"content")
    backend = reach(peer)
    assert backend.stat("/").size == 7
    session = backend.client.session
    peer.answer = lambda came: [garbage]
    with pytest.raises(ServerFault, match="no SFTP"):
        fetch(backend)
    assert session is not None
    assert session.broken is not None and backend.client.session is None


@pytest.mark.parametrize("banner", [b"Welcome to the cluster!\n" * 3, reply(wire.VERSION, 2, b"")])
def test_a_handshake_that_is_none(reach: Start, banner: bytes) -> None:
    peer = Peer(b"", lambda came: [banner])
    with pytest.raises(Unsupported, match="login scripts"):
        reach(peer).stat("/")


def test_more_than_was_asked_for_is_refused(reach: Start) -> None:
    peer = Peer(content(100))

    def generous(came: list[Packet]) -> list[bytes]:
        return [
            reply(wire.DATA, number, wire.string(b"x" * 1000)) if kind == wire.READ else answer
            for kind, number, body in came
            for answer in peer.honest((kind, number, body))
        ]

    peer.answer = generous
    with pytest.raises(ServerFault):
        fetch(reach(peer))


@pytest.mark.parametrize("name", ["/a/b", "/\udcff\udc80 no text", "/日本", "/new\nline"])
def test_names_survive_the_wire(name: str) -> None:
    data, end = wire.text(wire.encode(name))
    assert data.decode("utf-8", "surrogateescape") == name
    assert end == len(wire.encode(name))
