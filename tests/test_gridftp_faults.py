"""GridFTP when somebody lies or falls silent: forged replies, lost bytes, servers that say nothing."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.clients.gridftp import data as gridftp_data
from pegasus_toolkit.transfer.errors import Corrupted, Denied, ServerFault, TimedOut, TransferError
from pegasus_toolkit.transfer.interface import Backend, Endpoint
from tests.material import content, fetch_job, given, store_job
from tests.servers.gridftp import GridFtpServer

Meddle = Callable[[bytes, socket.socket], bool]


class Between:
    """A port whose connections are passed on, line by line, to another.

    ``meddle`` sees each line of the client's first, and may answer it itself; then nothing is passed on.
    """

    def __init__(self, port: int, meddle: Meddle) -> None:
        self.port = port
        self.meddle = meddle
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets = [self.listener]
        self.threads: list[threading.Thread] = []

    def start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        self.threads.append(threading.Thread(target=work, args=arguments))
        self.threads[-1].start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                self.sockets += [client, server]
                self.start(self.forth, client, server)
                self.start(self.back, server, client)

    def forth(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client.makefile("rb") as lines:
            for line in lines:
                if not self.meddle(line, client):
                    server.sendall(line)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for sock in self.sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for sock in self.sockets:
            sock.close()


@contextmanager
def between(port: int, meddle: Meddle) -> Iterator[int]:
    proxy = Between(port, meddle)
    proxy.start(proxy.accept)
    try:
        yield proxy.listener.getsockname()[1]
    finally:
        proxy.close()


def at(port: int, server: GridFtpServer) -> Backend:
    return open_backend(Endpoint("gsiftp", f"localhost:{port}", "grid"), server.settings())


def forge(reply: bytes) -> Meddle:
    """Answers every encrypted command in the clear, as who sits between could."""

    def meddle(line: bytes, client: socket.socket) -> bool:
        if line.startswith(b"ENC "):
            client.sendall(reply)
            return True
        return False

    return meddle


def test_a_reply_without_protection_is_refused(gridftp: GridFtpServer) -> None:
    with between(gridftp.port, forge(b"230 come in\r\n")) as port:
        backend = at(port, gridftp)
        with pytest.raises(ServerFault, match="without protection"):
            backend.stat(str(gridftp.data))
        backend.close()


def test_a_reply_that_is_forged_is_refused(gridftp: GridFtpServer) -> None:
    with between(gridftp.port, forge(b"633 FwMDABlub2Jhc2U2NG5vcnRsc3JlY29yZGF0YWxs\r\n")) as port:
        backend = at(port, gridftp)
        with pytest.raises(TransferError):
            backend.stat(str(gridftp.data))
        backend.close()


def test_who_passes_as_the_server_is_refused(gridftp: GridFtpServer) -> None:
    def meddle(line: bytes, client: socket.socket) -> bool:
        if line.startswith(b"ADAT"):
            client.sendall(b"235 welcome\r\n")
            return True
        return False

    with between(gridftp.port, meddle) as port:
        backend = at(port, gridftp)
        with pytest.raises((Denied, ServerFault)):
            backend.stat(str(gridftp.data))
        backend.close()


def test_cut_in_the_middle_of_a_batch(gridftp: GridFtpServer) -> None:
    top = gridftp.data / os.urandom(4).hex()
    top.mkdir()
    for n in range(50):
        (top / f"f{n}").write_bytes(content(100, n))
    seen = 0

    def meddle(line: bytes, client: socket.socket) -> bool:
        nonlocal seen
        seen += 1
        if seen == 60:
            client.shutdown(socket.SHUT_RDWR)
        return seen >= 60

    with between(gridftp.port, meddle) as port:
        backend = at(port, gridftp)
        with pytest.raises(ServerFault):
            list(backend.get(fetch_job(str(top / f"f{n}")) for n in range(50)))
        backend.close()


def test_bytes_that_the_server_did_not_get(gridftp: GridFtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own account of the size counts, not ours of what was sent."""
    top = gridftp.data / os.urandom(4).hex()
    top.mkdir()
    (top / "file").write_bytes(b"old")
    send = gridftp_data.Sender.send

    def short(self: gridftp_data.Sender, fill: Callable[[memoryview], int], buffer: memoryview) -> int:
        return send(self, lambda view: max(0, fill(view) - 1), buffer) + 1

    monkeypatch.setattr(gridftp_data.Sender, "send", short)
    backend = at(gridftp.port, gridftp)
    (job,) = backend.put(iter([store_job(str(top / "file"), given(content(5000)))]))
    backend.close()
    assert isinstance(job.error, Corrupted)
    assert {path.name: path.read_bytes() for path in top.iterdir()} == {"file": b"old"}


def test_a_server_that_says_nothing(gridftp: GridFtpServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = replace(gridftp.settings(), connect_timeout=0.2)
        endpoint = Endpoint("gsiftp", f"localhost:{listener.getsockname()[1]}", "grid")
        backend = open_backend(endpoint, settings)
        with pytest.raises(TimedOut):
            backend.stat("/x")
        backend.close()


def test_a_data_connection_from_elsewhere_is_refused(
    gridftp: GridFtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds the port that waits for the server must come from the server's address."""
    top = gridftp.data / os.urandom(4).hex()
    top.mkdir()
    (top / "file").write_bytes(b"right")
    must = gridftp_data.Receiver.must
    strangers: list[socket.socket] = []

    def faster(self: gridftp_data.Receiver, command: str) -> object:
        if command.startswith("PORT"):
            address = self.listener.getsockname()
            strangers.append(socket.create_connection(address, source_address=("127.0.0.2", 0)))
            strangers[-1].sendall(gridftp_data.HEADER.pack(0, 5, 0) + b"wrong")
        return must(self, command)

    monkeypatch.setattr(gridftp_data.Receiver, "must", faster)
    backend = at(gridftp.port, gridftp)
    with pytest.raises(ServerFault, match="instead of the server"):
        list(backend.get(iter([fetch_job(str(top / "file"))])))
    backend.close()
    for sock in strangers:
        sock.close()
