"""Which credential serves which URL. Nothing is read before the first one is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from pegasus_toolkit.credentials.files import Sections

NOTHING = Secret("")


class HttpCredential(NamedTuple):
    """What to show one HTTP server, and how to know it. Empty where the credentials file is silent.

    ``headers``: name (case kept) and value, for requests to this host alone, never along a redirect;
    ``token``: for ``Authorization: Bearer``; at most one of ``password``, ``token`` and an
    ``Authorization`` header is there. ``ca_file``, ``client_certificate``, ``client_key``: absolute
    paths, "" for none. ``insecure``: the certificate need not be checked. ``section``: where it stands.
    """

    headers: tuple[tuple[str, Secret], ...] = ()
    username: str = ""
    password: Secret | None = None
    token: Secret | None = None
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""
    insecure: bool = False
    section: str = ""


class S3Credential(NamedTuple):
    """What opens one S3 service.

    ``endpoint``: ``http://`` or ``https://`` URL; ``region``: "" where not told; ``options``: the
    other keys of the site's section, no secrets among them; ``section``: ``user@site``.
    """

    endpoint: str
    region: str
    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None
    ca_file: str = ""
    insecure: bool = False
    options: Mapping[str, str] = {}
    section: str = ""


class NamedFile(NamedTuple):
    """A file, and what named it, for errors."""

    path: Path
    origin: str


class Credentials:
    """The credentials of one run: finds files, reads each once, answers by host or by site.

    May be used by many threads. Every method raises :class:`CredentialError`, which never holds a
    secret. Files named by a variable must be there; those at the usual places may.
    """

    __slots__ = ("_environ", "_home", "_lock", "_read")

    def __init__(self, environ: Mapping[str, str], home: str | None = None) -> None:
        self._environ = dict(environ)
        self._home = home if home is not None else self._environ.get("HOME", "")
        self._lock = threading.Lock()
        self._read: dict[str, Sections] = {}

    @classmethod
    def load(cls, environ: Mapping[str, str], home: str | None = None) -> Credentials:
        """Those that ``environ`` names, or that stand below ``home`` (default: ``$HOME``)."""
        return cls(environ, home)

    @classmethod
    def none(cls) -> Credentials:
        """No credentials at all."""
        return cls({}, "")

    def http(self, scheme: str, authority: str, site: str = "") -> HttpCredential:
        """What to use for ``scheme://authority``; empty where no section names that host.

        The most specific section counts, alone: ``[scheme://host:port]``, ``[scheme://host]``,
        ``[host:port]``, ``[host]``. A section with a scheme never serves another scheme. ``site``
        picks the file only: a label alone must not send a secret to a host that the file does not name.
        """
        from pegasus_toolkit.credentials import http

        for file in self._credential_files(site):
            sections = self._sections(file)
            section = http.find(sections, scheme, authority, file)
            if section is not None:
                return http.build(sections[section], section, file, self._home)
        return HttpCredential()

    def s3(self, user: str, site: str) -> S3Credential:
        """Endpoint of ``[site]`` with the keys of ``[user@site]``."""
        from pegasus_toolkit.credentials import s3

        files = list(self._credential_files(site, s3=True))
        for file in files:
            sections = self._sections(file)
            if site in sections or f"{user}@{site}" in sections:
                return s3.build(sections, user, site, file, self._home)
        if not files:
            raise CredentialError(
                f"no credentials for [{user}@{site}]: there is no credentials file",
                "name one in PEGASUS_CREDENTIALS or write ~/.pegasus/credentials.conf",
            )
        names = ", ".join(str(file.path) for file in files)
        raise CredentialError(f"no section [{site}] and no section [{user}@{site}] in {names}")

    def environment_file(self, variable: str, site: str = "") -> Path | None:
        """The private file that ``variable_site`` or else ``variable`` names, checked; or ``None``."""
        from pegasus_toolkit.credentials.files import check_private

        for file in self._named(variable, site):
            check_private(file.path, file.origin)
            return file.path
        return None

    def _named(self, variable: str, site: str) -> Iterator[NamedFile]:
        """What the environment names, the site's own first. In labels ``-`` is ``_``, as in upstream."""
        from pathlib import Path

        names = [f"{variable}_{site}", f"{variable}_{site.replace('-', '_')}"] if site else []
        for name in dict.fromkeys([*names, variable]):
            if value := self._environ.get(name):
                yield NamedFile(Path(value), f"named by {name}")

    def _credential_files(self, site: str, s3: bool = False) -> Iterator[NamedFile]:
        """Where to look, in this order. The usual places count only where nothing is named."""
        named = list(self._named("PEGASUS_CREDENTIALS", site))
        if not named and s3:
            named = list(self._named("S3CFG", ""))
        if named or not self._home:
            yield from named
            return
        from pathlib import Path

        for name in ("credentials.conf", *(["s3cfg"] if s3 else [])):
            path = Path(self._home, ".pegasus", name)
            if path.exists():
                yield NamedFile(path, "")
                return

    def _sections(self, file: NamedFile) -> Sections:
        """Each file is read once, by whichever thread comes first."""
        from pegasus_toolkit.credentials import files

        key = str(file.path)
        with self._lock:
            if key not in self._read:
                self._read[key] = files.read(file.path, file.origin)
            return self._read[key]

    def __repr__(self) -> str:
        return "<Credentials>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Credentials are not pickled: load them again where they are needed")
