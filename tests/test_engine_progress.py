"""How far a run is: files and bytes that are over, under way, and known."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pegasus_toolkit.transfer.interface import Control, Measured, Requirement
from pegasus_toolkit.transfer.observer import Progress
from pegasus_toolkit.transfer.spec import Specification
from pegasus_toolkit.transfer.streams.checked import MemorySink, MemorySource
from pegasus_toolkit.transfer.streams.files import FileSink, FileSource
from pegasus_toolkit.transfer.streams.pipe import Pipe
from tests.worlds import Recorder, World, move


def seen(told: Recorder, fits: Callable[[Progress], bool]) -> Progress:
    """The first look that fits; waits for it."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for look in list(told.ticks):
            if fits(look):
                return look
        time.sleep(0.005)
    raise AssertionError(told.ticks[-1:])


def test_a_directory_counts_by_its_files_and_their_bytes() -> None:
    world, told, looks = World(), Recorder(), []
    world.store("a").update({"/d/a": b"1" * 10, "/d/b": b"2" * 20, "/d/z": b"3" * 30, "/one": b"4" * 5})

    def hold(path: str) -> None:
        if path == "/d/z":
            looks.append(seen(told, lambda look: look.files == 3 and not look.listing))

    world.faults["a"] = hold
    summary = world.engine(told, concurrency=1).run(
        [move(0, "remote://a/one", "memory://c/one"), move(1, "remote://a/d/", "memory://c/d/")]
    )
    assert summary.exit_code == 0
    (look,) = looks
    assert (look.total, look.known, look.whole, look.size) == (2, 4, 35, 65)
    assert [file.url for file in look.active] == ["memory://c/d/z"]
    last = told.ticks[-1]
    assert (last.files, last.known, last.whole, last.size, last.listing) == (4, 4, 65, 65, False)


def test_what_waits_and_whose_size_is_unknown_leaves_the_whole_unknown() -> None:
    world, told, looks = World(), Recorder(), []
    world.store("a").update({"/one": b"1" * 10, "/two": b"2" * 10})

    def hold(path: str) -> None:
        if path == "/one":
            looks.append(seen(told, lambda look: bool(look.active)))

    world.faults["a"] = hold
    operations = [
        move(n, f"remote://a/{name}", f"memory://c/{name}") for n, name in enumerate(("one", "two"))
    ]
    assert world.engine(told, concurrency=1).run(operations).exit_code == 0
    assert (looks[0].files, looks[0].known, looks[0].size) == (0, 2, None)
    assert told.ticks[-1].size == 20


def test_a_list_whose_sizes_are_all_known_says_how_much_is_left() -> None:
    """From its first moment on. What failed is not waited for, and what had another size counts with that."""
    world, told, looks = World(), Recorder(), []
    world.store("a").update({"/one": b"1" * 10, "/three": b"3" * 30})

    def hold(path: str) -> None:
        if path == "/one":
            looks.append(seen(told, lambda look: bool(look.active)))

    world.faults["a"] = hold
    sizes = {"one": 10, "two": 20, "three": 30}
    listed = Specification.of(
        move(n, f"remote://a/{name}", f"memory://c/{name}", size=size)
        for n, (name, size) in enumerate(sizes.items())
    )
    assert world.engine(told, concurrency=1).run(listed).exit_code == 2
    assert looks[0].size == 60
    assert (told.ticks[-1].whole, told.ticks[-1].size) == (40, 40)
    for more in (move(3, "remote://a/x", "memory://c/x"), move(3, "remote://a/d/", "memory://c/d", size=5)):
        assert Specification.of([*listed, more]).expected is None


def test_a_large_local_file_says_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    told = Recorder()
    engine = World().engine(told, bandwidth=16 << 20)
    assert engine.run([move(0, f"file://{tmp_path}/large", f"file://{tmp_path}/copy")]).exit_code == 0
    parts = [file for look in told.ticks for file in look.active if file.bytes]
    assert parts
    assert {file.size for file in parts} == {8 << 20}
    assert any(0 < (file.bytes or 0) < 8 << 20 for file in parts)


def test_every_end_says_how_far_it_is(tmp_path: Path) -> None:
    required, control = Requirement(), Control()
    (tmp_path / "source").write_bytes(b"12345")
    for source in (
        MemorySource("x", b"12345", required, control),
        FileSource(str(tmp_path / "source"), required, control),
    ):
        assert isinstance(source, Measured)
        assert source.extent() == (0, 5)
        source.read(2)
        assert source.extent() == (2, 5)
        source.close()
    pipe = Pipe("x", required, control)
    for sink in (
        MemorySink("x", required, control),
        FileSink(str(tmp_path / "sink"), required, control),
        pipe.sink,
    ):
        assert isinstance(sink, Measured)
        assert sink.extent() == (0, None)
        sink.announce(5)
        sink.write(b"123")
        assert sink.extent() == (3, 5)
        sink.abort()
    assert isinstance(pipe.source, Measured)
    assert pipe.source.extent() == (3, 5)
