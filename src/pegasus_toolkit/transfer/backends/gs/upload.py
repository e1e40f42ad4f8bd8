"""Uploads: a small object in one request, a larger one in a session that goes on after a cut."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from contextlib import suppress
from typing import Any

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.backends.shared.files import Sending
from pegasus_toolkit.transfer.backends.shared.runner import Pause, Steps, to_the_end
from pegasus_toolkit.transfer.clients.curl.read_ahead import Ahead
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.clients.gcs import GONE_ON, GcsRequest, GcsSession, moment
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    NotFound,
    ResourceLimit,
    ServerFault,
    TransferError,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Job, Source

MIB = 1 << 20
WHOLE = 8 * MIB  # bytes; larger objects go in a session
CHUNK = 16 * MIB  # that one request of a session sends, and that memory holds until Google has it
BLOCK = 512 << 10  # that is read at once
TRIES = 5  # of one chunk without a byte more at Google's
PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)  # seconds before they begin
UPLOADS = "/upload/storage/v1/b/{}/o"


class GsSending(Sending):
    """A small object is read at once, and can be sent again; a larger one is read as it is sent."""

    def __init__(self, job: Job[Source]) -> None:
        super().__init__(job)
        self.hashers = {"crc32c": digests.new("crc32c")}
        if job.required.remote:
            self.hashers["md5"] = digests.new("md5")
        self.broken: TransferError | None = None  # what the source raised
        size = self.source.size
        large = size is not None and size > WHOLE
        self._ahead = Ahead(self.source) if large and self.source.file is not None else None
        self._reader: Source | Ahead = self._ahead or self.source
        self.blocks = [] if large else self.take(WHOLE + 1)  # what was read at once
        count = sum(map(len, self.blocks))
        self.whole = not large and count <= WHOLE  # ``blocks`` are all of it
        if self.whole and size is not None and size != count:
            raise Corrupted(f"{count} bytes came, {size} expected", url=job.path, side="source")

    def take(self, n: int) -> list[bytes]:
        """The next blocks, n bytes in all, fewer at the end. Raises what the source raises."""
        found, left = [], n
        while left > 0 and (block := self.block(left)):
            found.append(block)
            left -= len(block)
        return found

    def block(self, n: int) -> bytes:
        """The next bytes, n at most; b"" at the end."""
        try:
            block = self._reader.read(min(n, BLOCK))
        except TransferError as error:
            self.broken = error
            raise
        except OSError as error:
            self.broken = from_oserror(error, side="source")
            raise self.broken from error
        for hasher in self.hashers.values():
            hasher.update(block)
        return block

    def digests(self) -> dict[str, str]:
        """Of all that was read, by algorithm, in hex."""
        return {name: hasher.hexdigest() for name, hasher in self.hashers.items()}

    @property
    def repeatable(self) -> bool:
        return self.whole

    def rewind(self) -> bool:
        return self.whole or not self.sent

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()


class Blocks(Upload):
    """Blocks in memory, sent as they are: to join them would cost as much as to send them."""

    def __init__(self, blocks: list[bytes]) -> None:
        super().__init__()
        self.blocks = blocks
        self.read_up_to = sum(map(len, blocks))
        self.length = self.read_up_to
        self.stored = 0  # bytes of it that need not be sent again
        self._at = (0, 0)  # the block that is sent next, and where in it
        self.rewind()

    def rewind(self) -> bool:
        self.sent, self.size = 0, self.length - self.stored
        at, left = 0, self.stored
        while at < len(self.blocks) and left >= len(self.blocks[at]):
            left -= len(self.blocks[at])
            at += 1
        self._at = at, left
        return True

    def more(self, n: int) -> bytes:
        """The next block; there is none."""
        return b""

    def read(self, n: int) -> bytes:
        if self.stopped:
            raise Cancelled("the batch was given up")
        number, offset = self._at
        if number == len(self.blocks) and (block := self.more(n)):
            self.blocks.append(block)
            self.read_up_to += len(block)
        if number == len(self.blocks):
            return b""
        block = self.blocks[number]
        part = block[offset : offset + n] if offset or len(block) > n else block
        end = offset + len(part)
        self._at = (number, end) if end < len(block) else (number + 1, 0)
        self.sent += len(part)
        return part


class Chunk(Blocks):
    """The next bytes of an object, read as they are sent and kept until Google has them."""

    def __init__(self, sending: GsSending, start: int, size: int, blocks: list[bytes]) -> None:
        """``start``: its place in the object; ``blocks``: what was read of it already."""
        super().__init__(blocks)
        self.sending = sending
        self.start = start
        self.length = size
        self.rewind()

    def go_on(self, stored: int) -> None:
        """From there on it is sent once more."""
        self.stored = stored
        self.rewind()

    def more(self, n: int) -> bytes:
        """Raises ``Corrupted`` where the source ends too early."""
        if self.read_up_to >= self.length:
            return b""
        block = self.sending.block(min(n, self.length - self.read_up_to))
        if not block:
            text = f"{self.start + self.read_up_to} bytes came, {self.sending.source.size} expected"
            raise Corrupted(text, side="source")
        return block


class GsUpload:
    """One object on its way."""

    def __init__(self, session: GcsSession, sending: GsSending, bucket: str, key: str) -> None:
        self.session = session
        self.sending = sending
        self.bucket = bucket
        self.key = key
        self.total = sending.source.size
        self.at = ""  # the session's URL

    def story(self) -> Steps[dict[str, Any]]:
        """What Google says of the object. Whatever fails, nothing is seen and no session stays open."""
        if self.sending.whole:
            return (yield from self._whole(self.sending.blocks))
        yield from self._begin()
        try:
            return (yield from self._chunks())
        except TransferError:
            yield from to_the_end(self._abort())
            raise

    def _metadata(self, **more: str) -> bytes:
        told: dict[str, Any] = {"name": self.key, "contentType": "application/octet-stream", **more}
        modified = self.sending.job.required.modified
        if modified is not None:
            told["metadata"] = {"mtime": moment(modified)}
        return json.dumps(told).encode()

    def _whole(self, blocks: list[bytes]) -> Steps[dict[str, Any]]:
        """The digests go with it: Google refuses what it would store otherwise."""
        told = {name: b64encode(bytes.fromhex(value)) for name, value in self.sending.digests().items()}
        named = {"md5Hash" if name == "md5" else name: value.decode() for name, value in told.items()}
        mark = os.urandom(20).hex().encode()
        head = b"--%b\r\nContent-Type: application/json\r\n\r\n%b\r\n" % (mark, self._metadata(**named))
        head += b"--%b\r\nContent-Type: application/octet-stream\r\n\r\n" % mark
        tail = b"\r\n--%b--\r\n" % mark
        url = self.session.address(UPLOADS, self.bucket, query=(("uploadType", "multipart"),))
        lines = (f"Content-Type: multipart/related; boundary={mark.decode()}",)
        self.sending.sent = sum(map(len, blocks))
        body = Blocks([head + blocks[0] + tail] if len(blocks) == 1 else [head, *blocks, tail])
        answer = yield GcsRequest(self.session, "POST", url, upload=body, lines=lines)
        return answer.told_of()  # type: ignore[no-any-return]

    def _begin(self) -> Steps[None]:
        """Opens a session, before anything of the source is sent."""
        query = (("uploadType", "resumable"), ("name", self.key))
        url = self.session.address(UPLOADS, self.bucket, query=query)
        length = () if self.total is None else (f"X-Upload-Content-Length: {self.total}",)
        answer = yield GcsRequest(self.session, "POST", url, content=self._metadata(), lines=length)
        self.at = answer.good().get("location")
        if not self.at.startswith(f"{self.session.base}/"):
            text = "the upload was opened at another server, which is not shown our token"
            raise ServerFault(text, url=answer.shown(), host=self.bucket)

    def _chunks(self) -> Steps[dict[str, Any]]:
        start, blocks = 0, self.sending.blocks
        self.sending.blocks = []
        while True:
            chunk = self._next(start, blocks)
            last = chunk.length < CHUNK or start + chunk.length == self.total
            told = yield from self._send(chunk, last)
            start += chunk.length
            chunk.blocks, blocks = [], []  # whoever still refers to the chunk must not keep them
            if told is not None:
                return told

    def _next(self, start: int, blocks: list[bytes]) -> Chunk:
        """The next one; where nobody knows how long the object is, it is read beforehand."""
        if self.total is not None:
            return Chunk(self.sending, start, min(CHUNK, self.total - start), blocks)
        blocks += self.sending.take(CHUNK - sum(map(len, blocks)))
        return Chunk(self.sending, start, sum(map(len, blocks)), blocks)

    def _send(self, chunk: Chunk, last: bool) -> Steps[dict[str, Any] | None]:
        """Until Google has all of it, going on after each cut; what it says at the end of the object."""
        tries = 0
        while True:
            answer = yield self._put(chunk, last)
            self.sending.sent = chunk.start + chunk.read_up_to
            refused = answer.failed()
            while True:
                if answer.status in (200, 201) and refused is None:
                    return self._whole_of(answer, chunk, last)
                if answer.status == GONE_ON:
                    break
                tries = yield from self._may_go_on(refused, tries)
                answer = yield self._where()
                refused = answer.failed()
            stored = self._stored(answer, chunk)
            if stored > chunk.stored:
                tries = 0
            elif (tries := tries + 1) >= TRIES:
                text = "Google Storage takes no more of this upload"
                raise ServerFault(text, url=self._shown(), host=self.bucket)
            chunk.go_on(stored)
            if stored == chunk.length and not last:
                return None

    def _may_go_on(self, refused: TransferError | None, tries: int) -> Steps[int]:
        """After a failure: waits where it makes sense to ask how far the upload is; else raises."""
        if refused is None:
            raise ServerFault("an answer that is not understood", url=self._shown(), host=self.bucket)
        if isinstance(refused, NotFound):
            raise ServerFault("the upload is not known any more", url=self._shown(), host=self.bucket)
        ours = refused is self.sending.broken or isinstance(refused, Corrupted | Cancelled | ResourceLimit)
        if ours or not refused.retryable or tries + 1 >= TRIES:
            raise refused
        after = getattr(refused, "retry_after", None)
        yield Pause(PAUSES[tries] if after is None else min(after, 60.0))
        return tries + 1

    def _put(self, chunk: Chunk, last: bool) -> GcsRequest:
        first, end = chunk.start + chunk.stored, chunk.start + chunk.length
        total = end if last else "*" if self.total is None else self.total
        span = f"{first}-{end - 1}" if end > first else "*"
        lines = (f"Content-Range: bytes {span}/{total}",)
        return GcsRequest(self.session, "PUT", self.at, upload=chunk, lines=lines)

    def _where(self) -> GcsRequest:
        """Asks how much of it is stored."""
        total = "*" if self.total is None else self.total
        lines = (f"Content-Range: bytes */{total}", "Content-Length: 0")
        return GcsRequest(self.session, "PUT", self.at, upload=Upload(), lines=lines)

    def _stored(self, answer: GcsRequest, chunk: Chunk) -> int:
        """How many bytes of the chunk Google has."""
        text = answer.get("range").removeprefix("bytes=0-")
        if not answer.get("range"):
            end = 0
        elif text.isascii() and text.isdigit():
            end = int(text) + 1
        else:
            end = -1
        if not chunk.start <= end <= chunk.start + chunk.read_up_to:
            text = "Google Storage has other bytes than were sent"
            raise ServerFault(text, url=self._shown(), host=self.bucket)
        return end - chunk.start

    def _whole_of(self, answer: GcsRequest, chunk: Chunk, last: bool) -> dict[str, Any]:
        if not last or chunk.read_up_to < chunk.length:
            text = "Google Storage took the upload for whole before its end"
            raise ServerFault(text, url=self._shown(), host=self.bucket)
        return answer.told_of()

    def _shown(self) -> str:
        """For errors: the session's URL is a secret, as who has it may write."""
        return f"gs://{self.bucket}/{self.key}"

    def _abort(self) -> Steps[None]:
        with suppress(TransferError):
            answer = yield GcsRequest(self.session, "DELETE", self.at)
            answer.failed()
