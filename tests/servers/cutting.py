"""A TCP relay in front of a real server that breaks off, or falls silent, after so many bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Cutting:
    """Passes bytes on to ``port`` until ``down`` bytes went to the client, or ``up`` to the server.

    ``silent``: it then keeps the connections and passes nothing more, else it resets them.
    """

    def __init__(self, port: int, down: int, up: int, silent: bool) -> None:
        self.target = port
        self.left = {"down": down, "up": up}
        self.silent = silent
        self.over = False
        self.lock = threading.Lock()
        self.sockets: list[socket.socket] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.server.getsockname()[1])
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.server.accept()
                self.sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self.target))
                self.sockets.append(server)
                for one, other, way in ((server, client, "down"), (client, server, "up")):
                    threading.Thread(target=self._pump, args=(one, other, way), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket, way: str) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                with self.lock:
                    data = data[: self.left[way]]
                    self.left[way] -= len(data)
                    self.over = self.over or not self.left[way]
                if data and not (self.silent and self.over):
                    other.sendall(data)
                if self.over and not self.silent:
                    self.end()
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Breaks off all that is there."""
        for one in list(self.sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting(port: int, down: int = 1 << 60, up: int = 1 << 60, silent: bool = False) -> Iterator[Cutting]:
    relay = Cutting(port, down, up, silent)
    try:
        yield relay
    finally:
        with suppress(OSError):
            relay.server.shutdown(socket.SHUT_RDWR)  # which ends the wait for a connection
        relay.thread.join()
        relay.server.close()
        relay.end()
        for one in relay.sockets:
            one.close()
