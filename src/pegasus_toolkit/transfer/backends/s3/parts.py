"""Large objects in parts, several at once, by signed requests."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from re import compile as pattern
from typing import NamedTuple, TypeVar
from xml.sax.saxutils import escape, unescape

from pegasus_toolkit.transfer.backends.s3.keys import COPY_PART, Head, copy_headers
from pegasus_toolkit.transfer.backends.s3.site import MIB
from pegasus_toolkit.transfer.backends.s3.wire import Reply, Request, Wire
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Data, Sink, Source

BLOCK = MIB
PUT_PART = 8 * MIB
GET_PART = 16 * MIB  # a server works less for fewer requests; four streams hold five parts in memory
MOST_PARTS = 10_000  # that one object may have
_T = TypeVar("_T")
_ETAG = pattern(rb"<ETag>([^<]+)</ETag>")
_UPLOAD = pattern(rb"<UploadId>([^<]+)</UploadId>")


class Object(NamedTuple):
    """What is to be read or written."""

    bucket: str
    key: str


class Part(NamedTuple):
    """One part that the server has: its number from 1, ETag, and SHA-256 in base64 ("" for none)."""

    number: int
    etag: str
    checksum: str
    proven: bool


class Parts:
    """Reads and writes one object at a time, ``streams`` parts of it at once."""

    def __init__(self, wire: Wire, streams: int) -> None:
        self._wire = wire
        self._streams = max(1, streams)
        self._pool: ThreadPoolExecutor | None = None
        self._block = memoryview(bytearray(0))

    # reading

    def load(self, source: Object, sink: Sink) -> None:
        """Reads the object into the sink, in order.

        Raises ``Corrupted`` when it is replaced by another meanwhile.
        """
        ranged = self._wire.site.options.ranged_downloads
        size = GET_PART
        first = self._open(source, f"bytes=0-{size - 1}" if ranged else "")
        try:
            total = _total(first)
            etag = first.headers.get("etag") or ""
            etag = "" if etag.startswith("W/") else etag  # which names no exact content
            sink.announce(total)
            name = f"{self._wire.site.endpoint}/{source.bucket}/{source.key} {etag}"
            at = sink.resume(name) if etag and total > size else 0
            if at > total:
                sink.restart()
                at = 0
            if not at:
                self._stream(first, sink)
                at = min(size, total) if first.status == 206 else total
        finally:
            first.drop()
        if at < total:
            self._ranges(source, sink, (at, total), etag)

    def _open(self, source: Object, wanted: str) -> Reply:
        headers = {"range": wanted} if wanted else {}
        try:
            return self._wire.send(Request("GET", *source, headers=headers))
        except Corrupted:  # 416: an empty object has no first byte
            return self._wire.send(Request("GET", *source))

    def _stream(self, reply: Reply, sink: Sink) -> None:
        if not self._block:
            self._block = memoryview(bytearray(BLOCK))
        while n := reply.readinto(self._block):
            sink.write(self._block[:n])

    def _ranges(self, source: Object, sink: Sink, rest: tuple[int, int], etag: str) -> None:
        """The rest, a window of parts ahead of the sink, each into a buffer that is used again."""
        size = GET_PART
        start, total = rest
        spans = iter([(at, min(at + size, total)) for at in range(start, total, size)])
        buffers = min(self._streams + 1, -(-(total - start) // size))  # no more than there are parts
        free = deque(bytearray(size) for _ in range(buffers))
        window: deque[Future[memoryview]] = deque()

        def fetch(span: tuple[int, int], buffer: bytearray) -> memoryview:
            return self._fetch(source, span, etag, memoryview(buffer))

        try:
            while True:
                while free and (span := next(spans, None)) is not None:
                    window.append(self._submit(fetch, span, free.popleft()))
                if not window:
                    return
                part = window.popleft().result()
                sink.write(part)
                buffer = part.obj
                assert isinstance(buffer, bytearray)
                free.append(buffer)
        finally:
            _settle(window)

    def _fetch(self, source: Object, span: tuple[int, int], etag: str, view: memoryview) -> memoryview:
        start, end = span
        headers = {"range": f"bytes={start}-{end - 1}", **({"if-match": etag} if etag else {})}
        reply = self._wire.send(Request("GET", *source, headers=headers))
        if reply.status != 206 or (etag and reply.headers.get("etag") != etag):
            reply.drop()
            raise Corrupted("changed while it was read", url=self._wire.site.path(*source))
        at, length = 0, end - start
        while at < length and (n := reply.readinto(view[at:length])):
            at += n
        if at < length:
            raise ServerFault("a part came short", url=self._wire.site.path(*source))
        return view[:length]

    # writing

    @property
    def first(self) -> int:
        """Bytes of the first part of an object whose size is not known."""
        return self._wire.site.options.part_size or PUT_PART

    def begin(self, target: Object, checksums: bool = True) -> str:
        """Opens an upload. Raises ``NotFound`` where the bucket is missing."""
        checked = checksums and self._wire.site.options.checksums
        headers = {"x-amz-checksum-algorithm": "SHA256"} if checked else {}
        body = self._wire.call(Request("POST", *target, query=(("uploads", ""),), headers=headers))
        found = _UPLOAD.search(body)
        if found is None:
            raise ServerFault("no upload was opened", url=self._wire.site.path(*target))
        return unescape(found[1].decode())

    def save(self, target: Object, upload: str, source: Source, start: Data = b"") -> bool:
        """Writes ``start`` and the rest of the source as one object, visible only when whole.

        Whether the server has checked every part by a digest. Whatever fails, no part stays behind.
        """
        with self._ended(target, upload):
            parts = self._send_all(target, source, start, upload)
            self._complete(target, upload, parts)
        return all(part.proven for part in parts)

    def copy(self, source: Object, target: Object, head: Head) -> None:
        """A copy by the server, in parts, of the very content that ``head`` is about."""
        upload = self.begin(target, checksums=False)

        def one(number: int, start: int) -> Part:
            end = min(start + COPY_PART, head.size) - 1
            headers = {**copy_headers(source, head), "x-amz-copy-source-range": f"bytes={start}-{end}"}
            query = (("partNumber", str(number)), ("uploadId", upload))
            body = self._wire.call(Request("PUT", *target, query, headers))
            found = _ETAG.search(body)
            return Part(number, unescape(found[1].decode()) if found else "", "", False)

        with self._ended(target, upload):
            starts = range(0, head.size, COPY_PART)
            window = [self._submit(one, number, start) for number, start in enumerate(starts, 1)]
            try:
                parts = [part.result() for part in window]
            finally:
                _settle(window)
            self._complete(target, upload, parts)

    @contextmanager
    def _ended(self, target: Object, upload: str) -> Iterator[None]:
        """Whatever goes wrong, the upload is given up and its parts are gone."""
        try:
            yield
        except BaseException:
            # Only a request that works after close() can clear up after a cancelled transfer.
            with suppress(TransferError):
                self._wire.send(Request("DELETE", *target, query=(("uploadId", upload),)), last=True).read()
            raise

    def _send_all(self, target: Object, source: Source, start: Data, upload: str) -> list[Part]:
        free: deque[bytearray] = deque()
        window: deque[Future[tuple[Part, bytearray]]] = deque()
        parts: list[Part] = []
        total = 0

        def send(number: int, buffer: bytearray, length: int) -> tuple[Part, bytearray]:
            return self._send(target, upload, number, memoryview(buffer)[:length]), buffer

        try:
            for size in self._sizes(source.size):
                if len(window) > self._streams:
                    part, buffer = window.popleft().result()
                    parts.append(part)
                    free.append(buffer)
                buffer = free.popleft() if free else bytearray(size)
                if len(buffer) != size:
                    buffer = bytearray(size)
                length = fill(source, memoryview(buffer), start)
                start = b""
                total += length
                if length or not (window or parts):
                    window.append(self._submit(send, len(parts) + len(window) + 1, buffer, length))
                if length < size:
                    break
            if source.size not in (None, total):
                raise Corrupted(f"{total} of {source.size} bytes came")
            parts += [one.result()[0] for one in window]
        finally:
            _settle(window)
        return parts

    def _sizes(self, total: int | None) -> Iterator[int]:
        """Sizes of parts so that ``MOST_PARTS`` suffice; where the total is not known, they grow."""
        size = self._wire.site.options.part_size or PUT_PART
        if total is not None and total > size * MOST_PARTS:
            size = (total // MOST_PARTS // MIB + 1) * MIB
        for number in range(MOST_PARTS):
            yield size if total is not None else size << (number // 1000)
        raise Unsupported(f"more than {MOST_PARTS} parts")

    def _send(self, target: Object, upload: str, number: int, content: memoryview) -> Part:
        digest = hashlib.sha256(content)
        checksum = b64encode(digest.digest()).decode() if self._wire.site.options.checksums else ""
        headers = {"x-amz-checksum-sha256": checksum} if checksum else {}
        query = (("partNumber", str(number)), ("uploadId", upload))
        reply = self._wire.send(Request("PUT", *target, query, headers, content, digest.hexdigest()))
        reply.read()
        echoed = reply.headers.get("x-amz-checksum-sha256") or ""
        return Part(number, reply.headers.get("etag") or "", checksum, bool(checksum) and echoed == checksum)

    def _complete(self, target: Object, upload: str, parts: list[Part]) -> None:
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
            + (f"<ChecksumSHA256>{part.checksum}</ChecksumSHA256>" if part.checksum else "")
            + "</Part>"
            for part in parts
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        self._wire.call(Request("POST", *target, query=(("uploadId", upload),), body=body))

    # both

    def _submit(self, work: Callable[..., _T], *arguments: object) -> Future[_T]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._streams, thread_name_prefix="s3-part")
        try:
            return self._pool.submit(work, *arguments)
        except RuntimeError:  # closed by another thread
            raise Cancelled("closed", host=self._wire.site.host) from None

    def close(self) -> None:
        """Lets the threads go; they end with what they are at."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def fill(source: Source, view: memoryview, start: Data = b"") -> int:
    """Reads until the view is full or the source at its end; how much, ``start`` included."""
    at = len(start)
    view[:at] = start
    while at < len(view) and (n := source.readinto(view[at:])):
        at += n
    return at


def _total(reply: Reply) -> int:
    """The object's size, from an answer that holds all or the beginning of it."""
    told = reply.headers.get("content-range") or ""
    text = told.rpartition("/")[2] if reply.status == 206 else reply.headers.get("content-length") or ""
    if not text.isdecimal():
        raise ServerFault("S3 does not tell the object's size")
    return int(text)


def _settle(window: Iterable[Future[_T]]) -> None:
    """Waits for what was begun, so that no thread still works on this object."""
    for one in window:
        if not one.cancel():
            one.exception()
