"""The one table of URL schemes: what parsing, credentials, planner, plugin and backends need to know of each.

A new protocol is one module in ``transfer/backends``, one line here, and one test fixture. Pure data, and
read at every start: nothing is imported here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal[
    "config",
    "proxy",
    "ssh",
    "token",
    "google",
    "boto",
    "pkcs12",
    "irods",
    "hpss",
    "registry",
    "globus",
    "rucio",
]


class Credential(NamedTuple):
    """A sort of credential file, as the planner hands it to jobs.

    ``variable``: the environment variable that names it, with the site's label appended (``_site``) for one
    site; ``usual``: where it is when nothing names it; ``needed``: no transfer without it.
    """

    variable: str
    usual: str = ""
    needed: bool = False


CREDENTIALS: dict[Kind, Credential] = {
    "config": Credential("PEGASUS_CREDENTIALS", "$HOME/.pegasus/credentials.conf", needed=True),
    "proxy": Credential("X509_USER_PROXY", "/tmp/x509up_u$UID", needed=True),
    "ssh": Credential("SSH_PRIVATE_KEY", needed=True),
    "token": Credential("BEARER_TOKEN_FILE", "/tmp/bt_u$UID"),
    "google": Credential("GOOGLE_APPLICATION_CREDENTIALS"),
    "boto": Credential("BOTO_CONFIG"),
    "pkcs12": Credential("GOOGLE_PKCS12"),
    "irods": Credential("IRODS_ENVIRONMENT_FILE", "$HOME/.irods/irods_environment.json", needed=True),
    "globus": Credential("GLOBUS_CONF", "$HOME/.pegasus/globus.conf", needed=True),
    "rucio": Credential("RUCIO_CONFIG", "/opt/rucio/etc/rucio.cfg"),
    "hpss": Credential("HPSS_CREDENTIAL", "$HOME/.netrc"),
    "registry": Credential("REGISTRY_AUTH_FILE", "$HOME/.docker/config.json"),
}


class Scheme(NamedTuple):
    """One scheme.

    ``module``: in ``transfer/backends``, "" where nothing moves it yet; ``extra``: of this package, which
    brings its library; ``remote``: not on this machine; ``quoted``: paths are percent-encoded; ``folded``:
    "//" in a path means "/"; ``query``: "?" begins what is no part of a name; ``web``: the authority is a
    host with at most a port;
    ``encrypted``: nobody reads a token on its way; ``port``: where servers usually are;
    ``writes``: can be a destination; ``certificate``: servers are shown an X.509 proxy that was found;
    ``ambient_token``: servers are shown a bearer token that was found;
    ``credentials``: which files jobs are given, ``optional``: those of them that may be missing;
    ``plugin``: HTCondor needs our plugin for it; ``tool``: the system's Python module that it needs;
    ``programs``: commands, one of which is used where it is there; ``requires``: whether one must be
    there ("program"), or either one of them or the extra ("either"), or the extra alone ("extra");
    ``registry``: of container images, and this is the one that names without a host mean;
    ``federation``: of Pelican, whose name is not in the URL; ``catalog``: of files by scope and name, where
    a URL names no storage element.
    """

    module: str
    extra: str = ""
    remote: bool = True
    quoted: bool = False
    folded: bool = False
    query: bool = False
    web: bool = False
    encrypted: bool = True
    port: int | None = None
    writes: bool = True
    certificate: bool = True
    ambient_token: bool = False
    credentials: tuple[Kind, ...] = ()
    optional: tuple[Kind, ...] = ()
    plugin: bool = True
    tool: str = ""
    programs: tuple[str, ...] = ()
    requires: Literal["extra", "program", "either"] = "extra"
    registry: str = ""
    federation: str = ""
    catalog: str = ""


_LOCAL = Scheme("local.backend", remote=False, plugin=False)
_HTTP = Scheme(
    "web", "http", quoted=True, folded=True, query=True, web=True, encrypted=False, port=80, writes=False,
    certificate=False, credentials=("config",),
)  # fmt: skip
_HTTPS = _HTTP._replace(encrypted=True, port=443)
_DAV = _HTTP._replace(module="webdav.backend", writes=True)
_DAVS = _DAV._replace(
    encrypted=True, port=443, certificate=True, ambient_token=True, credentials=("config", "token")
)
_FTP = Scheme("ftp.backend", "http", quoted=True, encrypted=False, port=21, certificate=False)
_SSH = Scheme(
    "ssh.backend",
    "ssh",
    folded=True,
    port=22,
    credentials=("ssh",),
    programs=("ssh",),
    requires="either",
)
_GRIDFTP = Scheme("gridftp.backend", "gridftp", folded=True, port=2811, credentials=("proxy",))
_SRM = Scheme("srm.backend", quoted=True, port=8443, credentials=("proxy",), tool="gfal2")
_S3 = Scheme("s3.backend", "s3", credentials=("config",))
_XROOTD = Scheme(
    "xrootd.backend",
    "xrootd",
    query=True,
    port=1094,
    ambient_token=True,
    credentials=("proxy", "token"),
    optional=("proxy",),
)
_IMAGE = Scheme(
    "images.backend",
    "http",
    port=443,
    writes=False,
    certificate=False,
    credentials=("config", "registry"),
    plugin=False,  # HTCondor has a meaning of its own for these
    registry="docker.io",
    programs=("skopeo", "podman", "docker", "apptainer", "singularity"),
)
_OSDF = Scheme(
    "osdf.backend",
    "http",
    quoted=True,
    folded=True,
    query=True,
    port=443,
    certificate=False,
    ambient_token=True,
    credentials=("config", "token"),
    federation="osg-htc.org",
    programs=("pelican", "stashcp"),
)

SCHEMES: dict[str, Scheme] = {
    "file": _LOCAL,
    "symlink": _LOCAL,
    "moveto": _LOCAL,
    "memory": _LOCAL._replace(module="memory"),
    "http": _HTTP,
    "https": _HTTPS,
    "webdav": _DAV,
    "webdavs": _DAVS,
    "dav": _DAV,
    "davs": _DAVS,
    "ftp": _FTP,
    "ftps": _FTP._replace(encrypted=True, port=990),
    "scp": _SSH,
    "sftp": _SSH,
    "gsiftp": _GRIDFTP,
    "gsiscp": _GRIDFTP._replace(module=""),
    "sshftp": _GRIDFTP._replace(
        extra="", port=22, credentials=("ssh",), programs=("ssh",), requires="program"
    ),
    "srm": _SRM,
    "httpg": _SRM._replace(credentials=()),
    "s3": _S3,
    "s3s": _S3,
    "root": _XROOTD,
    "roots": _XROOTD,
    "xroot": _XROOTD,
    "xroots": _XROOTD,
    "gs": Scheme(
        "gs.backend", "gs", credentials=("google", "boto", "pkcs12", "config"), optional=("config",)
    ),
    "go": Scheme("globus.backend", "globus", port=443, certificate=False, credentials=("globus",)),
    "irods": Scheme(
        "irods.backend",
        "irods",
        folded=True,
        port=1247,
        certificate=False,
        credentials=("irods", "config"),
        optional=("config",),
    ),
    "fdt": Scheme(
        "fdt",
        port=54321,
        encrypted=False,
        certificate=False,
        credentials=("config",),
        programs=("java",),
        requires="program",
    ),
    "hpss": Scheme(
        "hpss",
        certificate=False,
        writes=False,
        credentials=("hpss",),
        programs=("htar", "hsi"),
        requires="program",
    ),
    "docker": _IMAGE,
    "oras": _IMAGE,
    "library": _IMAGE._replace(registry="library.sylabs.io"),
    "shub": _IMAGE._replace(registry="singularity-hub.org"),
    "osdf": _OSDF,
    "stash": _OSDF,
    "rucio": Scheme(
        "rucio.backend",
        "rucio",
        port=443,
        credentials=("config", "rucio", "proxy", "token"),
        optional=("config", "rucio", "proxy", "token"),
        catalog="rucio",
    ),
    "pelican": _OSDF._replace(federation="", web=True),
}

BRINGS: dict[str, str] = {
    "apptainer": "apt install apptainer",
    "gfal2": "apt install python3-gfal2 gfal2-plugin-srm gfal2-plugin-gridftp",
    "java": "apt install default-jre-headless",
    "pelican": "see https://docs.pelicanplatform.org/install",
    "skopeo": "apt install skopeo",
    "ssh": "apt install openssh-client",
}
"""The command that brings a program or a system's module (as Debian has it)."""

LOCAL = frozenset({"file", "symlink", "moveto"})
"""Schemes whose path is one on this machine's disk."""


def known() -> list[str]:
    """All schemes that something moves, in the order of the alphabet."""
    return sorted(name for name, scheme in SCHEMES.items() if scheme.module)


def only(**traits: object) -> frozenset[str]:
    """The schemes that have these traits: ``only(quoted=True)``."""
    return frozenset(
        name
        for name, scheme in SCHEMES.items()
        if all(getattr(scheme, trait) == value for trait, value in traits.items())
    )
