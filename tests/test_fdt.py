"""FDT, with a stand-in for the program: one run for many files, which come out where they are to be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import Unsupported
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.command import lines, run
from tests.material import content, sha256
from tests.servers.common import free_port
from tests.servers.fdt import FdtWorld


def moved(
    fdt: FdtWorld, tmp_path: Path, entries: list[tuple[str, str]], **more: Any
) -> tuple[Any, list[Any]]:
    conf = tmp_path / "credentials.conf"
    conf.write_text(fdt.section())
    conf.chmod(0o600)
    spec = tmp_path / "spec.json"
    made = [
        {
            "type": "transfer",
            "src_urls": [{"site_label": "local", "url": source}],
            "dest_urls": [{"site_label": "local", "url": target}],
            **more,
        }
        for source, target in entries
    ]
    spec.write_text(json.dumps(made))
    report = tmp_path / "report"
    env = {"PEGASUS_CREDENTIALS": str(conf)}
    done = run("-f", spec, "-m", "1", "--report", report, cwd=tmp_path, env=env)
    return done, [one for one in lines(report) if "destination" in one or "status" in one]


def opened(fdt: FdtWorld, environ: dict[str, str]) -> Backend:
    endpoint = Endpoint("fdt", f"localhost:{fdt.port}", "local")
    return open_backend(endpoint, Settings(Credentials(environ), environ))


def remote(fdt: FdtWorld, path: str) -> str:
    return f"fdt://localhost:{fdt.port}{path}"


def test_many_files_of_several_directories_come_in_one_run(fdt: FdtWorld, tmp_path: Path) -> None:
    names = [f"d{n % 3}/e/f {n}" for n in range(30)]
    for n, name in enumerate(names):
        (fdt.root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (fdt.root / "data" / name).write_bytes(content(1000, n))
    pairs = [(remote(fdt, f"/data/{name}"), f"file://{tmp_path}/out/{n}") for n, name in enumerate(names)]
    done, _ = moved(fdt, tmp_path, pairs)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / "out" / str(n)).read_bytes() for n in range(30)] == [
        content(1000, n) for n in range(30)
    ]
    assert fdt.runs() == ["pull 30"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(map(str, range(30)))


def test_files_of_one_name_are_told_apart(fdt: FdtWorld, tmp_path: Path) -> None:
    for n in range(3):
        (fdt.root / f"d{n}").mkdir()
        (fdt.root / f"d{n}/same").write_bytes(content(10, n))
    done, _ = moved(
        fdt, tmp_path, [(remote(fdt, f"/d{n}/same"), f"file://{tmp_path}/o{n}") for n in range(3)]
    )
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"o{n}").read_bytes() for n in range(3)] == [content(10, n) for n in range(3)]
    assert fdt.runs() == ["pull 1"] * 3


def test_a_missing_file_fails_alone(fdt: FdtWorld, tmp_path: Path) -> None:
    for n in range(8):
        (fdt.root / f"f{n}").write_bytes(b"x")
    (fdt.root / "f5").unlink()
    done, _ = moved(fdt, tmp_path, [(remote(fdt, f"/f{n}"), f"file://{tmp_path}/out/f{n}") for n in range(8)])
    assert done.returncode == 1 and "no such file: /f5" in done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == [f"f{n}" for n in range(8) if n != 5]


def test_wrong_content_is_not_taken(fdt: FdtWorld, tmp_path: Path) -> None:
    (fdt.root / "f").write_bytes(b"other")
    digest = {"type": "sha256", "value": sha256(b"wanted")}
    done, _ = moved(fdt, tmp_path, [(remote(fdt, "/f"), f"file://{tmp_path}/out/f")], checksum=digest)
    assert done.returncode == 1 and os.listdir(tmp_path / "out") == []


def test_files_go_to_their_directories_under_their_names(fdt: FdtWorld, tmp_path: Path) -> None:
    pairs = []
    for n in range(12):
        source = tmp_path / "in" / f"s{n}"
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(content(1000, n))
        pairs.append((f"file://{source}", remote(fdt, f"/data/d{n % 2}/to {n}")))
    done, _ = moved(fdt, tmp_path, pairs)
    assert done.returncode == 0, done.stderr
    found = {n: (fdt.root / f"data/d{n % 2}/to {n}").read_bytes() for n in range(12)}
    assert found == {n: content(1000, n) for n in range(12)}
    assert fdt.runs() == ["push 6"] * 2


def test_what_was_pushed_is_proven_by_pulling_it_back(fdt: FdtWorld, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"data")
    pair = (f"file://{tmp_path}/in", remote(fdt, "/d/out"))
    checked = {"verify_checksum_remote": True, "lfn": "x", "generate_checksum": True}
    done, (told, *_) = moved(fdt, tmp_path, [pair], **checked)
    assert done.returncode == 0, done.stderr
    assert fdt.runs() == ["push 1", "pull 1"] and told["stored"] == ["read back"]
    liar = "open(target + '.tmp', 'w').write('y') or (lambda *_: 0)(source"
    fdt.java.write_text(fdt.java.read_text().replace("shutil.copyfile(source", liar))
    done, _ = moved(fdt, tmp_path, [pair], **checked)
    assert done.returncode == 1 and "corrupted" in done.stderr


def test_a_server_that_refuses_all_is_not_asked_for_ever(fdt: FdtWorld, tmp_path: Path) -> None:
    fdt.java.write_text(f"#!/bin/sh\necho run >> {fdt.log}\necho Permission denied >&2; exit 1\n")
    (tmp_path / "in").write_bytes(b"data")
    done, _ = moved(fdt, tmp_path, [(f"file://{tmp_path}/in", remote(fdt, f"/d/{n}")) for n in range(50)])
    assert done.returncode == 1 and "FDT: Permission denied" in done.stderr
    assert len(fdt.runs()) <= 13


def test_nobody_listens(fdt: FdtWorld, tmp_path: Path) -> None:
    other = fdt._replace(port=free_port())
    done, _ = moved(other, tmp_path, [(remote(other, "/f"), f"file://{tmp_path}/out")])
    assert done.returncode == 1 and "no FDT server" in done.stderr and fdt.runs() == []


@pytest.mark.parametrize(
    ("instead", "path", "said"),
    [
        ({"jar": ""}, "/nowhere", "jar = /path/fdt.jar into section"),
        ({"jar": "/nowhere/fdt.jar"}, "/nowhere", "the jar is not there"),
        ({"java": ""}, "/nowhere", "FDT needs Java: java is not there"),
        ({"java": "/nowhere/java"}, "/nowhere", "/nowhere/java is not there"),
    ],
)
def test_what_is_missing_is_told(
    instead: dict[str, str], path: str, said: str, fdt: FdtWorld, tmp_path: Path
) -> None:
    conf = tmp_path / "credentials.conf"
    conf.write_text(fdt.section(**instead))
    conf.chmod(0o600)
    environ = {"PATH": path, "PEGASUS_CREDENTIALS": str(conf)}
    with pytest.raises(Unsupported, match=said):
        opened(fdt, environ)


def test_what_fdt_cannot_do_is_told(fdt: FdtWorld, tmp_path: Path) -> None:
    conf = tmp_path / "credentials.conf"
    conf.write_text(fdt.section())
    conf.chmod(0o600)
    environ = {"PATH": os.environ["PATH"], "PEGASUS_CREDENTIALS": str(conf)}
    backend = opened(fdt, environ)
    for verb in (backend.mkdir, backend.stat, lambda path: list(backend.list(path))):
        with pytest.raises(Unsupported, match="FDT cannot"):
            verb("/d")
    assert isinstance(dict(backend.remove(["/d"]))["/d"], Unsupported)
    backend.close()


def test_by_names_on_the_command_line(fdt: FdtWorld, tmp_path: Path) -> None:
    """Nobody can look at what is there first."""
    conf = tmp_path / "credentials.conf"
    conf.write_text(fdt.section())
    conf.chmod(0o600)
    (tmp_path / "in").write_bytes(b"there")
    environ = {"PEGASUS_CREDENTIALS": str(conf)}
    for source, target in (("in", remote(fdt, "/d/in")), (remote(fdt, "/d/in"), "back")):
        done = run("-m", "1", source, target, cwd=tmp_path, env=environ)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == b"there"
