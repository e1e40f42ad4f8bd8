"""Who logs in at a Rucio server: ``rucio.cfg`` and the variables that Rucio's own client reads."""

from __future__ import annotations

import configparser
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.credentials import x509
from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import check_private, read_private
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.section import Section
from pegasus_toolkit.credentials.types import NamedFile, Token, X509Credential

NAME = "rucio"  # of the section in credentials.conf, and of the server in our errors
KNOWN = (
    "rucio_host", "auth_host", "account", "vo", "auth_type", "username", "password", "client_cert",
    "client_key", "client_x509_proxy", "ca_cert", "auth_token_file_path", "token", "lifetime",
)  # fmt: skip
TYPES = ("userpass", "x509", "x509_proxy", "oidc")
HOMES = ("RUCIO_HOME", "VIRTUAL_ENV", "CONDA_PREFIX")
VARIABLES = {
    "account": "RUCIO_ACCOUNT",
    "vo": "RUCIO_VO",
    "auth_type": "RUCIO_AUTH_TYPE",
    "client_cert": "RUCIO_CLIENT_CERT",
    "client_key": "RUCIO_CLIENT_KEY",
    "client_x509_proxy": "RUCIO_CLIENT_PROXY",
}
DEFAULT_VO = "def"


class RucioCredential(NamedTuple):
    """A login. URLs of the server and of where it gives tokens; ``account`` "": the identity's usual one.

    ``certificate``, ``key``: absolute paths, the same for a proxy; ``token``: for ``oidc``; ``token_file``:
    where tokens of this account are kept, "" for nowhere; ``ca``: file or directory of authorities, "" for
    those that ``requests`` knows; ``lifetime``: seconds that what is uploaded is kept, ``None``: for good;
    ``origin``: the file.
    """

    rucio_host: str
    auth_host: str
    account: str
    vo: str
    auth_type: str
    username: str = ""
    password: Secret | None = None
    certificate: str = ""
    key: str = ""
    token: Token | None = None
    token_file: str = ""
    ca: str = ""
    lifetime: int | None = None
    origin: str = ""

    def __repr__(self) -> str:
        return f"<RucioCredential {self.account} {self.origin}>"


def usual(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where Rucio's client looks for its configuration."""
    for variable in HOMES:
        if environ.get(variable):
            yield Path(environ[variable], "etc", "rucio.cfg")
    yield Path("/opt/rucio/etc/rucio.cfg")


def build(
    file: NamedFile | None,
    own: Section,
    named: Callable[[str], str],
    proxy: Callable[[], X509Credential | None],
    token: Callable[[], Token | None],
) -> RucioCredential:
    """``own``: the credentials file's section, which is stronger than ``named`` (the environment), and that
    than ``file`` (``rucio.cfg``). Raises :class:`CredentialError`."""
    own.only(KNOWN)
    told = _read(file) if file is not None else {}
    told |= {key: value for key, variable in VARIABLES.items() if (value := named(variable))}
    told |= {key: own.one_line(key, value).reveal() for key, value in own.values.items()}
    where = own.path if own.name else file.path if file is not None else ""
    for name in ("rucio_host", "auth_type"):
        if not told.get(name):
            hint = (
                f"name rucio.cfg in RUCIO_CONFIG, or write {name} into section [{NAME}] of credentials.conf"
            )
            raise CredentialError(f"no {name} for Rucio", hint)
    host = told["rucio_host"]
    found = RucioCredential(
        rucio_host=_url(host),
        auth_host=_url(told.get("auth_host") or host),
        account=told.get("account", ""),
        vo=told.get("vo") or DEFAULT_VO,
        auth_type=told["auth_type"],
        token_file=_expanded(told.get("auth_token_file_path", ""), own.home),
        ca=_expanded(told.get("ca_cert", ""), own.home),
        lifetime=_seconds(told),
        origin=str(where),
    )
    if found.ca and not Path(found.ca).exists():
        raise CredentialError(f"ca_cert of Rucio is not there: {found.ca}", found.origin)
    if found.token_file and Path(found.token_file).exists():
        check_private(Path(found.token_file), "auth_token_file_path")
        _of(found.account, found.token_file)
    return _with_login(found, told, own.home, proxy, token)


def _with_login(
    found: RucioCredential,
    told: Mapping[str, str],
    home: str,
    proxy: Callable[[], X509Credential | None],
    token: Callable[[], Token | None],
) -> RucioCredential:
    if found.auth_type == "userpass":
        if not told.get("username") or not told.get("password"):
            raise CredentialError("auth_type userpass of Rucio needs username and password", found.origin)
        return found._replace(username=told["username"], password=Secret(told["password"]))
    if found.auth_type == "x509":
        certificate, key = (_expanded(told.get(name, ""), home) for name in ("client_cert", "client_key"))
        if not certificate:
            raise CredentialError("auth_type x509 of Rucio needs client_cert and client_key", found.origin)
        return found._replace(certificate=_valid(certificate, not key), key=_private(key or certificate))
    if found.auth_type == "x509_proxy":
        path = _expanded(told.get("client_x509_proxy", ""), home)
        if not path:
            ours = proxy()
            if ours is None:
                raise CredentialError("no X.509 proxy for Rucio", "make one: voms-proxy-init")
            path = ours.certificate
        return found._replace(certificate=_valid(path, True), key=path)
    if found.auth_type == "oidc":
        return found._replace(token=_token(found, told, token))
    raise CredentialError(
        f"auth_type {found.auth_type} of Rucio is not known here", f"it is one of {', '.join(TYPES)}"
    )


def _token(
    found: RucioCredential, told: Mapping[str, str], token: Callable[[], Token | None]
) -> Token | None:
    """``None``: it is in ``token_file``."""
    if written := told.get("token"):
        return Token(Secret(written), found.origin)
    if found.token_file and Path(found.token_file).exists():
        return None
    ours = token()
    if ours is None:
        hint = "name its file in BEARER_TOKEN_FILE, or log in with rucio whoami and an auth_token_file_path"
        raise CredentialError("no token for Rucio", hint)
    return ours


def _read(file: NamedFile) -> dict[str, str]:
    """Section ``[client]``; the file must be closed to others where it holds a password."""
    where = f"Rucio's configuration {file.path} ({file.origin})"
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise CredentialError(f"{where}: {error.strerror}") from None
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, configparser.Error):
        raise CredentialError(f"{where} cannot be understood") from None
    told = dict(parser.items("client")) if parser.has_section("client") else {}
    if told.get("password"):
        read_private(file.path, file.origin)
    return {key: value for key, value in told.items() if key in KNOWN}


def _of(account: str, path: str) -> None:
    """Rucio's tokens begin with the account that they are for; a file that accounts share gives another's."""
    token = Path(path).read_text(errors="replace").strip()
    if account and token and token.count(".") != 2 and not token.startswith(f"{account}-"):
        hint = "give each account an auth_token_file_path of its own"
        raise CredentialError(f"the token in {path} is of another account than {account}", hint)


def _private(path: str) -> str:
    check_private(Path(path), "client_key of Rucio")
    return path


def _valid(path: str, private: bool) -> str:
    """A certificate or proxy that is not over; ``private``: its key is in it."""
    try:
        content = read_private(Path(path), "of Rucio") if private else Path(path).read_bytes()
    except OSError as error:
        raise CredentialError(f"Rucio's client certificate {path}: {error.strerror}") from None
    found = x509.dates(content)
    if not found:
        raise CredentialError(f"Rucio's client certificate {path} cannot be read")
    if (ends := min(end for _, end in found)) <= time.time():
        raise CredentialError(
            f"Rucio's client certificate {path} expired at {x509.moment(ends)}", "make a new one"
        )
    return path


def _url(told: str) -> str:
    if not told.startswith(("https://", "http://")):
        raise CredentialError(f"Rucio's host is not a URL: {told}", "write https://host[:port]")
    return told.rstrip("/")


def _seconds(told: Mapping[str, str]) -> int | None:
    text = told.get("lifetime", "")
    if text and not text.isdecimal():
        raise CredentialError("lifetime of Rucio is no number of seconds")
    return int(text) if text else None


def _expanded(path: str, home: str) -> str:
    return f"{home}/{path[2:]}" if path.startswith("~/") else path
