"""``pegasus-files sync``: what is copied again, what is deleted, and what is refused, at real servers."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from tests.servers.seaweed import Seaweed
from tests.servers.sshd import Sshd
from tests.servers.webdav import Dav
from tests.test_cli_files import Place
from tests.test_cli_plain import tree

FILES = {"a.txt": "alpha", "d/b.txt": "beta", "d/e/c.dat": "gamma", "x/y.txt": "delta"}
OLD = 1_600_000_000


@pytest.fixture(params=["local", "sftp", "s3", "dav"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A destination; what is to be there stands in ``in``."""
    conf = tmp_path / "credentials.conf"
    conf.touch(0o600)
    environ = {"PEGASUS_CREDENTIALS": str(conf), "XDG_CACHE_HOME": f"{tmp_path}/cache"}
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
        url = f"s3://admin@weed/sync/{os.urandom(4).hex()}"
    elif request.param == "dav":
        dav: Dav = request.getfixturevalue("wsgidav")
        url = f"webdav://{dav.authority}/dav/{os.urandom(4).hex()}"
    for name, content in FILES.items():
        write(tmp_path / "in" / name, content)
    made = Place(url, tmp_path, environ)
    sync(made)
    return made


def write(path: Path, content: str, when: int = OLD) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (when, when))


def sync(place: Place, *options: str, source: str = "in") -> str:
    """What it says; all went well."""
    if place.url.startswith("webdav"):  # it tells whole seconds, in which a file may have changed once more
        second = int(time.time())
        while int(time.time()) == second:
            time.sleep(0.02)
    done = place.run("sync", *options, source, place.url)
    assert done.returncode == 0, done.stderr
    return done.stderr


def there(place: Place) -> dict[str, str]:
    """What is at the destination."""
    back = place.cwd / f"back-{os.urandom(4).hex()}"
    place.good("cp", place.url, str(back))
    return tree(back)


def test_only_what_changed_is_copied(place: Place) -> None:
    assert there(place) == FILES
    assert "0 files, 0 B, to be copied, 4 are unchanged" in sync(place)
    source = place.cwd / "in"
    write(source / "a.txt", "ALPHA", OLD + 1)  # of the same size
    write(source / "d/b.txt", "beta and more", OLD)  # of the same time
    write(source / "new", "new")
    assert "3 files, 21 B, to be copied, 2 are unchanged" in sync(place)
    assert there(place) == FILES | {"a.txt": "ALPHA", "d/b.txt": "beta and more", "new": "new"}
    assert "0 files" in sync(place)


def test_an_older_file_in_its_place_is_no_less_a_change(place: Place) -> None:
    """Of the same size, and with an older time, as after ``mv`` or ``cp -p``."""
    write(place.cwd / "in/a.txt", "other", OLD - 1000)
    assert "1 file, 5 B, to be copied" in sync(place)
    assert there(place)["a.txt"] == "other"


def test_checksum(place: Place) -> None:
    assert "0 files, 0 B, to be copied, 4 are unchanged" in sync(place, "--checksum")
    write(place.cwd / "in/a.txt", "other", OLD)  # same size, same time
    write(place.cwd / "in/d/b.txt", "beta", OLD + 5000)  # same content
    assert "1 file, 5 B, to be copied, 3 are unchanged" in sync(place, "--checksum")
    assert there(place)["a.txt"] == "other"


def test_delete(place: Place) -> None:
    for name in ("d/e/c.dat", "x/y.txt"):
        (place.cwd / "in" / name).unlink()
    (place.cwd / "in/x").rmdir()
    assert set(there(place)) == set(FILES)
    sync(place)
    assert set(there(place)) == set(FILES)  # not without being asked to
    assert "remove" in place.good("sync", "--delete", "--dry-run", "in", place.url)
    assert set(there(place)) == set(FILES)
    sync(place, "--delete")
    assert set(there(place)) == {"a.txt", "d/b.txt"}


def test_delete_never_crosses_a_filter(place: Place) -> None:
    for name in FILES:
        (place.cwd / "in" / name).unlink()
    write(place.cwd / "in/new.txt", "new")
    sync(place, "--delete", "--exclude", "*.dat", "--exclude", "/x/**")
    assert set(there(place)) == {"new.txt", "d/e/c.dat", "x/y.txt"}


def test_nothing_is_deleted_after_a_failure(place: Place) -> None:
    if place.url.startswith("s3"):
        return  # there are no directories that a file could stand in the way of
    (place.cwd / "in/a.txt").unlink()
    write(place.cwd / "in/b", "b")
    (place.cwd / "in/d/b.txt").unlink()
    write(place.cwd / "in/d/b.txt/below", "a file stands in the way of its directory")
    done = place.run("sync", "--delete", "-m", "1", "in", place.url)
    assert done.returncode in (1, 2), done.stderr
    assert set(there(place)) == {*FILES, "b"}


@pytest.mark.parametrize("options", [("--delete",), ("--delete", "--include", "*.none")])
def test_an_empty_source_is_refused(place: Place, options: tuple[str, ...]) -> None:
    (place.cwd / "empty").mkdir()
    source = "empty" if len(options) == 1 else "in"
    done = place.run("sync", *options, source, place.url)
    assert done.returncode == 2 and "no file in it" in done.stderr, done.stderr
    assert set(there(place)) == set(FILES)


def test_down_again(place: Place) -> None:
    """What came down is unchanged; what changed there comes again."""
    down = Place(f"{place.cwd}/down", place.cwd, place.environ)
    sync(down, source=place.url)
    assert tree(place.cwd / "down") == FILES
    assert "0 files, 0 B, to be copied, 4 are unchanged" in sync(down, source=place.url)
    assert "0 files, 0 B, to be copied, 4 are unchanged" in sync(down, "--checksum", source=place.url)
    write(place.cwd / "in/a.txt", "ALPHA", OLD + 1)
    sync(place)
    assert "1 file, 5 B" in sync(down, "--checksum", source=place.url)
    assert (place.cwd / "down/a.txt").read_text() == "ALPHA"


@pytest.fixture
def here(tmp_path: Path) -> Place:
    for name, content in FILES.items():
        write(tmp_path / "in" / name, content)
    return Place(f"{tmp_path}/there", tmp_path, {"XDG_CACHE_HOME": f"{tmp_path}/cache"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("in/a.txt", "there"), "takes a directory"),
        (("none", "there"), "none"),
        (("in", "in"), "same"),
        (("in", "in/d"), "inside"),
        (("--delete", "in/d", "in"), "would remove the source"),
        (("in", "file"), "a file stands"),
        (("--filter-from", "rules", "in", "there"), "rules, line 1"),
        (("--delete", "sftp://127.0.0.1:1/x", "there"), "nothing listens"),
    ],
)
def test_what_cannot_be_meant(here: Place, words: tuple[str, ...], message: str) -> None:
    write(here.cwd / "file", "")
    write(here.cwd / "rules", "typo\n")
    done = here.run("sync", *words)
    assert done.returncode == (1 if "nothing listens" in message else 2)
    assert message in done.stderr
    assert not (here.cwd / "there").exists()


def test_a_source_that_cannot_be_listed_deletes_nothing(here: Place) -> None:
    """As the user that tests run as may read all, a circle of links stands for it."""
    sync(here)
    (here.cwd / "in/a.txt").unlink()
    (here.cwd / "in/loop").symlink_to(".")
    done = here.run("sync", "--delete", "--links", "follow", "in", here.url)
    assert done.returncode == 2 and "circle" in done.stderr, done.stderr
    assert tree(here.cwd / "there") == FILES


def test_links_at_the_destination_are_not_followed(here: Place) -> None:
    """What they lead to is not ours to delete."""
    write(here.cwd / "elsewhere/precious", "precious")
    sync(here)
    (here.cwd / "there/link").symlink_to("../elsewhere")
    (here.cwd / "there/d/file").symlink_to("../../elsewhere/precious")
    sync(here, "--delete")
    assert not (here.cwd / "there/link").is_symlink() and not (here.cwd / "there/d/file").is_symlink()
    assert (here.cwd / "elsewhere/precious").exists()
    assert tree(here.cwd / "there") == FILES


def test_what_is_left_out_here_is_not_deleted_there(here: Place) -> None:
    sync(here)
    (here.cwd / "in/a.txt").unlink()
    (here.cwd / "in/a.txt").symlink_to("/etc/passwd")
    os.mkfifo(here.cwd / "there/fifo")
    assert "a.txt: left out" in sync(here, "--delete")
    assert (here.cwd / "there/a.txt").exists() and (here.cwd / "there/fifo").exists()


def test_empty_directories(here: Place) -> None:
    (here.cwd / "in/empty/inner").mkdir(parents=True)
    sync(here)
    assert (here.cwd / "there/empty/inner").is_dir()
    (here.cwd / "in/empty/inner").rmdir()
    sync(here, "--delete")
    assert (here.cwd / "there/empty").is_dir() and not (here.cwd / "there/empty/inner").exists()


def test_the_cache_of_digests(here: Place) -> None:
    """A digest is taken once, and again only of what changed; a broken cache costs no more than time."""
    sync(here)
    sync(here, "--checksum")
    file = here.cwd / "cache/pegasus-toolkit/digests.sqlite3"

    def rows() -> list[tuple[bytes, str]]:
        with sqlite3.connect(file) as connection:
            return connection.execute("SELECT path, digest FROM digests ORDER BY path").fetchall()

    assert rows() == []  # too young
    for path in [*here.cwd.glob("in/**/*.*"), *here.cwd.glob("there/**/*.*")]:
        age(path)
    sync(here, "--checksum")
    known = rows()
    assert len(known) == 8
    with sqlite3.connect(file) as connection:  # what is remembered is believed ...
        connection.execute("UPDATE digests SET digest='00' WHERE CAST(path AS TEXT) LIKE '%in/a.txt'")
    connection.close()
    assert "1 file, 5 B, to be copied" in sync(here, "--checksum", "--dry-run")
    assert "0 files" in sync(here, "--checksum", "--no-cache", "--dry-run")  # ... unless it is said not to be
    os.utime(here.cwd / "in/a.txt", (OLD, OLD))  # its ctime is another: it is read again
    assert "0 files" in sync(here, "--checksum")
    file.write_bytes(b"no database")
    assert "the cache of digests cannot be used" in sync(here, "--checksum")


def age(path: Path) -> None:
    """What is young is not remembered: waits for the clock, as a ctime cannot be set."""
    while path.stat().st_ctime_ns > time.time_ns() - 2_100_000_000:
        time.sleep(0.05)
