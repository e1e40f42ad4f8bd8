"""``verified`` names what was compared, and nothing else; on every way that a file can take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer import Engine, Options, Settings, Summary, load
from pegasus_toolkit.transfer.errors import BadSpecification, Corrupted, TransferError, Unsupported
from pegasus_toolkit.transfer.model import Outcome
from tests.command import entry, lines, run, write
from tests.material import sha256
from tests.worlds import Recorder

DATA = b"content"
GOOD = {"type": "sha256", "value": sha256(DATA)}
WRONG = {"type": "sha256", "value": sha256(b"other")}
BOTH = {"checksum": GOOD, "size": len(DATA)}


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = directory / "a"
        self.source.write_bytes(DATA)
        self.store: dict[str, bytes] = {"/a": DATA}

    def engine(
        self, *entries: Mapping[str, object], symlink: bool = False, environ: Mapping[str, str] | None = None
    ) -> tuple[Summary, list[Outcome]]:
        spec = write(self.directory / "spec", [dict(one) for one in entries])
        settings = Settings(Credentials.none(), environ or {}, memory={"s": self.store})
        recorder = Recorder()
        options = Options(attempts=1, symlink=symlink, directory=str(self.directory))
        summary = Engine(options, settings, [recorder]).run(load(str(spec), {}))
        return summary, recorder.outcomes

    def one(self, source: Path | str, destination: Path | str, **keys: object) -> Outcome:
        symlink = bool(keys.pop("s", False))
        _, outcomes = self.engine(entry(source, destination, **keys), symlink=symlink)
        return next(outcome for outcome in outcomes if not outcome.member)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


WAYS = {
    "copy": ("{d}/a", "{d}/b"),
    "download": ("memory://s/a", "{d}/b"),
    "upload": ("{d}/a", "memory://s/b"),
    "link": ("{d}/a", "symlink://{d}/b"),
    "move": ("{d}/a", "moveto://{d}/b"),
    "-s": ("{d}/a", "{d}/b"),
}


def ends(world: World, way: str) -> tuple[str, str]:
    source, destination = (text.format(d=world.directory) for text in WAYS[way])
    return source, destination


def fails(outcome: Outcome) -> TransferError:
    assert outcome.error is not None
    assert outcome.verified == outcome.stored == ()
    return outcome.error


@pytest.mark.parametrize("way", WAYS)
class TestEveryWay:
    def test_what_is_right(self, world: World, way: str) -> None:
        outcome = world.one(*ends(world, way), s=way == "-s", **BOTH)
        assert (outcome.status, outcome.verified) == ("done", ("digest", "size"))

    def test_what_nobody_expects(self, world: World, way: str) -> None:
        outcome = world.one(*ends(world, way), s=way == "-s")
        stored = ("size",) if way == "download" else ()
        assert (outcome.status, outcome.verified, outcome.stored) == ("done", (), stored)

    @pytest.mark.parametrize("wrong", [{"checksum": WRONG}, {"size": 3}])
    def test_what_is_wrong(self, world: World, way: str, wrong: dict[str, object]) -> None:
        outcome = world.one(*ends(world, way), s=way == "-s", **wrong)
        assert isinstance(fails(outcome), Corrupted)
        assert not os.path.lexists(world.directory / "b")
        assert world.source.read_bytes() == DATA
        assert world.store == {"/a": DATA}

    def test_what_the_destination_must_prove(self, world: World, way: str) -> None:
        outcome = world.one(*ends(world, way), s=way == "-s", verify_checksum_remote=True, **BOTH)
        stored = ("size", "read back") if way == "download" else ("read back",)
        assert (outcome.status, outcome.stored) == ("done", stored)
        assert outcome.verified == ("digest", "size", "remote")


def test_a_link_whose_source_is_not_to_be_looked_at(world: World) -> None:
    to = f"symlink://{world.directory}/b"
    outcome = world.one(world.source, to, verify_symlink_source=False, checksum=WRONG)
    assert (outcome.status, outcome.verified) == ("done", ())


def test_a_device_cannot_prove_what_it_got(world: World) -> None:
    for source in (str(world.source), "memory://s/a"):
        assert isinstance(fails(world.one(source, "/dev/null", verify_checksum_remote=True)), Unsupported)
    assert world.one(world.source, "/dev/null").status == "done"


def test_a_file_onto_itself_is_read_for_the_proof(world: World) -> None:
    outcome = world.one(world.source, world.source, verify_checksum_remote=True, **BOTH)
    assert outcome.verified == ("digest", "size", "remote")
    wrong = world.one(world.source, world.source, verify_checksum_remote=True, checksum=WRONG)
    assert isinstance(fails(wrong), Corrupted)


class TestDirectories:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        (tmp_path / "t").mkdir()
        (tmp_path / "t" / "x").write_bytes(DATA)
        (tmp_path / "t" / "y").write_bytes(b"more")
        return tmp_path / "t"

    @pytest.mark.parametrize("end", ["", "/"])
    @pytest.mark.parametrize("scheme", ["file", "moveto", "symlink"])
    def test_a_checksum_of_a_directory_is_an_error(
        self, world: World, tree: Path, end: str, scheme: str
    ) -> None:
        outcome = world.one(f"file://{tree}{end}", f"{scheme}://{world.directory}/d", checksum=GOOD)
        assert fails(outcome).exit_code == 2
        assert not os.path.lexists(world.directory / "d")

    def test_its_size_is_that_of_its_files(self, world: World, tree: Path) -> None:
        outcome = world.one(tree, world.directory / "d", size=11)
        assert (outcome.status, outcome.verified) == ("done", ("size",))
        assert isinstance(fails(world.one(tree, world.directory / "e", size=12)), Corrupted)
        moved = world.one(tree, f"moveto://{world.directory}/f", size=11)
        assert isinstance(fails(moved), BadSpecification)

    def test_what_held_for_all_of_its_files(self, world: World, tree: Path) -> None:
        sums = world.directory / "SUMS"
        sums.write_text(f"{sha256(DATA)}  x\n{sha256(b'more')}  y\n")
        whole = world.one(tree, world.directory / "d", manifest=str(sums))
        assert whole.verified == ("digest", "size")
        sums.write_text(f"{sha256(DATA)}  x\n")
        part = world.one(tree, world.directory / "e", manifest=str(sums), verify_checksum_remote=True)
        assert part.verified == ("size", "remote")
        assert part.stored == ("read back",)


# -- the command's end -------------------------------------------------------------------------------


def test_the_end_counts_what_was_verified(world: World, tmp_path: Path) -> None:
    entries = [
        entry(world.source, tmp_path / "b1", checksum=GOOD),
        entry(world.source, tmp_path / "b2", size=len(DATA)),
        entry(world.source, tmp_path / "b3"),
        entry(world.source, f"symlink://{tmp_path}/b4"),
    ]
    done = run("-f", write(tmp_path / "s", entries), "--report", "r", cwd=tmp_path)
    assert "Files verified: 1 by digest, 1 by size; 2 not" in done.stderr
    *_, summary = lines(tmp_path / "r")
    assert summary["verified"] == {"digest": 1, "size": 1, "nothing": 2, "stored": 0}


def test_one_lfn_with_two_contents_is_an_error(world: World, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    entries = [
        entry(world.source, tmp_path / "b1", lfn="f", generate_checksum=True),
        entry(world.source, tmp_path / "b2", lfn="f", generate_checksum=True),
        entry(tmp_path / "other", tmp_path / "b3", lfn="f", generate_checksum=True),
    ]
    env = {"KICKSTART_INTEGRITY_DATA": str(tmp_path / "k")}
    done = run("-f", write(tmp_path / "s", entries), "-n", "1", cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert "the LFN 'f' has two contents" in done.stderr
    assert (tmp_path / "k").read_text().count('"f"') == 1


def test_the_python_api_leaves_the_same_records(world: World, tmp_path: Path) -> None:
    asks = entry(world.source, tmp_path / "b", lfn="f.a", generate_checksum=True)
    summary, _ = world.engine(asks, environ={"KICKSTART_INTEGRITY_DATA": str(tmp_path / "k1")})
    assert (summary.exit_code, summary.problems) == (0, ())
    env = {"KICKSTART_INTEGRITY_DATA": str(tmp_path / "k2")}
    assert run("-f", write(tmp_path / "s", [asks]), cwd=tmp_path, env=env).returncode == 0
    ours, theirs = (yaml.safe_load((tmp_path / name).read_text()) for name in ("k1", "k2"))
    for told in (ours, theirs):
        for key in ("inode", "mtime", "ctime", "atime"):
            told["f.a"].pop(key)
    assert ours == theirs
    assert ours["f.a"]["sha256"] == sha256(DATA)


def test_the_python_api_tells_of_records_that_could_not_be_left(world: World, tmp_path: Path) -> None:
    asks = entry(world.source, tmp_path / "b", lfn="f.a", generate_checksum=True)
    summary, _ = world.engine(asks, environ={"KICKSTART_INTEGRITY_DATA": str(tmp_path / "no" / "k")})
    assert summary.exit_code == 1
    assert "cannot be recorded" in summary.problems[0]
    summary, _ = world.engine(asks)
    assert (summary.exit_code, summary.unrecorded) == (0, 1)
