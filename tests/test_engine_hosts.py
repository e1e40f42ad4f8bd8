"""A host that throttles or is away: its own affair, told from what is wrong with a file."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pegasus_toolkit.transfer.engine.hosts import Host
from pegasus_toolkit.transfer.engine.retry import Retry
from pegasus_toolkit.transfer.errors import (
    Corrupted,
    NotFound,
    ServerFault,
    Throttled,
    TransferError,
    Unreachable,
)
from tests.worlds import World, at, fill, move

CALM = Retry(3, chance=lambda: 0.0)


@pytest.fixture
def world() -> World:
    return World()


def times(count: int, make: Callable[[], TransferError]) -> Callable[[str], None]:
    """A fault that strikes so many times in all."""
    left = [count]
    lock = threading.Lock()

    def fault(path: str) -> None:
        with lock:
            left[0] -= 1
            if left[0] < 0:
                return
        raise make()

    return fault


# -- delays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", range(2, 10))
@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_delays_of_a_server_that_gives_nothing_outlast_its_restart(rounds: int, chance: float) -> None:
    retry = Retry(rounds, chance=lambda: chance)
    delays = [retry.delay(n, ServerFault("busy")) for n in range(1, rounds)]
    assert 60 <= sum(delays) <= 300
    assert delays == sorted(delays)
    assert rounds == 2 or delays[0] <= 1.5, "the first repetition is soon"


def test_what_moved_or_came_wrong_is_tried_again_soon() -> None:
    assert [CALM.delay(n, ServerFault("reset"), 1) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert [CALM.delay(n, Corrupted("wrong")) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert CALM.delay(9, Corrupted("wrong")) == 30.0
    assert CALM.delay(1, Throttled("wait", retry_after=100.0)) >= 100


# -- one host ----------------------------------------------------------------------------------------


def test_pauses_grow_and_keep_retry_after() -> None:
    host, now = Host("h", 8, CALM), 0.0
    for expected in (1.0, 2.0, 4.0, 8.0, 15.0, 15.0):
        assert host.troubled(Throttled("busy"), now, now, crowded=False) == "borne"
        assert host.paused_until - now == expected
        assert host.paused(now + expected - 0.01) and not host.paused(now + expected)
        now = host.paused_until
    assert host.troubled(Throttled("busy", retry_after=100.0), now, now, crowded=True) == "borne"
    assert host.paused_until >= now + 100


def test_all_that_was_in_flight_at_a_pause_is_one_trouble() -> None:
    host = Host("h", 16, CALM)
    host.used = 16
    for n in range(16):
        host.troubled(Throttled("busy"), 0.0, 5.0 + n / 100, crowded=True)
    assert (host.limit, host.paused_until) == (8, 6.0)
    host.troubled(Throttled("busy", retry_after=9.0), 0.0, 5.5, crowded=True)
    assert (host.limit, host.paused_until) == (8, 14.5), "but what it asks for is kept"


def test_patience_ends_after_a_minute_without_success_and_begins_anew_with_one() -> None:
    host = Host("h", 4, CALM)
    assert host.troubled(Unreachable("refused"), 0.0, 0.0, crowded=False) == "borne"
    assert host.troubled(Unreachable("refused"), 59.0, 59.0, crowded=False) == "borne"
    host.succeeded(59.5)
    assert host.troubled(Unreachable("refused"), 60.0, 60.0, crowded=False) == "borne"
    assert host.troubled(Unreachable("refused"), 119.0, 119.0, crowded=False) == "borne"
    assert host.troubled(Unreachable("refused"), 121.0, 121.0, crowded=False) == "away"
    assert host.away(121.5) and not host.away(123.0)


def test_with_one_attempt_only_throttling_among_other_files_is_borne() -> None:
    once = Retry(1, chance=lambda: 0.0)
    assert Host("h", 4, once).troubled(Unreachable("refused"), 0.0, 0.0, crowded=False) == "away"
    assert Host("h", 4, once).troubled(Throttled("busy"), 0.0, 0.0, crowded=False) == "away"
    assert Host("h", 4, once).troubled(Unreachable("refused"), 0.0, 0.0, crowded=True) == "counts"
    assert Host("h", 4, once).troubled(Throttled("busy"), 0.0, 0.0, crowded=True) == "borne"
    served = Host("h", 4, once)
    served.succeeded(0.0)
    assert served.troubled(Unreachable("refused"), 1.0, 1.0, crowded=False) == "counts"
    assert served.troubled(Throttled("busy"), 9.0, 9.0, crowded=False) == "borne"


def test_connections_shrink_to_what_a_host_allows_and_regrow_slowly() -> None:
    """A host that takes three at once, for an hour of files of a second each."""
    host, now, troubles, seen = Host("h", 16, CALM), 0.0, 0, []
    while now < 3600:
        now = max(now + 1.0, host.paused_until)
        host.used = host.limit
        if host.limit > 3:
            troubles += 1
            host.troubled(Throttled("busy"), now, now, crowded=True)
        for _ in range(min(3, host.used)):
            host.succeeded(now)
        seen.append(host.limit)
    assert troubles < 25, "it is asked for more only now and then"
    assert sum(seen[100:]) / len(seen[100:]) > 2.8, "what it allows is used"
    for _ in range(20_000):  # now it allows all
        now += 1.0
        host.succeeded(now)
    assert host.limit == 16


# -- above the engine --------------------------------------------------------------------------------


def test_throttling_uses_up_no_attempt(world: World) -> None:
    fill(world, "a", 60)
    world.faults["a"] = times(7, lambda: Throttled("slow down"))
    summary, told = world.run(
        *[move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(60)],
        attempts=2,
        patience=30.0,
        concurrency=1,
    )
    assert (summary.done, summary.exit_code) == (60, 0)
    assert max(len(told.of(i).attempts) for i in range(60)) > 2


def test_a_host_that_throttles_for_ever_fails_when_patience_is_over(world: World) -> None:
    world.faults["a"] = times(10**9, lambda: Throttled("never"))
    operations = [move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(300)]
    summary, told = world.run(*operations)
    assert (summary.failed, summary.exit_code) == (300, 1)
    assert all(isinstance(told.of(i).error, Throttled) for i in range(300))


def test_a_pause_holds_back_every_lane_of_its_host_and_no_other(world: World) -> None:
    for authority in ("a", "b"):
        fill(world, authority, 20)
    asked: list[str] = []
    paused = threading.Event()

    def fault(path: str) -> None:
        asked.append(path)
        if not paused.is_set():
            paused.set()
            raise Throttled("wait", retry_after=0.3)

    world.faults["a"] = fault
    down = [move(i, f"remote://a/f{i}", f"memory://x/{i}") for i in range(10)]
    up = [move(20 + i, f"memory://b/f{i}", f"remote://a/u{i}") for i in range(10)]
    other = [move(40 + i, f"remote://b/f{i}", f"memory://y/{i}") for i in range(20)]
    seen = len(world.store("y"))
    summary, told = world.run(*down, *up, *other, concurrency=1)
    assert (summary.done, seen) == (40, 0)
    first = min(told.of(i).attempts[0].started for i in range(30) if i < 10 or i >= 20)
    later = sorted(a.started for i in (*range(10), *range(20, 30)) for a in told.of(i).attempts)[1:]
    assert min(later) >= first + 0.3
    assert min(told.of(i).attempts[0].started for i in range(40, 60)) < first + 0.3


def test_those_who_can_go_elsewhere_do_not_wait_for_a_host_that_is_away(world: World) -> None:
    fill(world, "b", 200)
    fill(world, "down", 1)
    world.faults["down"] = times(10**9, lambda: Unreachable("refused", host="down"))
    both = [move(i, f"remote://down/f{i}", f"remote://b/f{i}", f"memory://x/{i}") for i in range(200)]
    only = move(500, "remote://down/f0", "memory://x/only")
    summary, told = world.run(only, *both, patience=0.4)
    assert (summary.done, summary.failed, summary.exit_code) == (200, 1, 1)
    last = max(told.of(i).attempts[-1].started for i in range(200))
    assert last < told.of(500).attempts[-1].started, "they waited for its patience to end"


def test_a_host_that_comes_back_is_waited_for(world: World) -> None:
    fill(world, "a", 50)
    world.faults["a"] = times(6, lambda: Unreachable("refused", host="a"))
    summary, _ = world.run(
        *[move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(50)], attempts=2, patience=30.0
    )
    assert (summary.done, summary.exit_code) == (50, 0)


def test_the_exit_code_tells_of_every_pair_s_last_word(world: World) -> None:
    """Another run may mend the first source; the second is missing for good."""
    world.faults["a"] = times(10**9, lambda: ServerFault("busy"))
    summary, told = world.run(move(1, "remote://a/f", "remote://b/f", "memory://c/g"))
    assert summary.exit_code == 1
    assert isinstance(told.of(1).error, ServerFault)
    missing = move(2, "remote://b/f", "remote://c/g")
    missing = type(missing)(
        id=2, sources=missing.sources, destinations=(at("remote://a/g"), *missing.destinations)
    )
    fills = World()
    fills.faults["a"] = times(1, lambda: ServerFault("busy"))
    fills.faults["b"] = times(0, lambda: NotFound("gone"))
    summary, told = fills.run(missing)
    assert summary.exit_code == 2, "no destination helps a source that is not there"


def test_an_upload_that_was_refused_has_moved_nothing(world: World) -> None:
    """So that its pauses outlast the restart of a server, as those of a download do."""
    world.store("a")["/f"] = b"content"
    world.faults["b"] = times(1, lambda: ServerFault("internal error"))
    for source in ("memory", "remote"):
        _, told = world.run(move(1, f"{source}://a/f", "remote://b/g"), attempts=1)
        world.faults["b"] = times(1, lambda: ServerFault("internal error"))
        assert [a.bytes for a in told.of(1).attempts] == [0]
