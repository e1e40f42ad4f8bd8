"""Bearer tokens: found as the WLCG says, looked at for their end, and sent to few.

Where they are looked for stands at :meth:`Credentials.token`. Nothing of a token is verified here but that it
is not over: its signature is for the server to judge, its audience and scopes are looked at by ``--check``.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.credentials import http
from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import LIMIT, Sections, read_private
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.section import Section, has_control
from pegasus_toolkit.credentials.types import NamedFile, Token
from pegasus_toolkit.credentials.x509 import moment, ours_at

DISCOVER = "discover"
RIGHTS = ("storage.", "read:", "write:")  # how scopes begin that say what may be done at a storage
ANYBODY = frozenset({"https://wlcg.cern.ch/jwt/v1/any", "ANY", "any"})
_SKEW = 60.0  # seconds that clocks may differ


class _Found(NamedTuple):
    text: str
    origin: str  # where it stands, for errors
    named: bool  # by a variable
    path: str = ""


def configured(sections: Sections, scheme: str, authority: str, file: NamedFile) -> Token | str | None:
    """What the credentials file says of that server: a token, the word to discover one, or nothing."""
    name = http.find(sections, scheme, authority, file)
    if name is None:
        return None
    section = Section(sections[name], name, file.path, "")
    token = section.secret("token")
    if token is None:
        return None
    if section.one_line("token", token).reveal() == DISCOVER:
        return DISCOVER
    found = _checked(
        _Found(token.reveal(), f"token of [{name}] in {file.path}", True, str(file.path)), needed=True
    )
    return found._replace(configured=True) if found is not None else None


def discover(environ: Mapping[str, str], site: str, shared: str, needed: bool) -> Token | None:
    """The first token that is there; ``shared``: the directory of the last place, "" for none.

    One at a usual place that is over is an error only where it is ``needed``.
    """
    for found in _candidates(environ, site, shared):
        token = _checked(found, needed)
        if token is not None:
            return token
    return None


def _candidates(environ: Mapping[str, str], site: str, shared: str) -> Iterator[_Found]:
    suffixes = dict.fromkeys([f"_{site}", f"_{site.replace('-', '_')}", ""] if site else [""])
    for suffix in suffixes:
        if text := environ.get(f"BEARER_TOKEN{suffix}", "").strip():
            yield _Found(text, f"BEARER_TOKEN{suffix}", True)
        if named := environ.get(f"BEARER_TOKEN_FILE{suffix}"):
            yield _read(Path(named), f"BEARER_TOKEN_FILE{suffix}")
    if condor := environ.get("_CONDOR_CREDS"):
        for path in _of_condor(Path(condor), site):
            yield _read(path, "_CONDOR_CREDS")
    for directory in (environ.get("XDG_RUNTIME_DIR", ""), shared):
        path = Path(directory, f"bt_u{os.geteuid()}")
        if directory and ours_at(path):
            yield _read(path, "")


def _of_condor(directory: Path, site: str) -> list[Path]:
    """HTCondor writes ``service.use`` or ``service_handle.use``.

    The one that is called as the site, the one that pools use for their own tokens, or the only one.
    """
    for name in (site, site.replace("-", "_"), "scitokens"):
        if name and (directory / f"{name}.use").is_file():
            return [directory / f"{name}.use"]
    every = sorted(directory.glob("*.use"))
    return every if len(every) == 1 else []


def _read(path: Path, variable: str) -> _Found:
    where = f"token file {path} ({f'named by {variable}' if variable else 'at the usual place'})"
    content = _in_closed_directory(path, where)
    if content is None:
        try:
            content = read_private(path, "")
        except CredentialError as error:
            raise CredentialError(
                error.message.replace(f"credentials file {path}", where, 1), error.hint
            ) from None
    text = content.decode("utf-8", "replace").strip()
    if text.startswith("{"):  # as HTCondor keeps them
        text = _member(text, where)
    return _Found(text, where, bool(variable), str(path))


def _in_closed_directory(path: Path, where: str) -> bytes | None:
    """Its content where nobody else can come to it, whatever its own mode is."""
    try:
        around, status = path.absolute().parent.stat(), path.stat()
        mine = around.st_uid == os.geteuid() and status.st_uid in (os.geteuid(), 0)
        if not mine or stat.S_IMODE(around.st_mode) & 0o077 or not stat.S_ISREG(status.st_mode):
            return None
        if path.is_symlink() or status.st_size > LIMIT:
            return None
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialError(f"{where} cannot be read: {error.strerror}") from None


def _member(text: str, where: str) -> str:
    try:
        found = json.loads(text)["access_token"]
    except (ValueError, KeyError, RecursionError):
        found = None
    if not isinstance(found, str):
        raise CredentialError(f"{where} holds JSON without an access_token")
    return found.strip()


def _checked(found: _Found, needed: bool) -> Token | None:
    """``None`` where it is empty, or over and that does not matter."""
    secret = Secret(found.text)
    if not secret:
        return None
    if has_control(secret) or not found.text.isascii() or " " in found.text:
        raise CredentialError(
            f"{found.origin}: not a token, it holds spaces or other characters none can hold"
        )
    told = claims(found.text)
    starts, expires = _number(told.get("nbf")), _number(told.get("exp"))
    now = time.time()
    if expires is not None and expires <= now:
        if not needed and not found.named:
            return None
        raise CredentialError(f"{found.origin}: the token expired at {moment(expires)}", "get a new one")
    if starts is not None and starts > now + _SKEW:
        raise CredentialError(f"{found.origin}: the token is not valid before {moment(starts)}")
    scopes = _words(told.get("scope", told.get("scp")))
    return Token(
        secret, found.origin, expires, False, found.path, scopes, _words(told.get("aud"), whole=True)
    )


def claims(text: str) -> dict[str, object]:
    """What a JSON web token says, unverified; nothing for another sort of token."""
    parts = text.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(value: object, whole: bool = False) -> tuple[str, ...]:
    """Scopes stand in one text, or in a list; an audience (``whole``) is one text or several."""
    if isinstance(value, str):
        return (value,) if whole else tuple(value.split())
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def missing(scopes: tuple[str, ...], reads: bool, writes: bool) -> str:
    """What a token that names rights at storages does not allow, "" where it allows all, or names none.

    Rights as the WLCG names them (``storage.modify:/path``), and as SciTokens does (``write:/path``). Paths
    are left to the server, whose they are.
    """
    rights = {scope.partition(":")[0] for scope in scopes if scope.startswith(RIGHTS)}
    if not rights:
        return ""
    lacking = []
    if reads and not rights & {"storage.read", "storage.stage", "read"}:
        lacking.append("storage.read, which reading needs")
    if writes and not rights & {"storage.modify", "storage.create", "write"}:
        lacking.append("storage.modify or storage.create, which writing needs")
    return " and ".join(lacking)


def for_any(audience: tuple[str, ...], host: str) -> bool:
    """Whether an audience is everybody, or that host as far as its name tells. None at all: everybody."""
    name = host.rpartition("@")[2].partition(":")[0].lower()
    return not audience or any(one in ANYBODY or name in one.lower() for one in audience)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
