"""The engine as a whole, above stores with faults on order: what is promised whatever the protocol."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer import scheduler
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    Denied,
    NotFound,
    ServerFault,
    Throttled,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Job, Settings
from pegasus_toolkit.transfer.lanes import SPOOL
from pegasus_toolkit.transfer.model import Checksum
from tests.worlds import Hang, Recorder, Remote, World, at, mkdir, move, remove


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def world() -> World:
    return World()


def fill(world: World, authority: str, count: int, size: int = 10) -> None:
    world.store(authority).update({f"/f{i}": b"%d" % i * size for i in range(count)})


@pytest.mark.parametrize(
    ("source", "destination", "route"),
    [
        ("memory", "memory", "direct"),
        ("remote", "memory", "direct"),
        ("memory", "remote", "direct"),
        ("remote", "remote", "relay"),
        ("whole", "remote", "staged"),
        ("remote", "whole", "staged"),
        ("whole", "whole", "staged"),
    ],
)
def test_every_pair_arrives_with_its_digest(world: World, source: str, destination: str, route: str) -> None:
    fill(world, "a", 50)
    operations = [move(i, f"{source}://a/f{i}", f"{destination}://b/g{i}") for i in range(50)]
    summary, told = world.run(*operations)
    assert (summary.done, summary.failed, summary.exit_code) == (50, 0, 0)
    for i in range(50):
        content = world.store("a")[f"/f{i}"]
        assert world.store("b")[f"/g{i}"] == content
        outcome = told.of(i)
        assert (outcome.digest, outcome.size, outcome.route) == (sha(content), len(content), route)


@pytest.mark.parametrize(
    "pair", [("remote", "memory"), ("remote", "remote"), ("memory", "remote"), ("whole", "remote")]
)
def test_a_wrong_digest_publishes_nothing_and_keeps_the_old(world: World, pair: tuple[str, str]) -> None:
    world.store("a")["/f"] = b"spoilt"
    world.store("b")["/g"] = b"old"
    wrong = move(1, f"{pair[0]}://a/f", f"{pair[1]}://b/g", checksum=Checksum("sha256", sha(b"good")))
    summary, told = world.run(wrong)
    assert world.store("b")["/g"] == b"old"
    assert summary.exit_code == 1
    assert isinstance(told.of(1).error, Corrupted)
    assert len(told.of(1).attempts) == 3


def test_a_wrong_size_publishes_nothing(world: World) -> None:
    world.store("a")["/f"] = b"four"
    summary, told = world.run(move(1, "remote://a/f", "remote://b/g", size=5))
    assert "/g" not in world.store("b")
    assert isinstance(told.of(1).error, Corrupted)
    assert summary.exit_code == 1


def test_the_next_source_serves_when_the_first_is_spoilt(world: World) -> None:
    world.store("a")["/f"] = b"spoilt"
    world.store("c")["/f"] = b"good"
    wanted = Checksum("sha256", sha(b"good"))
    summary, told = world.run(move(1, "remote://a/f", "remote://c/f", "memory://b/g", checksum=wanted))
    assert summary.exit_code == 0
    assert world.store("b")["/g"] == b"good"
    first, second = told.of(1).attempts
    assert isinstance(first.error, Corrupted)
    assert second.source is not None and second.source.endpoint.authority == "c"
    assert told.of(1).verified == ("digest",)


def test_a_missing_source_is_not_tried_again_and_harms_no_other(world: World) -> None:
    fill(world, "a", 200)
    operations = [move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(201)]
    summary, told = world.run(*operations)
    assert (summary.done, summary.failed, summary.exit_code) == (200, 1, 2)
    assert isinstance(told.of(200).error, NotFound)
    assert len(told.of(200).attempts) == 1


def test_what_passes_is_tried_again(world: World) -> None:
    fill(world, "a", 5)
    failures = iter([ServerFault("busy"), Throttled("slow down", retry_after=0.01)])

    def fault(path: str) -> None:
        for error in failures:
            raise error

    world.faults["a"] = fault
    summary, told = world.run(*[move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(5)])
    assert (summary.done, summary.exit_code, summary.attempts) == (5, 0, 7)
    assert sum(len(told.of(i).attempts) for i in range(5)) == 7


def test_rounds_are_counted(world: World) -> None:
    def fault(path: str) -> None:
        raise ServerFault("always")

    world.faults["a"] = fault
    summary, told = world.run(move(1, "remote://a/f", "remote://a/h", "memory://b/g"), attempts=4)
    assert len(told.of(1).attempts) == 8
    assert summary.exit_code == 1


def test_a_host_that_is_down_costs_one_try_for_all_that_wait(world: World) -> None:
    fill(world, "good", 20)
    tries: list[str] = []

    def fault(path: str) -> None:
        tries.append(path)
        raise Unreachable("refused", host="down")

    world.faults["down"] = fault
    bad = [move(i, f"remote://down/f{i}", f"memory://b/x{i}") for i in range(500)]
    good = [move(1000 + i, f"remote://good/f{i}", f"memory://b/g{i}") for i in range(20)]
    summary, _ = world.run(*bad, *good)
    assert (summary.done, summary.failed, summary.exit_code) == (20, 500, 1)
    assert len(tries) < 150  # three rounds of 500 would be 1,500


def test_an_endpoint_that_cannot_be_opened_fails_only_its_own(world: World) -> None:
    fill(world, "good", 3)

    def fault(authority: str) -> None:
        raise Denied("no such key", host=authority)

    world.opening["locked"] = fault
    summary, told = world.run(
        *[move(i, f"remote://good/f{i}", f"memory://b/g{i}") for i in range(3)],
        *[move(10 + i, f"remote://locked/f{i}", f"memory://b/x{i}") for i in range(300)],
    )
    assert (summary.done, summary.failed, summary.exit_code) == (3, 300, 2)
    assert world.opened < 10
    assert told.of(10).error is not None and told.of(10).error.side == "source"


def test_an_unknown_scheme_names_the_known_ones(world: World) -> None:
    summary, told = world.run(move(1, "gopher://a/f", "memory://b/g"))
    assert summary.exit_code == 2
    assert isinstance(told.of(1).error, Unsupported)
    assert "https" in str(told.of(1).error)


def test_a_second_destination_serves_when_the_first_refuses(world: World) -> None:
    world.store("a")["/f"] = b"x"

    def fault(path: str) -> None:
        raise Denied("read only")

    world.faults["b"] = fault
    both = move(1, "memory://a/f", "remote://b/g")
    both = type(both)(id=1, sources=both.sources, destinations=(*both.destinations, at("remote://c/g")))
    summary, _ = world.run(both)
    assert summary.exit_code == 0
    assert world.store("c")["/g"] == b"x"


def test_a_relayed_file_too_large_for_a_spool_goes_through_the_pipe(world: World) -> None:
    content = bytes(range(256)) * (SPOOL // 256 + 5000)
    world.store("a")["/big"] = content
    fill(world, "a", 20)
    small = [move(i, f"remote://a/f{i}", f"remote://b/g{i}") for i in range(20)]
    summary, told = world.run(move(99, "remote://a/big", "remote://b/big"), *small)
    assert (summary.done, summary.exit_code) == (21, 0)
    assert world.store("b")["/big"] == content
    assert told.of(99).digest == sha(content)


@pytest.mark.parametrize("sized", [True, False])
def test_the_pipe_publishes_nothing_wrong(world: World, sized: bool) -> None:
    content = b"z" * (SPOOL + 1)
    world.store("a")["/big"] = content
    wanted = Checksum("sha256", sha(b"other"))
    size = len(content) if sized else None
    summary, told = world.run(move(1, "remote://a/big", "remote://b/big", checksum=wanted, size=size))
    assert "/big" not in world.store("b")
    assert isinstance(told.of(1).error, Corrupted)
    assert summary.exit_code == 1


def test_a_writer_that_fails_frees_the_reader_of_its_pipe(world: World) -> None:
    world.store("a")["/big"] = b"z" * (SPOOL + 40_000_000)

    def fault(path: str) -> None:
        raise Denied("read only")

    world.faults["b"] = fault
    summary, told = world.run(move(1, "remote://a/big", "remote://b/big"))
    assert summary.exit_code == 2
    assert isinstance(told.of(1).error, Denied)


def test_limits_hold(world: World) -> None:
    fill(world, "a", 300)
    fill(world, "c", 300)
    more = [move(1000 + i, f"remote://c/f{i}", f"memory://b/h{i}") for i in range(300)]
    operations = [move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(300)]
    barrier = threading.Barrier(2)

    def meet(path: str) -> None:
        if path in ("/f0", "/f1"):  # two of one host at once, or this waits for ever
            barrier.wait(10)

    world.faults["a"] = meet
    world.faults["c"] = lambda path: None
    summary, _ = world.run(*operations, *more, concurrency=6, per_host=2)
    assert summary.done == 600
    assert world.most["a"] == 2
    assert world.most["c"] <= 2


def test_one_hanging_host_does_not_starve_the_others(world: World) -> None:
    fill(world, "hangs", 20)
    fill(world, "good", 50)
    hang = Hang()
    world.faults["hangs"] = hang
    bad = [move(i, f"remote://hangs/f{i}", f"memory://b/x{i}") for i in range(20)]
    good = [move(100 + i, f"remote://good/f{i}", f"memory://b/g{i}") for i in range(50)]
    recorder = Recorder()
    world.settings = Settings(Credentials.none(), memory=world.settings.memory)
    engine = world.engine(recorder, concurrency=2, attempts=1)
    done = threading.Event()

    def look(progress: object) -> None:
        if sum(o.status == "done" for o in recorder.outcomes) == 50:
            done.set()
            engine.cancel("seen enough")

    recorder.tick = look  # type: ignore[method-assign]
    summary = engine.run([*bad, *good])
    hang.release.set()
    assert done.is_set()
    assert (summary.done, summary.cancelled) == (50, 20)


def test_a_stall_is_ended_and_tried_again(world: World) -> None:
    world.store("a")["/f"] = b"x"
    hang = Hang()

    def once(path: str) -> None:
        if not hang.entered.is_set():
            hang(path)

    world.faults["a"] = once
    world.settings = type(world.settings)(
        world.settings.credentials, stall_timeout=-1.5, memory=world.settings.memory
    )
    summary, told = world.run(move(1, "remote://a/f", "memory://b/g"))
    hang.release.set()
    assert summary.exit_code == 0
    assert summary.abandoned == 1
    assert [a.error.kind if a.error else "" for a in told.of(1).attempts] == ["timed out", ""]


def test_cancelling_reports_every_operation(world: World) -> None:
    fill(world, "a", 30_000)
    recorder = Recorder()
    engine = world.engine(recorder)
    world.faults["a"] = lambda path: engine.cancel("SIGTERM") if path == "/f50" else None
    summary = engine.run([move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(30_000)])
    assert summary.done + summary.cancelled == 30_000 == len(recorder.outcomes)
    assert summary.cancelled > 0
    assert summary.exit_code == 1
    assert {type(o.error) for o in recorder.outcomes} <= {Cancelled, type(None)}


def test_more_operations_than_the_window_holds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "WINDOW", 50)
    for authority in "abcd":
        fill(world, authority, 400)
    operations = [move(n, f"remote://{'abcd'[n % 4]}/f{n // 4}", f"memory://x/{n}") for n in range(1600)]
    summary, _ = world.run(*operations)
    assert summary.done == 1600
    assert len(world.store("x")) == 1600


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


def test_the_destination_proves_what_it_stores(world: World) -> None:
    world.store("a")["/f"] = b"content"
    stored = world.store("b")

    class Rotten(dict[str, bytes]):
        def __setitem__(self, key: str, value: bytes) -> None:
            super().__setitem__(key, value[:-1] + b"!")

    world.settings.memory["b"] = Rotten(stored)
    summary, told = world.run(move(1, "memory://a/f", "remote://b/g", verify_checksum_remote=True))
    assert isinstance(told.of(1).error, Corrupted)
    assert "/g" not in world.settings.memory["b"]
    world.settings.memory["b"] = {}
    summary, told = world.run(move(1, "memory://a/f", "remote://b/g", verify_checksum_remote=True))
    assert summary.exit_code == 0
    assert told.of(1).verified == ("remote",)


def test_a_backend_that_breaks_in_the_middle_loses_nothing(world: World) -> None:
    fill(world, "a", 40)
    world.in_flight = 4
    struck = []

    def fault(path: str) -> None:
        if path == "/f7" and not struck:
            struck.append(path)
            raise RuntimeError("a bug with a secret in its text")

    world.faults["a"] = fault
    summary, told = world.run(*[move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(40)])
    assert (summary.done, summary.exit_code) == (40, 0)
    (broken,) = [a.error for o in told.outcomes for a in o.attempts if a.error is not None]
    assert (broken is not None and broken.kind == "transient") or broken.kind == "defect"
    assert "secret" not in str(broken)


def test_planning_moves_nothing(world: World) -> None:
    fill(world, "a", 1)
    engine = world.engine(Recorder())
    plan = engine.plan(move(1, "remote://a/f0", "remote://b/g"))
    assert (plan.route, plan.error) == ("relay", None)
    assert isinstance(engine.plan(move(1, "gopher://a/f", "memory://b/g")).error, Unsupported)
    assert world.store("b") == {}
    engine.close()


def test_half_a_million_operations_keep_memory_bounded() -> None:
    """Counted in tasks, not in bytes: what waits beyond the window is an index."""
    world = World()
    world.store("a")["/f"] = b""
    operations = [move(i, "memory://a/f", f"memory://b/{i % 7}") for i in range(30_000)]
    recorder = Recorder()
    summary = world.engine(recorder).run(operations)
    assert summary.done == 30_000


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


def test_a_link_to_a_remote_file_is_a_copy(world: World, tmp_path: Path) -> None:
    world.store("a")["/f"] = b"content"
    summary, told = world.run(move(1, "remote://a/f", f"symlink://{tmp_path}/f"))
    assert (tmp_path / "f").read_bytes() == b"content"
    assert (summary.exit_code, told.of(1).route) == (0, "direct")


def test_bytes_pass_through_here_where_their_digest_is_to_be_recorded(world: World) -> None:
    class Copying(Remote):
        def copies(self, other: object, want: object) -> bool:
            return True

        def copy(self, jobs: Iterator[Job[None]], other: object, control: object) -> Iterator[Job[None]]:
            for job in jobs:
                store = self.world.store(self.authority)
                store[job.to] = store[job.path]
                yield job

    fill(world, "a", 2)
    world.remote = Copying
    _, told = world.run(
        move(0, "remote://a/f0", "remote://a/g0"),
        move(1, "remote://a/f1", "remote://a/g1", lfn="f1", generate_checksum=True),
    )
    assert (told.of(0).route, told.of(0).digest) == ("server-side", "")
    assert (told.of(1).route, told.of(1).digest) == ("relay", sha(world.store("a")["/f1"]))
