"""What opens an iRODS zone: the environment file that iCommands read, and who adds the password to it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import check_private, read_private
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.section import Section
from pegasus_toolkit.credentials.types import NamedFile

KNOWN = ("username", "password", "zone", "ticket", "resource", "authentication", "ca_file", "temporary_names")
PORT = 1247
USUAL = ".irods/irods_environment.json"
PASSWORD = "irodsPassword"  # as Pegasus' users have it in that file
NOBODY = "anonymous"


class IrodsCredential(NamedTuple):
    """``password`` ``None``: what iinit has left (``.irodsA``), else none; ``environment``: settings for the
    library, without the password; ``origin``: the file, "" for none; ``by_iinit``: it left the password."""

    host: str
    port: int
    user: str
    zone: str
    password: Secret | None
    ticket: Secret | None
    resource: str
    environment: Mapping[str, Any]
    origin: str
    by_iinit: bool = False

    def __repr__(self) -> str:
        return f"<IrodsCredential {self.user} {self.origin}>"


def build(authority: str, file: NamedFile | None, own: Section) -> IrodsCredential:
    """``file``: the environment file; ``own``: the credentials file's section, which is stronger; user, host
    and port of the URL are stronger still; a URL without a host means that of the environment file ("":
    there is none). Raises :class:`CredentialError`."""
    environment = _read(file) if file is not None else {}
    own.only(KNOWN)
    user, _, server = authority.rpartition("@")
    host, _, port = server.rpartition(":") if server.rpartition(":")[2].isdecimal() else (server, "", "")
    password, by_iinit = own.secret("password"), False
    theirs = str(environment.get("irods_host", host))
    host = host or theirs
    if file is not None and password is None and host != theirs:
        hint = f"name the site's own file in IRODS_ENVIRONMENT_FILE_<site>, or use irods://{theirs}/"
        raise CredentialError(f"{file.path} ({file.origin}) is for {theirs}, not for {host}", hint)
    written = environment.pop(PASSWORD, None)
    if password is None and written is not None:
        password = Secret(str(written))
    if scheme := own.text("authentication"):
        environment["irods_authentication_scheme"] = scheme
    if authorities := own.file("ca_file"):
        environment["irods_ssl_ca_certificate_file"] = authorities
    ticket = own.secret("ticket")
    user = user or own.text("username") or str(environment.pop("irods_user_name", "")) or NOBODY
    if password is None and user != NOBODY:
        password, by_iinit = _left_by_iinit(file, environment, own.home), True
        if password is None:
            hint = f"run iinit, or add {PASSWORD} to the environment file, or password to section [irods://{host}]"
            raise CredentialError(f"no password for the iRODS user {user!r} at {host}", hint)
    for name in ("irods_user_name", "irods_zone_name", "irods_host", "irods_port"):
        environment.setdefault(name, "")
    zone = own.text("zone") or str(environment["irods_zone_name"])
    number = int(port or environment["irods_port"] or PORT)
    taken = ("irods_user_name", "irods_zone_name", "irods_host", "irods_port", "irods_authentication_file")
    rest = {key: value for key, value in environment.items() if key not in taken}
    resource = own.text("resource") or str(environment.get("irods_default_resource", ""))
    origin = str(file.path) if file is not None else ""
    return IrodsCredential(host, number, user, zone, password, ticket, resource, rest, origin, by_iinit)


def _read(file: NamedFile) -> dict[str, Any]:
    """The JSON of ``irods_environment.json``; private, where it holds a password."""
    where = f"iRODS environment file {file.path} ({file.origin})"
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise CredentialError(f"{where}: {error.strerror}") from None
    if PASSWORD.encode() in content:
        content = read_private(file.path, file.origin)
    try:
        values = json.loads(content)
    except ValueError:
        raise CredentialError(f"{where} is not JSON") from None
    if not isinstance(values, dict):
        raise CredentialError(f"{where} is not a JSON object")
    return values


def _left_by_iinit(file: NamedFile | None, environment: Mapping[str, Any], home: str) -> Secret | None:
    """The password in ``.irodsA``, which is only obscured there: so nobody else may be able to read it."""
    named = environment.get("irods_authentication_file")
    path = Path(named) if named else (file.path.parent if file else Path(home, ".irods")) / ".irodsA"
    if not path.is_file():
        return None
    check_private(path, "irods_authentication_file" if named else "beside the environment file")
    from irods.password_obfuscation import decode  # only who has such a file needs the library here

    try:
        return Secret(decode(path.read_text().rstrip("\n"), uid=os.getuid()))
    except (OSError, ValueError, IndexError):
        raise CredentialError(f"{path} is not what iinit writes", "run iinit again") from None
