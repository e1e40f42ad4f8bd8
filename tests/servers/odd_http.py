"""A small HTTP server that misbehaves as it is told: what no real server can be made to do.

    server = odd(lambda request: Reply(b"abc", cut=2))

calls the function for each request, in a thread for each connection, and keeps the requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass(frozen=True)
class Request:
    """What came: ``target`` as on the request line, header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    number: int  # requests before this one
    body: bytes = b""

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First byte, and byte after the last where it is told."""
        text = self.headers.get("range", "")
        if not text:
            return None
        first, _, last = text.removeprefix("bytes=").partition("-")
        return int(first), int(last) + 1 if last else None


@dataclass(frozen=True)
class Reply:
    """What goes back. ``length``: a Content-Length other than the body's; "" for none.

    ``cut``: the connection dies after so many bytes of the body; ``stall``: it goes silent after so
    many, until the test ends. ``silent``: no answer at all. ``requests``: after ``hold`` bytes it waits until
    so many requests came.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: str | None = None
    cut: int | None = None
    stall: int | None = None
    silent: bool = False
    hold: int = 0
    requests: int = 0


Answer = Callable[[Request], Reply]


def file(content: bytes, etag: str = '"one"') -> Answer:
    """A well-behaved file with ranges and If-Range."""

    def answer(request: Request) -> Reply:
        headers = {"Accept-Ranges": "bytes", "ETag": etag}
        if request.headers.get("if-match", etag) != etag:
            return Reply(b"changed", 412)
        if request.range is None or request.headers.get("if-range", etag) != etag:
            return Reply(content, headers=headers)
        first, end = request.range
        end = min(end or len(content), len(content))
        if first >= len(content):
            return Reply(b"", 416)
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
        return Reply(content[first:end], 206, headers)

    return answer


def slowly(answer: Answer, requests: int) -> Answer:
    """The same, but the rest of a whole file comes when so many requests came."""

    def slow(request: Request) -> Reply:
        reply = answer(request)
        small = request.range is not None or len(reply.body) < 4 << 20
        return reply if small else replace(reply, hold=2 << 20, requests=requests)

    return slow


class Odd(ThreadingHTTPServer):
    """One such server. ``requests``: all that came, in order. ``patience``: bytes of a request's body after
    which it hangs up; ``continues``: whether it answers "Expect: 100-continue"; ``hasty``: it answers such
    a request at once, whose body is not sent then; ``lasting``: requests that it answers on one
    connection, to hang up when the next one has come."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.requests: list[Request] = []
        self.patience: int | None = None
        self.continues = True
        self.hasty = False
        self.lasting = 1 << 30
        self.ending = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""

    def end(self) -> None:
        self.ending.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one packet, else each answer waits 40 ms for Nagle
    server: Odd
    answered = 0

    def handle_one(self) -> None:
        self.answered += 1
        if self.answered > self.server.lasting:
            return self._hang_up()
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = int(headers.get("content-length", 0))
        if self.server.patience is not None and length > self.server.patience:
            self.rfile.read(self.server.patience)
            return self._hang_up()
        body = b"" if self.server.hasty and "expect" in headers else self.rfile.read(length)
        request = Request(self.command, self.path, headers, len(self.server.requests), body)
        self.server.requests.append(request)
        self._send(self.server.answer(request))

    do_GET = do_HEAD = do_CONNECT = do_PUT = do_DELETE = do_OPTIONS = handle_one
    do_POST = do_PROPFIND = do_MKCOL = do_MOVE = do_COPY = handle_one

    def handle_expect_100(self) -> bool:
        return super().handle_expect_100() if self.server.continues and not self.server.hasty else True

    def _send(self, reply: Reply) -> None:
        if reply.silent:
            self._hang_up(self.server.ending.wait())
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = str(len(reply.body)) if reply.length is None else reply.length
        if length:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        ends = [n for n in (reply.cut, reply.stall) if n is not None]
        self.wfile.write(reply.body[: reply.hold])
        if reply.requests:
            self.wfile.flush()
        while len(self.server.requests) < reply.requests and not self.server.ending.wait(0.005):
            pass
        self.wfile.write(reply.body[reply.hold : min(ends, default=None)])
        self.wfile.flush()
        if reply.stall is not None:
            self.server.ending.wait()
        if ends or reply.length is not None:
            self._hang_up()

    def _hang_up(self, _: object = None) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def odd() -> Iterator[Callable[[Answer], Odd]]:
    """Starts such servers; they end with the test."""
    servers: list[Odd] = []

    def start(answer: Answer) -> Odd:
        servers.append(Odd(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.end()
