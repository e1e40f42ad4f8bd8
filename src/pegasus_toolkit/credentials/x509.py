"""X.509 proxies and certificates of grid sites: which one serves a site, and how long it lives.

Where they are looked for stands at :meth:`Credentials.proxy`. Only the dates of a certificate are
read here, by walking its DER: a library for that would take longer to import than a small file to move.
"""

from __future__ import annotations

import base64
import binascii
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import read_private
from pegasus_toolkit.credentials.types import NamedFile, X509Credential

Named = Callable[[str, str], Iterator[NamedFile]]

_CA_DIRECTORIES = ("/etc/grid-security/certificates", "~/.globus/certificates")
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_SEQUENCE, _UTC_TIME, _VERSION = 0x30, 0x17, 0xA0


class _Candidate(NamedTuple):
    certificate: Path
    key: Path  # the same file for a proxy
    origin: str  # what named it; "" for the usual place

    @property
    def proxy(self) -> bool:
        return self.certificate == self.key

    @property
    def name(self) -> str:
        what = "X.509 proxy" if self.proxy else "X.509 certificate"
        return f"{what} {self.certificate} ({self.origin or 'at the usual place'})"


def find(named: Named, site: str, shared: str, needed: bool) -> X509Credential | None:
    """The first that is there, checked. ``shared``: the directory of the usual place, "" for none.

    One at the usual place that is over is an error only where it is ``needed``.
    """
    for candidate in _candidates(named, site, shared):
        found = _checked(candidate)
        now = time.time()
        if found.starts <= now < found.expires:
            return found
        if needed or candidate.origin:
            raise _not_now(candidate, found, now)
    return None


def ca_directory(environ: Mapping[str, str], home: str) -> str:
    """The directory of trusted certificate authorities, as grid tools find it; "" for none."""
    if named := environ.get("X509_CERT_DIR"):
        if not Path(named).is_dir():
            raise CredentialError(f"no such directory: {named} (named by X509_CERT_DIR)")
        return str(Path(named).absolute())
    for name in _CA_DIRECTORIES:
        path = Path(home, name[2:]) if name.startswith("~/") else Path(name)
        if (home or name[0] == "/") and path.is_dir():
            return str(path)
    return ""


def _candidates(named: Named, site: str, shared: str) -> Iterator[_Candidate]:
    """In the order in which they count: what is said for the site, then for all, then the usual place."""
    for ours in dict.fromkeys([site, ""]):
        suffix = f"_{ours}" if ours else ""
        for file in _exactly(named, "X509_USER_PROXY", ours):
            yield _Candidate(file.path.absolute(), file.path.absolute(), file.origin)
        certificates = list(_exactly(named, "X509_USER_CERT", ours))
        keys = list(_exactly(named, "X509_USER_KEY", ours))
        if bool(certificates) != bool(keys):
            raise CredentialError(
                f"X509_USER_CERT{suffix} and X509_USER_KEY{suffix} go together, one is not set"
            )
        for file, key in zip(certificates, keys, strict=False):
            yield _Candidate(file.path.absolute(), key.path.absolute(), file.origin)
    usual = Path(shared, f"x509up_u{os.geteuid()}")
    if shared and ours_at(usual):
        yield _Candidate(usual, usual, "")


def _exactly(named: Named, variable: str, site: str) -> Iterator[NamedFile]:
    """What is said for that site alone ("": for all)."""
    for file in named(variable, site):
        if not site or file.origin != f"named by {variable}":
            yield file


def ours_at(path: Path) -> bool:
    """Whether there is a file of ours: another user may have put one into a directory that all share."""
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _checked(candidate: _Candidate) -> X509Credential:
    content = _read(candidate.key, candidate.origin, "X.509 proxy" if candidate.proxy else "private key")
    if b"PRIVATE KEY-----" not in content:
        raise CredentialError(f"{candidate.name}: no private key in {candidate.key}")
    if b"ENCRYPTED" in content:
        raise CredentialError(
            f"{candidate.name}: the private key {candidate.key} has a passphrase",
            "make a proxy of it with voms-proxy-init or grid-proxy-init",
        )
    if not candidate.proxy:
        try:
            content = candidate.certificate.read_bytes()
        except OSError as error:
            raise CredentialError(f"{candidate.name} cannot be read: {error.strerror}") from None
    found = dates(content)
    if not found:
        raise CredentialError(f"{candidate.name} holds no certificate that can be read")
    return X509Credential(
        certificate=str(candidate.certificate),
        key=str(candidate.key),
        starts=max(starts for starts, _ in found),
        expires=min(expires for _, expires in found),  # a proxy is worth nothing without its chain
        origin=candidate.origin,
    )


def _read(path: Path, origin: str, what: str) -> bytes:
    try:
        return read_private(path, origin)
    except CredentialError as error:
        raise CredentialError(error.message.replace("credentials file", what, 1), error.hint) from None


def _not_now(candidate: _Candidate, found: X509Credential, now: float) -> CredentialError:
    if now < found.starts:
        return CredentialError(f"{candidate.name} is not valid before {moment(found.starts)}")
    hint = "a new certificate is needed"
    if candidate.proxy:
        out = f" -out {shlex.quote(found.certificate)}" if candidate.origin else ""
        hint = f"make a new one: voms-proxy-init{out} or grid-proxy-init{out}"
    return CredentialError(f"{candidate.name} expired at {moment(found.expires)}", hint)


def moment(epoch: float) -> str:
    """A time as errors tell it."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch))
    except (OverflowError, ValueError, OSError):
        return f"{epoch:.0f} s after 1970"


def dates(content: bytes) -> list[tuple[int, int]]:
    """First and last second of each certificate; nothing where one cannot be read."""
    found = []
    for block in content.split(_BEGIN)[1:]:
        try:
            found.append(
                _validity(base64.b64decode(b"".join(block.partition(_END)[0].split()), validate=True))
            )
        except (ValueError, IndexError, binascii.Error):
            return []
    return found


def _validity(der: bytes) -> tuple[int, int]:
    """Dates of one certificate. Raises ``ValueError`` or ``IndexError`` for what is none."""
    at = _element(der, 0, _SEQUENCE)[0]  # Certificate
    at = _element(der, at, _SEQUENCE)[0]  # TBSCertificate
    if der[at] == _VERSION:
        at = _element(der, at)[1]
    for _ in ("serial number", "signature algorithm", "issuer"):
        at = _element(der, at)[1]
    at = _element(der, at, _SEQUENCE)[0]  # Validity
    middle = _element(der, at)[1]
    return _time(der, at), _time(der, middle)


def _element(der: bytes, at: int, tag: int | None = None) -> tuple[int, int]:
    """Where the content of the element at ``at`` begins, and where it ends."""
    if tag is not None and der[at] != tag:
        raise ValueError("not a certificate")
    length, start = der[at + 1], at + 2
    if length & 0x80:
        digits = length & 0x7F
        length, start = int.from_bytes(der[start : start + digits], "big"), start + digits
    if start + length > len(der):
        raise ValueError("cut off")
    return start, start + length


def _time(der: bytes, at: int) -> int:
    """Seconds since the epoch of an UTCTime (two digits of the year) or GeneralizedTime."""
    start, end = _element(der, at)
    text = der[start:end].decode("ascii")
    if der[at] == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    import calendar

    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))
