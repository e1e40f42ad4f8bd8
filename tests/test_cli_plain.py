"""``pegasus-transfer SOURCE... DESTINATION``: where files go, here and at real servers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from itertools import pairwise
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
        (("in/d", "other/d", "out/"), "2 of the sources would become out/d: in/d and other/d"),
        (("--include", "", "in", "out/"), "needs a pattern"),
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


def test_a_check_has_a_report(tmp_path: Path, source: Path) -> None:
    """What is ready, what cannot be done, and the end."""
    assert run("--check", "--report", "r", "in/a.txt", "out/", cwd=tmp_path).returncode == 0
    ready, end = map(json.loads, (tmp_path / "r").read_text().splitlines())
    assert (ready["type"], ready["ready"], ready["reads"], ready["writes"]) == ("endpoint", True, 1, 1)
    assert (end["type"], end["exit_code"], end["failed"], end["bytes"]) == ("summary", 0, 0, 5)
    spec = [{"type": "transfer", "lfn": "x", "src_urls": [{"site_label": "l", "url": "in/missing"}],
             "dest_urls": [{"site_label": "l", "url": "out"}]}]  # fmt: skip
    (tmp_path / "spec").write_text(json.dumps(spec))
    assert run("--check", "--report", "r", "-f", "spec", cwd=tmp_path).returncode == 2
    _, failed, end = map(json.loads, (tmp_path / "r").read_text().splitlines())
    assert (failed["lfn"], failed["status"], failed["error"]["kind"]) == ("x", "failed", "not found")
    assert (end["failed"], end["exit_code"]) == (1, 2)
    assert run("--check", "--report", "none/r", "in/a.txt", "out/", cwd=tmp_path).returncode == 2


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


def server(sshd: Sshd, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A directory at an SFTP server, and what is needed to get there."""
    conf = tmp_path / "credentials.conf"
    conf.touch(0o600)
    conf.write_text(f"[127.0.0.1:{sshd.port}]\nprivate_key = {sshd.key}\nknown_hosts = {sshd.known_hosts}\n")
    (tmp_path / "server").mkdir()
    return f"sftp://{sshd.authority}{tmp_path}/server", {"PEGASUS_CREDENTIALS": str(conf)}


def times(root: Path) -> dict[str, int]:
    return {str(one.relative_to(root)): int(one.stat().st_mtime) for one in root.rglob("*") if one.is_file()}


def test_times_are_kept_there_and_back(tmp_path: Path, source: Path, sshd: Sshd, seaweed: Seaweed) -> None:
    for number, path in enumerate(path for path in source.rglob("*") if path.is_file()):
        os.utime(path, (1_000_000_000, 1_000_000_000 + number * 1000))
    expected = times(source)
    base, environ = server(sshd, tmp_path)
    with Path(environ["PEGASUS_CREDENTIALS"]).open("a") as conf:
        conf.write(seaweed.credentials(tmp_path / "server").read_text())
    bucket = f"s3://admin@weed/times/{os.urandom(4).hex()}"
    hops = ["in/", f"{base}/x/", f"{bucket}/", f"{base}/y/", "back/"]
    for here, there in pairwise(hops):
        assert run(here, there, cwd=tmp_path, environ=environ).returncode == 0
    assert times(tmp_path / "server/x") == expected
    assert times(tmp_path / "back") == expected


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ((), {"a", "inner", "to-d/x", "d/x"}),
        (("--links", "skip"), {"a", "d/x"}),
        (("--links", "follow"), {"a", "inner", "to-d/x", "d/x", "out", "away/secret"}),
    ],
)
def test_links(tmp_path: Path, sshd: Sshd, option: tuple[str, ...], expected: set[str], remote: bool) -> None:
    """One that leads out of the directory is never followed unasked; what is no file is told."""
    base, environ = server(sshd, tmp_path)
    root = tmp_path / "server/t"
    (root / "d").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in (root / "a", root / "d/x", tmp_path / "elsewhere/secret"):
        name.write_text(name.name)
    for name, target in (("inner", "a"), ("to-d", "d"), ("out", "../../elsewhere/secret"), ("gone", "no")):
        (root / name).symlink_to(target)
    (root / "away").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "fifo")
    place = f"{base}/t/" if remote else f"{root}/"
    done = run(*option, place, "copy/", cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
    assert set(tree(tmp_path / "copy")) == expected
    for name in ("fifo", "gone", *(() if option else ("out", "away"))):
        assert f"{name}: left out" in done.stderr


def test_links_as_links(tmp_path: Path, source: Path) -> None:
    (source / "link").symlink_to("a.txt")
    (source / "out").symlink_to("/nowhere/at all")
    assert run("--links", "copy", "in/", "copy/", cwd=tmp_path).returncode == 0
    assert (tmp_path / "copy/link").readlink() == Path("a.txt")
    assert (tmp_path / "copy/out").readlink() == Path("/nowhere/at all")
    assert run("in", "copy/a.txt", cwd=tmp_path).returncode == 2
    dangling = run("copy/out", "x", cwd=tmp_path)
    assert dangling.returncode == 2 and "leads nowhere: copy/out" in dangling.stderr


def test_links_are_not_made_at_servers(tmp_path: Path, source: Path, sshd: Sshd) -> None:
    """Which is told before anything is copied."""
    base, environ = server(sshd, tmp_path)
    (source / "link").symlink_to("a.txt")
    for more in ([], ["--dry-run"]):
        done = run("--links", "copy", *more, "in/", f"{base}/x/", cwd=tmp_path, environ=environ)
        assert done.returncode == 2 and "on this machine only" in done.stderr, done.stderr
    assert not (tmp_path / "x").exists()


def test_a_round_trip_verifies_by_a_manifest(tmp_path: Path, source: Path, sshd: Sshd) -> None:
    """The same files are meant by a copy and by a manifest, links included."""
    (source / "link").symlink_to("d")
    (source / "out").symlink_to("/etc")
    base, environ = server(sshd, tmp_path)
    integrity = ["pegasus-integrity", "--generate-manifest", "in"]
    with (tmp_path / "sums").open("wb") as sums:
        assert subprocess.run(integrity, cwd=tmp_path, stdout=sums, check=False).returncode == 0
    assert run("in/", f"{base}/x/", cwd=tmp_path, environ=environ).returncode == 0
    assert run(f"{base}/x/", "back/", cwd=tmp_path, environ=environ).returncode == 0
    verify = ["pegasus-integrity", "--verify-manifest", "sums", "--directory", "back"]
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--include", "*.txt"), {"a.txt", "b 1.txt", "d/c%20.txt", "d/e/f$x.txt"}),
        (("--include", "/*.txt"), {"a.txt", "b 1.txt"}),
        (("--exclude", "d/"), {"a.txt", "b 1.txt", ".hidden"}),
        (("--exclude", "e/*", "--exclude", ".*"), {"a.txt", "b 1.txt", "d/c%20.txt"}),
        (("--exclude", "/a.txt", "--include", "/?.txt"), set()),
        (("--include", "{a,b*}.txt"), {"a.txt", "b 1.txt"}),
        (("--include", "{{[ab].*}}"), {"a.txt", "b 1.txt"}),
        (("--include", "/d/**"), {"d/c%20.txt", "d/e/f$x.txt"}),
        (("--filter-from", "rules"), {"d/e/f$x.txt", "a.txt"}),
    ],
)
def test_filters(tmp_path: Path, source: Path, options: tuple[str, ...], expected: set[str]) -> None:
    (tmp_path / "rules").write_text("# what is wanted\n+ /d/e/**\n; no more of d\n- d/\n\n+ a.*\n- *\n")
    done = run(*options, "in/", "out/", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(tree(tmp_path / "out")) == expected


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("+ *.txt\n* .h5\n", "rules, line 2: expected '+ PATTERN' or '- PATTERN'"),
        ("+ a\n\n- [ab\n", "rules, line 3:"),
        ("- {a,b\n", "rules, line 1:"),
        ("- a}\n", "rules, line 1:"),
        ("- {{(}}\n", "rules, line 1:"),
        ("+\n", "rules, line 1:"),
    ],
)
def test_a_filter_with_a_typo(tmp_path: Path, source: Path, rules: str, message: str) -> None:
    (tmp_path / "rules").write_text(rules)
    done = run("--filter-from", "rules", "in/", "out/", cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_a_changed_file_is_not_passed_over_by_a_journal(tmp_path: Path, source: Path) -> None:
    words = ("--journal", "journal", "in/", "out/")
    assert run(*words, cwd=tmp_path).returncode == 0
    (source / "a.txt").write_text("A.txt")
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0 and "1 done, 4 skipped" in done.stderr, done.stderr
    assert (tmp_path / "out/a.txt").read_text() == "A.txt"
