"""A small FTP server that answers as it is told: what no real server can be made to do.

    with odd_ftp(lambda command, argument: "553 no" if command == "STOR" else None) as server:

asks the function before each command ("" for the greeting); ``None`` is the usual answer. Its files are in
memory, all in one directory.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[str, str], "str | None"]
PLAIN = {
    "": "220 ready",
    "USER": "331 go on",
    "PASS": "230 welcome",
    "PWD": '257 "/" is here',
    "TYPE": "200 yes",
    "CWD": "250 there",
    "REST": "350 from there",
    "MKD": "550 it is there",
}


class OddFtp:
    """One such server. ``files``: by name; ``commands``: all that came, in order."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.files: dict[str, bytes] = {}
        self.commands: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.authority = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data: socket.socket | None = None
        old = ""
        with suppress(OSError), connection, connection.makefile("rb") as lines:
            command, argument = "", ""
            while True:
                if command == "EPSV":
                    data = socket.create_server(("127.0.0.1", 0))
                    self._open.append(data)
                reply = self.answer(command, argument)
                if reply is None:
                    reply = self._usual(connection, command, argument.lstrip("/"), data, old)
                connection.sendall(f"{reply}\r\n".encode())
                old = argument.lstrip("/") if command == "RNFR" else old
                line = lines.readline()
                if not line:
                    return
                self.commands.append(line.decode().strip())
                command, _, argument = self.commands[-1].partition(" ")

    def _usual(
        self, connection: socket.socket, command: str, name: str, data: socket.socket | None, old: str
    ) -> str:
        if command == "EPSV" and data is not None:
            return f"229 there (|||{data.getsockname()[1]}|)"
        if command == "STOR" and data is not None:
            connection.sendall(b"150 go\r\n")
            with data.accept()[0] as body, body.makefile("rb") as reader:
                self.files[name] = reader.read()
            return "226 stored"
        if command == "RNTO" and old in self.files:
            self.files[name] = self.files.pop(old)
            return "250 renamed"
        known = {"RNFR": "350 go on", "SIZE": f"213 {len(self.files.get(name, b''))}", "DELE": "250 gone"}
        if command in known and name not in self.files:
            return "550 no such file"
        if command == "DELE":
            del self.files[name]
        return {**PLAIN, **known}.get(command, "502 what?")


@contextmanager
def odd_ftp(answer: Answer) -> Iterator[OddFtp]:
    """Ends with the block."""
    server = OddFtp(answer)
    try:
        yield server
    finally:
        server.end()
