"""URLs as HTTP wants them: what may not stand in one is percent-encoded, the rest is left as it came."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import ServerFault

PORTS = {"http": 80, "https": 443}

_PLAIN = re.compile(r"(?:[A-Za-z0-9/._~!$&'()*+,;=:@?-]|%[0-9A-Fa-f]{2})*")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Origin(NamedTuple):
    """Whom a request goes to; credentials are for exactly one."""

    scheme: str
    host: str
    port: int


def escaped(path: str) -> str:
    """Path and query, raw as in a URL, ready to be sent: what is encoded stays so, a fragment is dropped."""
    if _PLAIN.fullmatch(path):
        return path
    path = _LONE_PERCENT.sub("%25", path.partition("#")[0])
    return quote(path, safe="%/?:@!$&'()*+,;=-._~", errors="surrogateescape")


def origin(url: str) -> Origin:
    """Scheme, host and port of a URL. Raises ``ValueError`` for a port that is none."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").removesuffix(".")
    return Origin(scheme, host, parts.port or PORTS.get(scheme, 0))


def redirected(url: str, location: str) -> str:
    """Where a ``Location`` header leads. Raises ``ServerFault`` where that is no HTTP URL.

    User and password in it are dropped: a server does not choose whom we claim to be.
    """
    try:
        parts = urlsplit(urljoin(url, location.strip()))
        host = parts.netloc.rpartition("@")[2]
        target = f"{parts.scheme.lower()}://{host}"
        if parts.scheme.lower() in PORTS and origin(target).host:
            return target + escaped(parts.path + (f"?{parts.query}" if parts.query else ""))
    except ValueError:
        pass
    raise ServerFault("the server redirects to what is no HTTP URL", url=shown(url))


def shown(url: str, redirect: bool = False) -> str:
    """The URL as errors may print it: signatures out; of a redirect's target the whole query."""
    return url.partition("?")[0] if redirect else redact.url(url)
