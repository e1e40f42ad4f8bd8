"""What nobody expected: whatever is raised wherever, every operation is settled, and the run ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Defect,
    ResourceLimit,
    Throttled,
    TransferError,
    Transient,
    translate,
)
from pegasus_toolkit.transfer.interface import Entry, Job, Sink
from pegasus_toolkit.transfer.model import Operation
from tests.worlds import Recorder, Remote, World, at, fill, move, remove


@pytest.fixture
def world() -> World:
    return World()


class Strange(Remote):
    """Raises at one place, named by the authority."""

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        for job in jobs:
            if self.authority == "dies":
                raise SystemExit("a library that ends the process")
            if self.authority == "loses" and job.path == "/f3":
                continue
            if self.authority == "abort" and job.path == "/f3":
                job.end.abort = self._abort  # type: ignore[method-assign]
                raise RuntimeError("half-way")
            yield from super().get(iter([job]))

    @staticmethod
    def _abort() -> None:
        raise KeyError("cannot even be dropped")

    def list(self, prefix: str) -> Iterator[Entry]:
        found = list(self.inner.list(prefix))
        yield from found[:2]
        if self.authority == "lists":
            raise ValueError("invalid literal for int(): 'abc'")
        if self.authority == "odd":
            yield Entry(f"{prefix}../../etc/passwd", 3)
            yield Entry("/elsewhere", 3)
        yield from found[2:]

    def close(self) -> None:
        super().close()
        if self.authority == "abort":
            raise OSError(errno.EBADF, "closed already")


@pytest.mark.parametrize("authority", ["dies", "loses", "abort"])
def test_a_backend_that_breaks_in_a_way_of_its_own_fails_its_files_only(world: World, authority: str) -> None:
    world.remote = Strange
    fill(world, authority, 5)
    fill(world, "good", 20)
    bad = [move(i, f"remote://{authority}/f{i}", f"memory://b/{i}") for i in range(5)]
    good = [move(10 + i, f"remote://good/f{i}", f"memory://b/g{i}") for i in range(20)]
    summary, told = world.run(*bad, *good, attempts=2)
    assert len(told.outcomes) == 25
    assert all(told.of(10 + i).status == "done" for i in range(20))
    assert isinstance(told.of(3).error, Defect)
    assert summary.exit_code == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_listing_that_breaks_ends_and_is_told(world: World, count: int) -> None:
    world.remote = Strange
    world.store("lists").update({f"/d/{n}": b"x" for n in range(count)})
    summary, told = world.run(move(1, "remote://lists/d/", "memory://b/e/"), attempts=2)
    assert (summary.failed, summary.exit_code) == (1, 1)
    assert isinstance(told.of(1).error, Defect)
    assert len(world.store("b")) == min(2, count), "what was listed before is moved"


def test_one_bad_entry_fails_alone_and_never_its_directory(world: World) -> None:
    world.remote = Strange
    world.store("odd").update({f"/d/{n}": b"x" for n in range(6)})
    summary, told = world.run(move(1, "remote://odd/d/", "memory://b/e/"))
    assert set(world.store("b")) == {f"/e/{n}" for n in range(6)}
    assert (summary.failed, summary.exit_code) == (1, 2)
    assert told.of(1).detail == "2 of 8 files failed"
    bad = [o for o in told.outcomes if o.member and o.error is not None]
    assert [type(o.error) for o in bad] == [BadSpecification] * 2
    assert {o.operation.sources[0].path for o in bad} == {"/d/../../etc/passwd", "/elsewhere"}


def test_what_cannot_be_prepared_fails_alone(world: World, tmp_path: Any) -> None:
    """A name that the operating system does not take is a ``ValueError`` of its own."""
    fill(world, "a", 4)
    names = ["x", "\0", "y", "\udcff"]
    summary, told = world.run(
        *[move(n, f"remote://a/f{n}", f"file://{tmp_path}/{names[n]}") for n in range(4)]
    )
    assert len(told.outcomes) == 4
    assert (tmp_path / "x").read_bytes() == b"0" * 10
    assert (tmp_path / "y").read_bytes() == b"2" * 10
    assert told.of(1).error is not None
    assert summary.done >= 2


def test_a_question_about_earlier_runs_that_cannot_be_answered_fails_that_one(world: World) -> None:
    fill(world, "a", 4)
    recorder = Recorder()

    def done(operation: Operation) -> bool:
        if operation.id == 2:
            raise RuntimeError("a journal of another kind")
        return False

    operations = [move(i, f"remote://a/f{i}", f"memory://b/{i}") for i in range(4)]
    summary = world.engine(recorder).run(operations, done)
    assert (summary.done, summary.failed) == (3, 1)
    assert isinstance(recorder.of(2).error, Defect)


def test_no_endpoint_that_opens_strangely_stops_the_others(world: World) -> None:
    fill(world, "a", 4)

    def broken(authority: str) -> None:
        raise ZeroDivisionError

    world.opening["broken"] = broken
    summary, told = world.run(
        move(0, "remote://broken/f", "memory://b/0"),
        remove(1, "remote://broken/f"),
        *[move(10 + i, f"remote://a/f{i}", f"memory://b/{i}") for i in range(4)],
    )
    assert (summary.done, summary.failed, summary.exit_code) == (4, 2, 1)
    assert isinstance(told.of(0).error, Defect)


# -- limits of this machine --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_limits_of_this_machine_are_told_as_such(number: int) -> None:
    error = translate(OSError(number, os.strerror(number)), host="far", side="source")
    assert isinstance(error, ResourceLimit)
    assert error.hint and not error.host and not error.side
    assert isinstance(translate(MemoryError()), ResourceLimit)
    assert isinstance(translate(ValueError("x")), Defect)
    assert type(translate(OSError(errno.EIO, "I/O error"))) is Transient
    assert isinstance(translate(Throttled("x")), Throttled)


def test_too_many_open_files_means_fewer_at_once(world: World) -> None:
    """As with ``ulimit -n``: no file fails as long as some can be moved."""
    fill(world, "a", 100)
    refused = []

    def fault(path: str) -> None:
        if world.busy["a"] > 3:
            refused.append(path)
            raise translate(OSError(errno.EMFILE, "Too many open files", path))
        for _ in range(100):
            os.sched_yield()

    world.faults["a"] = fault
    operations = [move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(100)]
    summary, _ = world.run(*operations, concurrency=16, patience=30.0)
    assert (summary.done, summary.exit_code) == (100, 0)


class NoThreads(Runtime):
    """A machine that starts no thread, or only so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def thread(self, work: Any, name: str) -> Any:
        thread = super().thread(work, name)
        if self.most <= 0:
            thread.start = self._refuse  # type: ignore[method-assign]
        self.most -= 1
        return thread

    @staticmethod
    def _refuse() -> None:
        raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("most", [0, 1, 3])
def test_where_no_thread_can_be_started_it_ends_or_goes_on_with_fewer(world: World, most: int) -> None:
    fill(world, "a", 30)
    recorder = Recorder()
    engine = world.engine(recorder, concurrency=8)
    engine.runtime = NoThreads(most)
    summary = engine.run([move(i, f"remote://a/f{i}", f"memory://b/g{i}") for i in range(30)])
    assert len(recorder.outcomes) == 30
    errors: set[type[TransferError]] = {type(o.error) for o in recorder.outcomes if o.error is not None}
    assert errors <= {ResourceLimit}
    assert summary.done + summary.failed == 30
    assert most > 0 or summary.done == 0


class Rotting(dict[str, bytes]):
    """A store that keeps something else than it was given."""

    def __setitem__(self, path: str, data: bytes) -> None:
        super().__setitem__(path, data[:-1] + b"?")


@pytest.mark.parametrize("scheme", ["remote", "memory"])
def test_what_a_destination_cannot_prove_is_the_destinations_fault(world: World, scheme: str) -> None:
    """It is removed there, and the same source goes to the next destination."""
    fill(world, "a", 1)
    world.settings.memory["rots"] = Rotting()
    operation = msgspec.structs.replace(
        move(1, f"{scheme}://a/f0", "remote://rots/g"),
        destinations=(at("remote://rots/g"), at("remote://good/g")),
        verify_checksum_remote=True,
    )
    summary, told = world.run(operation)
    first, second = told.of(1).attempts
    assert isinstance(first.error, Corrupted) and first.error.side == "destination"
    assert second.error is None and second.destination is not None
    assert second.destination.url == "remote://good/g"
    assert summary.exit_code == 0
    assert (world.store("rots"), world.store("good")) == ({}, {"/g": world.store("a")["/f0"]})
