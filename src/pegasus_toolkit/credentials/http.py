"""Sections for HTTP: which one serves a host, and what stands in it."""

from __future__ import annotations

import string
import time
from pathlib import Path

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import Sections
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.section import Section
from pegasus_toolkit.credentials.types import HttpCredential, NamedFile
from pegasus_toolkit.schemes import SCHEMES

KNOWN = (
    "username",
    "password",
    "token",
    "verify",
    "ca_file",
    "client_certificate",
    "client_key",
    "webdav",
    "allow_plain_password",
    "temporary_names",
)

TEMPORARY_NAMES = frozenset({"", "hidden", "plain", "none"})

_TOKEN = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")


def find(sections: Sections, scheme: str, authority: str, file: NamedFile) -> str | None:
    """The name of the most specific section for that server. Raises where two are equally so."""
    scheme = scheme.lower()
    host, port = _host_port(authority)
    if port is None and scheme in SCHEMES:
        port = SCHEMES[scheme].port
    best: list[str] = []
    best_rank = -1
    for name in sections:
        rank = _rank(name, scheme, host, port)
        if rank > best_rank:
            best, best_rank = [name], rank
        elif rank == best_rank and rank >= 0:
            best.append(name)
    if len(best) > 1:
        names = " and ".join(f"[{name}]" for name in best)
        raise CredentialError(f"credentials file {file.path}: {names} are for the same host")
    return best[0] if best else None


def build(values: dict[str, Secret], name: str, file: NamedFile, home: str) -> HttpCredential:
    """The credential of one section. Raises :class:`CredentialError` for what cannot be right."""
    section = Section(values, name, file.path, home)
    if "endpoint" not in section.values:  # else it is an S3 site called as its host, with keys of its own
        section.only(KNOWN, prefix="header.")
    headers = tuple(_headers(section))
    username, password, token = section.text("username"), section.secret("password"), section.secret("token")
    if bool(username) != bool(password):
        raise section.error("username and password go together, one is missing")
    ways = [password, token, *(value for header, value in headers if header.lower() == "authorization")]
    if sum(way is not None for way in ways) > 1:
        raise section.error("at most one of password, token and header.Authorization can be used")
    for key, secret in (("password", password), ("token", token)):
        if secret is not None:
            section.one_line(key, secret)
    client_key = section.file("client_key", private=True)
    certificate = section.file("client_certificate", private=not client_key)
    if certificate:
        _valid_now(section, certificate)
    temporary_names = section.text("temporary_names").lower()
    if temporary_names not in TEMPORARY_NAMES:
        raise section.error("temporary_names is none of hidden, plain and none")
    return HttpCredential(
        headers=headers,
        username=username,
        password=password,
        token=token,
        ca_file=section.file("ca_file"),
        client_certificate=certificate,
        client_key=client_key,
        insecure=section.insecure(),
        section=name,
        webdav=section.flag("webdav"),
        plain_password=section.flag("allow_plain_password"),
        temporary_names=temporary_names,
    )


def _valid_now(section: Section, certificate: str) -> None:
    """Raises with its date for a certificate that is over: a server would only say that it is not wanted."""
    from pegasus_toolkit.credentials import x509

    try:
        found = x509.dates(Path(certificate).read_bytes())
    except OSError:
        return  # told by whoever wants to use it
    if found and (expires := min(end for _, end in found)) <= time.time():
        raise section.error(f"client_certificate {certificate} expired at {x509.moment(expires)}")


def _headers(section: Section) -> list[tuple[str, Secret]]:
    found = []
    for name, value in section.prefixed("header."):
        if not name or not set(name) <= _TOKEN:
            raise section.error("what follows header. is not the name of a header")
        found.append((name, section.one_line(f"header.{name}", value)))
    return found


def _rank(name: str, scheme: str, host: str, port: int | None) -> int:
    """How specific a section is for that server; -1 where it is not for it."""
    their_scheme, separator, rest = name.strip().lower().rpartition("://")
    rest = rest.removesuffix("/")
    if "@" in rest or "/" in rest or (separator and their_scheme != scheme):
        return -1
    their_host, their_port = _host_port(rest)
    if their_host != host or their_port not in (None, port):
        return -1
    return 2 * bool(separator) + (their_port is not None)


def _host_port(authority: str) -> tuple[str, int | None]:
    """Host in lower case without brackets and final dot, and the port where one is written (-1: broken)."""
    text = authority.rpartition("@")[2].lower()
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
    else:
        host, colon, port = text.partition(":")
        port = colon + port
    port = port.removeprefix(":")
    if port and not (port.isascii() and port.isdigit()):
        return host, -1
    return host.removesuffix("."), int(port) if port else None
