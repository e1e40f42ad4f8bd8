"""A throw-away grid: an authority, a host, users, and proxies of theirs, good and bad."""

from __future__ import annotations

import datetime
import getpass
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.servers.common import program, public_directory

HOUR = 3600.0
_POLICY = """\
access_id_CA X509 '/O=Test Grid/CN=Test CA'
pos_rights globus CA:sign
cond_subjects globus '"/O=Test Grid/*"'
"""
_INHERIT_ALL = x509.UnrecognizedExtension(  # proxyCertInfo of RFC 3820
    x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), bytes.fromhex("300c300a06082b06010505071501")
)


class Identity(NamedTuple):
    """A certificate and its key, in memory."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        form = serialization.PrivateFormat.TraditionalOpenSSL
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


class Grid(NamedTuple):
    """Paths of PEM files.

    ``certificates``: directory of trusted authorities, as X509_CERT_DIR; ``nobody``: an empty one.
    ``host_cert`` and ``host_key`` are for localhost and 127.0.0.1. ``proxy`` and ``other_proxy`` are of
    two users (``/O=Test Grid/CN=Test User`` and ``CN=Other User``) whom ``gridmap`` maps to this account;
    ``expired``: a proxy that ended an hour ago; ``future``: one that begins in an hour;
    ``untrusted``: the proxy of a user of an authority that nobody trusts.
    """

    directory: Path
    certificates: Path
    nobody: Path
    host_cert: Path
    host_key: Path
    user_cert: Path
    user_key: Path
    proxy: Path
    other_proxy: Path
    expired: Path
    future: Path
    untrusted: Path
    gridmap: Path


def issue(
    names: Sequence[tuple[x509.ObjectIdentifier, str]],
    signer: Identity | None,
    *extensions: tuple[x509.ExtensionType, bool],
    starts: float = -300.0,
    ends: float = 24 * HOUR,
) -> Identity:
    """A new certificate; ``starts`` and ``ends`` are seconds from now. Signs itself without ``signer``."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(*name) for name in names])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(
        signer.certificate.subject if signer else subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now + datetime.timedelta(seconds=starts),
        now + datetime.timedelta(seconds=ends),
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Identity(builder.sign(signer.key if signer else key, hashes.SHA256()), key)


def usage(*allowed: str) -> tuple[x509.KeyUsage, bool]:
    """Key usage, critical."""
    names = [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
    ]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(*[name in allowed for name in names]), True


def authority(organization: str, name: str) -> Identity:
    names = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, name)]
    own = (x509.BasicConstraints(True, None), True)
    return issue(names, None, own, usage("key_cert_sign", "crl_sign"), starts=-2 * 24 * HOUR)


def user(name: str, signer: Identity) -> Identity:
    organization = signer.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
    names = [(NameOID.ORGANIZATION_NAME, str(organization)), (NameOID.COMMON_NAME, name)]
    client = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    return issue(names, signer, usage("digital_signature", "key_encipherment"), client, starts=-24 * HOUR)


def write_proxy(path: Path, owner: Identity, starts: float = -300.0, ends: float = 12 * HOUR) -> Path:
    """An RFC 3820 proxy of ``owner``: certificate, key, chain; mode 0600."""
    subject = owner.certificate.subject
    names = [(name.oid, str(name.value)) for name in subject]
    names.append((NameOID.COMMON_NAME, str(x509.random_serial_number() >> 96)))
    info = (_INHERIT_ALL, True)
    made = issue(names, owner, usage("digital_signature", "key_encipherment"), info, starts=starts, ends=ends)
    return write_private(path, made.pem() + made.key_pem() + owner.pem())


def write_private(path: Path, content: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(content)
    return path


def _host(signer: Identity) -> Identity:
    import ipaddress

    names = [(NameOID.ORGANIZATION_NAME, "Test Grid"), (NameOID.COMMON_NAME, "localhost")]
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    alternatives = x509.SubjectAlternativeName([x509.DNSName("localhost"), address])
    return issue(
        names,
        signer,
        usage("digital_signature", "key_encipherment"),
        (x509.ExtendedKeyUsage(both), False),
        (alternatives, False),
    )


def trust(directory: Path, ca: Identity) -> Path:
    """A directory of trusted authorities that holds one, under the names that OpenSSL and Globus look for."""
    directory.mkdir()
    plain = directory / "ca.pem"
    plain.write_bytes(ca.pem())
    argv = [program("openssl"), "x509", "-in", str(plain), "-noout", "-hash"]
    name = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    (directory / f"{name}.0").write_bytes(ca.pem())
    (directory / f"{name}.signing_policy").write_text(_POLICY)
    return directory


def make(directory: Path) -> Grid:
    """Writes a new one there."""
    ca, other_ca = authority("Test Grid", "Test CA"), authority("Other Grid", "Other CA")
    host, first, second = _host(ca), user("Test User", ca), user("Other User", ca)
    bad = user("Bad User", other_ca)
    nobody = directory / "nobody"
    nobody.mkdir()
    for name, content in (("host.pem", host.pem()), ("user.pem", first.pem())):
        (directory / name).write_bytes(content)
    gridmap = directory / "gridmap"
    me = getpass.getuser()
    gridmap.write_text("".join(f'"/O=Test Grid/CN={name} User" {me}\n' for name in ("Test", "Other")))
    return Grid(
        directory=directory,
        certificates=trust(directory / "certificates", ca),
        nobody=nobody,
        host_cert=directory / "host.pem",
        host_key=write_private(directory / "host.key", host.key_pem()),
        user_cert=directory / "user.pem",
        user_key=write_private(directory / "user.key", first.key_pem()),
        proxy=write_proxy(directory / "proxy", first),
        other_proxy=write_proxy(directory / "other_proxy", second),
        expired=write_proxy(directory / "expired", first, starts=-3 * HOUR, ends=-HOUR),
        future=write_proxy(directory / "future", first, starts=HOUR),
        untrusted=write_proxy(directory / "untrusted", bad),
        gridmap=gridmap,
    )


@pytest.fixture(scope="session")
def grid() -> Iterator[Grid]:
    with public_directory("grid-") as directory:
        yield make(directory)
