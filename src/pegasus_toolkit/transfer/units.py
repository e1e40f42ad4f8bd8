"""Sizes and rates as people read and write them."""

from __future__ import annotations

import re

_SIZE = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?:([kKmMgGtT])(i?))?B?(?:/s)?"
_LETTERS = "KMGT"


def binary(n: float) -> str:
    """``n`` with one digit and a prefix that counts by 1024, to be followed by a unit: "4.0 Ki"."""
    power = 0
    while abs(n) >= 1024 and power < len(_LETTERS):
        n /= 1024
        power += 1
    return f"{n:.1f} {_LETTERS[power - 1]}i" if power else f"{n:.0f} "


def size(n: float) -> str:
    """Bytes: "4.0 KiB"."""
    return binary(n) + "B"


def rate(n: float, seconds: float) -> str:
    """Bytes a second, "-" where the time is too short to tell."""
    return size(n / seconds) + "/s" if seconds > 0 else "-"


def plural(count: int, noun: str) -> str:
    """The noun, with an "s" for all numbers but one."""
    return noun if count == 1 else f"{noun}s"


def span(seconds: float) -> str:
    """A duration: "12s", "3m05s", "2h07m"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def number(text: str) -> int | None:
    """What a server tells as a number: decimal digits that fit into 63 bits; ``None`` for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def parse(text: str) -> int:
    """Bytes: "10M" and "10MB" count by 1000, "10MiB" by 1024; "/s" may follow. Raises ``ValueError``."""
    found = re.fullmatch(_SIZE, text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a number of bytes such as 500k, 10M or 1.5GiB")
    number, letter, binary_prefix = found.groups()
    power = _LETTERS.index(letter.upper()) + 1 if letter else 0
    return int(float(number) * (1024 if binary_prefix else 1000) ** power)
