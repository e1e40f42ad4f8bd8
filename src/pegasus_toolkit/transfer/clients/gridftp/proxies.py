"""A proxy of the user's for the server at the other end: its request, signed (RFC 3820).

It is a limited one, as Globus calls it: good to show who somebody is, refused where jobs are started.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from pegasus_toolkit.credentials import X509Credential
from pegasus_toolkit.transfer.errors import Denied

_INFO = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")  # proxyCertInfo
_LIMITED = bytes.fromhex("300e300c060a2b060104019b5001010109")  # its content: the policy "limited"
_EARLIER = datetime.timedelta(seconds=300)  # the server's clock may be behind
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)
_SHORT = {
    NameOID.COMMON_NAME: "CN", NameOID.ORGANIZATION_NAME: "O", NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COUNTRY_NAME: "C", NameOID.STATE_OR_PROVINCE_NAME: "ST", NameOID.LOCALITY_NAME: "L",
    NameOID.DOMAIN_COMPONENT: "DC", NameOID.USER_ID: "UID", NameOID.EMAIL_ADDRESS: "emailAddress",
}  # fmt: skip


class Delegated(NamedTuple):
    """``certificate``: the server's proxy (DER); ``subject``: the user behind it as Globus writes it,
    ``/O=Grid/CN=Name``."""

    certificate: bytes
    subject: str


def sign(credential: X509Credential, request: bytes, url: str) -> Delegated:
    """The proxy that was requested (PKCS #10, DER), good as long as ours. Raises ``Denied``."""
    try:
        chain = x509.load_pem_x509_certificates(Path(credential.certificate).read_bytes())
        found = _KEY.search(Path(credential.key).read_bytes())
        key = serialization.load_pem_private_key(found[0] if found else b"", None)
        wanted = x509.load_der_x509_csr(request)
        theirs = wanted.public_key()
        if not (isinstance(key, _Private) and isinstance(theirs, _Public) and wanted.is_signature_valid):
            raise ValueError("a kind of key that proxies do not have")
        made = _certificate(chain[0], key, theirs, credential.expires)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise Denied(f"cannot make a proxy from {credential.path}: {error}", url=url) from None
    users = next((one for one in chain if not _proxy(one)), chain[-1])
    return Delegated(made.public_bytes(serialization.Encoding.DER), _text(users.subject))


_Private = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)
_Public = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)


def _certificate(
    ours: x509.Certificate,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    theirs: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    expires: float,
) -> x509.Certificate:
    number = x509.random_serial_number()
    name = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, str(number >> 96))])
    utc = datetime.timezone.utc
    allowed = [n in (0, 2) for n in range(9)]  # signatures, and keys of sessions
    builder = x509.CertificateBuilder(
        ours.subject,
        x509.Name([*ours.subject.rdns, name]),
        theirs,
        number,
        datetime.datetime.now(utc) - _EARLIER,
        datetime.datetime.fromtimestamp(expires, utc),
    )
    builder = builder.add_extension(x509.UnrecognizedExtension(_INFO, _LIMITED), True)
    return builder.add_extension(x509.KeyUsage(*allowed), True).sign(key, hashes.SHA256())


def _proxy(certificate: x509.Certificate) -> bool:
    return any(extension.oid == _INFO for extension in certificate.extensions)


def _text(name: x509.Name) -> str:
    return "".join(f"/{_SHORT.get(one.oid, one.oid.dotted_string)}={one.value!s}" for one in name)
