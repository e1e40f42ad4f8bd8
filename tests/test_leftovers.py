"""What a killed run leaves, and what the next run with its journal makes of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.errors import NotFound
from pegasus_toolkit.transfer.interface import Control, Endpoint, Requirement, Settings
from pegasus_toolkit.transfer.records.journal import Journal
from pegasus_toolkit.transfer.records.leftovers import clean
from pegasus_toolkit.transfer.streams.files import FileSink
from tests.command import entry, run, start, write
from tests.material import content, sha256
from tests.outcomes import done, failed, local, transfer, web
from tests.servers.ftp import FtpServer


def killed(journal: Path) -> None:
    """Takes back what a run notes once its work is done: as if it had been killed in between."""
    kept = [line for line in journal.read_bytes().splitlines(keepends=True) if line.startswith(EARLY)]
    journal.write_bytes(b"".join(kept))


EARLY = (b"pegasus-transfer", b"run ", b"mark ", b"aside ")


class TestMoves:
    """``moveto:``: the source is gone, and the journal does not say that the operation is done."""

    def spec(self, tmp_path: Path, **keys: object) -> Path:
        (tmp_path / "a").write_bytes(b"data")
        return write(tmp_path / "s", [entry(tmp_path / "a", f"moveto://{tmp_path}/d/a", **keys)])

    def test_it_converges(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path)
        assert run("-f", spec, "--journal", "j", cwd=tmp_path).returncode == 0
        killed(tmp_path / "j")
        for _ in range(2):
            done = run("-f", spec, "--journal", "j", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert (tmp_path / "d" / "a").read_bytes() == b"data"
        assert not (tmp_path / "a").exists()

    def test_with_its_digest_for_kickstart(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path, lfn="f.a", generate_checksum=True)
        for name in ("k1", "k2"):
            env = {"KICKSTART_INTEGRITY_DATA": str(tmp_path / name)}
            assert run("-f", spec, "--journal", "j", cwd=tmp_path, env=env).returncode == 0
            assert sha256(b"data") in (tmp_path / name).read_text()
            killed(tmp_path / "j")

    def test_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "t").mkdir()
        (tmp_path / "t" / "x").write_bytes(b"x")
        spec = write(tmp_path / "s", [entry(tmp_path / "t", f"moveto://{tmp_path}/d/t")])
        assert run("-f", spec, "--journal", "j", cwd=tmp_path).returncode == 0
        killed(tmp_path / "j")
        assert run("-f", spec, "--journal", "j", cwd=tmp_path).returncode == 0

    def test_across_file_systems(self, tmp_path: Path) -> None:
        source = Path("/dev/shm", f"pegasus-toolkit-{os.getpid()}")
        if not source.parent.is_dir() or source.parent.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system here")
        source.write_bytes(b"data")
        spec = write(tmp_path / "s", [entry(source, f"moveto://{tmp_path}/d/a")])
        assert run("-f", spec, "--journal", "j", cwd=tmp_path).returncode == 0
        killed(tmp_path / "j")
        assert run("-f", spec, "--journal", "j", cwd=tmp_path).returncode == 0

    def test_another_file_there_is_no_success(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path)
        assert run("-f", spec, "--journal", "j", cwd=tmp_path).returncode == 0
        killed(tmp_path / "j")
        (tmp_path / "d" / "a").write_bytes(b"tada")
        done = run("-f", spec, "--journal", "j", cwd=tmp_path)
        assert done.returncode == 2
        assert "not found" in done.stderr

    def test_without_a_journal_the_error_says_what_helps(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path)
        assert run("-f", spec, cwd=tmp_path).returncode == 0
        done = run("-f", spec, cwd=tmp_path)
        assert done.returncode == 2
        assert "--journal" in done.stderr

    def test_an_expected_digest_tells_without_a_journal(self, tmp_path: Path) -> None:
        spec = self.spec(tmp_path, checksum={"type": "sha256", "value": sha256(b"data")})
        assert run("-f", spec, cwd=tmp_path).returncode == 0
        assert run("-f", spec, cwd=tmp_path).returncode == 0
        (tmp_path / "d" / "a").write_bytes(b"tada")
        assert run("-f", spec, cwd=tmp_path).returncode == 2


SITE = Endpoint("memory", "store", "site")


class World:
    """A journal that was left by a run, and a store with what that run left there."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal"
        self.store: dict[str, bytes] = {}
        self.said: list[str] = []
        self.removed = 0

    def open(self, name: str) -> Journal:
        return Journal(str(self.path), name)

    def clean(self) -> Journal:
        journal = self.open("next")
        settings = Settings(Credentials.none(), memory={"store": self.store}, notes=journal)
        self.removed = clean([], journal, settings, self.said.append)
        return journal


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestNamesAside:
    def test_found_again_and_removed(self, world: World) -> None:
        first = world.open("first")
        first.begin()
        first.aside(SITE, "/d/final", '/d/.fi"nal\udc80.x.part')
        first.close()
        world.store.update({'/d/.fi"nal\udc80.x.part': b"half", "/d/final": b"old"})
        world.clean().close()
        assert world.store == {"/d/final": b"old"}
        assert world.removed == 1 and not world.said
        again = world.open("third")
        assert again.asides == {}
        again.close()

    def test_what_was_published_is_not_asked_for(self, world: World) -> None:
        first = world.open("first")
        operations = [transfer(local("/a"), web(f"memory://store/{n}"), id=n) for n in range(2)]
        for operation in operations:
            place = operation.destinations[0]
            first.aside(place.endpoint, place.path, f"{place.path}.part")
        first.settled([done(operations[0]), failed(operations[1], NotFound("gone"))])
        first.close()
        journal = world.open("next")
        assert [aside.path for aside in journal.asides.values()] == ["/1.part"]
        journal.close()

    def test_what_cannot_be_removed_stays_noted(self, world: World) -> None:
        first = world.open("first")
        first.aside(Endpoint("nosuch", "host", "site"), "/d/final", "/d/.part")
        first.close()
        journal = world.clean()
        assert len(journal.asides) == 1
        journal.close()
        (said,) = world.said
        assert "1 temporary name of a killed run cannot be removed now" in said

    def test_a_journal_that_may_hold_signatures_is_closed(self, world: World) -> None:
        world.open("first").close()
        world.path.chmod(0o644)
        second = world.open("second")
        second.aside(SITE, "/d/final", "/d/.part?sig=x")
        second.close()
        assert world.path.stat().st_mode & 0o077 == 0


def test_a_partial_file_of_the_journals_own_run_is_taken_over(tmp_path: Path) -> None:
    data, kept = content(3000), 0
    for name in ("one", "two", "three"):
        journal = Journal(str(tmp_path / "j"), name)
        journal.begin()
        control = Control(name, keep_partial=True, notes=journal)
        sink = FileSink(str(tmp_path / "file"), Requirement(), control)
        assert sink.resume("v") == kept
        sink.write(data[kept : kept + 1000])
        kept += 1000
        sink.commit() if kept == len(data) else sink.abort()
        journal.close()
    assert (tmp_path / "file").read_bytes() == data


def asides(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.suffix in (".part", ".tmp")]


def test_a_killed_upload_leaves_nothing_at_the_server_after_the_next_run(
    tmp_path: Path, ftp_plain: FtpServer
) -> None:
    """Under FTP, as any user would meet it: kill -9 in the middle, the same command again."""
    (tmp_path / "a").write_bytes(content(8 << 20))
    name = f"leftover-{tmp_path.name}"
    to = f"ftp://{ftp_plain.authority}/{name}/a"
    spec = write(tmp_path / "s", [entry(tmp_path / "a", to)])
    killed = start("-f", spec, "--journal", "j", "--bandwidth", "1M", cwd=tmp_path)
    with killed:
        while not asides(ftp_plain.data / name) and killed.poll() is None:
            time.sleep(0.01)
        killed.kill()
    (left,) = asides(ftp_plain.data / name)
    done = run("-f", spec, "--journal", "j", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not left.exists()
    assert asides(ftp_plain.data / name) == []
    assert (ftp_plain.data / name / "a").read_bytes() == content(8 << 20)
    assert "temporary file of a killed run removed" in done.stderr
