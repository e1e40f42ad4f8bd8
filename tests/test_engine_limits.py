"""The engine above troubled hosts: limits, retries, stalls, cancellation, and more than memory holds."""

from __future__ import annotations

import threading

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.engine import intake
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Denied,
    NotFound,
    ServerFault,
    Throttled,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Settings
from tests.worlds import Hang, Recorder, World, fill, move


@pytest.fixture
def world() -> World:
    return World()


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


def test_limits_hold(world: World) -> None:
    world.settings = Settings(Credentials.none(), memory=world.settings.memory)  # nobody stalls
    fill(world, "a", 300)
    fill(world, "c", 300)
    more = [move(1000 + i, f"remote://c/f{i}", f"memory://d/h{i}") for i in range(300)]
    operations = [move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(300)]
    barrier, left, others = threading.Barrier(2), [300], threading.Event()

    def meet(path: str) -> None:
        """Two at once, or this waits for ever; and they stay until all of the other host has been moved,
        so that a third of this one would come if it could."""
        if path in ("/f0", "/f1"):
            barrier.wait(10)
            assert others.wait(30)

    def count(path: str) -> None:
        left[0] -= 1
        if left[0] == 2:  # both of its own may be under way
            others.set()

    world.faults["a"] = meet
    world.faults["c"] = count
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
    monkeypatch.setattr(intake, "WINDOW", 50)
    for authority in "abcd":
        fill(world, authority, 400)
    operations = [move(n, f"remote://{'abcd'[n % 4]}/f{n // 4}", f"memory://x/{n}") for n in range(1600)]
    summary, _ = world.run(*operations)
    assert summary.done == 1600
    assert len(world.store("x")) == 1600


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


def test_half_a_million_operations_keep_memory_bounded() -> None:
    """Counted in tasks, not in bytes: what waits beyond the window is an index."""
    world = World()
    world.store("a")["/f"] = b""
    operations = [move(i, "memory://a/f", f"memory://b/{i % 7}") for i in range(30_000)]
    recorder = Recorder()
    summary = world.engine(recorder).run(operations)
    assert summary.done == 30_000


def test_waiting_costs_nothing(world: World) -> None:
    """The main thread sleeps between ticks while one file is on its way."""
    world.store("a")["/f"] = b"x"
    slow = threading.Event()
    world.faults["a"] = lambda path: slow.wait(1.0) and None
    recorder = Recorder()
    summary = world.engine(recorder).run([move(1, "remote://a/f", "memory://b/g")])
    assert summary.done == 1
    assert len(recorder.ticks) < 40, "the loop did not sleep"
