"""Buckets, listings, deletes and the server's own account of an object, by signed requests."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from pegasus_toolkit.transfer.backends.s3.wire import Request, Wire
from pegasus_toolkit.transfer.errors import Denied, NotFound, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Entry

MOST_AT_ONCE = 5 << 30  # bytes that one copy request may move
COPY_PART = 1 << 30


class Listed(NamedTuple):
    """One key of a listing."""

    key: str
    size: int


class Head(NamedTuple):
    """What the server says of one object. ``sha256``, ``md5``: hex, "" where it does not tell."""

    size: int
    etag: str
    sha256: str
    md5: str


class Keys:
    """What is done to keys and buckets without reading or writing content."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def head(self, bucket: str, key: str) -> Head:
        """Raises ``NotFound``."""
        reply = self._wire.send(Request("HEAD", bucket, key, headers={"x-amz-checksum-mode": "ENABLED"}))
        reply.read()
        get = reply.headers.get
        etag = get("etag") or ""
        bare = etag.strip('"')
        # Only an object that was put in one piece and is not encrypted has its MD5 as ETag.
        plain = len(bare) == 32 and (get("x-amz-server-side-encryption") or "AES256") == "AES256"
        return Head(
            int(get("content-length") or 0),
            etag,
            _sha256(get("x-amz-checksum-sha256") or "", get("x-amz-checksum-type") or ""),
            bare.lower() if plain else "",
        )

    def put(self, bucket: str, key: str, content: memoryview, digest: str) -> bool:
        """Stores the content, whose SHA-256 in hex is known; whether the server says that it checked it."""
        checksum = b64encode(bytes.fromhex(digest)).decode()
        headers = {"x-amz-checksum-sha256": checksum} if self._wire.site.options.checksums else {}
        reply = self._wire.send(Request("PUT", bucket, key, headers=headers, body=content, sha256=digest))
        reply.read()
        return bool(headers) and reply.headers.get("x-amz-checksum-sha256") == checksum

    def has_bucket(self, bucket: str) -> bool:
        """Raises ``Denied`` for one that is not ours."""
        try:
            self._wire.send(Request("HEAD", bucket)).read()
        except NotFound:
            return False
        return True

    def ensure_bucket(self, bucket: str) -> None:
        """Makes it unless it is there: who may not make buckets may still use one."""
        if not self.has_bucket(bucket):
            self.make_bucket(bucket)

    def make_bucket(self, bucket: str) -> None:
        """Makes it in the site's region; content if it is there and ours."""
        region = self._wire.site.region
        body = b""
        if region not in ("", "us-east-1"):
            place = f"<LocationConstraint>{escape(region)}</LocationConstraint>"
            body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>".encode()
        try:
            self._wire.call(Request("PUT", bucket, body=body))
        except (Denied, ServerFault) as error:  # perhaps another run has just made it
            try:
                there = self.has_bucket(bucket)
            except Denied:
                there = False
            if not there:
                raise error from None

    def list(self, bucket: str, prefix: str, most: int = 0) -> Iterator[Listed]:
        """All keys that begin so; ``most``: at most, 0 for no limit."""
        token = ""
        while True:
            query = [("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")]
            query += [("max-keys", str(most))] if most else []
            query += [("continuation-token", token)] if token else []
            page = _parsed(self._wire.call(Request("GET", bucket, query=tuple(query))))
            decode = unquote_plus if page.findtext("{*}EncodingType") == "url" else str
            for item in page.iterfind("{*}Contents"):
                key = decode(item.findtext("{*}Key") or "")
                yield Listed(key, int(item.findtext("{*}Size") or 0))
            token = page.findtext("{*}NextContinuationToken") or ""
            if most or not token or page.findtext("{*}IsTruncated") != "true":
                return

    def delete(self, bucket: str, keys: Sequence[str]) -> dict[str, TransferError]:
        """Deletes the keys; what went wrong, by key. One that is not there counts as deleted.

        Raises what concerns them all.
        """
        if not self._wire.site.options.batch_delete:
            return self._one_by_one(bucket, keys)
        failed = self._one_by_one(bucket, [key for key in keys if not _in_xml(key)])
        batch = [key for key in keys if _in_xml(key)]
        if batch:
            failed.update(self._batch(bucket, batch))
        return failed

    def _batch(self, bucket: str, keys: Sequence[str]) -> dict[str, TransferError]:
        listed = "".join(f"<Object><Key>{escape(key, _ENTITIES)}</Key></Object>" for key in keys)
        body = f"<Delete><Quiet>true</Quiet>{listed}</Delete>".encode()
        md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        request = Request("POST", bucket, query=(("delete", ""),), headers={"content-md5": md5}, body=body)
        failed: dict[str, TransferError] = {}
        for item in _parsed(self._wire.call(request)).iterfind("{*}Error"):
            code, key = item.findtext("{*}Code") or "", item.findtext("{*}Key") or ""
            if code not in ("NoSuchKey", "NoSuchVersion"):
                failed[key] = self._wire.failure(500, code, request._replace(key=key))
        return failed

    def _one_by_one(self, bucket: str, keys: Iterable[str]) -> dict[str, TransferError]:
        failed: dict[str, TransferError] = {}
        for key in keys:
            try:
                self._wire.send(Request("DELETE", bucket, key)).read()
            except NotFound:
                continue
            except TransferError as error:
                failed[key] = error
        return failed

    def copy(self, source: tuple[str, str], target: tuple[str, str], head: Head) -> None:
        """A copy by the server, of the very content that ``head`` is about."""
        self._wire.call(Request("PUT", *target, headers=copy_headers(source, head)))

    def entry(self, path: str, bucket: str, key: str, algorithm: str = "") -> Entry:
        """What stands at a key, with the server's digest in that algorithm where it has one."""
        found = self.head(bucket, key)
        digest = {"sha256": found.sha256, "md5": found.md5}.get(algorithm, "")
        return Entry(path, found.size, digest=(algorithm, digest) if digest else None)


_ENTITIES = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _in_xml(key: str) -> bool:
    """Whether XML 1.0 can hold it."""
    return _NOT_IN_XML.search(key) is None


def copy_headers(source: tuple[str, str], head: Head) -> dict[str, str]:
    """What tells the server to copy, and only if the source is still what it was."""
    name = quote(f"/{source[0]}/{source[1]}", safe="/", errors="surrogateescape")
    return {"x-amz-copy-source": name, "x-amz-copy-source-if-match": head.etag}


def _parsed(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise ServerFault("an answer that is not XML") from None


def _sha256(text: str, kind: str) -> str:
    """Hex of a whole object's checksum; that of a composite one ("...-3") is of no use here."""
    if not text or "-" in text or kind == "COMPOSITE":
        return ""
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        return ""
    return raw.hex() if len(raw) == 32 else ""
