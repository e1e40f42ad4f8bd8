"""What MLST and MLSD tell of a file (RFC 3659), for all that speaks FTP."""

from __future__ import annotations

import calendar
import time
from typing import NamedTuple

from pegasus_toolkit.transfer.units import number


class Facts(NamedTuple):
    """One line. ``kind``: file, dir, cdir, pdir, or another, in small letters; ``size``: bytes, ``None``
    where not told; ``time``: of its last change, as it is told; ``link``: where a symbolic link leads to (""
    for none, or not told); ``perm``: what may be done, as letters, "" where not told."""

    name: str
    kind: str
    size: int | None
    time: str
    link: str
    perm: str

    @property
    def directory(self) -> bool | None:
        """``None``: not told."""
        return {"dir": True, "cdir": True, "pdir": True, "file": False}.get(self.kind)

    @property
    def modified(self) -> int | None:
        """Nanoseconds since the epoch, ``None`` where not told."""
        return moment(self.time) if self.time else None


def read(line: str) -> Facts | None:
    """``type=file;size=6;modify=...; name``; ``None`` for what is none."""
    text, space, name = line.partition(" ")
    pairs = (one.split("=", 1) for one in text.split(";") if "=" in one)
    facts = {key.lower(): value for key, value in pairs}
    if not space or not facts:
        return None
    kind, size = facts.get("type", "").lower(), facts.get("size", "")
    link = facts.get("unix.slink", "")
    if kind.startswith(("os.unix=slink", "os.unix=symlink")):  # OS.unix=slink:/where/to
        link = facts["type"].partition(":")[2] or "?"
    bytes_ = number(size)
    if size and bytes_ is None and kind == "file":
        return None
    return Facts(name, kind, bytes_, facts.get("modify", ""), link, facts.get("perm", "").lower())


def moment(text: str) -> int | None:
    """``20261201010203.5``, in UTC, as nanoseconds since the epoch."""
    whole, _, part = text.partition(".")
    try:
        return calendar.timegm(time.strptime(whole, "%Y%m%d%H%M%S")) * 10**9 + int(f"{part:0<9.9}")
    except ValueError:
        return None
