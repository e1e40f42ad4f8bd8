"""HPSS, with stand-ins for htar and hsi: one run for all members of an archive."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import Denied, Unsupported
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from tests.command import run
from tests.planner_world import job, named, planned, replica, world

PROGRAM = """#!{python}
import os, re, shutil, sys, tarfile
root, log = {root!r}, {log!r}
words = sys.argv[1:]
name = os.path.basename(sys.argv[0])
netrc = os.path.join(os.environ["HOME"], ".netrc")
login = open(netrc).read().strip() if os.path.exists(netrc) else ""
with open(log, "a") as out:
    out.write(name + " " + login + "\\n")
if name == "hsi":
    assert words[0] == "-q" and len(words) == 2, words
    local, there = re.fullmatch(r'get "([^"]*)" : "([^"]*)"', words[1]).groups()
    if not os.path.exists(root + there):
        sys.exit("hsi: no such file")
    shutil.copyfile(root + there, local)
else:
    assert words[0] == "-xf" and words[2] == "-L", words
    path = os.path.join(root, words[1].lstrip("/"))
    if not os.path.exists(path):
        sys.exit("htar: no such archive")
    with tarfile.open(path) as tar:
        for line in open(words[3]).read().splitlines():
            if line in tar.getnames():  # else it ends well all the same
                tar.extract(line)
"""


class World(NamedTuple):
    root: Path
    log: Path
    path: str

    def runs(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def hpss(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path / "root", tmp_path / "log", f"{tmp_path}/bin:{os.environ['PATH']}")
    found.root.mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("htar", "hsi"):
        program = tmp_path / "bin" / name
        program.write_text(PROGRAM.format(python=sys.executable, root=str(found.root), log=str(found.log)))
        program.chmod(0o755)
    yield found


def archive(path: Path, **members: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            tar.addfile(info, BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
        link.name, link.linkname = "away", "/etc"
        tar.addfile(link)


def got(hpss: World, tmp_path: Path, *pairs: tuple[str, str], **env: str) -> Any:
    made = [
        {
            "type": "transfer",
            "src_urls": [{"site_label": "hpss", "url": source}],
            "dest_urls": [{"site_label": "local", "url": f"file://{tmp_path}/out/{target}"}],
        }
        for source, target in pairs
    ]
    (tmp_path / "spec.json").write_text(json.dumps(made))
    env = {"PATH": hpss.path, "HOME": str(tmp_path), **env}
    return run("-f", tmp_path / "spec.json", "-m", "1", cwd=tmp_path, env=env)


def test_all_members_of_an_archive_come_by_one_run(hpss: World, tmp_path: Path) -> None:
    archive(hpss.root / "t.tar", a=b"1", set2__f=b"22")
    archive(hpss.root / "home/joe/u.tar", a=b"333")
    pairs = [("hpss:///t.tar/a", "a"), ("hpss:///t.tar/set2/f", "f"), ("hpss:///t.tar/a", "again")]
    done = got(hpss, tmp_path, *pairs, ("hpss:///home/joe/u.tar/a", "u"))
    assert done.returncode == 0, done.stderr
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {"a": b"1", "f": b"22", "again": b"1", "u": b"333"}
    assert [one.split()[0] for one in hpss.runs()] == ["htar", "htar"]


def test_a_member_that_is_missing_fails_alone(hpss: World, tmp_path: Path) -> None:
    """htar ends well all the same. A link in an archive is no file."""
    archive(hpss.root / "t.tar", a=b"1")
    pairs = [
        (f"hpss:///t.tar/{name}", name.replace("/", "_"))
        for name in ("a", "missing", "link", "away/hostname")
    ]
    done = got(hpss, tmp_path, *pairs)
    assert done.returncode == 2 and "no such file: hpss:///t.tar/missing" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_plain_files_by_hsi(hpss: World, tmp_path: Path) -> None:
    (hpss.root / "d").mkdir()
    (hpss.root / "d/f g").write_bytes(b"data")
    assert got(hpss, tmp_path, ("hpss:///d/f g", "f")).returncode == 0
    assert (tmp_path / "out/f").read_bytes() == b"data"
    missing = got(hpss, tmp_path, ("hpss:///d/none", "n"))
    assert missing.returncode == 1 and "hsi: no such file" in missing.stderr
    for name in ('a" ; rm "b', "a;b", "a$b", "a*"):
        before = hpss.runs()
        refused = got(hpss, tmp_path, (f"hpss:///d/{name}", "x"))
        assert refused.returncode == 2 and "hsi cannot be told this name" in refused.stderr
        assert hpss.runs() == before


def test_the_login_goes_to_a_home_of_its_own(hpss: World, tmp_path: Path) -> None:
    archive(hpss.root / "t.tar", a=b"1")
    (tmp_path / ".netrc").write_text("mine")
    (tmp_path / "other").write_text("other")
    (tmp_path / "other").chmod(0o600)
    assert got(hpss, tmp_path, ("hpss:///t.tar/a", "a")).returncode == 0
    named = {"HPSS_CREDENTIAL": str(tmp_path / "other")}
    assert got(hpss, tmp_path, ("hpss:///t.tar/a", "b"), **named).returncode == 0
    assert hpss.runs() == ["htar mine", "htar other"]
    assert (tmp_path / ".netrc").read_text() == "mine"


def test_a_login_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("x")
    (tmp_path / "c").chmod(0o644)
    environ = {"HPSS_CREDENTIAL": str(tmp_path / "c")}
    with pytest.raises(Denied, match="chmod 600"):
        open_backend(Endpoint("hpss", "", "local"), Settings(Credentials(environ), environ))


def test_what_is_missing_or_cannot_be_done_is_told(hpss: World, tmp_path: Path) -> None:
    none = hpss._replace(path="/nowhere")
    done = got(none, tmp_path, ("hpss:///t.tar/a", "a"))
    assert done.returncode == 2 and "needs htar, which is not on PATH here" in done.stderr
    backend = open_backend(Endpoint("hpss", "", "local"), Settings(Credentials({}), {}))
    for verb in (backend.mkdir, backend.stat, lambda path: list(backend.list(path))):
        with pytest.raises(Unsupported, match="HPSS is only read here"):
            verb("/d")
    backend.close()


def test_the_login_goes_with_the_node_that_reads(tmp_path: Path) -> None:
    inputs = [replica("i", "hpss:///t.tar/i")]
    settings = {"environ": {"HPSS_CREDENTIAL": "/h/netrc"}}
    dag = planned(world(tmp_path, [job("a", ["i"], ["o!"])], replicas=inputs), **settings)
    given = [one for node in named(dag, "stage_in") for one in node.credentials]
    assert [(one.variable, one.path) for one in given] == [("HPSS_CREDENTIAL_local", "/h/netrc")]


def test_by_names_on_the_command_line(hpss: World, tmp_path: Path) -> None:
    """Nobody can look at what is there first."""
    (hpss.root / "dir").mkdir(exist_ok=True)
    (hpss.root / "dir/plain").write_bytes(b"of a tape")
    done = run("-m", "1", "hpss:///dir/plain", "out", cwd=tmp_path, env={"PATH": hpss.path})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b"of a tape"
    missing = run("-m", "1", "hpss:///dir/nothing", "other", cwd=tmp_path, env={"PATH": hpss.path})
    assert missing.returncode != 0 and not (tmp_path / "other").exists()
    listed = run("-m", "1", "hpss:///dir/", "into/", cwd=tmp_path, env={"PATH": hpss.path})
    assert listed.returncode != 0 and "HPSS is only read here" in listed.stderr
