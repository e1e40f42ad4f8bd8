"""Directories: walked, removed and made by the same stories for all protocols."""

from __future__ import annotations

from typing import Any

import pytest

from pegasus_toolkit.transfer.backends.shared import trees
from pegasus_toolkit.transfer.backends.shared.files import Found, Page, perhaps
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    ServerFault,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Entry
from tests.shared_world import MemoryFiles, Request, Wire, runner

TREE: dict[str, bytes | str | None] = {
    "/d": None,
    **{f"/d/{n}": b"x" * n for n in range(8)},
    "/d/a": None,
    "/d/a/b": None,
    "/d/a/b/file": b"12",
    "/d/empty": None,
    "/d/link": "/d/7",
    "/d/dangling": "/nowhere",
    "/e": None,
}


def walked(files: MemoryFiles, path: str = "/d") -> list[Entry]:
    return list(runner(Wire()).emitted(lambda emit: trees.walk(files, path, emit)))


def removed(files: MemoryFiles, path: str, recursive: bool = True, wire: Wire | None = None) -> None:
    runner(wire or Wire()).one(trees.remove(files, path, recursive))


def test_walk() -> None:
    found = walked(MemoryFiles(dict(TREE)))
    assert len(found) == len(set(found)) == 12
    assert {one.path: one.size for one in found if not one.directory} == {
        **{f"/d/{n}": n for n in range(8)},
        "/d/a/b/file": 2,
        "/d/link": 7,
        "/d/dangling": None,
    }
    assert [one.path for one in found if one.directory] == ["/d/empty"]


@pytest.mark.parametrize("path", ["/d/", "/d"])
def test_walk_with_a_slash(path: str) -> None:
    assert {one.path for one in walked(MemoryFiles(dict(TREE)), path)} >= {"/d/a/b/file"}


def test_walk_of_what_is_not_there() -> None:
    with pytest.raises(NotFound):
        walked(MemoryFiles(dict(TREE)), "/nothing")


def test_walk_begins_before_it_ends() -> None:
    wire = Wire()
    entries = runner(wire).emitted(lambda emit: trees.walk(MemoryFiles(dict(TREE)), "/d", emit))
    next(entries)
    assert wire.count < 8
    entries.close()


@pytest.mark.parametrize("tells", [False, True])
@pytest.mark.parametrize("path", ["/d", "/d/"])
def test_remove_tree(tells: bool, path: str) -> None:
    files = MemoryFiles(dict(TREE), unlink_tells=tells)
    removed(files, path)
    assert files.tree == {"/e": None}


@pytest.mark.parametrize("tells", [False, True])
def test_remove_not_recursive(tells: bool) -> None:
    files = MemoryFiles(dict(TREE), unlink_tells=tells)
    with pytest.raises(IsDirectory):
        removed(files, "/d", recursive=False)
    removed(files, "/d/7", recursive=False)
    removed(files, "/nothing", recursive=False)
    removed(files, "/nothing/below")
    assert files.tree == {name: what for name, what in TREE.items() if name != "/d/7"}


def test_a_link_to_a_directory_is_removed_not_followed() -> None:
    files = MemoryFiles({"/d": None, "/d/link": "/e", "/e": None, "/e/file": b""}, unlink_tells=True)
    removed(files, "/d")
    assert files.tree == {"/e": None, "/e/file": b""}


@pytest.mark.parametrize("path", ["/", "", "/d/..", "/d/."])
def test_no_top_and_no_parent_is_removed(path: str) -> None:
    files = MemoryFiles({**TREE, "": None, "/": None, "/d/..": None, "/d/.": None})
    with pytest.raises(Denied):
        removed(files, path)
    assert "/d/a/b/file" in files.tree


def test_one_that_cannot_be_removed_keeps_no_other() -> None:
    files = MemoryFiles(dict(TREE))
    unlink = files._unlink

    def refusing(path: str) -> None:
        if path == "/d/3":
            raise Denied("busy", url=path)
        unlink(path)

    files._unlink = refusing  # type: ignore[method-assign]
    with pytest.raises(Denied, match="busy"):
        removed(files, "/d")
    assert files.tree == {"/d": None, "/d/3": b"xxx", "/e": None}


def test_make() -> None:
    files = MemoryFiles({"": None, "/file": b""})
    runner(Wire()).one(trees.make(files, "/a/b/c/"))
    runner(Wire()).one(trees.make(files, "/a/b"))
    assert files.tree == {"": None, "/file": b"", "/a": None, "/a/b": None, "/a/b/c": None}
    for path in ("/file", "/file/below"):
        with pytest.raises(Permanent):
            runner(Wire()).one(trees.make(files, path))


def pages(files: MemoryFiles, *listed: Page) -> MemoryFiles:
    """A server that tells these pages of any directory, the last one for ever."""
    left = list(listed)

    def scan(path: str, more: Any) -> Any:
        return (yield Request("scan", lambda: left.pop(0) if len(left) > 1 else left[0]))

    files.scan = scan  # type: ignore[method-assign]
    return files


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "nul\0"])
@pytest.mark.parametrize("remove", [False, True])
def test_names_that_lead_elsewhere(name: str, remove: bool) -> None:
    """Nobody follows them; they fail alone."""
    files = pages(
        MemoryFiles(dict(TREE)), Page([Found("7", False, 1), Found(name, False, 1), Found("6", False, 1)])
    )
    told: list[Entry] = []
    with pytest.raises(ServerFault, match="name"):
        removed(files, "/d") if remove else told.extend(walked(files))
    assert files.tree.keys() == TREE.keys() - ({"/d/7", "/d/6"} if remove else set())


def test_what_is_not_understood_fails_when_all_else_was_told() -> None:
    wrong = ServerFault("a line that nobody understands")
    files = pages(
        MemoryFiles(dict(TREE)), Page([Found("a", False, 1)], 1, wrong), Page([Found("b", False, 1)])
    )
    told: list[Entry] = []
    with pytest.raises(ServerFault, match="nobody"):
        iter_into(told, files)
    assert [one.path for one in told] == ["/d/a", "/d/b"]


@pytest.mark.parametrize(("error", "whole"), [(Denied("not yours"), False), (ServerFault("busy"), True)])
def test_a_directory_that_may_not_be_read_fails_alone(error: TransferError, whole: bool) -> None:
    files = MemoryFiles(dict(TREE))
    scan = files._scan

    def refusing(path: str, at: int) -> Page:
        if path == "/d/a":
            raise error
        return scan(path, at)

    files._scan = refusing  # type: ignore[method-assign]
    told: list[Entry] = []
    with pytest.raises(type(error), match=error.message):
        iter_into(told, files)
    assert {one.path for one in told} >= {"/d/7", "/d/link"}
    assert whole or "/d/empty" in {one.path for one in told}


def iter_into(told: list[Entry], files: MemoryFiles) -> list[Entry]:
    """Keeps what was listed before the error."""
    for entry in runner(Wire()).emitted(lambda emit: trees.walk(files, "/d", emit)):
        told.append(entry)
    return []


def test_one_bad_entry_fails_alone() -> None:
    """All others are handed out before the listing fails."""
    bad = Unsupported("a line that is not understood")
    good = Found("good", False, 1)
    for page in (Page([good], wrong=bad), Page([Found("..", True), good])):
        files, found = pages(MemoryFiles(dict(TREE)), page), list[Entry]()
        with pytest.raises(type(page.wrong or ServerFault(""))):
            runner(Wire()).one(trees.walk(files, "/d", found.append))
        assert [entry.path for entry in found] == ["/d/good"]


@pytest.mark.parametrize(
    "names", [("a",), ("a", "b"), ("",)], ids=["the same again", "two in turns", "nothing for ever"]
)
def test_a_listing_without_end(names: tuple[str, ...]) -> None:
    listed = [Page([Found(name, False, 1)] if name else [], "more") for name in names] * 2
    with pytest.raises(ServerFault, match="end"):
        walked(pages(MemoryFiles(dict(TREE)), *listed))


def test_a_directory_and_a_file_of_one_name_may_end_two_pages() -> None:
    """As an object store lists them."""
    files = pages(MemoryFiles({"/d": None}), Page([Found("a", True)], 1), Page([Found("a", False, 1)]))
    assert runner(Wire()).one(trees.read(files, "/d")).found == [Found("a", True), Found("a", False, 1)]


def test_links_that_lead_in_a_circle() -> None:
    tree: dict[str, bytes | str | None] = {"/d": None, "/d/a": None, "/d/a/up": "/d", "/e": None}
    with pytest.raises(BadSpecification, match=r"circle: mem:/d/a/up"):
        walked(MemoryFiles(tree))
    tree["/d/a/up"] = "/e"
    assert walked(MemoryFiles(tree)) == [Entry("/d/a/up", None, True)]


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("tells", [True, False])
def test_a_link_to_a_directory_is_removed_alone(recursive: bool, tells: bool) -> None:
    tree = {**TREE, "/to": "/d"}
    removed(MemoryFiles(tree, unlink_tells=tells), "/to", recursive)
    assert tree == TREE


def test_a_link_that_cannot_be_removed_keeps_what_it_leads_to() -> None:
    tree = {**TREE, "/to": "/d"}
    files = MemoryFiles(tree, unlink_tells=True)

    def refusing(path: str) -> None:
        raise perhaps(Denied("not yours", url=path), "directory")

    files._unlink = refusing  # type: ignore[method-assign]
    with pytest.raises(Denied):
        removed(files, "/to")
    assert tree == {**TREE, "/to": "/d"}


def test_a_directory_within_itself() -> None:
    with pytest.raises(ServerFault, match="deep"):
        walked(pages(MemoryFiles(dict(TREE)), Page([Found("again", True)])))
    with pytest.raises(ServerFault, match="deep"):
        removed(pages(MemoryFiles(dict(TREE)), Page([Found("again", True)])), "/d")


@pytest.mark.parametrize("at", range(1, 40))
@pytest.mark.parametrize("how", ["refused", "lost", "broken"])
def test_faults_are_told(at: int, how: str) -> None:
    """Nothing is passed over: what was not removed is an error, what was not listed as well."""
    files, wire = MemoryFiles(dict(TREE)), Wire(fail_at=at, how=how)
    try:
        removed(files, "/d", wire=wire)
    except TransferError:
        return
    assert wire.count < at or files.tree == {"/e": None}
