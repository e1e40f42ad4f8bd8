"""Until when a signed URL is good, as S3, Google Storage, Azure and older signatures write it."""

from __future__ import annotations

import time
from urllib.parse import parse_qsl


def expiry(url: str) -> float | None:
    """Seconds since the epoch; ``None`` where the URL is not signed, or does not tell."""
    parameters = {name.lower(): value for name, value in parse_qsl(url.partition("?")[2])}
    for prefix in ("x-amz-", "x-goog-"):
        begins, lasts = parameters.get(f"{prefix}date", ""), parameters.get(f"{prefix}expires", "")
        if begins and lasts.isdecimal():
            start = _time(begins, "%Y%m%dT%H%M%SZ")
            return None if start is None else start + int(lasts)
    if "sig" in parameters and "se" in parameters:
        return _time(parameters["se"], "%Y-%m-%dT%H:%M:%SZ") or _time(parameters["se"], "%Y-%m-%d")
    if "signature" in parameters and parameters.get("expires", "").isdecimal():
        return float(parameters["expires"])
    return None


def _time(text: str, form: str) -> float | None:
    try:
        import calendar

        return float(calendar.timegm(time.strptime(text, form)))
    except ValueError:
        return None
