"""A real Rucio server with PostgreSQL on loopback, in an environment of its own (.venv-rucio)."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.servers.common import free_port, listens, missing, public_directory, running
from tests.servers.grid_pki import Grid

ROOT = Path(__file__).parents[2]
ENVIRONMENT = "PEGASUS_TOOLKIT_RUCIO"  # names the directory of that environment
SCOPE = "user.tester"
PASSWORD = "testerpw"
BIG = 10**12  # bytes
IMPL = {"file": "posix", "root": "xrootd", "gsiftp": "mock"}


class Rucio(NamedTuple):
    """A server, and ``admin``: the library's client as the account root."""

    port: int
    home: Path
    grid: Grid
    admin: Any

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def section(self, **more: str) -> str:
        """What stands in credentials.conf for the account tester."""
        told = {
            "rucio_host": self.url,
            "auth_type": "userpass",
            "username": "tester",
            "password": PASSWORD,
            "account": "tester",
            "ca_cert": str(self.grid.certificates),
            **more,
        }
        return "[rucio]\n" + "".join(f"{key} = {value}\n" for key, value in told.items() if value)

    def rse(self, name: str, *ways: tuple[str, str, int, str], **more: Any) -> str:
        """A storage element of that name (which ends so that users may register there), and the ways to its
        files in their order: scheme, host, port, prefix."""
        self.admin.add_rse(name, **more)
        for rank, (scheme, host, port, prefix) in enumerate(ways, 1):
            ranks = {"read": rank, "write": rank, "delete": rank}
            apart = {"third_party_copy_read": 0, "third_party_copy_write": 0}
            params = {
                "scheme": scheme,
                "hostname": host,
                "port": port,
                "prefix": prefix,
                "impl": f"rucio.rse.protocols.{IMPL.get(scheme, 'webdav')}.Default",
                "domains": {"lan": ranks, "wan": {**ranks, **apart}},
            }
            self.admin.add_protocol(name, params)
        for account in ("tester", "root"):
            self.admin.set_local_account_limit(account, name, BIG)
        return name

    def register(self, rse: str, files: dict[str, bytes], **more: Any) -> None:
        """Tells the catalog of files that are there. Names are DIDs."""
        told = []
        for did, content in files.items():
            scope, _, name = did.partition(":")
            told.append({"scope": scope, "name": name, **checksums(content), **more})
        self.admin.add_replicas(rse, told)

    def replicas(self, did: str) -> list[str]:
        """PFNs of a DID."""
        scope, _, name = did.partition(":")
        found = list(self.admin.list_replicas([{"scope": scope, "name": name}]))
        return [pfn for one in found for pfn in one["pfns"]]

    def known(self, prefix: str) -> Known:
        """DIDs of files whose name begins so, in the scope of the tests."""
        names = list(self.admin.list_dids(SCOPE, [{"name": f"{prefix}*"}], did_type="file"))
        asked = [{"scope": SCOPE, "name": name} for name in names]
        told = list(self.admin.get_metadata_bulk(asked)) if asked else []
        erased = {f"{SCOPE}:{one['name']}" for one in told if one["expired_at"] is not None}
        return Known({f"{SCOPE}:{name}" for name in names} - erased, erased)


class Known(NamedTuple):
    """DIDs that are there, and those that were erased, which Rucio would remove now."""

    living: set[str]
    erased: set[str]


def checksums(content: bytes) -> dict[str, Any]:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"bytes": len(content), "adler32": f"{zlib.adler32(content):08x}", "md5": md5}


def place(did: str) -> str:
    """Where Rucio's usual algorithm puts it: ``scope/ab/cd/name``."""
    scope, _, name = did.partition(":")
    hashed = hashlib.md5(did.encode(), usedforsecurity=False).hexdigest()
    folder = scope.replace(".", "/") if scope.startswith(("user", "group")) else scope
    return f"{folder}/{hashed[:2]}/{hashed[2:4]}/{name}"


def _python() -> str:
    found = Path(os.environ.get(ENVIRONMENT) or ROOT / ".venv-rucio", "bin/python")
    return str(found) if found.exists() else missing(f"no Rucio server: make {ROOT.name}/.venv-rucio/.ready")


def _as(account: str) -> list[str]:
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups"]


@contextmanager
def serve_postgres(home: Path) -> Iterator[str]:
    """The URL of an empty database."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        missing("postgresql is not installed")
    user, port = _as("postgres"), free_port()
    data = home / "db"
    if user:
        import shutil

        shutil.chown(home, "postgres")
    make = [*user, str(binaries[-1] / "initdb"), "-D", str(data), "-A", "trust", "-U", "rucio", "--no-sync"]
    subprocess.run([*make, "-E", "UTF8", "--no-locale"], check=True, capture_output=True, cwd="/")
    options = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
    argv = [*user, str(binaries[-1] / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1"]
    with running(
        [*argv, "-k", str(home), *options],
        home.parent / "postgres.log",
        lambda: listens(port),
        cwd=Path("/"),
        end=signal.SIGQUIT,
    ):
        yield f"postgresql+psycopg://rucio@127.0.0.1:{port}/postgres"


def _admin(url: str, grid: Grid) -> Any:
    from rucio.client import Client

    class Admin(Client):  # type: ignore[misc]
        def _get_auth_tokens(self) -> tuple[None, str, str, str]:
            where = str(grid.directory / "admin-token")
            return None, f"{where}/exp", f"{where}/token", where

    silent = logging.Logger("rucio-admin", logging.CRITICAL)
    login = {"username": "ddmlab", "password": "secret"}
    return Admin(
        rucio_host=url,
        auth_host=url,
        account="root",
        ca_cert=str(grid.certificates),
        auth_type="userpass",
        creds=login,
        timeout=60,
        vo="def",
        logger=silent,
    )


@contextmanager
def serve(home: Path, grid: Grid) -> Iterator[Rucio]:
    """A server with its database; ``home`` must be open to other accounts."""
    python = _python()
    (home / "postgres").mkdir()
    with serve_postgres(home / "postgres") as database:
        port = free_port()
        program = home / "rucio_serve.py"  # not from here, where this very module would be taken for Rucio
        program.write_bytes(Path(__file__).with_name("rucio_serve.py").read_bytes())
        argv = [python, "-W", "ignore", str(program), str(home), str(port)]
        argv += [database, str(grid.host_cert), str(grid.host_key), str(grid.certificates / "ca.pem")]
        with running(argv, home / "output.log", lambda: listens(port), limit=100):
            yield Rucio(port, home, grid, _admin(f"https://localhost:{port}", grid))


@pytest.fixture(scope="session")
def rucio(grid: Grid) -> Iterator[Rucio]:
    pytest.importorskip("rucio")
    with public_directory("rucio-") as home, serve(home, grid) as server:
        yield server
