"""S3's primitives. A PUT is the publication: an object is visible only when whole, and there is no rename."""

from __future__ import annotations

import calendar
import hashlib
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from pegasus_toolkit.transfer.backends.s3.site import MIB, Site
from pegasus_toolkit.transfer.backends.shared.files import (
    Found,
    Page,
    Sending,
    Stored,
)
from pegasus_toolkit.transfer.backends.shared.objects import ObjectFiles
from pegasus_toolkit.transfer.backends.shared.runner import All, Steps, to_the_end
from pegasus_toolkit.transfer.clients.curl.headers import Head, seconds
from pegasus_toolkit.transfer.clients.s3 import S3Request, S3Session
from pegasus_toolkit.transfer.errors import (
    Corrupted,
    Denied,
    NotFound,
    ServerFault,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Data, Job, Sink, Source

T = TypeVar("T")

SECOND = 1_000_000_000  # nanoseconds
WHOLE = 16 * MIB  # bytes; larger objects are put in parts
PUT_PART = 8 * MIB
MOST_PARTS = 10_000  # that one object may have
MOST_AT_ONCE = 5 << 30  # bytes that one copy request may move
COPY_PART = 1 << 30
UPLOADED = "CompleteMultipartUploadResult"
COPIED = "CopyObjectResult"
COPIED_PART = "CopyPartResult"


class Object(NamedTuple):
    """What stands at a key. ``sha256``, ``md5``: hex, "" where the server does not tell; ``modified``: when
    the content was last changed, as who put it there says, else when it was put (nanoseconds)."""

    size: int
    etag: str
    sha256: str
    md5: str
    modified: int | None = None


class Part(NamedTuple):
    """One part that the server has: its number from 1, ETag, SHA-256 in base64 ("" for none); ``proven``: it
    has compared that; ``size`` in bytes."""

    number: int
    etag: str
    checksum: str
    proven: bool
    size: int


class S3Sending(Sending):
    """An object in one piece is read at once, and can be sent again; parts are read as they are sent."""

    def __init__(self, job: Job[Source], whole: int, first: int) -> None:
        """``whole``: bytes up to which an object goes in one piece; ``first``: bytes of the first part."""
        super().__init__(job)
        self.content: memoryview | None = None  # all of it
        self.start = memoryview(b"")  # what was read of an object whose size is not known
        size = self.source.size
        if size is None:
            view = memoryview(bytearray(first))
            count = fill(self.source, view)
            if count < len(view):
                self.content = view[:count]
            else:
                self.start = view
        elif size <= whole:
            view = memoryview(bytearray(size + 1))  # room for one more, to see the end
            if fill(self.source, view) != size:
                raise Corrupted(f"not the {size} bytes that were told", url=job.path, side="source")
            self.content = view[:size]

    @property
    def repeatable(self) -> bool:
        return self.content is not None

    def rewind(self) -> bool:
        return self.content is not None or not self.sent


class S3Files(ObjectFiles):
    """One service with one identity."""

    def __init__(self, session: S3Session, site: Site, streams: int) -> None:
        super().__init__(site)
        self.session = session
        self.site = site
        self.streams = max(1, streams)  # parts of one object under way
        self._blocks: list[bytearray] = []  # of parts that were sent, to be used again

    def url(self, path: str) -> str:
        return self.site.path(*self.site.split(path))

    def check(self, path: str) -> None:
        self.session.address(*self.site.object(path))

    def request(self, method: str, bucket: str, key: str = "", **more: Any) -> S3Request:
        """Not begun yet."""
        return S3Request(self.session, method, bucket, key, **more)

    # -- writing -------------------------------------------------------------------------------------

    def sending(self, job: Job[Source]) -> Sending:
        whole = WHOLE if self.site.options.multipart_uploads else 5 << 30
        return S3Sending(job, whole, self.site.options.part_size or PUT_PART)

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        assert isinstance(sending, S3Sending)
        bucket, key = self.site.object(name)
        content = sending.content
        if content is not None:
            return (yield from self._in_bucket(bucket, lambda: self._whole(sending, content, name)))
        return (yield from self._in_parts(sending, bucket, key))

    def _in_bucket(self, bucket: str, story: Callable[[], Steps[T]]) -> Steps[T]:
        """Does it; where the bucket is missing, makes that first, as upstream does for a put."""
        try:
            return (yield from story())
        except NotFound as missing:
            try:
                yield from self._make_bucket(bucket)
            except Denied as refused:
                missing.hint = f"and it cannot be made: {refused.message}"
                raise missing from refused
        return (yield from story())

    def _whole(self, sending: S3Sending, content: memoryview, name: str) -> Steps[Stored]:
        job = sending.job
        bucket, key = self.site.object(name)
        known = job.end.digest if job.required.algorithm == "sha256" else ""
        digest = known or hashlib.sha256(content).hexdigest()
        checksum = b64encode(bytes.fromhex(digest)).decode() if self.site.options.checksums else ""
        sending.sent = len(content)
        lines = (*_checksum(checksum), *_times(job))
        answer = yield self.request("PUT", bucket, key, lines=lines, content=content, sha256=digest)
        answer.good()
        proven = bool(checksum) and answer.get("x-amz-checksum-sha256") == checksum
        if answer.status != 200 or not answer.get("etag"):  # perhaps no S3 at all: a proxy's own page
            return Stored((yield from self._there(name)).size, proven)
        return Stored(None, proven)  # the server compares the length and the signed digest before it stores

    def _there(self, name: str) -> Steps[Object]:
        """What stands under the name of an object that is said to be stored."""
        try:
            return (yield from self.head(name))
        except NotFound:
            text = "the service says that it stored the object, but it is not there"
            raise ServerFault(text, url=self.url(name), host=self.site.host) from None

    def _in_parts(self, sending: S3Sending, bucket: str, key: str) -> Steps[Stored]:
        """Visible only when whole. Whatever fails, no part stays behind."""
        checksums = self.site.options.checksums
        times = _times(sending.job)
        upload = yield from self._in_bucket(bucket, lambda: self.begin(bucket, key, checksums, times))
        try:
            parts = yield from self._every(self._parts(sending, bucket, key, upload))
            expected = sending.source.size
            sending.sent = sum(part.size for part in parts)
            if expected not in (None, sending.sent):
                text = f"{sending.sent} of {expected} bytes came"
                raise Corrupted(text, url=sending.job.path, side="source")
            yield from self.complete(bucket, key, upload, parts)
        except TransferError:
            yield from to_the_end(self._abort(bucket, key, upload))
            raise
        finally:
            self._blocks.clear()
        return Stored(None, all(part.proven for part in parts))

    def _every(self, stories: Iterable[Steps[Part]]) -> Steps[list[Part]]:
        parts = yield All(stories, self.streams, together=True)
        for part in parts:
            if isinstance(part, TransferError):
                raise part
        return [part for part in parts if part is not None]

    def begin(self, bucket: str, key: str, checksums: bool, times: tuple[str, ...] = ()) -> Steps[str]:
        """Opens an upload, before anything of the source is read."""
        lines = (*(("x-amz-checksum-algorithm: SHA256",) if checksums else ()), *times)
        answer = yield self.request("POST", bucket, key, query=(("uploads", ""),), lines=lines, content=b"")
        upload = _result(answer, "InitiateMultipartUploadResult").findtext("{*}UploadId") or ""
        if not upload:
            raise ServerFault("no upload was opened", url=answer.shown(), host=self.site.host)
        return upload

    def _parts(self, sending: S3Sending, bucket: str, key: str, upload: str) -> Iterator[Steps[Part]]:
        """Reads the source in order, a part whenever one may be sent."""
        total = sending.source.size
        start: Data = sending.start
        for number, size in enumerate(self._sizes(total), 1):
            block = self._blocks.pop() if self._blocks else bytearray(size)
            if len(block) != size:
                block = bytearray(size)
            length = fill(sending.source, memoryview(block), start)
            start = b""
            sending.sent += length
            if length or number == 1:
                yield self._part((bucket, key, upload), number, block, length)
            if length < size:
                return

    def _sizes(self, total: int | None) -> Iterator[int]:
        """Sizes of parts so that ``MOST_PARTS`` suffice; where the total is not known, they grow."""
        size = self.site.options.part_size or PUT_PART
        if total is not None and total > size * MOST_PARTS:
            size = (total // MOST_PARTS // MIB + 1) * MIB
        for number in range(MOST_PARTS):
            yield size if total is not None else size << (number // 1000)
        raise Unsupported(f"more than {MOST_PARTS} parts")

    def _part(self, where: Sequence[str], number: int, block: bytearray, length: int) -> Steps[Part]:
        bucket, key, upload = where
        content = memoryview(block)[:length]
        digest = hashlib.sha256(content)
        checksum = b64encode(digest.digest()).decode() if self.site.options.checksums else ""
        query = (("partNumber", str(number)), ("uploadId", upload))
        lines = _checksum(checksum)
        answer = yield self.request(
            "PUT", bucket, key, query=query, lines=lines, content=content, sha256=digest.hexdigest()
        )
        etag = answer.good().get("etag")
        if not etag:
            raise ServerFault("a part was stored without an ETag", url=answer.shown(), host=self.site.host)
        self._blocks.append(block)
        proven = bool(checksum) and answer.get("x-amz-checksum-sha256") == checksum
        return Part(number, etag, checksum, proven, length)

    def complete(self, bucket: str, key: str, upload: str, parts: Sequence[Part]) -> Steps[None]:
        """Joins the parts. Only its result is a success: an answer cut short, or a proxy's page, is none."""
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
            + (f"<ChecksumSHA256>{part.checksum}</ChecksumSHA256>" if part.checksum else "")
            + "</Part>"
            for part in parts
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        answer = yield self.request("POST", bucket, key, query=(("uploadId", upload),), content=body)
        _result(answer, UPLOADED)

    def _abort(self, bucket: str, key: str, upload: str) -> Steps[None]:
        with suppress(TransferError):
            answer = yield self.request("DELETE", bucket, key, query=(("uploadId", upload),))
            answer.good()

    # -- reading ---------------------------------------------------------------------------------------

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """For reading back; downloads have a loop of their own."""
        request = self.request("GET", *self.site.object(path))
        request.begin = lambda head: _into(request, head, sink)  # type: ignore[method-assign]
        answer = yield request
        answer.good()

    def head(self, path: str) -> Steps[Object]:
        """Raises ``NotFound``."""
        answer = yield self.request("HEAD", *self.site.object(path), lines=("x-amz-checksum-mode: ENABLED",))
        get = answer.good().get
        etag = get("etag")
        bare = etag.strip('"')
        # Only an object that was put in one piece and is not encrypted has its MD5 as ETag.
        plain = len(bare) == 32 and (get("x-amz-server-side-encryption") or "AES256") == "AES256"
        sha256 = _sha256(get("x-amz-checksum-sha256"), get("x-amz-checksum-type"))
        size = answer.head.length
        if size is None:
            raise ServerFault("S3 does not tell the object's size", url=answer.shown(), host=self.site.host)
        modified = self.session.kept_time(answer.head)
        if modified is None and (put := seconds(get("last-modified"))) is not None:
            modified = int(put) * SECOND
        return Object(size, etag, sha256, bare.lower() if plain else "", modified)

    def find_bucket(self, path: str) -> Steps[None]:
        if not (yield from self.has_bucket(self.site.split(path)[0])):
            raise NotFound("no such bucket", url=path, host=self.site.host)

    def find(self, path: str) -> Steps[Found]:
        found = yield from self.head(path)
        return Found("", False, found.size, modified=found.modified)

    def inspection(self, path: str) -> Steps[tuple[Found, dict[str, str]]]:
        """An object, and what the service tells of its content."""
        found = yield from self.head(path)
        told = {"sha256": found.sha256, "md5": found.md5}
        return Found("", False, found.size, modified=found.modified), told

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        found = yield from self.head(path)
        return {"sha256": found.sha256, "md5": found.md5}.get(algorithm, "")

    # -- buckets and keys --------------------------------------------------------------------------------

    def make(self, path: str) -> Steps[bool]:
        """The bucket, unless it is there: who may not make buckets may still use one."""
        bucket = self.site.split(path + "/")[0]
        if (yield from self.has_bucket(bucket)):
            return False
        yield from self._make_bucket(bucket)
        return True

    def has_bucket(self, bucket: str) -> Steps[bool]:
        """Raises ``Denied`` for one that is not ours."""
        answer = yield self.request("HEAD", bucket)
        try:
            answer.good()
        except NotFound:
            return False
        return True

    def _make_bucket(self, bucket: str) -> Steps[None]:
        """In the site's region; content if it is there and ours."""
        region, body = self.site.region, b""
        if region not in ("", "us-east-1"):
            place = f"<LocationConstraint>{escape(region)}</LocationConstraint>"
            body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>".encode()
        answer = yield self.request("PUT", bucket, content=body)
        try:
            answer.good()
        except (Denied, ServerFault) as error:  # perhaps another run has just made it
            try:
                there = yield from self.has_bucket(bucket)
            except Denied:
                there = False
            if not there:
                raise error from None

    def listing(
        self, bucket: str, prefix: str, more: Any = None, most: int = 0, delimiter: str = ""
    ) -> Steps[Page]:
        """A page of all keys that begin so; their names are whole keys. ``delimiter``: of what goes on beyond
        the next "/" only that is told, as a directory."""
        query = [("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")]
        query += [("max-keys", str(most))] if most else []
        query += [("continuation-token", more)] if more else []
        query += [("delimiter", delimiter)] if delimiter else []
        answer = yield self.request("GET", bucket, query=tuple(query))
        page = _result(answer, "ListBucketResult")
        decode: Callable[[str], str] = unquote_plus if page.findtext("{*}EncodingType") == "url" else str
        found = []
        for item in page.iterfind("{*}Contents"):
            key, size = item.findtext("{*}Key"), item.findtext("{*}Size") or ""
            if not key or not (size.isascii() and size.isdigit() and len(size) < 20):
                raise ServerFault("a listing that is not understood", url=answer.shown(), host=self.site.host)
            modified = _stamp(item.findtext("{*}LastModified") or "")
            found.append(Found(decode(key), False, int(size), modified=modified))
        for item in page.iterfind("{*}CommonPrefixes"):
            found.append(Found(decode(item.findtext("{*}Prefix") or ""), True))
        token, told = page.findtext("{*}NextContinuationToken") or "", page.findtext("{*}IsTruncated")
        goes_on = bool(token) if told is None else _TRUTH.get(told.strip().lower())
        if goes_on is None or (goes_on and (not token or token == more)):
            raise ServerFault("a listing that does not go on", url=answer.shown(), host=self.site.host)
        return Page(found, token if goes_on else None)

    def unlink(self, path: str) -> Steps[None]:
        answer = yield self.request("DELETE", *self.site.object(path))
        if answer.good().body:
            raise ServerFault("a page in place of an answer", url=answer.shown(), host=self.site.host)

    def delete(self, bucket: str, keys: Sequence[str]) -> Steps[dict[str, TransferError]]:
        """Deletes the keys; what went wrong, by key. One that is not there counts as deleted.

        Raises what concerns them all.
        """
        alone = [key for key in keys if not (self.site.options.batch_delete and _in_xml(key))]
        failed: dict[str, TransferError] = {}
        gone = yield All(self.unlink(self.site.path(bucket, key)) for key in alone)
        for key, error in zip(alone, gone, strict=True):
            if error is not None and not isinstance(error, NotFound):
                failed[key] = error
        batch = [key for key in keys if key not in set(alone)] if alone else list(keys)
        if batch:
            failed.update((yield from self._batch(bucket, batch)))
        return failed

    def _batch(self, bucket: str, keys: Sequence[str]) -> Steps[dict[str, TransferError]]:
        listed = "".join(f"<Object><Key>{escape(key, _ENTITIES)}</Key></Object>" for key in keys)
        body = f"<Delete><Quiet>true</Quiet>{listed}</Delete>".encode()
        md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        lines = (f"content-md5: {md5}",)
        answer = yield self.request("POST", bucket, query=(("delete", ""),), lines=lines, content=body)
        failed: dict[str, TransferError] = {}
        for item in _result(answer, "DeleteResult").iterfind("{*}Error"):
            code, key = item.findtext("{*}Code") or "", item.findtext("{*}Key") or ""
            if code in ("NoSuchKey", "NoSuchVersion"):
                continue
            failed[key] = self.session.refused(500, code, self.site.path(bucket, key or "?"), None)
        if not failed.keys() <= set(keys):  # nobody knows of which
            raise next(error for key, error in failed.items() if key not in set(keys))
        return failed

    # -- copies by the server --------------------------------------------------------------------------

    def copy(self, source: str, target: str, head: Object) -> Steps[None]:
        """A copy by the server, of the very content that ``head`` is about."""
        here, there = self.site.object(source), self.site.object(target)
        name = quote("/" + "/".join(here), safe="/", errors="surrogateescape")
        lines = (f"x-amz-copy-source: {name}", f"x-amz-copy-source-if-match: {head.etag}")
        if head.size <= MOST_AT_ONCE:
            answer = yield self.request("PUT", *there, lines=lines, content=b"")
            _result(answer, COPIED)
            return
        upload = yield from self.begin(*there, checksums=False)
        try:
            starts = enumerate(range(0, head.size, COPY_PART), 1)
            parts = yield from self._every(
                self._copy_part(there, upload, number, (start, head.size), lines) for number, start in starts
            )
            yield from self.complete(*there, upload, parts)
        except TransferError:
            yield from to_the_end(self._abort(*there, upload))
            raise

    def _copy_part(
        self, there: tuple[str, str], upload: str, number: int, rest: tuple[int, int], lines: Sequence[str]
    ) -> Steps[Part]:
        start, total = rest
        end = min(start + COPY_PART, total)
        lines = (*lines, f"x-amz-copy-source-range: bytes={start}-{end - 1}")
        query = (("partNumber", str(number)), ("uploadId", upload))
        answer = yield self.request("PUT", *there, query=query, lines=lines, content=b"")
        etag = _result(answer, COPIED_PART).findtext("{*}ETag") or ""
        return Part(number, etag, "", False, end - start)


_TRUTH = {"true": True, "1": True, "false": False, "0": False}  # as XML spells it
_ENTITIES = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _in_xml(key: str) -> bool:
    """Whether XML 1.0 can hold it."""
    return _NOT_IN_XML.search(key) is None


def _checksum(base64: str) -> tuple[str, ...]:
    return (f"x-amz-checksum-sha256: {base64}",) if base64 else ()


def _times(job: Job[Source]) -> tuple[str, ...]:
    """When the content was last changed, as rclone keeps it: seconds since the epoch."""
    modified = job.required.modified
    return () if modified is None else (f"x-amz-meta-mtime: {modified // SECOND}.{modified % SECOND:09d}",)


def _stamp(text: str) -> int | None:
    """``2026-12-01T01:02:03.000Z`` in nanoseconds since the epoch."""
    try:
        return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) * SECOND
    except ValueError:
        return None


def _into(request: S3Request, head: Head, sink: Sink) -> None:
    """Puts the body of a GET into the sink, an error's page elsewhere."""
    if head.status == 200:
        if head.length is not None:
            sink.announce(head.length)
        request.take = sink.write
    elif 200 < head.status < 300:
        raise ServerFault(f"HTTP {head.status}, where the whole object was asked for", url=request.shown())


def _result(answer: S3Request, name: str) -> ElementTree.Element:
    """The answer's document, which must be of that name."""
    try:
        found = ElementTree.fromstring(bytes(answer.good().body))
    except ElementTree.ParseError:
        raise ServerFault("an answer that is not XML", url=answer.shown(), host=answer.session.host) from None
    if found.tag.rpartition("}")[2] != name:
        text = f"an answer that is no {name}"
        raise ServerFault(text, url=answer.shown(), host=answer.session.host)
    return found


def _sha256(text: str, kind: str) -> str:
    """Hex of a whole object's checksum; that of a composite one ("...-3") is of no use here."""
    if not text or "-" in text or kind == "COMPOSITE":
        return ""
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        return ""
    return raw.hex() if len(raw) == 32 else ""


def fill(source: Source, view: memoryview, start: Data = b"") -> int:
    """Reads until the view is full or the source at its end; how much, ``start`` included."""
    at = len(start)
    view[:at] = start
    while at < len(view) and (n := source.readinto(view[at:])):
        at += n
    return at
