"""The engine as a whole, above stores with faults on order: every route keeps every promise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pegasus_toolkit.transfer.engine.lanes import SPOOL
from pegasus_toolkit.transfer.errors import CannotCopy, Corrupted, Denied, ServerFault, Unsupported
from pegasus_toolkit.transfer.interface import Job
from pegasus_toolkit.transfer.model import Checksum
from tests.worlds import Recorder, Remote, World, at, fill, move, sha


@pytest.fixture
def world() -> World:
    return World()


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


def test_an_unknown_scheme_names_the_known_ones(world: World) -> None:
    summary, told = world.run(move(1, "gopher://a/f", "memory://b/g"))
    assert summary.exit_code == 2
    assert isinstance(told.of(1).error, Unsupported)
    assert "'gopher'" in str(told.of(1).error)


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


def test_planning_moves_nothing(world: World) -> None:
    fill(world, "a", 1)
    engine = world.engine(Recorder())
    plan = engine.plan(move(1, "remote://a/f0", "remote://b/g"))
    assert (plan.route, plan.error) == ("relay", None)
    assert isinstance(engine.plan(move(1, "gopher://a/f", "memory://b/g")).error, Unsupported)
    assert world.store("b") == {}
    engine.close()


class Copying(Remote):
    """Copies within itself, but for names that begin with ``/no``; ``asked`` by path."""

    def copies(self, other: object, required: object) -> bool:
        return True

    def copy(self, jobs: Iterator[Job[None]], other: object, control: object) -> Iterator[Job[None]]:
        for job in jobs:
            self.world.enter(self.authority, f"copy {job.path}")
            store = self.world.store(self.authority)
            if job.path.startswith("/no"):
                job.error = CannotCopy("quota of copies used up")
            else:
                store[job.destination] = store[job.path]
            yield job


def test_bytes_pass_through_here_where_their_digest_is_to_be_recorded(world: World) -> None:
    fill(world, "a", 2)
    world.remote = Copying
    _, told = world.run(
        move(0, "remote://a/f0", "remote://a/g0"),
        move(1, "remote://a/f1", "remote://a/g1", lfn="f1", generate_checksum=True),
    )
    assert (told.of(0).route, told.of(0).digest) == ("server-side", "")
    assert (told.of(1).route, told.of(1).digest) == ("relay", sha(world.store("a")["/f1"]))


def test_what_a_storage_will_not_copy_goes_through_here_at_no_cost(world: World) -> None:
    fill(world, "a", 1)
    asked: list[str] = []

    def fault(path: str) -> None:
        asked.append(path)
        if path == "/no1" and asked.count(path) == 1:
            raise ServerFault("busy")

    world.faults["a"] = fault
    world.store("a").update({f"/no{i}": b"%d" % i for i in range(9)})
    world.remote = Copying
    summary, told = world.run(
        move(0, "remote://a/f0", "remote://a/g0"),
        *[move(1 + i, f"remote://a/no{i}", f"remote://a/h{i}") for i in range(9)],
        attempts=2,
    )
    assert (summary.done, summary.exit_code) == (10, 0)
    assert told.of(0).route == "server-side"
    for i in range(9):
        assert world.store("a")[f"/h{i}"] == b"%d" % i
        outcome = told.of(1 + i)
        assert (outcome.route, outcome.digest) == ("relay", sha(b"%d" % i))
        assert len(outcome.attempts) == 1 + (i == 1), "to be told that it will not copy is no attempt"
        assert asked.count(f"copy /no{i}") == 1, "the storage was asked again"
