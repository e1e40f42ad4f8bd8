"""Specifications that are right: what is read, in which order, from where, and written again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.transfer import spec
from pegasus_toolkit.transfer.errors import Denied, IsDirectory, NotFound
from pegasus_toolkit.transfer.model import Checksum, Mkdir, Operation, Remove, Transfer
from pegasus_toolkit.transfer.spec.specification import WARNINGS
from tests import strategies

SHA = "ab" * 32


def place(url: str, **more: Any) -> dict[str, Any]:
    return {"site_label": "local", "url": url, **more}


def entry(source: str = "/a", destination: str = "/b", **more: Any) -> dict[str, Any]:
    return {"type": "transfer", "src_urls": [place(source)], "dest_urls": [place(destination)], **more}


def load(*entries: Any) -> spec.Specification:
    return spec.load(json.dumps(entries).encode(), {"PWD": "/w"})


def one(**more: Any) -> Transfer:
    (found,) = load(entry(**more))
    assert isinstance(found, Transfer)
    return found


# What the planner writes: Transfer.java, PegasusLite.java, Cleanup.java, createdir.
PLANNED = """[
 { "type": "transfer",
   "linkage": "input",
   "lfn": "f.a",
   "id": 1,
   "verify_symlink_source": false,
   "generate_checksum": true,
   "verify_checksum_remote": true,
   "attributes": {
     "checksum.type":"sha256",
     "checksum.value":"SHA",
     "size":"2048",
     "user":"someone", "final_output":"true"
   },
   "src_urls": [
     { "site_label": "condorpool", "url": "https://h/f.a", "priority": 50, "checkpoint": "false" },
     { "site_label": "local", "url": "file:///data/f.a", "priority": 100, "checkpoint": "false" }
   ],
   "dest_urls": [
     { "site_label": "condorpool", "url": "file://$PWD/f.a", "type": "docker" }
   ] }
 ,
  {
    "id": 1,
    "type": "mkdir",
    "target": { "site_label": "stash", "url": "file:///scratch/run0001" } }
 ,
  {
    "id": 2,
    "type": "remove",
    "target": { "site_label": "stash", "url": "s3://me@stash/b/f", "recursive": "False" } }
]
""".replace("SHA", SHA.upper())


def test_what_the_planner_writes() -> None:
    mkdir, transfer, remove = spec.load(PLANNED.encode(), {"PWD": "/w"})
    assert isinstance(mkdir, Mkdir)
    assert (mkdir.id, mkdir.target.path, mkdir.target.endpoint.site) == (1, "/scratch/run0001", "stash")
    assert isinstance(remove, Remove)
    assert (remove.id, remove.target.endpoint.authority, remove.recursive) == (2, "me@stash", False)
    assert isinstance(transfer, Transfer)
    assert (transfer.id, transfer.lfn, transfer.linkage) == (0, "f.a", "input")
    assert [(s.priority, s.path) for s in transfer.sources] == [(100, "/data/f.a"), (50, "/f.a")]
    assert [(d.path, d.type) for d in transfer.destinations] == [("/w/f.a", "docker")]
    assert (transfer.checksum, transfer.size) == (Checksum("sha256", SHA), 2048)
    assert transfer.generate_checksum and transfer.verify_checksum_remote
    assert not transfer.verify_symlink_source


def test_defaults() -> None:
    found = one()
    assert found == Transfer(id=0, sources=found.sources, destinations=found.destinations)


def test_order_of_execution() -> None:
    remove = {"type": "remove", "target": place("/r")}
    mkdir = {"type": "mkdir", "target": place("/m")}
    found = load(remove, entry(destination="/1"), mkdir, entry(destination="/2"))
    assert [operation.id for operation in found] == [2, 1, 3, 0]
    assert found.counts == (1, 2, 1)
    assert len(found) == 4
    assert [found[n].id for n in range(-4, 4)] == [2, 1, 3, 0] * 2
    assert [operation.id for operation in found[1:3]] == [1, 3]
    assert json.loads(found.raw(0)) == remove
    with pytest.raises(IndexError):
        found[4]


def test_priorities() -> None:
    sources = [
        place("/1"),
        place("/2", priority="100"),
        place("/3", priority=-1),
        place("/4"),
        place("/5", priority=100),
    ]
    (found,) = load(entry(destination="/b") | {"src_urls": sources})
    assert isinstance(found, Transfer)
    assert "".join(source.path[1:] for source in found.sources) == "25143"
    (found,) = load(entry(source="/a") | {"dest_urls": sources})
    assert isinstance(found, Transfer)
    assert "".join(destination.path[1:] for destination in found.destinations) == "25143"


@pytest.mark.parametrize("spelt", [True, "yes", "True", "t", "1", 1, "TRUE", "YES"])
def test_true(spelt: object) -> None:
    (found,) = load({"type": "remove", "target": place("/a", recursive=spelt)})
    assert isinstance(found, Remove) and found.recursive
    assert one(generate_checksum=spelt).generate_checksum
    assert one(verify_checksum_remote=spelt).verify_checksum_remote
    assert one(verify_symlink_source=spelt).verify_symlink_source


@pytest.mark.parametrize("spelt", [False, "no", "False", "f", "0", 0, "FALSE", "NO"])
def test_false(spelt: object) -> None:
    (found,) = load({"type": "remove", "target": place("/a", recursive=spelt)})
    assert isinstance(found, Remove) and not found.recursive
    assert not one(generate_checksum=spelt).generate_checksum
    assert not one(verify_checksum_remote=spelt).verify_checksum_remote
    assert not one(verify_symlink_source=spelt).verify_symlink_source


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"checksum": {"value": SHA.upper()}}, Checksum("sha256", SHA)),
        ({"checksum": {"type": "SHA-256", "value": SHA}}, Checksum("sha256", SHA)),
        ({"checksum": {"type": "md5", "value": "0" * 32}}, Checksum("md5", "0" * 32)),
        ({"checksum": {"type": "sha512", "value": "0" * 128}}, Checksum("sha512", "0" * 128)),
        ({"checksum": {"type": "blake3", "value": "0" * 64}}, Checksum("blake3", "0" * 64)),
        ({"checksum": {"type": "adler32", "value": "0" * 8}}, Checksum("adler32", "0" * 8)),
        ({"attributes": {"checksum.value": SHA}}, Checksum("sha256", SHA)),
        ({"attributes": {"checksum.type": "md5", "checksum.value": "0" * 32}}, Checksum("md5", "0" * 32)),
        (
            {"attributes": {"checksum.value": SHA.upper()}, "checksum": {"value": SHA}},
            Checksum("sha256", SHA),
        ),
        ({"attributes": {"anything": {"deep": [1]}, "else": None}}, None),
    ],
)
def test_checksums(more: dict[str, Any], expected: Checksum | None) -> None:
    assert one(**more).checksum == expected


@pytest.mark.parametrize("more", [{"size": 7}, {"size": "7"}, {"size": 7.0}, {"attributes": {"size": "7"}}])
def test_sizes(more: dict[str, Any]) -> None:
    assert one(**more).size == 7
    assert one(**more, **({"size": 7} if "attributes" in more else {"attributes": {"size": 7}})).size == 7


def test_an_empty_file_has_a_size() -> None:
    assert one(size=0).size == 0


@pytest.mark.parametrize(
    ("manifest", "path"), [("/m", "/m"), ("file://$PWD/m$$1", "/w/m$1"), ("m", "m"), ("", "")]
)
def test_manifests(manifest: str, path: str) -> None:
    assert one(manifest=manifest).manifest == path


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("file:///a", "symlink:///b"),
        ("symlink:///a", "symlink:///b"),
        ("/a", "moveto:///b"),
        ("http://h/a", "symlink:b"),
    ],
)
def test_links_and_moves(source: str, destination: str) -> None:
    assert one(source=source, destination=destination).destinations[0].scheme == destination.partition(":")[0]


@pytest.mark.parametrize(
    "later",
    [
        entry(id=9),
        entry("file:///a", "//b"),
        entry(verify_symlink_source="true", generate_checksum=False),
        entry() | {"src_urls": [place("/a", priority=3, checkpoint="false")]},
    ],
)
def test_the_same_entry_twice_is_done_once(later: dict[str, Any]) -> None:
    found = load(entry(id=1), later, entry(destination="/c"))
    assert [operation.id for operation in found] == [0, 2]
    assert found.counts == (0, 2, 0)
    assert found.warnings == ("entry 1: the same as entry 0, done once",)


def test_mkdir_and_remove_twice() -> None:
    mkdir, remove = {"type": "mkdir", "target": place("/m")}, {"type": "remove", "target": place("/m")}
    found = load(mkdir, remove, mkdir, remove)
    assert found.counts == (1, 0, 1)
    deep = {"type": "remove", "target": place("/m", recursive=True)}
    assert load(remove, deep).counts == (0, 0, 2)


def test_many_warnings_are_counted() -> None:
    found = load(*[entry()] * 500)
    assert len(found) == 1
    assert len(found.warnings) == WARNINGS + 1
    assert found.warnings[-1] == "... and 399 more"


@pytest.mark.parametrize(
    ("source", "destination"), [("/a", "/a"), ("file:///a", "//a/."), ("s3://b/k", "s3://b/k")]
)
def test_a_source_that_is_its_own_destination(source: str, destination: str) -> None:
    assert load(entry(source, destination)).warnings == (
        f"entry 0: source and destination are the same: {source}",
    )


def test_empty_list() -> None:
    assert len(spec.load(b" [ ] \n", {})) == 0


def test_sources_of_bytes(tmp_path: Path) -> None:
    data = json.dumps([entry("/é")]).encode()
    path = tmp_path / "s.json"
    path.write_bytes(data)
    expected = list(spec.load(data, {}))
    for source in (
        path,
        str(path),
        bytearray(data),
        memoryview(data),
        io.BytesIO(data),
        io.StringIO(data.decode()),
    ):
        assert list(spec.load(source, {})) == expected
    with path.open("rb") as stream:
        assert list(spec.load(stream, {})) == expected


def test_from_a_pipe() -> None:
    program = (
        "import sys; from pegasus_toolkit.transfer import spec\n"
        "print(len(spec.load(sys.stdin.buffer, {})), len(spec.load(b'[]', {})))"
    )
    entries = [entry(f"/a{n}", f"/b{n}") for n in range(2000)]
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=json.dumps(entries).encode(), capture_output=True, check=True)
    assert done.stdout.split() == [b"2000", b"0"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing\.json"):
        spec.load(tmp_path / "nothing.json", {})
    with pytest.raises(IsDirectory):
        spec.load(tmp_path, {})
    closed = tmp_path / "closed.json"
    closed.write_text("[]")
    closed.chmod(0)
    root = os.geteuid() == 0
    if root:  # who may read any file
        os.seteuid(65534)
    try:
        with pytest.raises(Denied):
            spec.load(closed, {})
    finally:
        if root:
            os.seteuid(0)


def test_environment_is_taken_at_load() -> None:
    environ = {"PWD": "/one"}
    found = spec.load(json.dumps([entry("$PWD/a")]).encode(), environ)
    environ["PWD"] = "/two"
    (operation,) = found
    assert isinstance(operation, Transfer) and operation.sources[0].path == "/one/a"


def test_python_api(tmp_path: Path) -> None:
    odd = tmp_path / "cost$usd: %20"
    made = spec.transfer(odd, "https://h/b", destination_site="web", lfn="x", checksum={"value": SHA}, size=3)
    assert made.sources[0].path == str(odd)
    assert (made.destinations[0].endpoint.site, made.size, made.checksum) == (
        "web",
        3,
        Checksum("sha256", SHA),
    )
    assert spec.transfer("$D/a", "/b", environ={"D": "/d"}).sources[0].path == "/d/a"
    assert spec.mkdir("s3://u@s/b", site="s").target.endpoint == ("s3", "u@s", "s")
    assert spec.remove(odd, recursive=True).recursive
    with pytest.raises(spec.SpecificationError, match="did you mean 'size'"):
        spec.transfer("/a", "/b", sise=3)
    with pytest.raises(spec.SpecificationError, match=r"\$D is not set"):
        spec.transfer("$D/a", "/b")


def test_specification_of_operations() -> None:
    made: list[Operation] = [
        spec.transfer("/a", "/b"),
        spec.mkdir("/m"),
        spec.transfer("/a", "/b"),
        spec.transfer("/a", "/c"),
    ]
    found = spec.Specification.of(made)
    assert [operation.id for operation in found] == [1, 0, 3]
    assert found.warnings == ("entry 2: the same as entry 0, done once",)
    assert json.loads(found.raw(1)) == {"type": "mkdir", "target": place("/m")}
    with pytest.raises(spec.SpecificationError, match="the same destination as entry 0"):
        spec.Specification.of([spec.transfer("/a", "/b"), spec.transfer("/x", "/b")])


def test_encoded_variables_stay_as_they_were() -> None:
    written = spec.encode(
        spec.load(json.dumps([entry("file://$PWD/a$$b", manifest="$PWD/m$$")]).encode(), {"PWD": "/w"})
    )
    (found,) = spec.load(written, {"PWD": "/elsewhere"})
    assert isinstance(found, Transfer)
    assert (found.sources[0].path, found.manifest) == ("/w/a$b", "/w/m$")


def test_encode_nothing() -> None:
    assert len(spec.load(spec.encode([]), {})) == 0


@given(st.lists(strategies.entries(), max_size=4))
def test_load_encode_load(entries: list[dict[str, Any]]) -> None:
    try:
        first = spec.load(json.dumps(entries).encode(), {})
    except spec.SpecificationError as error:
        assert all(problem.message.startswith("the same destination") for problem in error.problems)
        return
    again = spec.load(spec.encode(first), {})
    assert [without_id(operation) for operation in again] == [without_id(operation) for operation in first]


@given(strategies.operations())
def test_encode_operations(operation: Any) -> None:
    (again,) = spec.load(spec.encode([operation]), {})
    assert again == operation


@given(strategies.entries(), st.booleans())
def test_both_ways_of_reading_agree(entry: dict[str, Any], ascii_only: bool) -> None:
    """A number spelt as text sends an entry the long way round, where all spellings are known."""
    plain = json.dumps([entry], ensure_ascii=ascii_only).encode()
    spelt = json.dumps([{**entry, "id": "\\"}], ensure_ascii=ascii_only, indent=1).encode()
    assert list(spec.load(plain, {})) == list(spec.load(spelt, {}))


def without_id(operation: Any) -> tuple[Any, ...]:
    return tuple(getattr(operation, name) for name in operation.__struct_fields__ if name != "id")
