"""One place at each protocol's real server, and one environment in which a single run can use them all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import pytest

from pegasus_toolkit.transfer.url import from_path
from tests.servers.gcs import Gcs
from tests.servers.grid_pki import Grid
from tests.servers.irods import USER as IRODS_USER
from tests.servers.irods import ZONE
from tests.servers.nginx import PASSWORD, USER
from tests.servers.rucio import SCOPE, Rucio, place
from tests.servers.s3_client import Client
from tests.servers.webdav import Dav

LOGIN = f"username = {USER}\npassword = {PASSWORD}"


class Place(Protocol):
    """An empty area at a server. Names are plain; ``held`` and ``write`` go behind the backend's back."""

    def url(self, name: str) -> str: ...
    def write(self, name: str, content: bytes) -> None: ...
    def held(self) -> dict[str, bytes]:
        """Every file in the area by its name there, temporary ones too."""

    def clear(self) -> None: ...


class Way(NamedTuple):
    """What opens a place: the place, a section of credentials.conf, variables of the environment."""

    place: Place
    section: str = ""
    environ: tuple[tuple[str, str], ...] = ()


class Directory:
    """A place whose server serves a directory of this machine, under URLs that begin with ``prefix``."""

    def __init__(self, root: Path, prefix: str, encode: Callable[[str], str] = str) -> None:
        self.root, self.prefix, self.encode = root, prefix, encode
        root.mkdir()
        root.chmod(0o777)  # some servers run under an account of their own

    def url(self, name: str) -> str:
        return self.prefix + self.encode(f"/{name}")

    def write(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        (self.root / name).chmod(0o666)

    def held(self) -> dict[str, bytes]:
        own = ("/.DAV/", "/.davfs.tmp")  # Apache's: properties, and what it has not removed yet
        files = [path for path in self.root.rglob("*") if not path.is_dir()]
        files = [path for path in files if not any(mark in str(path) for mark in own)]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}

    def clear(self) -> None:
        shutil.rmtree(self.root)


class Bucket:
    """A bucket of its own; unfinished uploads count as files."""

    def __init__(self, client: Client, name: str) -> None:
        self.client, self.name = client, name
        client.make_bucket(name)

    def url(self, name: str) -> str:
        return f"s3://admin@weed/{self.name}/{name}"

    def write(self, name: str, content: bytes) -> None:
        self.client.write(self.name, name, content)

    def held(self) -> dict[str, bytes]:
        found = {key: self.client.read(self.name, key) for key in self.client.list(self.name)}
        return found | {f"an unfinished upload of {key}": b"" for key in self.client.uploads(self.name)}

    def clear(self) -> None:
        self.client.delete(self.name, self.client.list(self.name))
        self.client.close()


class GoogleBucket:
    """A bucket of its own at an emulator, which keeps it in memory."""

    def __init__(self, server: Gcs, name: str) -> None:
        self.server, self.name = server, name
        server.make_bucket(name)

    def url(self, name: str) -> str:
        return f"gs://{self.name}/{name}"

    def write(self, name: str, content: bytes) -> None:
        self.server.write(self.name, name, content)

    def held(self) -> dict[str, bytes]:
        found = {key: self.server.read(self.name, key) for key in self.server.list(self.name)}
        return {key: content for key, content in found.items() if content is not None}

    def clear(self) -> None:
        """It ends with its server."""


class Replicas:
    """Files of a storage element of their own, at a real WebDAV server; and their DIDs."""

    def __init__(self, rucio: Rucio, dav: Dav, area: str) -> None:
        self.rucio, self.root = rucio, dav.data / f"rucio-{area}"
        self.root.mkdir()
        self.root.chmod(0o777)
        self.rse = f"{area.upper()}_SCRATCHDISK"
        self.top = f"{SCOPE}:{area}"
        rucio.rse(self.rse, ("davs", "localhost", dav.tls_port, f"/basic/{self.root.name}/"))

    def url(self, name: str) -> str:
        return f"rucio://{self.rse}/{self.top}/{name}"

    def write(self, name: str, content: bytes) -> None:
        path = self.root / place(f"{self.top}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in path.parents[:6]:
            folder.chmod(0o777)
        path.write_bytes(content)
        self.rucio.register(self.rse, {f"{self.top}/{name}": content})

    def held(self) -> dict[str, bytes]:
        files = [path for path in self.root.rglob("*") if path.is_file() and "/.D" not in str(path)]
        area = f"/{self.top.partition(':')[2]}/"
        held = {str(path).rpartition(area)[2]: path.read_bytes() for path in files}
        known = self.rucio.known(area[1:]).living
        return held | {
            f"{did}, which is not there": b"" for did in known if did.rpartition("/")[2] not in held
        }

    def clear(self) -> None:
        shutil.rmtree(self.root)


Fixture = Callable[[str], Any]


def _file(use: Fixture, tmp_path: Path, area: str) -> Way:
    root = tmp_path / area
    return Way(Directory(root, "", lambda name: from_path(f"{root}{name}")))


def _http(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("nginx")
    base = f"https://{server.tls_authority}"
    place = Directory(server.data / area, f"{base}/private/{area}", quote)
    return Way(place, f"[{base}]\n{LOGIN}\nca_file = {server.pki.ca}")


def _webdav(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("apache_dav")
    base = f"davs://{server.tls_authority}"
    place = Directory(server.data / area, f"{base}/basic/{area}", quote)
    return Way(place, f"[{base}]\n{LOGIN}\nca_file = {use('pki').ca}")


def _ftp(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("ftp_tls")
    base = f"ftp://{server.authority}"
    place = Directory(server.data / area, f"{base}{server.prefix}/{area}", quote)
    return Way(place, f"[{base}]\n{LOGIN}\nca_file = {use('pki').ca}")


def _sftp(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("sshd")
    place = Directory(server.home / area, f"sftp://{server.authority}{server.home / area}")
    section = f"[127.0.0.1:{server.port}]\nprivate_key = {server.key}\nknown_hosts = {server.known_hosts}"
    return Way(place, section)


def _s3(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("seaweed")
    section = server.credentials(tmp_path).read_text()
    return Way(Bucket(server.client(), area), section)


def _root(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("xrootd_gsi")
    place = Directory(server.data / area, f"root://{server.authority}//data/{area}")
    return Way(place, "", _proxy(use, "root"))


def _gsiftp(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("gridftp")
    root = server.data / area
    return Way(Directory(root, server.url(root)), "", _proxy(use, "gsiftp", "other_proxy"))


def _srm(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("srm")
    root = server.gridftp.data / f"srm-{area}"  # beside gsiftp's
    place = Directory(root, f"srm://{server.authority}/srm/managerv2?SFN={root}", quote)
    return Way(place, "", _proxy(use, "srm"))


def _go(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("globus")
    top = tmp_path / "collection"
    place = Directory(top / area, f"go://{server.collection(top)}/{area}")
    conf = server.conf(tmp_path / "globus.conf", tmp_path / "seen-by-globus")
    return Way(place, "", (("GLOBUS_CONF_go", str(conf)), *server.environ.items()))


def _gs(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("gcs")
    return Way(GoogleBucket(server, area), "", (("STORAGE_EMULATOR_HOST", server.endpoint),))


def _irods(use: Fixture, tmp_path: Path, area: str) -> Way:
    zone = use("irods")
    place = Directory(zone.home / area, f"irods://{zone.authority}/{ZONE}/home/{IRODS_USER}/{area}")
    return Way(place, "", (("IRODS_ENVIRONMENT_FILE_irods", str(zone.environment(tmp_path))),))


def _osdf(use: Fixture, tmp_path: Path, area: str) -> Way:
    osdf = use("osdf_servers")
    place = Directory(osdf.origin.data / area, f"pelican://{osdf.host}/data/{area}", quote)
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("t0ken-of-a-test")
    section = f"[pelican://{osdf.host}]\nca_file = {osdf.grid.certificates / 'ca.pem'}"
    return Way(place, section, (("BEARER_TOKEN_FILE_osdf", str(token)),))


def _fdt(use: Fixture, tmp_path: Path, area: str) -> Way:
    server = use("fdt_server")
    place = Directory(server.root / area, f"fdt://{server.authority}/{area}")
    return Way(place, server.section())


def _rucio(use: Fixture, tmp_path: Path, area: str) -> Way:
    return Way(
        Replicas(use("rucio"), use("apache_dav"), area), use("rucio").section()
    )  # login there: webdav's


def _proxy(use: Fixture, site: str, name: str = "proxy") -> tuple[tuple[str, str], ...]:
    """One for this site alone."""
    grid: Grid = use("grid")
    return (f"X509_USER_PROXY_{site}", str(getattr(grid, name))), ("X509_CERT_DIR", str(grid.certificates))


MAKERS = {
    "file": _file,
    "http": _http,
    "webdav": _webdav,
    "ftp": _ftp,
    "sftp": _sftp,
    "s3": _s3,
    "root": _root,
    "gsiftp": _gsiftp,
    "srm": _srm,
    "go": _go,
    "gs": _gs,
    "irods": _irods,
    "osdf": _osdf,
    "fdt": _fdt,
    "rucio": _rucio,
}


class Matrix(NamedTuple):
    """Places by protocol (which is also the site's label), why others are missing, and the environment.

    ``TMPDIR`` in the environment is a directory of the run's own, empty at first.
    """

    places: dict[str, Place]
    missing: dict[str, str]
    environ: dict[str, str]


@contextmanager
def matrix(request: pytest.FixtureRequest, tmp_path: Path, area: str) -> Iterator[Matrix]:
    """An area of that name at every server that is here; removed after."""
    ways: dict[str, Way] = {}
    missing: dict[str, str] = {}
    try:
        for name, make in MAKERS.items():
            try:
                ways[name] = make(request.getfixturevalue, tmp_path, area)
            except pytest.skip.Exception as reason:
                missing[name] = str(reason)
        places = {name: way.place for name, way in ways.items()}
        yield Matrix(places, missing, _environ(tmp_path, list(ways.values())))
    finally:
        for way in ways.values():
            way.place.clear()


def _environ(directory: Path, ways: Sequence[Way]) -> dict[str, str]:
    path = directory / "credentials.conf"
    path.touch(mode=0o600)
    path.write_text("\n".join(way.section for way in ways if way.section) + "\n")
    variables = [pair for way in ways for pair in way.environ]
    scratch = directory / "scratch"
    scratch.mkdir()
    return {"PEGASUS_CREDENTIALS": str(path), "TMPDIR": str(scratch), **dict(variables)}


_directory: type[Place] = Directory
_bucket: type[Place] = Bucket
_google_bucket: type[Place] = GoogleBucket
_replicas: type[Place] = Replicas
