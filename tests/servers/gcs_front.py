"""A stand-in of ours before fake-gcs-server, for what the emulator lacks of Google Storage.

Google's token service (it checks the signature of a service account's request), tokens that are checked,
digests that are checked, upload sessions whose state can be asked, and faults: answers that a rule gives,
and connections that are cut. Everything else is passed on to the emulator.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import crc32c
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.servers.gcs import Gcs

GRAIN = 256 << 10  # bytes: what of an upload that is cut off stays is a multiple of this
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EMAIL = "robot@test.iam.gserviceaccount.com"


def pem(key: rsa.RSAPrivateKey = KEY) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def refusal(status: int, reason: str = "", message: str = "no", **headers: str) -> Reply:
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status, json.dumps({"error": error}).encode(), fields)


class Front:
    """``rule``: an answer for a request (method, path with query), or ``None`` to go on. ``cut``: after how
    many bytes of the next bodies of sessions it is cut off. ``change``: what becomes of an answer."""

    def __init__(self, behind: Gcs) -> None:
        self.behind = behind
        self.rule: Callable[[str, str], Reply | None] = lambda method, path: None
        self.change: Callable[[str, str, Reply], Reply] = lambda method, path, reply: reply
        self.cut: list[int] = []
        self.requests: list[tuple[str, str, str]] = []  # method, path, range or span
        self.tokens: set[str] = set()
        self.grants = 0
        self.received = 0  # bytes of bodies of upload sessions
        self.sessions: dict[str, tuple[str, str, bytearray]] = {}  # bucket, key, what came of it
        self.port = 0
        self.open = False  # nobody needs a token

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def methods(self) -> Counter[str]:
        return Counter(method for method, _, _ in self.requests)

    def key(self, **other: str) -> str:
        """A service account's key file."""
        key = {"type": "service_account", "client_email": EMAIL, "private_key": pem(), "project_id": "test"}
        return json.dumps({**key, "token_uri": f"{self.url}/token", **other})

    def grant(self, form: dict[str, list[str]]) -> Reply:
        """Google's token service."""
        if form["grant_type"] == ["refresh_token"]:
            good = form["refresh_token"] == ["refresh-me"] and form["client_secret"] == ["hush"]
        else:
            head, claims, signature = form["assertion"][0].split(".")
            told = json.loads(_decoded(claims))
            try:
                KEY.public_key().verify(
                    _decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
                )
                good = told["iss"] == EMAIL and told["exp"] > time.time() and "devstorage" in told["scope"]
            except InvalidSignature:
                good = False
        if not good:
            answer = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return Reply(400, json.dumps(answer).encode())
        self.grants += 1
        token = f"ya29.token-{self.grants}"
        self.tokens.add(token)
        answer = {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
        return Reply(200, json.dumps(answer).encode())

    def pass_on(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        link = http.client.HTTPConnection(urlsplit(self.behind.endpoint).netloc, timeout=20)
        try:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            content = answer.read()
            dropped = ("content-length", "date", "transfer-encoding")
            fields = tuple((k, v) for k, v in answer.getheaders() if k.lower() not in dropped)
            return Reply(answer.status, content, fields)
        finally:
            link.close()

    def begin(self, path: str, body: bytes) -> Reply:
        number = f"upload{len(self.requests)}"
        bucket = path.partition("/b/")[2].partition("/")[0]
        self.sessions[number] = bucket, json.loads(body)["name"], bytearray()
        where = f"{self.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"
        return Reply(200, b"{}", (("Location", where),))

    def stored(self, number: str, total: str) -> Reply:
        """How far an upload is; at its end it becomes an object."""
        bucket, name, content = self.sessions[number]
        if total == str(len(content)):
            path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
            kind = {"Content-Type": "application/octet-stream"}
            return self.pass_on("POST", path, bytes(content), kind)
        held = len(content)
        return Reply(308, b"", (("Range", f"bytes=0-{held - 1}"),) if held else ())


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _checked(kind: str, body: bytes) -> Reply | None:
    """What Google says of an upload in one request whose digests are not those of its content."""
    mark = b"--" + kind.partition("boundary=")[2].encode()
    _, first, second, _ = body.split(mark)
    told = json.loads(first.partition(b"\r\n\r\n")[2])
    content = second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
    found = base64.b64encode(crc32c.crc32c(content).to_bytes(4, "big")).decode()
    if told.get("crc32c", found) != found:
        return refusal(400, "invalid", "Provided CRC32C does not match")
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    front: Front

    def do(self) -> None:
        front, length = self.front, int(self.headers.get("Content-Length") or 0)
        span = self.headers.get("Content-Range") or self.headers.get("Range") or ""
        front.requests.append((self.command, self.path, span))
        query = parse_qs(urlsplit(self.path).query)
        if self.path == "/token":
            return self.answer(front.grant(parse_qs(self.rfile.read(length).decode())))
        shown = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        reply = front.rule(self.command, self.path)
        if not front.open and shown not in front.tokens:
            reply = refusal(401, "authError", "Invalid Credentials")
        if reply is None and "upload_id" in query:
            return self.session(query["upload_id"][0], span, length)
        body = self.rfile.read(length)
        if reply is None and query.get("uploadType") == ["resumable"]:
            reply = front.begin(self.path, body)
        if reply is None and query.get("uploadType") == ["multipart"]:
            reply = _checked(self.headers["Content-Type"], body)
        if reply is None:
            wanted = ("range", "content-type")
            fields = {k: v for k, v in self.headers.items() if k.lower() in wanted}
            reply = front.pass_on(self.command, self.path, body or None, fields)
        return self.answer(front.change(self.command, self.path, reply))

    def session(self, number: str, span: str, length: int) -> None:
        front = self.front
        if self.command == "DELETE":
            front.sessions.pop(number, None)
            return self.answer(Reply(499))
        if number not in front.sessions:
            return self.answer(refusal(404))
        content = front.sessions[number][2]
        place, _, total = span.removeprefix("bytes ").partition("/")
        if place != "*":
            assert int(place.partition("-")[0]) == len(content), (span, len(content))
            most = front.cut.pop(0) if front.cut else length
            got = self.rfile.read(min(most, length))
            front.received += len(got)
            if len(got) < length:
                content += got[: len(got) // GRAIN * GRAIN]
                self.close_connection = True
                return self.connection.close()
            content += got
        return self.answer(front.change(self.command, self.path, front.stored(number, total)))

    def answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):  # cut, by either side
            super().handle()


@contextmanager
def serve(behind: Gcs) -> Iterator[Front]:
    front = Front(behind)
    handler = type("Bound", (Handler,), {"front": front})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    front.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
