"""Globus' logins: ``globus.conf`` as ``pegasus-globus-online-init`` writes it; nothing is sent from here."""

from __future__ import annotations

from pathlib import Path

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import Sections
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.section import Section
from pegasus_toolkit.credentials.types import GlobusCredential, NamedFile

VARIABLE = "GLOBUS_CONF"
USUAL = ".pegasus/globus.conf"
LOGIN = ("client_id", "client_secret", "transfer_at", "transfer_rt", "transfer_at_exp")
LOCAL = ("collection", "directory", "path")
INIT = "pegasus-globus-online-init --permanent"


def build(sections: Sections, file: NamedFile, home: str) -> GlobusCredential:
    """What the file says. Raises for what cannot be right."""
    if "oauth" not in sections:
        raise CredentialError(f"{file.path} has no section [oauth]", f"run {INIT}")
    oauth = _section(sections, "oauth", file, home)
    oauth.only(LOGIN)
    client_id, secret = oauth.text("client_id"), oauth.secret("client_secret")
    refresh, access = oauth.secret("transfer_rt"), oauth.secret("transfer_at")
    refresh = None if refresh is not None and refresh.reveal() == "None" else refresh  # as upstream writes it
    if not client_id:
        raise oauth.error("no client_id", f"run {INIT}")
    if secret is None and refresh is None and access is None:
        raise oauth.error("none of transfer_rt, transfer_at and client_secret", f"run {INIT}")
    ends = oauth.text("transfer_at_exp")
    if ends and not ends.isdecimal():
        raise oauth.error("transfer_at_exp is no number of seconds since 1970", f"run {INIT}")
    found = GlobusCredential(client_id, secret, access, int(ends) if ends else None, refresh, str(file.path))
    return _with_local(found, sections, file, home)


def _with_local(found: GlobusCredential, sections: Sections, file: NamedFile, home: str) -> GlobusCredential:
    if "local" not in sections:
        return found
    local = _section(sections, "local", file, home)
    local.only(LOCAL)
    collection, directory = local.text("collection"), local.text("directory")
    if not collection or not directory:
        raise local.error("collection and directory belong together")
    if not Path(directory).is_dir():
        raise local.error(f"there is no directory {directory}")
    path = local.text("path").rstrip("/")
    if path and not path.startswith("/"):
        raise local.error("path does not begin with /")
    return found._replace(collection=collection, directory=directory.rstrip("/"), path=path)


def _section(sections: Sections, name: str, file: NamedFile, home: str) -> Section:
    values: dict[str, Secret] = sections[name]
    return Section(values, name, file.path, home)
