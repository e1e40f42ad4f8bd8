"""How a specification is shared out, and what each shard gets of it."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegasus_toolkit.cli.shards_entries import Cut, base
from pegasus_toolkit.planner import shards
from pegasus_toolkit.planner.catalogs import LOCAL, Pfn
from pegasus_toolkit.planner.shards import FILE, POOL, Entries, Shard, divide
from pegasus_toolkit.transfer.model import Remove, Transfer
from pegasus_toolkit.transfer.spec import load
from tests.command import entry

SIZES = st.lists(st.one_of(st.just(-1), st.integers(0, 10**12), st.integers(0, 10**6)), max_size=120)


def entries(sizes: list[int], counts: tuple[int, int, int] | None = None, here: bytes = b"") -> Entries:
    """Transfers alone, unless ``counts`` says otherwise."""
    here = here or bytes(len(sizes))
    places = array("I", [0] * len(sizes))
    return Entries(counts or (0, len(sizes), 0), array("q", sizes), bytearray(here), places, [()])


def load_of(sizes: list[int]) -> int:
    known = [size for size in sizes if size >= 0]
    mean = sum(known) // len(known) if known else 0
    return sum(FILE + (size if size >= 0 else mean) for size in sizes)


@settings(deadline=None)
@given(SIZES, st.integers(1, 12), st.data())
def test_each_entry_is_in_one_shard(sizes: list[int], most: int, data: st.DataObject) -> None:
    flags = bytes(data.draw(st.lists(st.integers(0, 1), min_size=len(sizes), max_size=len(sizes))))
    made = divide(entries(sizes, here=flags), most)
    found = [position for shard in made for position in shard.positions]
    assert sorted(found) == list(range(len(sizes)))
    assert all(list(shard.positions) == sorted(shard.positions) and shard.positions for shard in made)
    assert all(flags[p] == (shard.site == LOCAL) for shard in made for p in shard.positions)
    assert len(made) <= most + (most == 1 and len({*flags}) == 2)
    assert len({shard.name for shard in made}) == len(made)


@settings(deadline=None)
@given(SIZES.filter(bool), st.integers(1, 12))
def test_shards_are_balanced(sizes: list[int], most: int) -> None:
    made = divide(entries(sizes), most)
    assert sum(shard.weight for shard in made) == load_of(sizes)
    assert 1 <= len(made) <= min(most, len(sizes))
    known = [size for size in sizes if size >= 0]
    largest = FILE + max([*known, 0])
    total = load_of(sizes)
    # No shard is heavier than the mean by more than one piece.
    piece = max(largest, total // (most * shards.PIECES))
    assert max(shard.weight for shard in made) <= total / len(made) + piece


def test_small_neighbours_stay_together_and_large_files_are_spread() -> None:
    sizes = [10_000] * 9000 + [5 << 30] * 4
    made = divide(entries(sizes), 4)
    assert sorted(sum(p >= 9000 for p in shard.positions) for shard in made) == [1, 1, 1, 1]
    runs = sum(
        b - a > 1 for shard in made for a, b in zip(shard.positions, shard.positions[1:], strict=False)
    )
    assert runs < 4 * shards.PIECES


def test_steps_have_nodes_of_their_own_in_order() -> None:
    made = divide(entries([-1] * 30, (10, 15, 5)), 3)
    assert [shard.step for shard in made] == ["mkdir", "transfer", "transfer", "transfer", "remove"]
    assert [list(made[0].positions), list(made[-1].positions)] == [[*range(10)], [*range(25, 30)]]


def test_many_removals_are_shared_out_too() -> None:
    made = divide(entries([-1] * (3 * shards.PORTION), (0, 0, 3 * shards.PORTION)), 8)
    assert [len(shard.positions) // (shards.PORTION // 10 * 9) for shard in made] == [1] * 3


def test_what_is_only_here_gets_its_part_of_the_shards() -> None:
    made = divide(entries([100 << 20] * 100, here=b"\1" * 25 + b"\0" * 75), 8)
    assert [shard.site for shard in made] == [POOL] * 6 + [LOCAL] * 2


# --- entries ----------------------------------------------------------------------------------------


def cut(spec: Any, tmp_path: Path, **how: bool) -> tuple[Cut, list[Any], list[Shard]]:
    data = spec if isinstance(spec, bytes) else json.dumps(spec).encode()
    operations = load(data, {"WHERE": "/data/x"})
    made = Cut(operations, str(tmp_path), **how)
    return made, list(operations), divide(made.entries, 2)


def remote(source: str, destination: str, **keys: Any) -> dict[str, Any]:
    one = entry("/", "/", **keys)
    one["src_urls"][0] = {"site_label": "a", "url": source}
    one["dest_urls"][0] = {"site_label": "b", "url": destination}
    return one


def test_entries_mean_the_same_in_a_shard(tmp_path: Path) -> None:
    digest = "0" * 64
    spec = [
        {"type": "mkdir", "target": {"site_label": "b", "url": "https://h/d"}},
        remote("https://h/a", "s3://u@s/b/k", size="12", checksum={"value": digest}, lfn="ä \"'"),
        remote("https://h/c?d", "https://h/e", attributes={"size": 7}, verify_checksum_remote="true"),
        {**remote("http://h/1", "file:///x$$y", generate_checksum=True), "id": 17},
        remote("$WHERE/in", "https://h/from-here"),
        remote("https://h/tree", "gsiftp://h/tree", manifest="sums"),
        {"type": "remove", "target": {"site_label": "b", "url": "relative/dir", "recursive": "yes"}},
    ]
    taken, operations, made = cut(spec, tmp_path)
    again = {}
    for shard in made:
        found = load(b"".join(taken.raw(shard.positions)), {})
        again |= dict(zip(shard.positions, found, strict=True))
    assert sorted(again) == list(range(len(spec)))
    for position, operation in enumerate(operations):
        one = again[position]
        if isinstance(operation, Transfer) and isinstance(one, Transfer):
            same = ("lfn", "checksum", "size", "generate_checksum", "verify_checksum_remote")
            assert [getattr(one, key) for key in same] == [getattr(operation, key) for key in same]
            assert [place.path for place in one.sources] == [place.path for place in operation.sources]
            assert [place.path for place in one.destinations] == [
                place.path for place in operation.destinations
            ]
    tree, gone = again[5], again[6]
    assert isinstance(tree, Transfer) and tree.manifest == f"{tmp_path}/sums"
    assert isinstance(gone, Remove) and gone.recursive and gone.target.path == f"{tmp_path}/relative/dir"
    assert list(taken.entries.sizes) == [-1, 12, 7, -1, -1, -1, -1]
    assert list(taken.entries.here) == [0, 0, 0, 1, 1, 1, 1]


def test_the_text_form_is_shared_out_like_the_other(tmp_path: Path) -> None:
    text = b"".join(b"# src 1 a\nhttps://h/%d\n# dst 1 b\nhttps://i/%d\n" % (n, n) for n in range(5))
    taken, operations, made = cut(text, tmp_path)
    found = [one for shard in made for one in load(b"".join(taken.raw(shard.positions)), {})]
    assert sorted(one.sources[0].url for one in found) == sorted(o.sources[0].url for o in operations)


def test_files_of_this_machine_stay_here_unless_all_have_them(tmp_path: Path) -> None:
    spec = [remote("https://h/a", "https://h/b"), remote("/in", "https://h/c"), remote("https://h/d", "out")]
    assert [shard.site for shard in cut(spec, tmp_path)[2]] == [POOL, LOCAL]
    assert {shard.site for shard in cut(spec, tmp_path, shared=True)[2]} == {POOL}
    assert {shard.site for shard in cut(spec, tmp_path, alone=True)[2]} == {LOCAL}
    assert cut(spec, tmp_path)[0].here == 2


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Host:1/x", Pfn("s", "https://Host:1")),
        ("s3://u@s/b", Pfn("s", "s3://u@s")),
        ("s3://bucket", Pfn("s", "s3://bucket")),
        ("file:///x", None),
        ("/x", None),
        ("memory://a/b", None),
        ("a b://c", None),
    ],
)
def test_which_server_a_url_names(url: str, expected: Pfn | None) -> None:
    assert base(url, "s") == expected
