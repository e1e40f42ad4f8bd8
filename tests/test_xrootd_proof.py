"""What XRootD servers prove of what they store, and what they copy among themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends.xrootd.backend import Xrootd as XrootdBackend
from pegasus_toolkit.transfer.errors import Corrupted, NotFound
from pegasus_toolkit.transfer.interface import Control, Job, Requirement
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests import command
from tests.material import content, sha256
from tests.servers.common import public_directory
from tests.servers.grid_pki import Grid
from tests.servers.xrootd import Xrootd, serve
from tests.test_xrootd_faults import connect, get, put, stored

REMOTE = Requirement(remote=True)


def test_what_the_server_stored_is_proven_by_its_own_checksum(xrootd: Xrootd) -> None:
    job = put(connect(xrootd.authority), "//data/proven/file", content(3 * BLOCK), REMOTE)
    assert job.error is None and job.proven
    assert job.end.digest == sha256(content(3 * BLOCK))
    job = put(connect(xrootd.authority), "//data/proven/file", b"")
    assert job.error is None and not job.proven, "nobody asked"


def test_inspect(xrootd: Xrootd) -> None:
    xrootd.write("/data/inspect/file", b"Wikipedia")
    backend = connect(xrootd.authority)
    entry = backend.inspect("//data/inspect/file", "adler32")  # type: ignore[attr-defined]
    assert (entry.size, entry.digest) == (9, ("adler32", "11e60398"))
    assert backend.inspect("//data/inspect/file", "sha256").digest is None  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        backend.inspect("//data/inspect/none", "adler32")  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def lying() -> Iterator[Xrootd]:
    """A server whose checksums are wrong."""
    with public_directory("xrootd-lying-") as home:
        program = home / "checksum"
        program.write_text("#!/bin/sh\necho 12345678\n")
        program.chmod(0o755)
        with serve(home, checksums=f"adler32 {program}") as server:
            yield server


def test_wrong_checksum_publishes_nothing(lying: Xrootd) -> None:
    lying.write("/data/w/file", b"old")
    job = put(connect(lying.authority), "//data/w/file", b"new", REMOTE)
    assert isinstance(job.error, Corrupted) and "adler32 of what the server stored" in str(job.error)
    assert stored(lying, "/data/w") == {"file": b"old"}


def test_wrong_checksum_of_a_source(lying: Xrootd) -> None:
    lying.write("/data/w/source", b"content")
    job = get(connect(lying.authority), "//data/w/source", REMOTE)
    assert job.error is None
    with pytest.raises(Corrupted, match="adler32"):
        job.end.commit()


# -- third-party copies ------------------------------------------------------------------------------


def test_copies_go_from_server_to_server(xrootd: Xrootd, lying: Xrootd, tmp_path: Path) -> None:
    data = {f"f{n}": content(1000 * n + 1, n) for n in range(10)}
    for name, one in data.items():
        xrootd.write(f"/data/tpc/{name}", one)
    lying.write("/data/there/f0", b"old")
    base = f"root://{xrootd.authority}//data/tpc", f"root://{lying.authority}//data/there"
    entries = [command.entry(f"{base[0]}/{name}", f"{base[1]}/{name}") for name in [*data, "missing"]]
    spec, report = command.write(tmp_path / "in", entries), tmp_path / "report"
    done = command.run("-f", spec, "--report", report, "-m", "1", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    routes = [
        json.loads(line).get("route") for line in report.read_text().splitlines() if '"transfer"' in line
    ]
    assert routes.count("server-side") >= 10
    assert stored(lying, "/data/there") == data


def test_what_servers_deny_each_other_goes_through_here(
    xrootd_gsi: Xrootd, grid: Grid, tmp_path: Path
) -> None:
    """A server has no credential for the other: no proxy is lent to it."""
    data = {f"f{n}": content(1000 * n + 1, n) for n in range(6)}
    for name, one in data.items():
        xrootd_gsi.write(f"/data/from/{name}", one)
    xrootd_gsi.write("/data/to/f0", b"old")
    base = f"root://{xrootd_gsi.authority}//data"
    entries = [command.entry(f"{base}/from/{name}", f"{base}/to/{name}") for name in data]
    env = {"X509_USER_PROXY_local": str(grid.proxy), "X509_CERT_DIR": str(grid.certificates)}
    spec, report = command.write(tmp_path / "in", entries), tmp_path / "report"
    done = command.run("-f", spec, "--report", report, "-m", "1", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert stored(xrootd_gsi, "/data/to") == data
    routes = [json.loads(line).get("route") for line in report.read_text().splitlines()]
    assert routes.count("relay") == len(data)  # told as it was


def test_copy_with_a_digest_is_relayed(xrootd: Xrootd, tmp_path: Path) -> None:
    xrootd.write("/data/relay/file", b"content")
    base = f"root://{xrootd.authority}//data/relay"
    checksum = {"type": "sha256", "value": sha256(b"content")}
    spec = command.write(tmp_path / "in", [command.entry(f"{base}/file", f"{base}/copy", checksum=checksum)])
    done = command.run("-f", spec, "--report", tmp_path / "report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"relay"' in (tmp_path / "report").read_text()
    assert stored(xrootd, "/data/relay") == {"file": b"content", "copy": b"content"}


def test_copy_is_proven_by_both_servers_checksums(xrootd: Xrootd, lying: Xrootd) -> None:
    xrootd.write("/data/proof/file", b"content")
    one, other = connect(xrootd.authority), connect(xrootd.authority)
    assert isinstance(one, XrootdBackend)
    assert one.copies(other, REMOTE)
    (job,) = one.copy(iter([Job("//data/proof/file", "//data/proof/copy", REMOTE, None)]), other, Control())
    assert job.error is None and job.proven and job.size == 7
    liar = connect(lying.authority)
    assert one.copies(liar, REMOTE)
    (job,) = one.copy(iter([Job("//data/proof/file", "//data/proof/copy", REMOTE, None)]), liar, Control())
    assert isinstance(job.error, Corrupted)
    assert not (lying.data / "proof" / "copy").exists()
    assert stored(lying, "/data/proof") == {}
