"""Which credential serves which URL. Nothing is read before the first one is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.types import (
    GlobusCredential,
    GoogleCredential,
    HttpCredential,
    NamedFile,
    S3Credential,
    SshCredential,
    Token,
    X509Credential,
)
from pegasus_toolkit.schemes import SCHEMES

if TYPE_CHECKING:
    from pathlib import Path

    from pegasus_toolkit.credentials.files import Sections, Stamp
    from pegasus_toolkit.credentials.irods import IrodsCredential
    from pegasus_toolkit.credentials.mask import Mask
    from pegasus_toolkit.credentials.registry import RegistryCredential
    from pegasus_toolkit.credentials.rucio import RucioCredential
    from pegasus_toolkit.credentials.section import Section

NOTHING = Secret("")


class Credentials:
    """The credentials of one run: finds files, reads each once, answers by host or by site.

    May be used by many threads. Every method raises :class:`CredentialError`, which never holds a
    secret. Files named by a variable must be there; those at the usual places may.
    """

    __slots__ = ("_environ", "_home", "_lock", "_mask", "_met", "_plain", "_read", "_shared")

    def __init__(self, environ: Mapping[str, str], home: str | None = None, shared: str = "/tmp") -> None:
        """``shared``: where grid tools leave proxies and tokens, "" to look at none."""
        self._environ = dict(environ)
        self._shared = shared
        self._home = home if home is not None else self._environ.get("HOME", "")
        self._lock = threading.Lock()
        self._read: dict[str, tuple[Stamp | None, Sections]] = {}
        self._mask: Mask | None = None
        self._plain: bool | None = None  # no variable of the environment may hold a secret
        self._met: list[str | Mapping[str, Secret]] = []  # secrets that the mask does not know yet

    @classmethod
    def load(cls, environ: Mapping[str, str], home: str | None = None) -> Credentials:
        """Those that ``environ`` names, or that stand below ``home`` (default: ``$HOME``)."""
        return cls(environ, home)

    @classmethod
    def none(cls) -> Credentials:
        """No credentials at all."""
        return cls({}, "", "")

    def mask(self, text: str, more: Iterable[str] = ()) -> str:
        """``text`` with ``***`` for every secret that was found so far, and for what ``more`` names."""
        if self._mask is None:
            if self._plain is None:
                self._plain = not any(map(_may_hold_a_secret, self._environ))
            if self._plain and not (self._met or more):
                return text  # most runs know no secret, and need not import what follows
            from pegasus_toolkit.credentials.mask import Mask

            self._mask = Mask(self._environ)
        while self._met:
            met = self._met.pop()
            self._mask.add(met) if isinstance(met, str) else self._mask.section(met)
        return self._mask(text, more)

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
                found = http.build(sections[section], section, file, self._home)
                if found.token is not None and found.token.reveal() == "discover":
                    return found._replace(token=self._discovered(scheme, authority, site).secret)
                return found
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

    def google(self, bucket: str, site: str = "") -> GoogleCredential:
        """What opens ``gs://bucket``; empty for what everybody may read.

        The key that section ``[gs://bucket]`` names; else ``GOOGLE_APPLICATION_CREDENTIALS``; else
        ``BOTO_CONFIG``, whose key ``GOOGLE_PKCS12`` replaces: each with ``_site`` first, and one for the site
        before one for all. What the section says of the service counts for all of them.
        """
        from pegasus_toolkit.credentials import google, http

        told = GoogleCredential()
        for file in self._credential_files(site):
            sections = self._sections(file)
            section = http.find(sections, "gs", bucket, file)
            if section is not None:
                told = google.from_section(sections[section], section, file, self._home)
                break
        if told.key is not None or (told.section and "token" in self.options("gs", bucket, site)):
            return told
        key = next(self._named("GOOGLE_APPLICATION_CREDENTIALS", site), None)
        boto = next(self._named("BOTO_CONFIG", site), None)
        if key and boto and boto.origin != "named by BOTO_CONFIG" and key.origin.endswith("_CREDENTIALS"):
            key = None  # only the other one is for this site
        if key is not None:
            found = google.from_key(key)
        elif boto is not None:
            found = google.from_boto(boto, next(self._named("GOOGLE_PKCS12", site), None), self._environ)
        elif self._home and (usual := self._usual(google.WELL_KNOWN)) is not None:
            found = google.from_key(usual)
        else:
            found = GoogleCredential()
        if found.key is not None:
            self._met.append(found.key.reveal())
        return found._replace(**{name: value for name, value in told._asdict().items() if value})

    def globus(self, site: str = "") -> GlobusCredential | None:
        """What ``GLOBUS_CONF_site``, ``GLOBUS_CONF`` or ``~/.pegasus/globus.conf`` says, if there is one."""
        from pegasus_toolkit.credentials import globus

        file = next(self._named(globus.VARIABLE, site), None)
        if file is None:
            file = self._usual(globus.USUAL) if self._home else None
        if file is None:
            return None
        found = globus.build(self._sections(file), file, self._home)
        secrets = (found.client_secret, found.access, found.refresh)
        self._met += [secret.reveal() for secret in secrets if secret is not None]
        return found

    def irods(self, authority: str, site: str = "") -> IrodsCredential:
        """What opens ``irods://authority``: the file that ``IRODS_ENVIRONMENT_FILE`` names (``_site`` first),
        else ``~/.irods/irods_environment.json``; and what section ``[irods://host]`` says."""
        from pegasus_toolkit.credentials import irods

        file = next(self._named("IRODS_ENVIRONMENT_FILE", site), None)
        if file is None and self._home:
            file = self._usual(irods.USUAL)
        own = self._own("irods", authority.rpartition("@")[2], site)
        found = irods.build(authority, file, own)
        self._met += [one.reveal() for one in (found.password, found.ticket) if one is not None]
        return found

    def rucio(self, site: str = "") -> RucioCredential:
        """Who logs in at the site's Rucio: ``rucio.cfg``, which ``RUCIO_CONFIG`` names (``_site`` first), or
        at the places where Rucio's client looks; ``RUCIO_ACCOUNT`` and its like; section ``[rucio]``."""
        from pegasus_toolkit.credentials import rucio, tokens

        file = next(self._named("RUCIO_CONFIG", site), None)
        if file is None:
            there = (path for path in rucio.usual(self._environ) if path.is_file())
            file = next((NamedFile(path, "at the usual place") for path in there), None)
        found = rucio.build(
            file,
            self._own(rucio.NAME, rucio.NAME, site),
            lambda variable: str(next((one.path for one in self._named(variable, site)), "")),
            lambda: self.proxy(site),
            lambda: self._kept(tokens.discover(self._environ, site, self._shared, needed=True)),
        )
        self._met += [found.password.reveal()] if found.password is not None else []
        self._met += [found.token.secret.reveal()] if found.token is not None else []
        return found

    def _own(self, scheme: str, host: str, site: str) -> Section:
        """The section of the credentials file for a host; empty where there is none."""
        from pathlib import Path

        from pegasus_toolkit.credentials import http
        from pegasus_toolkit.credentials.section import Section

        for file in self._credential_files(site):
            sections = self._sections(file)
            name = http.find(sections, scheme, host, file)
            if name is not None:
                return Section(sections[name], name, file.path, self._home)
        return Section({}, "", Path(), self._home)

    def _usual(self, name: str) -> NamedFile | None:
        """A file below the home, where it is there."""
        from pathlib import Path

        path = Path(self._home, name)
        return NamedFile(path, "at the usual place") if path.is_file() else None

    def ssh(self, scheme: str, authority: str, site: str = "") -> SshCredential:
        """What to use for ``scp`` and ``sftp`` at ``authority``.

        The section of the host counts, or else that of the site; a key that it names goes before
        ``SSH_PRIVATE_KEY_site`` and ``SSH_PRIVATE_KEY``.
        """
        from pegasus_toolkit.credentials import ssh

        found = SshCredential()
        for file in self._credential_files(site):
            sections = self._sections(file)
            section = ssh.find(sections, scheme, authority, site, file)
            if section is not None:
                found = ssh.build(sections[section], section, site, file, self._home)
                break
        agent = bool(self._environ.get("SSH_AUTH_SOCK"))
        if not found.private_key:
            for file in self._named("SSH_PRIVATE_KEY", site):
                found = found._replace(private_key=ssh.from_key(file))
                break
        if found.private_key:
            ssh.check_key(found, agent)
        return found

    def proxy(self, site: str = "", scheme: str = "", needed: bool = True) -> X509Credential | None:
        """The X.509 proxy for a site, valid now; or ``None``.

        ``X509_USER_PROXY_site``, ``X509_USER_CERT_site`` with ``X509_USER_KEY_site``, the same without a
        site, ``/tmp/x509up_uID``: the first that is there. One that is over raises; at the usual place
        only where it is ``needed``, as it may be left over there from other work. A ``scheme`` that
        is not the grid's (``https``, say) gets none.
        """
        from pegasus_toolkit.credentials import x509

        if scheme in SCHEMES and not SCHEMES[scheme].certificate:
            return None
        return x509.find(self._named, site, self._shared, needed)

    def ca_directory(self) -> str:
        """The directory of certificate authorities that grid sites are checked against; "" for none."""
        from pegasus_toolkit.credentials import x509

        return x509.ca_directory(self._environ, self._home)

    def token(self, scheme: str, authority: str, site: str = "", needed: bool = True) -> Token | None:
        """The bearer token for ``scheme://authority``, not over yet; or ``None``.

        What the credentials file gives to that host counts first. Else it is discovered, but only for
        schemes whose servers expect that (``davs``, ``root``, ``osdf`` and their like), or where the
        file says ``token = discover``: ``BEARER_TOKEN``, ``BEARER_TOKEN_FILE``, each with ``_site``
        first, ``_CONDOR_CREDS``, ``$XDG_RUNTIME_DIR/bt_uID``, ``/tmp/bt_uID``. ``needed`` as for proxies.
        """
        from pegasus_toolkit.credentials import tokens

        for file in self._credential_files(site):
            found = tokens.configured(self._sections(file), scheme, authority, file)
            if isinstance(found, Token):
                return found
            if found is not None:
                return self._discovered(scheme, authority, site)
        if scheme not in SCHEMES or not SCHEMES[scheme].ambient_token:
            return None
        return self._kept(tokens.discover(self._environ, site, self._shared, needed))

    def _kept(self, found: Token | None) -> Token | None:
        """The token, which is taken out of texts from now on."""
        if found is not None:
            self._met.append(found.secret.reveal())
        return found

    def _discovered(self, scheme: str, authority: str, site: str) -> Token:
        """For a host that the credentials file gives whatever token is found."""
        from pegasus_toolkit.credentials import tokens

        where = f"{scheme}://{authority.rpartition('@')[2]}: token = discover"
        if scheme in SCHEMES and not SCHEMES[scheme].encrypted:
            raise CredentialError(f"{where}: a token is not sent without encryption")
        found = tokens.discover(self._environ, site, self._shared, needed=True)
        if found is None:
            raise CredentialError(f"{where}, but there is none", "set BEARER_TOKEN_FILE or BEARER_TOKEN")
        self._met.append(found.secret.reveal())
        return found

    def registry(self, scheme: str, host: str, repository: str, site: str = "") -> RegistryCredential:
        """Who logs in at a registry of container images, and what else its section says.

        The section of the host counts; else ``REGISTRY_AUTH_FILE_site``, ``REGISTRY_AUTH_FILE``; else the
        files that ``podman login`` and ``docker login`` write.
        """
        from pegasus_toolkit.credentials import registry

        found = registry.RegistryCredential()
        for file in self._credential_files(site):
            told = registry.configured(self._sections(file), scheme, host, file, self._home)
            if told is not None:
                found = told
                break
        if found.password is None:
            named = self._named("REGISTRY_AUTH_FILE", site)
            login = registry.logged_in(host, repository, named, self._environ, self._home)
            if login is not None:
                found = found._replace(
                    username=login.username,
                    password=login.password,
                    refresh=login.refresh,
                    origin=login.origin,
                )
                self._met += [one.reveal() for one in (login.password, login.refresh) if one]
        return found

    def options(self, scheme: str, authority: str, site: str = "") -> Mapping[str, Secret]:
        """All that the most specific section for ``scheme://authority`` says, as it stands; for fsspec."""
        from pegasus_toolkit.credentials import http

        for file in self._credential_files(site):
            sections = self._sections(file)
            section = http.find(sections, scheme, authority, file)
            if section is not None:
                return sections[section]
        return {}

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
        """Each file is read once, by whichever thread comes first; and again when it has changed.

        One that is gone counts as it was: it may be about to be replaced.
        """
        from pegasus_toolkit.credentials import files

        key, stamp = str(file.path), files.stamp(file.path)
        with self._lock:
            known = self._read.get(key)
            if known is None or (stamp is not None and known[0] != stamp):
                known = self._read[key] = stamp, files.read(file.path, file.origin)
                self._met += known[1].values()
            return known[1]

    def __repr__(self) -> str:
        return "<Credentials>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("Credentials are not pickled: load them again where they are needed")


def _may_hold_a_secret(variable: str) -> bool:
    return variable.startswith(("AWS_SE", "BEARER_TOKEN", "OSG_SQUID")) or variable.lower().endswith("_proxy")
