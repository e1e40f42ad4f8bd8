"""What the headers of an answer say."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.units import number

_DIGESTS = ("content-md5", "content-digest", "digest", "repr-digest", "x-goog-hash")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_FIELD = re.compile(r'\s*([A-Za-z0-9-]+)\s*=\s*(:[^:]*:|"[^"]*"|[^,;\s]+)[^,]*')


class Head:
    """Status line and fields of the last answer among the lines that came.

    Names are in lower case; a repeated field is joined with ", ". ``continued``: the server had asked for
    the body before it answered. ``whole``: the empty line came that ends the fields.
    """

    __slots__ = ("continued", "fields", "newer", "reason", "status", "whole")

    def __init__(self, lines: Iterable[bytes]) -> None:
        text = b"".join(lines).decode("utf-8", "surrogateescape")
        start = text.rfind("\nHTTP/") + 1  # before it: "100 Continue", a proxy's answer
        self.continued = "\nHTTP/1.1 100 " in f"\n{text[:start]}"
        first, *rows = text[start:].replace("\r\n", "\n").split("\n")
        self.whole = "" in rows[:-1]
        version, _, line = first.partition(" ")
        self.newer = not version.startswith("HTTP/1.")
        status, _, self.reason = line.partition(" ")
        self.status = number(status) or 0
        fields: dict[str, str] = {}
        for row in rows:
            name, colon, value = row.partition(":")
            if colon:
                name = name.lower()
                fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
        self.fields = fields

    def get(self, name: str) -> str:
        """A field's value, "" where it is not there."""
        return self.fields.get(name, "")

    @property
    def length(self) -> int | None:
        """Bytes of the body that is announced; ``None`` where it is not."""
        text = self.get("content-length").partition(",")[0]
        chunked = "chunked" in self.get("transfer-encoding").lower()
        return None if chunked else number(text)

    @property
    def framed(self) -> bool:
        """Whether it is told where the body ends; else that of the connection is all there is. Of HTTP/2 on
        the protocol tells."""
        return self.newer or self.length is not None or "chunked" in self.get("transfer-encoding").lower()

    @property
    def misread(self) -> bool:
        """Whether a length is told that is no number."""
        return bool(self.get("content-length")) and not self.framed

    @property
    def range(self) -> tuple[int, int, int | None] | None:
        """First byte, byte after the last, and size of the whole (``None``: not told) of a part."""
        found = _RANGE.match(self.get("content-range"))
        if found is None:
            return None
        first, last, total = (number(text) for text in found.groups())
        if first is None or last is None or (total is None and found[3] != "*"):
            return None
        return first, last + 1, total

    @property
    def tag(self) -> str:
        """The ETag, quotes included, where it is a strong one."""
        tag = self.get("etag")
        return tag if tag.startswith('"') and tag.endswith('"') and len(tag) > 2 else ""

    @property
    def modified(self) -> str:
        """Last-Modified where it proves equality: older than the answer by two seconds at least."""
        modified = self.get("last-modified")
        then, now = seconds(modified), seconds(self.get("date"))
        return modified if then is not None and now is not None and now - then >= 2 else ""

    @property
    def validator(self) -> str:
        """What stands for these very bytes, for ``If-Range``; "" where nothing does."""
        return self.tag or self.modified

    def retry_after(self, now: float) -> float | None:
        """Seconds to wait from ``now`` (since the epoch), as asked by number or by date."""
        text = self.get("retry-after")
        if (told := number(text)) is not None:
            return float(told)
        then = seconds(text)
        return None if then is None else max(0.0, then - now)

    def digests(self) -> dict[str, str]:
        """Digests (algorithm, hex) that the server tells of the whole file, as it is stored.

        ``Content-MD5`` and ``Content-Digest`` are of what is in this very answer: of no use for a part.
        """
        told: dict[str, str] = {}
        for name in _DIGESTS:
            text = self.fields.get(name)
            if text is None or (self.status == 206 and name.startswith("content-")):
                continue
            if name != "x-goog-hash" or self._as_stored():
                told.update(_digests(f"md5={text}" if name == "content-md5" else text))
        return told

    def _as_stored(self) -> bool:
        """Whether Google Storage, whose digests are of what it stores, sends that and not what was packed."""
        coding = self.get("x-goog-stored-content-encoding").lower()
        return coding in ("", "identity", self.get("content-encoding").lower())


def _digests(text: str) -> Iterator[tuple[str, str]]:
    """Those among ``sha-256=base64, adler32=hex, md5=:base64:`` that are known here and well formed."""
    for algorithm, quoted in _FIELD.findall(text):
        value = quoted.strip(':"')
        try:
            name = digests.canonical(algorithm)
            digests.new(name)  # what cannot be taken here is not compared: nobody asked for it
            # In hex as adler32 is, by RFC 3230; four bytes in base64 are as long, and end so.
            in_hex = len(value) == digests.HEX_LENGTH[name] and value[-1] != "="
            yield digests.normalise(name, value if in_hex else base64.b64decode(value, validate=True).hex())
        except (ValueError, binascii.Error):
            continue


def seconds(date: str) -> float | None:
    """An HTTP date in seconds since the epoch; ``None`` for anything else."""
    if not date:
        return None
    from email.utils import mktime_tz, parsedate_tz

    try:
        parsed = parsedate_tz(date)
        return None if parsed is None else float(mktime_tz(parsed))
    except (ValueError, OverflowError):  # a year that no calendar has
        return None
