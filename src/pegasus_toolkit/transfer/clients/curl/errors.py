"""What an answer or libcurl's code stands for, as an error of ours."""

from __future__ import annotations

import os
import re
import time

import pycurl

from pegasus_toolkit.credentials import presigned
from pegasus_toolkit.credentials.x509 import moment
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    Throttled,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
    from_oserror,
    translate,
)

_STATUS: dict[int, type[TransferError]] = {
    400: BadSpecification,
    401: Denied,
    402: Denied,
    403: Denied,
    404: NotFound,
    407: Denied,
    408: TimedOut,
    410: NotFound,
    414: BadSpecification,
    412: ServerFault,  # only asked for parts: the file changed meanwhile
    416: ServerFault,
    421: ServerFault,
    423: ServerFault,
    425: ServerFault,
    451: Denied,
    505: Unsupported,
    507: NoSpace,
}

# What libcurl says of a connection that could not be made at all, or was broken off before an answer.
_UNREACHABLE = frozenset(
    {
        pycurl.E_COULDNT_RESOLVE_PROXY,
        pycurl.E_COULDNT_RESOLVE_HOST,
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_INTERFACE_FAILED,
        97,  # CURLE_PROXY: the handshake with the proxy
    }
)
# What it says of a connection that ended while a request was under way.
BROKEN_OFF = frozenset({pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING})
_CERTIFICATE = frozenset(
    {
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_ISSUER_ERROR,
        pycurl.E_SSL_CRL_BADFILE,
        90,  # pinned key
        91,  # OCSP status
        98,  # client certificate wanted
    }
)
COMPRESSED = (".gz", ".tgz", ".gzip", ".z", ".svgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".br", ".lzma")
"""Names of files that servers mark as encoded so, although they are sent as they are stored."""
_MESSAGE = rb"<Message>([^<]{1,400})</Message>"
PLAIN = "a password is sent unencrypted only where section [{host}] says allow_plain_password = yes"
_HERE = frozenset({pycurl.E_OUT_OF_MEMORY, pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST})
_PROXY = frozenset({pycurl.E_COULDNT_RESOLVE_PROXY, pycurl.E_COULDNT_CONNECT, 97})


def of_status(
    head: Head, url: str, host: str, section: str | None, *, only_basic: bool = False, told: bytes = b""
) -> TransferError:
    """The error for an answer that is none of the wanted ones.

    ``url`` is safe to print; ``section`` is the credentials' section that was used, "" where there is
    none for this host, ``None`` for a host that a redirect led to; ``only_basic``: the server wants a
    password unencrypted, which it did not get; ``told``: the page that came with it.
    """
    status = head.status
    reason = "".join(c for c in head.reason[:80] if c.isprintable())
    text = redact.message(": ".join(filter(None, (f"HTTP {status} {reason}".strip(), _words(told)))))
    if status in (429, 503):
        return Throttled(text, retry_after=head.retry_after(time.time()), url=url, host=host)
    kind = _STATUS.get(status)
    if kind is None:
        kind = Unsupported if 400 <= status < 500 else ServerFault
    hint = PLAIN.format(host=section or host) if only_basic else _hint(status, url, host, section)
    return kind(text, url=url, host=host, hint=hint)


def _words(page: bytes) -> str:
    """What object stores say in their XML, such as that a signed URL has expired."""
    found = re.search(_MESSAGE, page)
    words = found[1].decode("utf-8", "replace") if found else ""
    return "".join(c for c in words[:160] if c.isprintable())


def require_file(head: Head, url: str, host: str, *, stored: bool = False) -> None:
    """Raises for an answer that is a success, but holds no file.

    ``stored``: the server sends nothing but the bytes that it stores, whatever coding it says they have.
    """
    if head.status == 202:
        raise ServerFault(
            "HTTP 202: the server has the file not at hand yet",
            url=url,
            host=host,
            hint="it may come from tape, or is being made: try again later",
        )
    if head.status in (204, 205):
        raise NotFound(f"HTTP {head.status}: the server has no content under this name", url=url, host=host)
    if head.status == 206:
        raise ServerFault("a part came that was not asked for", url=url, host=host)
    coding = head.get("content-encoding").strip().lower()
    if (
        not stored
        and coding not in ("", "identity")
        and not url.partition("?")[0].lower().endswith(COMPRESSED)
    ):
        text = f"the server compresses the file ({coding[:20]}), which was not asked for"
        raise Unsupported(
            text, url=url, host=host, hint="have it sent as it is stored, or name another source"
        )
    if head.status != 200:
        raise ServerFault(f"HTTP {head.status} is no answer with a file", url=url, host=host)


def _hint(status: int, url: str, host: str, section: str | None) -> str:
    if status == 407:
        return "the proxy wants a user and password: http_proxy=http://user:password@host:port"
    until = presigned.expiry(url) if status in (400, 401, 403) else None
    if until is not None and until < time.time():
        return f"the signed URL expired at {moment(until)}: get a new one"
    if status not in (401, 403):
        return ""
    if section is None:
        return "credentials are not sent along a redirect to another host"
    if section:
        return f"the credentials of section [{section}] were used"
    return f"no section [{host}] was found in the credentials file"


def of_curl(
    code: int,
    text: str,
    url: str,
    host: str,
    *,
    connected: bool,
    own: bool,
    section: str = "",
    ended: float | None = None,
) -> TransferError:
    """The error for libcurl's ``code``; ``text`` is its own explanation.

    ``connected``: whether a request could be sent at all (tells an end that is silent from one that
    is not there). ``own``: whether ``host`` is the endpoint's; what cannot be reached is otherwise
    only where one file was redirected to, and says nothing about the others. ``section``: the one of the
    credentials file that counts there; ``ended``: when the server's certificate did (epoch), if that is it.
    """
    unreachable = Unreachable if own else ServerFault
    explained = redact.message(text) or f"libcurl error {code}"
    if code == pycurl.E_OPERATION_TIMEDOUT:
        kind = TimedOut if connected else unreachable
        return kind("no answer for too long" if connected else "no connection in time", url=url, host=host)
    if code in _CERTIFICATE:
        hint = f"to trust its certificate authority, name its file as ca_file in section [{section or host}]"
        if ended is not None:
            explained = f"it expired at {moment(ended)}"
            hint = "whoever runs the server has to renew it"
        return Denied(f"certificate not accepted: {explained}", url=url, host=host, hint=hint)
    if code in _UNREACHABLE:
        return unreachable(explained, url=url, host=host)
    if code in (pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL):
        return BadSpecification(f"not a URL that can be fetched: {explained}", url=url, host=host)
    return ServerFault(f"broken off: {explained}", url=url, host=host)


def of_here(code: int) -> TransferError | None:
    """A limit of this machine's, which libcurl tells as if a host were away or memory short."""
    if code not in _HERE:
        return None
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return from_oserror(error)
    return translate(MemoryError()) if code == pycurl.E_OUT_OF_MEMORY else None


def of_proxy(code: int, tunnel_status: int, status: int) -> bool:
    """Whether a request through a proxy failed in a way that may be the proxy's fault."""
    refused = bool(code) and tunnel_status >= 400  # libcurl's code for it has changed over time
    return code in _PROXY or refused or (not code and (status == 407 or status in (500, 502, 503, 504)))
