"""Credentials for SSH: who logs in with what, and which host keys are believed.

From ``SSH_PRIVATE_KEY[_site]`` comes a key's path. The credentials file may say more, in the section
of the host (``[scp://host:port]`` down to ``[host]``, as for HTTP) or else of the site::

    [cluster.example.org]
    user = wflow
    port = 2222
    private_key = ~/.ssh/workflow_key
    passphrase = ...
    password = ...
    known_hosts = ~/.ssh/known_hosts_cluster
    host_key = ssh-ed25519 AAAAC3NzaC1lZDI1NTE5...
    host_key_check = accept-new
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from pegasus_toolkit.credentials import http
from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import Sections
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.section import Section
from pegasus_toolkit.credentials.types import NamedFile, SshCredential

KNOWN = (
    "user", "username", "port", "password", "private_key", "passphrase", "known_hosts", "host_key",
    "host_key_check",
)  # fmt: skip


OURS = frozenset(KNOWN) - {"password", "username"}  # what no section for another protocol has


def find(sections: Sections, scheme: str, authority: str, site: str, file: NamedFile) -> str | None:
    """The section for that host (``scp`` and ``sftp`` are one protocol), or else for that site."""
    if not re.search(r":\d+$", authority):
        authority += ":22"
    for name in dict.fromkeys((scheme, "sftp", "scp")):
        found = http.find(sections, name, authority, file)
        if found is not None:
            return found
    if site in sections and any(key.lower() in OURS for key in sections[site]):
        return site
    return None


def build(values: dict[str, Secret], name: str, site: str, file: NamedFile, home: str) -> SshCredential:
    """The credential of one section. Raises :class:`CredentialError` for what cannot be right."""
    section = Section(values, name, file.path, home)
    if name == site and "password" in section.values:  # it would go to any host that has that label
        raise section.error("a password stands in the section of its host only, not of a site")
    section.only(KNOWN)
    user, username = section.text("user"), section.text("username")
    if user and username:
        raise section.error("user and username are the same, one is enough")
    check = section.text("host_key_check") or "strict"
    if check not in ("strict", "accept-new"):
        raise section.error("host_key_check is neither strict nor accept-new")
    host_key = section.text("host_key")
    if host_key and (check == "accept-new" or section.text("known_hosts")):
        raise section.error("host_key stands alone, without host_key_check = accept-new and known_hosts")
    private_key = section.file("private_key", private=True)
    passphrase = section.secret("passphrase")
    if passphrase is not None and not private_key:
        raise section.error("a passphrase without private_key")
    return SshCredential(
        user=user or username,
        port=_port(section),
        private_key=private_key,
        passphrase=passphrase,
        password=section.secret("password"),
        known_hosts=_known_hosts(section, check),
        host_key=_host_key(section, host_key),
        accept_new=check == "accept-new",
        section=name,
    )


def _port(section: Section) -> int:
    text = section.text("port")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise section.error("port is not a number from 1 to 65535")
    return int(text)


def _known_hosts(section: Section, check: str) -> str:
    """Its path; it need not exist yet where new hosts are written to it."""
    if check == "accept-new" and (text := section.text("known_hosts")):
        path = (
            Path(section.home, text[2:]) if text.startswith("~/") else section.path.absolute().parent / text
        )
        if not path.parent.is_dir():
            raise section.error(f"known_hosts is in no directory: {path}")
        return str(path)
    return section.file("known_hosts")


def _host_key(section: Section, text: str) -> str:
    """Type and key as ``ssh-keyscan`` prints them, without the host and the comment."""
    if not text:
        return ""
    words = text.split()
    try:
        key = base64.b64decode(words[1], validate=True)
        name = words[0].encode("ascii")
    except (IndexError, ValueError, binascii.Error):
        key, name = b"", b"?"
    if key[4 : 4 + len(name)] != name or key[:4] != len(name).to_bytes(4, "big"):
        hint = "as ssh-keyscan prints it, without the host's name"
        raise section.error("host_key is not of the form: ssh-ed25519 AAAA...", hint)
    return " ".join(words[:2])


def from_key(file: NamedFile) -> str:
    """The absolute path of a key that a variable names, checked."""
    from pegasus_toolkit.credentials.files import check_private

    path = file.path.absolute()
    try:
        check_private(path, file.origin)
    except CredentialError as error:
        raise CredentialError(
            error.message.replace("credentials file", "private key", 1), error.hint
        ) from None
    return str(path)


def check_key(credential: SshCredential, agent: bool) -> None:
    """Raises for a key that no login can work with: damaged, or locked with nothing to unlock it."""
    from pegasus_toolkit.credentials import ssh_keys
    from pegasus_toolkit.credentials.files import read_private

    path = Path(credential.private_key)
    wrong = ssh_keys.problem(read_private(path, ""), agent or credential.passphrase is not None)
    if wrong:
        locked = "write it as passphrase into the host's section, beside private_key, or start ssh-agent"
        raise CredentialError(f"SSH key {path} {wrong}", locked if "passphrase" in wrong else "")
