"""The story of an upload: whatever goes wrong at whichever request, the old file or the new one is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pegasus_toolkit.transfer.backends.shared import trees
from pegasus_toolkit.transfer.backends.shared.files import may
from pegasus_toolkit.transfer.backends.shared.runner import All, Runner
from pegasus_toolkit.transfer.backends.shared.upload import upload
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    Defect,
    Denied,
    IsDirectory,
    ServerFault,
    TimedOut,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Control, Job, Requirement, Source
from pegasus_toolkit.transfer.streams.checked import MemorySource
from tests.shared_world import MemoryFiles, Request, Wire, runner

OLD, NEW = b"old content", b"the new content"
SERVERS: list[dict[str, Any]] = [
    {},
    {"knows_replace": False, "replaces": None},
    {"replaces": False},
    {"asks_first": True},
]
FAULTS = ("refused", "lost", "broken", "broken after")


def job(path: str = "/d/file", content: bytes = NEW, remote: bool = False) -> Job[Source]:
    required = Requirement(remote=remote)
    return Job(path, "", required, MemorySource("source", content, required, Control()))


def send(files: MemoryFiles, wire: Wire, *jobs: Job[Source]) -> list[TransferError | None]:
    tasks = runner(wire).run(((one, upload(files, one)) for one in jobs), 8)
    try:
        return [task.error for task in tasks]
    except TransferError as error:
        return [error]


@pytest.mark.parametrize("traits", SERVERS)
@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_any_fault_at_any_request(traits: dict[str, Any], remote: bool, there: bool) -> None:
    """Old or new, never less; and nothing stands aside, but where the answer to its removal was lost."""
    at = 0
    while True:
        at += 1
        reached = False
        for how in FAULTS:
            tree: dict[str, bytes | str | None] = {"/d": None} | ({"/d/file": OLD} if there else {})
            files, wire = MemoryFiles(tree, **traits), Wire(fail_at=at, how=how)
            (error,) = send(files, wire, job(remote=remote))
            reached = reached or wire.count >= at
            if error is None:
                assert tree["/d/file"] == NEW
            elif there:
                assert tree.get("/d/file") in (OLD, NEW), (at, how, wire.names)
            else:
                assert tree.get("/d/file", NEW) == NEW, (at, how, wire.names)
            left = {name for name in tree if name not in ("/d", "/d/file")}
            assert len(left) <= (error is None), (at, how, wire.names, left)
        if not reached:
            assert at > 5
            return


def closed_at(files: MemoryFiles, at: int) -> None:
    """A batch whose generator is closed when so many requests were answered."""
    wire = Wire()
    first = job(content=b"")

    def both() -> Iterator[tuple[Any, Any]]:
        yield first, upload(files, job("/d/other", b""))
        yield None, upload(files, job())

    tasks = runner(wire).run(both(), 2)
    step = wire.step

    def counted(patience: float) -> None:
        if wire.count == at:
            raise KeyboardInterrupt
        step(patience)
        if wire.count == at:
            wire.step = step  # type: ignore[method-assign]
            raise KeyboardInterrupt

    wire.step = counted  # type: ignore[method-assign]
    try:
        for _ in tasks:
            pass
    except KeyboardInterrupt:
        pass
    finally:
        tasks.close()


@pytest.mark.parametrize("traits", SERVERS)
def test_given_up_at_any_request(traits: dict[str, Any]) -> None:
    for at in range(1, 14):
        tree: dict[str, bytes | str | None] = {"/d": None, "/d/file": OLD}
        closed_at(MemoryFiles(tree, **traits), at)
        assert tree["/d/file"] in (OLD, NEW)
        assert set(tree) <= {"/d", "/d/file", "/d/other"}, at


@pytest.mark.parametrize("remote", [False, True])
def test_short_or_wrong_is_not_published(remote: bool) -> None:
    tree: dict[str, bytes | str | None] = {"/d": None, "/d/file": OLD}
    files = MemoryFiles(tree)
    files.short, files.spoil = not remote, remote
    (error,) = send(files, Wire(), job(remote=remote))
    assert isinstance(error, Corrupted) and error.side == "destination"
    assert tree == {"/d": None, "/d/file": OLD}


def test_proof_comes_before_the_name() -> None:
    wire = Wire()
    one = job(remote=True)
    assert send(MemoryFiles({"/d": None}), wire, one) == [None]
    assert wire.names.index("read") < wire.names.index("rename-over")
    assert one.proven
    assert set(one.stored) == {"size", "read back"}


def test_directories_are_made_once() -> None:
    tree: dict[str, bytes | str | None] = {"": None}
    wire = Wire(width=16)
    files = MemoryFiles(tree, asks_first=True)
    assert send(files, wire, *(job(f"/a/b/c/{n}") for n in range(20))) == [None] * 20
    assert all(tree[f"/a/b/c/{n}"] == NEW for n in range(20))
    assert wire.names.count("make") <= 6  # each of three once, and once more after its parent was made


def test_a_file_in_the_way_of_a_directory_fails_alone() -> None:
    tree: dict[str, bytes | str | None] = {"/d": None, "/d/file": OLD}
    wrong, right = send(MemoryFiles(tree), Wire(), job("/d/file/below"), job("/d/right"))
    assert wrong is not None and right is None
    assert tree == {"/d": None, "/d/file": OLD, "/d/right": NEW}


@pytest.mark.parametrize("path", ["/d/sub/", ""])
def test_name_of_a_directory(path: str) -> None:
    (error,) = send(MemoryFiles({"/d": None}), Wire(), job(path))
    assert isinstance(error, IsDirectory)


@pytest.mark.parametrize("traits", SERVERS)
def test_directory_at_the_destination_stays(traits: dict[str, Any]) -> None:
    tree: dict[str, bytes | str | None] = {"/d": None, "/d/file": None, "/d/file/x": OLD}
    (error,) = send(MemoryFiles(dict(tree), **traits), Wire(), job())
    assert isinstance(error, IsDirectory)


@pytest.mark.parametrize("refused", [(".part",), ("/.",), (".part", "/.")])
def test_another_name_where_one_is_refused(refused: tuple[str, ...]) -> None:
    files = MemoryFiles({"/d": None})
    files.refused_names = refused
    assert send(files, Wire(), job(), job("/d/2")) == [None, None]
    assert files.tree == {"/d": None, "/d/file": NEW, "/d/2": NEW}
    assert files.traits.naming == 1


def test_no_name_at_all() -> None:
    files = MemoryFiles({"/d": None})
    files.refused_names = ("/",)
    (error,) = send(files, Wire(), job())
    assert isinstance(error, Denied) and may(error, "name")


class Broken(MemoryFiles):
    def write(self, sending: Any, name: str) -> Any:
        yield Request("open", lambda: None)
        raise KeyError("a defect of a protocol")


def test_a_defect_fails_its_own_file() -> None:
    wrong, right = [], []
    for files, found in ((Broken({"/d": None}), wrong), (MemoryFiles({"/d": None}), right)):
        found += send(files, Wire(), job())
    assert isinstance(wrong[0], Defect) and right == [None]


def test_what_a_source_raises_fails_its_own_file() -> None:
    tree: dict[str, bytes | str | None] = {"/d": None}
    required = Requirement("sha256", "0" * 64)
    bad: Job[Source] = Job("/d/bad", "", required, MemorySource("source", NEW, required, Control()))
    wrong, right = send(MemoryFiles(tree), Wire(), bad, job())
    assert isinstance(wrong, Corrupted) and right is None
    assert tree == {"/d": None, "/d/file": NEW}


def test_no_more_requests_than_there_is_room_for() -> None:
    wire = Wire(width=2)
    assert send(MemoryFiles({"/d": None}), wire, *(job(f"/d/{n}") for n in range(30))) == [None] * 30
    assert wire.most == 2


def test_a_broken_wire_fails_the_batch() -> None:
    (error,) = send(MemoryFiles({"/d": None}), Wire(fail_at=2, how="broken"), job(), job("/d/2"))
    assert isinstance(error, Cancelled)


def test_no_client_for_the_clean_up() -> None:
    """It ends all the same."""
    wire = Wire(fail_at=3, how="broken")
    from pegasus_toolkit.transfer.backends.shared.runner import Runner

    tree: dict[str, bytes | str | None] = {"/d": None, "/d/file": OLD}
    with pytest.raises(Cancelled):
        list(Runner(wire).run(iter([(None, upload(MemoryFiles(tree), job()))]), 1))
    assert tree["/d/file"] == OLD


def test_an_error_without_a_hint_is_no_refusal() -> None:
    """A rename that failed for another reason is not tried in another way."""
    tree: dict[str, bytes | str | None] = {"/d": None, "/d/file": OLD}
    files = MemoryFiles(tree)

    def rename(old: str, new: str, replace: bool) -> Any:
        yield Request("rename", lambda: None)
        raise ServerFault("overloaded")

    files.rename = rename  # type: ignore[method-assign]
    wire = Wire()
    (error,) = send(files, wire, job())
    assert isinstance(error, ServerFault) and wire.names.count("rename") == 1
    assert tree == {"/d": None, "/d/file": OLD}


def test_what_comes_back_after_it_was_removed_is_removed_again() -> None:
    """A server that makes a file and opens it in two steps has it again after a clean-up in between."""
    tree: dict[str, bytes | str | None] = {"/d": None}
    files = MemoryFiles(tree)
    plainly = files.unlink
    removed: list[str] = []

    def write(sending: Any, name: str) -> Any:
        yield Request("write", lambda: tree.update({name: b"begun"}))
        raise TimedOut("no answer")

    def unlink(path: str) -> Any:
        yield from plainly(path)
        if not removed:
            tree[path] = b"opened"
        removed.append(path)

    files.write, files.unlink = write, unlink  # type: ignore[method-assign]
    (error,) = send(files, Wire(), job())
    assert isinstance(error, TimedOut)
    assert len(removed) == 2
    assert tree == {"/d": None}


def numbered(count: int, broken: int, refuses: int, begun: list[int]) -> Iterator[Any]:
    """Stories that return their numbers; making one of them raises, another one fails."""
    for number in range(count):
        if number == broken:
            raise Corrupted("no more of the source")
        begun.append(number)

        def story(number: int = number) -> Any:
            yield Request("one", lambda: None)
            if number == refuses:
                raise ServerFault("refused")
            return number

        yield story()


@pytest.mark.parametrize("together", [False, True])
def test_stories_side_by_side(together: bool) -> None:
    begun: list[int] = []

    def all_of_them() -> Any:
        return (yield All(numbered(20, 99, 4, begun), 3, together))

    found = runner(Wire()).one(all_of_them())
    assert begun == list(range(20 if not together else len(begun))) and found[:4] == [0, 1, 2, 3]
    assert isinstance(found[4], ServerFault)
    assert len(found) == len(begun) <= (20 if not together else 7)


def test_a_source_that_fails_ends_its_stories() -> None:
    begun: list[int] = []

    def all_of_them() -> Any:
        return (yield All(numbered(20, 5, 99, begun), 3))

    *good, wrong = runner(Wire()).one(all_of_them())
    assert good == begun == [0, 1, 2, 3, 4] and isinstance(wrong, Corrupted)


@pytest.mark.parametrize("clean_up", [True, False])
def test_another_client_is_opened_only_where_something_is_to_be_removed(clean_up: bool) -> None:
    wire, opened = Wire(fail_at=2, how="broken"), []

    def renew() -> None:
        opened.append(1)

    files = MemoryFiles({"/d": None})
    steps = upload(files, job()) if clean_up else trees.remove(files, "/d", True)
    with pytest.raises(Cancelled):
        Runner(wire, renew, wire.clock).one(steps)
    assert bool(opened) == clean_up


def test_a_batch_takes_no_more_than_there_is_room_for() -> None:
    wire, most = Wire(), 0
    files = MemoryFiles({"/d": None})

    def room(under_way: int) -> bool:
        nonlocal most
        most = max(most, under_way + 1 if under_way < 2 else 0)
        return under_way < 2

    stories = ((n, upload(files, job(f"/d/{n}"))) for n in range(9))
    assert [task.error for task in Runner(wire, clock=wire.clock).run(stories, 5, room)] == [None] * 9
    assert most == 2
