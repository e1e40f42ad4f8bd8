"""What README and tutorial tell a reader to run is run, with real servers where they name some."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.pki import Pki
from tests.servers.seaweed import Seaweed
from tests.servers.sshd import Sshd
from tests.servers.webdav import Dav

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: Path, language: str) -> str:
    """The blocks of a page in that language, one after the other."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return "\n".join(found)


def run(argv: list[str | Path], cwd: Path, **environ: str) -> None:
    told = {"HOME": str(cwd), "USER": "reader", **environ}
    told["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(argv, cwd=cwd, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def shell(text: str, cwd: Path, **environ: str) -> None:
    """Ends at the first command that fails."""
    run(["bash", "-c", "set -euo pipefail\n" + text], cwd, **environ)


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    shell(blocks(ROOT / "docs/tutorial.md", "sh"), tmp_path, EXAMPLES=str(ROOT / "examples"))
    assert (tmp_path / "tutorial/diamond/results").is_dir()


@pytest.fixture
def places(tmp_path: Path, sshd: Sshd, seaweed: Seaweed, apache_dav: Dav, pki: Pki) -> dict[str, str]:
    """The servers that README names, and those that stand in their place; their credentials are known."""
    conf = seaweed.credentials(tmp_path)
    dav = f"[davs://{apache_dav.tls_authority}]\nca_file = {pki.ca}\n"
    sftp = f"[127.0.0.1:{sshd.port}]\nprivate_key = {sshd.key}\nknown_hosts = {sshd.known_hosts}\n"
    conf.write_text(conf.read_text() + dav + sftp)
    (tmp_path / "server").mkdir()
    bucket = f"readme-{os.urandom(4).hex()}"
    return {
        "s3://me@site/bucket": f"s3://admin@weed/{bucket}",
        "s3://bucket": f"s3://admin@weed/{bucket}",
        "davs://server": f"davs://{apache_dav.tls_authority}/dav/{bucket}",
        "sftp://host": f"sftp://{sshd.authority}{tmp_path}/server",
        "/scratch/": f"{tmp_path}/scratch/",
        "/tmp/first/": f"{tmp_path}/first/",
    }


def test_files_in_plain_words_run_with_servers_in_place_of_those_that_are_named(
    tmp_path: Path, places: dict[str, str]
) -> None:
    work = tmp_path / "work"
    below = ("results/r1", "run7/a.h5", "run7/raw/b.h5", "run7/tmp/c.h5", "run7/d.log", "../server/data/x")
    for name in ("results.tar", *below):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (work / "rules").write_text("- *.log\n")
    text = blocks(ROOT / "docs/files.md", "sh")
    for named, real in places.items():
        text = text.replace(named, real)
    shell(text, work, PEGASUS_CREDENTIALS=str(tmp_path / "credentials.conf"))
    assert (tmp_path / "scratch/data/x").exists() and (work / "here/a.h5").exists()
    assert (tmp_path / "server/archive/run7/raw/b.h5").exists()


def test_the_readme_runs_with_servers_in_place_of_those_that_it_names(
    tmp_path: Path, places: dict[str, str]
) -> None:
    work = tmp_path / "work"
    for name in ("data/a", "data/b/c", "results/r1", "results.tar"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (work / "examples").symlink_to(ROOT / "examples")
    text = {kind: blocks(ROOT / "README.md", kind) for kind in ("sh", "json", "python")}
    assert [named for named in places if named not in "".join(text.values())] == []
    for named, real in places.items():
        text = {kind: words.replace(named, real) for kind, words in text.items()}
    (work / "spec.json").write_text(text["json"])
    known = {"PEGASUS_CREDENTIALS": str(tmp_path / "credentials.conf")}
    shell(text["sh"], work, **known)
    assert (tmp_path / "server/data/b/c").read_text() == "data/b/c"
    assert (work / "diamond/wf-output/report.txt").exists()
    run([sys.executable, "-c", text["python"]], work, **known)
    assert (tmp_path / "scratch/data/b/c").read_text() == "data/b/c"
