"""The passive ends: whatever is wrong is said before the last byte is handed out, or at commit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.engine.relay import FileSpool, MemorySpool
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, Unsupported
from pegasus_toolkit.transfer.interface import Control, Requirement, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK, MemorySink, MemorySource, NullSink
from pegasus_toolkit.transfer.streams.files import FileSource
from tests.material import Kept, content, given, kept, sha256

SIZES = [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK]
Read = Callable[[Source], bytes]


def by_readinto(step: int) -> Read:
    def read(source: Source) -> bytes:
        buffer, whole = bytearray(step), b""
        while n := source.readinto(memoryview(buffer)):
            whole += buffer[:n]
        return whole

    return read


def by_read(step: int) -> Read:
    def read(source: Source) -> bytes:
        whole = b""
        while block := source.read(step):
            whole += block
        return whole

    return read


READERS = [
    pytest.param(by_readinto(BLOCK), id="readinto BLOCK"),
    pytest.param(by_readinto(BLOCK // 4), id="readinto quarter"),
    pytest.param(by_readinto(1000), id="readinto 1000"),
    pytest.param(by_read(BLOCK), id="read BLOCK"),
    pytest.param(by_read(BLOCK // 2), id="read half"),
    pytest.param(lambda source: source.read(), id="read all"),
    pytest.param(lambda source: b"".join(source), id="iter"),
]


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes, Requirement], Source]:
    def of(data: bytes, required: Requirement) -> Source:
        if request.param == "memory":
            return MemorySource("end", data, required, Control())
        (tmp_path / "file").write_bytes(data)
        return FileSource(str(tmp_path / "file"), required, Control())

    return of


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("size", SIZES)
class TestSources:
    def test_gives_all(self, make: Callable[[bytes, Requirement], Source], size: int, read: Read) -> None:
        data = content(size)
        source = make(data, Requirement("sha256", sha256(data), size))
        assert source.size == size
        assert read(source) == data
        assert source.digest == sha256(data)
        assert source.read(10) == b"" == source.read()
        assert source.readinto(memoryview(bytearray(3))) == 0
        source.close()

    def test_wrong_digest_is_told_before_the_end(
        self, make: Callable[[bytes, Requirement], Source], size: int, read: Read
    ) -> None:
        source = make(content(size), Requirement("sha256", sha256(b"other")))
        seen = 0
        with pytest.raises(Corrupted):
            if size > 1000:  # by hand as far as it goes, to count what was handed out
                while True:
                    seen += len(source.read(1000))
            read(source)
        assert seen < max(size, 1)
        for again in (read, lambda source: source.read(1), lambda source: source.read()):
            with pytest.raises(Corrupted):  # never taken for the end
                again(source)
        source.close()

    def test_without_digest(
        self, make: Callable[[bytes, Requirement], Source], size: int, read: Read
    ) -> None:
        source = make(content(size), Requirement(""))
        assert read(source) == content(size)
        assert source.digest == ""
        source.close()

    def test_counts_each_byte_once(
        self, make: Callable[[bytes, Requirement], Source], size: int, read: Read
    ) -> None:
        control = Control()
        source = make(content(size), Requirement())
        source.check.control = control  # type: ignore[attr-defined]
        read(source)
        read(source)
        assert control.bytes == size
        source.close()


@pytest.mark.parametrize(
    "wrong", [Requirement("", "", 5), Requirement("", "", 3), Requirement("", also=(("md5", "0" * 32),))]
)
def test_source_of_wrong_size_or_other_digest(
    make: Callable[[bytes, Requirement], Source], wrong: Requirement
) -> None:
    source = make(b"four", wrong)
    with pytest.raises(Corrupted):
        source.read()
    source.close()


def test_source_with_two_digests(make: Callable[[bytes, Requirement], Source]) -> None:
    md5 = hashlib.md5(b"four", usedforsecurity=False).hexdigest()
    source = make(
        b"four", Requirement("sha256", sha256(b"four"), 4, also=(("md5", md5), ("crc32", "84c3bc25")))
    )
    with pytest.raises(Corrupted, match="crc32"):
        source.read()
    source.close()


def test_closed_source_is_not_at_its_end(make: Callable[[bytes, Requirement], Source]) -> None:
    source = make(content(5000), Requirement())
    assert len(source.read(10)) == 10
    source.close()
    source.close()
    with pytest.raises(Cancelled):
        source.read(10)


def test_cancelled_source(make: Callable[[bytes, Requirement], Source]) -> None:
    source = make(content(5000), Requirement())
    control = source.check.control  # type: ignore[attr-defined]
    assert len(source.read(10)) == 10
    control.stop = Cancelled("told to stop")
    with pytest.raises(Cancelled):
        source.readinto(memoryview(bytearray(10)))
    source.close()


@pytest.mark.parametrize("sink_type", [NullSink, MemorySink])
@pytest.mark.parametrize("size", SIZES)
def test_sinks_check_at_commit(sink_type: type[NullSink], size: int) -> None:
    data = content(size)
    good = sink_type("end", Requirement("sha256", sha256(data), size), Control())
    bad = sink_type("end", Requirement("sha256", sha256(b"other"), size), Control())
    for sink in (good, bad):
        for at in range(0, size, 70_000):
            sink.write(data[at : at + 70_000])
        assert sink.size == size
    assert good.commit() == sha256(data)
    with pytest.raises(Corrupted):
        bad.commit()
    bad.abort()
    bad.abort()


def test_sink_without_digest_commits_an_empty_one() -> None:
    assert kept(Requirement("")).commit() == ""
    assert kept(Requirement("", "", 0)).commit() == ""
    with pytest.raises(Corrupted):
        kept(Requirement("", "", 1)).commit()


def test_sink_restarts() -> None:
    sink = kept(Requirement("sha256", sha256(b"right"), 5, also=(("crc32", "8f1e8a0d"),)))
    sink.write(b"wrong")
    sink.restart()
    assert sink.size == 0
    sink.write(b"right")
    with pytest.raises(Corrupted, match="crc32"):
        sink.commit()
    assert sink.content is None


def test_sink_takes_no_more_than_expected() -> None:
    sink = kept(Requirement("", "", 3))
    with pytest.raises(Corrupted, match="more than the expected 3"):
        sink.write(b"four")


def test_sink_refuses_another_size_when_announced() -> None:
    sink = kept(Requirement("", "", 3))
    sink.announce(3)
    with pytest.raises(Corrupted, match="4 bytes announced, 3 expected"):
        sink.announce(4)


def test_announced_size_must_come() -> None:
    sink = kept()
    sink.announce(4)
    sink.write(b"one")
    with pytest.raises(Corrupted, match="3 bytes came, 4 expected"):
        sink.commit()


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_sink_expects_what_the_server_tells(algorithm: str) -> None:
    sink = kept()
    sink.expect(algorithm, hashlib.new(algorithm, b"told").hexdigest())
    sink.write(b"came")
    with pytest.raises(Corrupted, match=algorithm):
        sink.commit()


def test_told_digest_does_not_replace_the_wanted_one() -> None:
    sink = kept(Requirement("sha256", sha256(b"wanted")))
    sink.expect("sha256", sha256(b"came"))
    sink.write(b"came")
    with pytest.raises(Corrupted):
        sink.commit()


def test_lent_buffers_are_copied() -> None:
    sink, buffer = Kept("end", Requirement(), Control()), bytearray(b"first")
    sink.write(buffer)
    buffer[:] = b"other"
    sink.write(memoryview(buffer))
    buffer[:] = b"third"
    assert sink.commit() == sha256(b"firstother")
    assert sink.content == b"firstother"


def test_unknown_algorithm_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="sha9"):
        given(b"", Requirement("sha9"))


@pytest.mark.parametrize("mode", [None, 0o755])
def test_a_staged_file_tells_its_origins_mode_bits(tmp_path: Path, mode: int | None) -> None:
    for spool in (
        FileSpool(tmp_path / "spool", Requirement(), Control()),
        MemorySpool("spool", Requirement(), Control()),
    ):
        spool.sink.mode = mode
        spool.sink.write(b"content")
        spool.sink.commit()
        source = spool.source()
        assert source.mode == mode, "not those of the private spool"
        source.close()
