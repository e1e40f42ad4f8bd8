"""GridFTP and SRM by the installed command: many files at once, a kill in the middle, other protocols."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests import command
from tests.material import content, sha256
from tests.servers.gridftp import GridFtpServer
from tests.servers.srm_stub import SrmStub


@pytest.fixture
def top(gridftp: GridFtpServer) -> Path:
    made = gridftp.data / os.urandom(4).hex()
    made.mkdir()
    return made


def variables(server: GridFtpServer) -> dict[str, str]:
    grid = server.grid
    return {"X509_USER_PROXY_local": str(grid.proxy), "X509_CERT_DIR": str(grid.certificates)}


def test_one_missing_among_many(gridftp: GridFtpServer, top: Path, tmp_path: Path) -> None:
    made = {f"f{n}": content(n * 10, n) for n in range(40)}
    for name, data in made.items():
        (top / name).write_bytes(data)
    names = [*list(made)[:20], "missing", *list(made)[20:]]
    entries = [command.entry(gridftp.url(top / name), tmp_path / "d" / name) for name in names]
    spec = command.write(tmp_path / "spec", entries)
    done = command.run("-m", "1", "-f", spec, "--report", "report", cwd=tmp_path, env=variables(gridftp))
    assert done.returncode == 2, done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == made
    failed = [line for line in command.lines(tmp_path / "report") if line.get("status") == "failed"]
    assert [line["error"]["kind"] for line in failed] == ["not found"]


def test_upload_verified_by_the_server_then_from_server_to_server(
    gridftp: GridFtpServer, top: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content(3 << 20))
    up = command.entry(
        tmp_path / "file", gridftp.url(top / "a/file"), lfn="file", verify_checksum_remote=True
    )
    env = variables(gridftp)
    done = command.run("-f", command.write(tmp_path / "1", [up]), cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    across = command.entry(gridftp.url(top / "a/file"), gridftp.url(top / "b/file"))
    across["checksum"] = {"type": "sha256", "value": sha256(content(3 << 20))}
    spec = command.write(tmp_path / "2", [across])
    done = command.run("-f", spec, "--report", "report", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    (line,) = [found for found in command.lines(tmp_path / "report") if "route" in found]
    assert line["route"] == "server-side"
    assert (top / "b/file").read_bytes() == content(3 << 20)


def test_killed_in_the_middle_of_an_upload(gridftp: GridFtpServer, top: Path, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(4 << 30)
    spec = command.write(tmp_path / "spec", [command.entry(tmp_path / "big", gridftp.url(top / "big"))])
    (top / "big").write_bytes(b"old")
    process = command.start("-f", spec, cwd=tmp_path, env=variables(gridftp))
    try:
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size for path in top.glob(".big.*.part")):
            assert process.poll() is None and time.monotonic() < deadline
    finally:
        process.kill()
        process.communicate()
    assert (top / "big").read_bytes() == b"old"
    for part in top.glob(".big.*.part"):
        part.unlink()


def test_srm_from_and_to_other_storage(
    srm: SrmStub, gridftp: GridFtpServer, top: Path, tmp_path: Path
) -> None:
    (top / "file").write_bytes(content(5000))
    surl = f"srm://{srm.authority}/srm/managerv2?SFN={top}"
    env = variables(gridftp)
    for n, (source, target) in enumerate(
        [
            (f"{surl}/file", gridftp.url(top / "copy 1")),
            (gridftp.url(top / "copy 1"), f"{surl}/copy2"),
            (f"{surl}/copy2", f"file://{tmp_path}/local"),
        ]
    ):
        done = command.run(
            "-f", command.write(tmp_path / f"{n}", [command.entry(source, target)]), cwd=tmp_path, env=env
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "local").read_bytes() == content(5000)
    assert {path.name for path in top.iterdir()} == {"file", "copy 1", "copy2"}
