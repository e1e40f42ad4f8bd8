"""``pegasus-transfer SOURCE... DESTINATION``: where files go, here and at real servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.servers.seaweed import Seaweed
from tests.servers.sshd import Sshd

NAMES = ("a.txt", "b 1.txt", "d/c%20.txt", "d/e/f$x.txt", ".hidden")


def run(*words: str, cwd: Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **(environ or {})}
    argv = ["pegasus-transfer", *words]
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    return tmp_path / "in"


ALL = {name: name for name in NAMES}


@pytest.mark.parametrize(
    ("words", "there", "expected"),
    [
        (("in/a.txt", "new"), False, {"new": "a.txt"}),
        (("in/a.txt", "out/"), False, {"out/a.txt": "a.txt"}),
        (("in/a.txt", "out"), True, {"out/a.txt": "a.txt"}),
        (("in/a.txt", "in/b 1.txt", "out"), True, {"out/a.txt": "a.txt", "out/b 1.txt": "b 1.txt"}),
        (("in", "out"), False, {f"out/{name}": name for name in NAMES}),
        (("in", "out"), True, {f"out/in/{name}": name for name in NAMES}),
        (("in", "out/"), False, {f"out/in/{name}": name for name in NAMES}),
        (("in/", "out"), True, {f"out/{name}": name for name in NAMES}),
        (("in/", "out/"), False, {f"out/{name}": name for name in NAMES}),
        (("in/*.txt", "out/"), False, {"out/a.txt": "a.txt", "out/b 1.txt": "b 1.txt"}),
        (("in/[ad]*", "out/"), False, {"out/a.txt": "a.txt"} | {f"out/{n}": n for n in NAMES if n[0] == "d"}),
    ],
)
def test_here(
    tmp_path: Path, source: Path, words: tuple[str, ...], there: bool, expected: dict[str, str]
) -> None:
    if there:
        (tmp_path / "out").mkdir()
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path) == {f"in/{name}": name for name in NAMES} | expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("in/missing", "out/"), "in/missing"),
        (("in/*.nothing", "out/"), "nothing matches"),
        (("i*/a.txt", "out/"), "last part"),
        (("in/a.txt", "in/b 1.txt", "new"), "no directory"),
        (("in", "in/d/copy"), "inside"),
        (("in/a.txt", "in/a.txt"), "same"),
        (("in/a.txt", "in/"), "same"),
        (("in/d", "other/d", "out/"), "2 of the sources"),
        (("in/a.txt",), "where to"),
        (("-f", "x.json", "in/a.txt", "out/"), "not both"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, source: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "other/d").mkdir(parents=True)
    before = tree(tmp_path)
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert tree(tmp_path) == before


def test_a_wildcard_that_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a*").write_text("one")
    (tmp_path / "in/ab").write_text("two")
    assert run("in/a*", "out/", cwd=tmp_path).returncode == 0
    assert tree(tmp_path / "out") == {"a*": "one"}


def test_previews(tmp_path: Path, source: Path) -> None:
    for option in ("--dry-run", "--check"):
        assert run(option, "in/a.txt", "out/", cwd=tmp_path).returncode == 0
        assert run(option, "in/missing", "out/", cwd=tmp_path).returncode == 2
    assert not (tmp_path / "out").exists()


def there_and_back(tmp_path: Path, base: str, credentials: str, quoted: bool = False) -> None:
    """The same words mean the same up and down."""
    conf = tmp_path / "credentials.conf"
    conf.touch(0o600)
    conf.write_text(credentials)
    environ = {"PEGASUS_CREDENTIALS": str(conf)}
    for words in (("in", f"{base}/x"), (f"{base}/x", "back"), (f"{base}/x/", "contents/")):
        done = run(*words, cwd=tmp_path, environ=environ)
        assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "back") == tree(tmp_path / "contents") == ALL
    assert run("in/d", "in/a.txt", f"{base}/x/", cwd=tmp_path, environ=environ).returncode == 0
    name = quote("b 1.txt") if quoted else "b 1.txt"
    assert run(f"{base}/x/*.txt", f"{base}/x/{name}", "some/", cwd=tmp_path, environ=environ).returncode == 2
    done = run(f"{base}/x/*.txt", "some/", cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
    assert set(tree(tmp_path / "some")) == {"a.txt", "b 1.txt"}


def test_sftp(tmp_path: Path, source: Path, sshd: Sshd) -> None:
    section = f"[127.0.0.1:{sshd.port}]\nprivate_key = {sshd.key}\nknown_hosts = {sshd.known_hosts}\n"
    area = tmp_path / "server"
    area.mkdir()
    there_and_back(tmp_path, f"sftp://{sshd.authority}{area}", section)


def test_s3(tmp_path: Path, source: Path, seaweed: Seaweed) -> None:
    section = seaweed.credentials(tmp_path).read_text()
    there_and_back(tmp_path, f"s3://admin@weed/plain-words/{os.urandom(4).hex()}", section)
