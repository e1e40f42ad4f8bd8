"""``pegasus-files``: the commands that look, copy and remove, at real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest

from pegasus_toolkit.cli import files, transfer
from tests.servers.nginx import Nginx
from tests.servers.seaweed import Seaweed
from tests.servers.sshd import Sshd
from tests.test_cli_plain import tree

FILES = {"a.txt": "alpha", "b.dat": "beta", "d/c.txt": "gamma!", "d/e/f.txt": "delta"}


class Place:
    """A directory with files in it, here or at a server, and the command to look at it."""

    def __init__(self, url: str, cwd: Path, environ: dict[str, str]) -> None:
        self.url = url
        self.cwd = cwd
        self.environ = environ

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command, within this process: to start one takes longer than most of what is asked of it."""
        before, streams = Path.cwd(), (sys.stdout, sys.stderr)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            os.chdir(self.cwd)
            sys.stdout, sys.stderr = out, err
            try:
                with mock.patch.dict(os.environ, self.environ):
                    code = files.main(words)
            finally:
                sys.stdout, sys.stderr = streams
                os.chdir(before)
            for stream in (out, err):
                stream.seek(0)
            return subprocess.CompletedProcess(words, code, out.read(), err.read())

    def good(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=["local", "sftp", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    conf = tmp_path / "credentials.conf"
    conf.touch(0o600)
    environ = {"PEGASUS_CREDENTIALS": str(conf)}
    url = f"{tmp_path}/there"
    if request.param == "sftp":
        sshd: Sshd = request.getfixturevalue("sshd")
        section = f"[127.0.0.1:{sshd.port}]\nprivate_key = {sshd.key}\nknown_hosts = {sshd.known_hosts}\n"
        conf.write_text(section)
        url = f"sftp://{sshd.authority}{url}"
    elif request.param == "s3":
        weed: Seaweed = request.getfixturevalue("seaweed")
        conf.write_text(weed.credentials(tmp_path).read_text())
        conf.chmod(0o600)
        url = f"s3://admin@weed/files/{os.urandom(4).hex()}"
    made = Place(url, tmp_path, environ)
    for name, content in FILES.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (1_600_000_000, 1_600_000_000))
    made.good("cp", "-q", "in/", f"{url}/")
    return made


def test_ls(place: Place) -> None:
    assert place.good("ls", place.url).split() == ["a.txt", "b.dat", "d/"]
    assert place.good("ls", f"{place.url}/").split() == ["a.txt", "b.dat", "d/"]
    assert place.good("ls", f"{place.url}/*.txt").split() == ["a.txt"]
    assert sorted(place.good("ls", "-R", place.url).split()) == sorted(FILES)
    assert place.good("ls", "-R", "--include", "*.dat", place.url).split() == ["b.dat"]
    size, day, _, name = place.good("ls", "-l", f"{place.url}/a.txt").split()
    assert (size, day, name) == ("5", "2020-09-13", "a.txt")
    told = [json.loads(line) for line in place.good("ls", "--json", place.url).splitlines()]
    assert [(one["name"], one["directory"], one["size"]) for one in told] == [
        ("a.txt", False, 5),
        ("b.dat", False, 4),
        ("d", True, None),
    ]


def test_cat(place: Place) -> None:
    assert place.good("cat", f"{place.url}/a.txt", f"{place.url}/d/c.txt") == "alphagamma!"
    assert place.good("cat", f"{place.url}/*.txt") == "alpha"
    assert place.run("cat", place.url).returncode == 2


def test_du(place: Place) -> None:
    told = json.loads(place.good("du", "--json", place.url))
    assert (told["files"], told["bytes"]) == (4, 20)
    assert "4 files" in place.good("du", place.url)
    assert "2 files" in place.good("du", f"{place.url}/d")


def test_check(place: Place) -> None:
    assert place.good("check", place.url).startswith("ready")


def test_check_for_programs(place: Place) -> None:
    told = json.loads(place.good("check", "--json", place.url))
    assert told["ready"] and told["error"] is None and told["url"].partition("://")[1]
    assert told["credential"] is None or told["credential"]["kind"]
    refused = place.run("check", "--json", "sftp://127.0.0.1:1/x")
    assert refused.returncode == 1 and not json.loads(refused.stdout)["ready"], refused.stderr


def test_a_question_mark_is_a_letter(place: Place) -> None:
    """Where URLs have no query: what is copied, listed and found by a wildcard is what is there."""
    for name in ("what?/x?y/f?.txt", "what?/100%#.txt", "wha/wrong", "what/wrong"):
        path = place.cwd / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    odd = f"{place.url}/odd"
    place.good("cp", "-q", "odd/", odd)
    assert place.good("ls", f"{odd}/what?/x?y") == "f?.txt\n"
    assert place.good("ls", odd).split() == ["wha/", "what/", "what?/"]
    place.good("cp", "-q", f"{odd}/what?", "one/")
    place.good("cp", "-q", f"{odd}/what?/*", "two/")
    spec = [{"type": "transfer", "lfn": "d", "src_urls": [{"site_label": "x", "url": f"{odd}/what?/"}],
             "dest_urls": [{"site_label": "local", "url": f"{place.cwd}/three"}]}]  # fmt: skip
    (place.cwd / "spec.json").write_text(json.dumps(spec))
    with mock.patch.dict(os.environ, place.environ):
        assert transfer.main(["-q", "-f", str(place.cwd / "spec.json")]) == 0
    expected = tree(place.cwd / "odd/what?")
    assert tree(place.cwd / "one/what?") == expected
    assert tree(place.cwd / "two") == expected
    assert tree(place.cwd / "three") == expected


def test_a_query_follows_each_name(tmp_path: Path, nginx: Nginx) -> None:
    """Of a directory at a web server, as where a token stands in it."""
    (nginx.data / "query/sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (nginx.data / "query" / name).write_text(name)
    place = Place("", tmp_path, {})
    url = f"http://{nginx.authority}/files/query/"
    place.good("cp", "-q", f"{url}?key=1", "out/")
    assert tree(tmp_path / "out") == {"a": "a", "sub/b": "sub/b"}
    asked = [line for line in nginx.log.read_text().splitlines() if "/query/" in line]
    assert asked and all("?key=1" in line for line in asked), asked


def test_several_lists_say_which(place: Place) -> None:
    assert place.good("ls", f"{place.url}/*").split() == ["a.txt", "b.dat", "d/c.txt", "d/e/"]
    both = place.good("ls", f"{place.url}/d", "in/d/e").split()
    assert both == [f"{place.url}/d/c.txt", f"{place.url}/d/e/", "in/d/e/f.txt"]


def test_rm(place: Place) -> None:
    url = place.url
    for words, code in ((("rm", f"{url}/d"), 2), (("rm", f"{url}/none"), 2), (("rm", f"{url}/*.none"), 2)):
        assert place.run(*words).returncode == code
    assert "remove" in place.good("rm", "--dry-run", "-r", f"{url}/d")
    assert sorted(place.good("ls", "-R", url).split()) == sorted(FILES)
    place.good("rm", "-f", f"{url}/none")
    place.good("rm", f"{url}/*.txt", f"{url}/b.dat")
    assert sorted(place.good("ls", "-R", url).split()) == ["d/c.txt", "d/e/f.txt"]
    place.good("rm", "-r", f"{url}/d")
    assert place.run("ls", f"{url}/d").returncode == 2


def test_a_link_is_removed_and_never_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/kept").touch()
    (tmp_path / "link").symlink_to("d")
    done = Place("", tmp_path, {}).run("rm", "link")
    assert done.returncode == 0 and "1 to be removed" in done.stderr and "copied" not in done.stderr
    assert not os.path.lexists(tmp_path / "link") and (tmp_path / "d/kept").exists()
    assert "d; -r removes" in Place("", tmp_path, {}).run("rm", "*").stderr


def test_a_path_is_named_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for words in (("cat", "d"), ("du", "none"), ("cp", "none", "x")):
        error = Place("", tmp_path, {}).run(*words).stderr
        assert error.endswith(f": {words[1]}\n") and "file:" not in error, error
    assert Place("", tmp_path, {}).good("du", "d").split()[-1] == "d"


def test_cp_back(place: Place) -> None:
    place.good("cp", place.url, "back")
    assert tree(place.cwd / "back") == FILES
    assert (place.cwd / "back/d/c.txt").stat().st_mtime == 1_600_000_000
    assert "4 files" in place.run("cp", "--dry-run", place.url, "other").stderr
    assert not (place.cwd / "other").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("mv", "a", "b"), 2),
        (("cp", "a"), 2),
        (("ls", "none"), 2),
        (("ls", "sftp://127.0.0.1:1/x"), 1),
        (("cp", "sftp://127.0.0.1:1/x", "y"), 1),
        (("verify", "a"), 2),
        (("verify", "--against", "sums", "a", "b"), 2),
        (("--version",), 0),
        (("cp", "--help"), 0),
    ],
)
def test_exit_codes(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    done = Place("", tmp_path, {"PEGASUS_TRANSFER_PATIENCE": "1"}).run(*words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_who_reads_may_have_seen_enough(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3000):
        (tmp_path / f"in/{number}").touch()
    ls = "pegasus-files ls in | head -1"
    done = subprocess.run(["bash", "-c", ls], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")
