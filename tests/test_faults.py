"""The layers of ``tests.faults`` do what they say; else the tests above them prove nothing."""

from __future__ import annotations

import threading

import pytest

from pegasus_toolkit.transfer.errors import Cancelled, NoSpace, ServerFault
from tests.faults import (
    Broken,
    Flipped,
    FlippedSink,
    Full,
    Short,
    SinkLayer,
    SourceLayer,
    Stalled,
    StalledSink,
    Unsized,
    broken_off,
)
from tests.material import content, given, kept

DATA = content(200_000)


@pytest.mark.parametrize("after", [0, 1, 65536, 100_000, 199_999])
def test_source_layers(after: int) -> None:
    assert SourceLayer(given(DATA)).read() == DATA
    assert Unsized(given(DATA)).read() == DATA
    assert Unsized(given(DATA)).size is None
    short = Short(given(DATA), after)
    assert (short.read(), short.size) == (DATA[:after], len(DATA))
    flipped = Flipped(given(DATA), after).read()
    assert [n for n in range(len(DATA)) if flipped[n] != DATA[n]] == [after]
    broken = Broken(given(DATA), after)
    buffer, seen = bytearray(30_000), b""
    with pytest.raises(ServerFault):
        while n := broken.readinto(memoryview(buffer)):
            seen += buffer[:n]
    assert seen == DATA[:after]


def test_stalled_source_waits_until_it_is_closed() -> None:
    source = Stalled(given(DATA), 10)
    assert source.read(100) == DATA[:10]
    caught: list[BaseException] = []

    def read() -> None:
        try:
            source.read(100)
        except Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert source.stalled.wait(30)
    source.close()
    thread.join(30)
    assert [type(error) for error in caught] == [Cancelled]


def test_stalled_sink_waits_until_it_is_released() -> None:
    sink = StalledSink(kept(), 10)
    sink.write(b"x" * 10)
    sink.release.set()
    with pytest.raises(Cancelled):
        sink.write(b"x")
    assert sink.stalled.is_set()


@pytest.mark.parametrize("after", [0, 1, 100_000, 199_999])
def test_sink_layers(after: int) -> None:
    ends = {kind: (end := kept(), kind(end, after)) for kind in (SinkLayer, FlippedSink)}
    for _, layer in ends.values():
        for at in range(0, len(DATA), 70_000):
            layer.write(DATA[at : at + 70_000])
        layer.commit()
    assert ends[SinkLayer][0].content == DATA
    flipped = ends[FlippedSink][0].content
    assert flipped is not None
    assert [n for n in range(len(DATA)) if flipped[n] != DATA[n]] == [after]
    full = Full(kept(), after)
    full.write(DATA[:after])
    with pytest.raises(NoSpace):
        full.write(b"x")


def test_generator_breaks_off() -> None:
    seen = []
    with pytest.raises(ServerFault):
        for job in broken_off(range(5), 3):
            seen.append(job)
    assert seen == [0, 1, 2]
