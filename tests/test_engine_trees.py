"""The engine and what surrounds a file: directories, removes, .meta files, links, earlier runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.errors import (
    Corrupted,
    Denied,
)
from tests.worlds import Recorder, World, fill, mkdir, move, remove, sha


@pytest.fixture
def world() -> World:
    return World()


def test_directories_first_removes_last(world: World) -> None:
    fill(world, "a", 3)
    world.store("b")["/old/1"] = b"1"
    summary, told = world.run(
        remove(0, "memory://a/f0"),
        move(1, "memory://a/f0", "remote://b/new/f0"),
        mkdir(2, "remote://b/new"),
        remove(3, "remote://b/old", recursive=True),
    )
    assert summary.exit_code == 0
    assert world.store("b") == {"/new/f0": b"0" * 10}
    assert "/f0" not in world.store("a")
    assert [o.operation.id for o in told.outcomes][:2] == [2, 1]


def test_the_source_of_a_failed_transfer_is_not_removed(world: World) -> None:
    fill(world, "a", 2)

    def fault(path: str) -> None:
        raise Denied("read only")

    world.faults["b"] = fault
    summary, told = world.run(
        move(1, "memory://a/f0", "remote://b/g"),
        remove(2, "memory://a/f0"),
        remove(3, "memory://a/", recursive=True),
        remove(4, "memory://a/f1"),
    )
    assert set(world.store("a")) == {"/f0"}
    assert "its transfer failed" in str(told.of(2).error)
    assert summary.exit_code == 2


def test_a_directory_is_moved_file_by_file(world: World) -> None:
    world.store("a").update({"/d/x": b"1", "/d/sub/y": b"22", "/other": b"3"})
    summary, told = world.run(move(1, "remote://a/d/", "remote://b/e/"))
    assert world.store("b") == {"/e/x": b"1", "/e/sub/y": b"22"}
    assert (told.of(1).files, told.of(1).size, summary.done) == (2, 3, 1)
    assert {o.operation.sources[0].url for o in told.outcomes if o.member} == {
        "remote://a/d/x",
        "remote://a/d/sub/y",
    }


def test_a_directory_with_a_failing_file_fails_and_says_how_many(world: World) -> None:
    world.store("a").update({"/d/x": b"1", "/d/y": b"22"})

    def fault(path: str) -> None:
        if path == "/e/y":
            raise Denied("read only")

    world.faults["b"] = fault
    summary, told = world.run(move(1, "remote://a/d/", "remote://b/e"))
    assert world.store("b") == {"/e/x": b"1"}
    assert told.of(1).detail == "1 of 2 files failed"
    assert (summary.failed, summary.exit_code) == (1, 2)


def test_a_directory_is_checked_against_its_manifest(world: World, tmp_path: Path) -> None:
    world.store("a").update({"/d/x": b"1", "/d/sub/y": b"22"})
    manifest = tmp_path / "manifest"
    manifest.write_text(f"{sha(b'1')}  x\n{sha(b'2')}  sub/y\n")
    summary, told = world.run(move(1, "remote://a/d/", "memory://b/e", manifest=str(manifest)), attempts=1)
    assert world.store("b") == {"/e/x": b"1"}
    assert isinstance(told.of(1).error, Corrupted)
    manifest.write_text(f"{sha(b'1')}  x\n{sha(b'22')}  sub/y\n{sha(b'')}  gone\n")
    summary, told = world.run(move(1, "remote://a/d/", "memory://c/e", manifest=str(manifest)), attempts=1)
    assert summary.failed == 1
    assert "not there" in str(told.of(1).error)


def test_what_an_earlier_run_finished_is_skipped(world: World) -> None:
    fill(world, "a", 10)
    recorder = Recorder()
    operations = [move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(10)]
    summary = world.engine(recorder).run(operations, done=lambda o: o.id < 4)
    assert (summary.skipped, summary.done) == (4, 6)
    assert set(world.store("b")) == {f"/g{i}" for i in range(4, 10)}


def test_what_meta_files_expect_holds_where_remote_verification_is_asked_for(
    world: World, tmp_path: Path
) -> None:
    world.store("a")["/f"] = b"content"
    expected = {"checksum.type": "sha256", "checksum.value": sha(b"other")}
    entries = [{"_id": "f", "_type": "file", "_attributes": expected}]
    (tmp_path / "f.meta").write_text(json.dumps(entries))
    checked = move(1, "memory://a/f", "remote://b/g", lfn="f", verify_checksum_remote=True)
    plain = move(2, "memory://a/f", "remote://b/h", lfn="f")
    _, told = world.run(checked, plain, directory=str(tmp_path))
    assert isinstance(told.of(1).error, Corrupted)
    assert set(world.store("b")) == {"/h"}
    (tmp_path / "g.meta").write_text(
        json.dumps([{"_id": "f", "_type": "file", "_attributes": {"checksum.value": "1"}}])
    )
    summary, told = world.run(checked, directory=str(tmp_path))
    assert summary.exit_code == 2
    assert ".meta" in str(told.of(1).error)


def test_the_digest_of_a_meta_file_decides_whatever_size_it_tells(world: World, tmp_path: Path) -> None:
    world.store("a")["/f"] = b"content"
    expected = {"checksum.type": "sha256", "checksum.value": sha(b"content"), "size": "3"}
    (tmp_path / "f.meta").write_text(json.dumps([{"_id": "f", "_attributes": expected}]))
    checked = move(1, "memory://a/f", "remote://b/g", lfn="f", verify_checksum_remote=True)
    summary, _ = world.run(checked, directory=str(tmp_path))
    assert summary.exit_code == 0
    assert world.store("b")["/g"] == b"content"


def test_a_link_to_a_remote_file_is_a_copy(world: World, tmp_path: Path) -> None:
    world.store("a")["/f"] = b"content"
    summary, told = world.run(move(1, "remote://a/f", f"symlink://{tmp_path}/f"))
    assert (tmp_path / "f").read_bytes() == b"content"
    assert (summary.exit_code, told.of(1).route) == (0, "direct")
