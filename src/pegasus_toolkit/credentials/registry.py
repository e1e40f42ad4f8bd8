"""Who logs in at a registry of container images: from the files that ``docker login`` and its like write."""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import LIMIT, Sections
from pegasus_toolkit.credentials.http import find
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.section import Section
from pegasus_toolkit.credentials.types import NamedFile

KNOWN = ("username", "password", "verify", "ca_file", "plain_http", "platform", "tool")
HUB = "https://index.docker.io/v1/"  # what Docker's files call docker.io
ASK = 30  # seconds that a credential helper may take
_TOKEN_USER = "<token>"  # what helpers call a user whose secret is a refresh token


class RegistryCredential(NamedTuple):
    """``username`` with ``password``, or ``refresh``: a token that the registry's own service takes for it.

    ``origin``: where it stands, "" for nowhere; the rest is what the section of the credentials file says.
    """

    username: str = ""
    password: Secret | None = None
    refresh: Secret | None = None
    origin: str = ""
    ca_file: str = ""
    insecure: bool = False
    plain_http: bool = False
    platform: str = ""
    tool: str = ""


def configured(
    sections: Sections, scheme: str, host: str, file: NamedFile, home: str
) -> RegistryCredential | None:
    """What the credentials file says of that registry; ``None`` where it is silent."""
    name = find(sections, scheme, host, file)
    if name is None:
        return None
    section = Section(sections[name], name, file.path, home)
    section.only(KNOWN)
    username, password = section.text("username"), section.secret("password")
    if bool(username) != bool(password):
        raise section.error("username and password go together, one is missing")
    return RegistryCredential(
        username=username,
        password=section.one_line("password", password) if password is not None else None,
        origin=f"section [{name}]" if username else "",
        ca_file=section.file("ca_file"),
        insecure=section.insecure(),
        plain_http=section.flag("plain_http"),
        platform=section.text("platform"),
        tool=section.text("tool"),
    )


def logged_in(
    host: str, repository: str, named: Iterator[NamedFile], environ: Mapping[str, str], home: str
) -> RegistryCredential | None:
    """What the first of those files says that knows the registry: those ``named``, else the usual ones."""
    for path, origin in _files(named, environ, home):
        document = _read(path, origin)
        for key in _keys(host, repository):
            found = _entry(document, key, path, environ)
            if found is not None:
                return found._replace(origin=f"{path}, {key}")
    return None


def _files(named: Iterator[NamedFile], environ: Mapping[str, str], home: str) -> Iterator[tuple[Path, str]]:
    first = next(named, None)
    if first is not None:
        yield first.path, first.origin
        return
    usual = []
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        usual.append(Path(runtime, "containers", "auth.json"))
    if home:
        usual.append(Path(home, ".config", "containers", "auth.json"))
    if docker := environ.get("DOCKER_CONFIG") or (home and str(Path(home, ".docker"))):
        usual.append(Path(docker, "config.json"))
    yield from ((path, "") for path in usual if path.exists())


def _read(path: Path, origin: str) -> dict[str, Any]:
    where = f"registry login file {path}" + (f" ({origin})" if origin else "")
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CredentialError(f"{where} is not a regular file")
            document = json.loads(file.read(LIMIT))
    except OSError as error:
        raise CredentialError(f"{where} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CredentialError(f"{where} is not JSON", "log in anew: podman login, or docker login") from None
    if not isinstance(document, dict):
        raise CredentialError(f"{where} holds no object", "log in anew: podman login, or docker login")
    if stat.S_IMODE(status.st_mode) & 0o077 and any(map(_secret, _table(document, "auths").values())):
        mode = stat.S_IMODE(status.st_mode)
        raise CredentialError(f"{where} can be accessed by others (mode {mode:04o})", f"chmod 600 {path}")
    return document


def _secret(entry: object) -> bool:
    return isinstance(entry, dict) and bool(entry.get("auth") or entry.get("identitytoken"))


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _keys(host: str, repository: str) -> Iterator[str]:
    """The most specific first: Podman's files may hold a login for a part of a registry."""
    parts = repository.split("/")
    for count in range(len(parts), 0, -1):
        yield f"{host}/{'/'.join(parts[:count])}"
    yield from (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")
    if host == "docker.io":
        yield from (HUB, "index.docker.io", "registry-1.docker.io")


def _entry(
    document: dict[str, Any], key: str, path: Path, environ: Mapping[str, str]
) -> RegistryCredential | None:
    helper = _table(document, "credHelpers").get(key)
    entry = _table(document, "auths").get(key)
    if helper is None and entry is not None and not _secret(entry):
        helper = document.get("credsStore")
    if isinstance(helper, str) and helper:
        return _ask(helper, key, environ)
    if not isinstance(entry, dict) or not _secret(entry):
        return None
    if entry.get("identitytoken"):
        return RegistryCredential(refresh=Secret(str(entry["identitytoken"])))
    try:
        user, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        user, colon, password = "", "", ""
    if not colon:
        raise CredentialError(
            f"registry login file {path}: the login of {key} is broken", f"log in anew: podman login {key}"
        )
    return RegistryCredential(user, Secret(password.rstrip("\0")))


def _ask(helper: str, key: str, environ: Mapping[str, str]) -> RegistryCredential | None:
    """A program of Docker's that keeps logins in a key ring. ``None`` where it has none for it."""
    name = f"docker-credential-{helper}"
    program = shutil.which(name, path=environ.get("PATH", os.defpath)) if "/" not in helper else None
    if program is None:
        raise CredentialError(f"the login at {key} is kept by {name}, which is not on PATH")
    try:
        done = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, timeout=ASK, check=False, env=environ
        )
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        raise CredentialError(f"{name} did not tell the login at {key}") from None
    if not isinstance(found, dict):
        return None
    user, secret = str(found.get("Username", "")), Secret(str(found.get("Secret", "")))
    return RegistryCredential(refresh=secret) if user == _TOKEN_USER else RegistryCredential(user, secret)
