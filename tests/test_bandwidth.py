"""Limits of the rate: by time of day, changed during a run; and the least that a connection must reach."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.cli import bandwidth
from pegasus_toolkit.transfer.engine.limits import Bandwidth
from pegasus_toolkit.transfer.errors import TimedOut
from pegasus_toolkit.transfer.interface import Control, Job, Sink
from pegasus_toolkit.transfer.observer import Progress
from tests.command import entry, run, start, write
from tests.worlds import Remote, World, move

TICK = Progress(total=1, done=0, failed=0, bytes=0, seconds=0.0, active=(), waiting=0)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("10M", {0: 10_000_000, 1439: 10_000_000}),
        ("off", {0: 0}),
        ("08:00,512k 19:00,10M 23:30,off", {479: 0, 480: 512_000, 1139: 512_000, 1140: 10_000_000, 1410: 0}),
        ("19:00,1M 08:00,2M", {0: 1_000_000, 480: 2_000_000, 1140: 1_000_000}),
        ("12:00,5M", {0: 5_000_000, 720: 5_000_000}),
    ],
)
def test_a_timetable_says_the_rate_of_each_minute(text: str, rates: dict[int, int]) -> None:
    table = bandwidth.parse(text)
    assert {minute: table.rate(minute) for minute in rates} == rates


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a number of bytes"),
        ("quick", "not a number of bytes"),
        ("8:00,1M 09:00,2M", "not a time and a rate"),
        ("08:00 1M", "not a time and a rate"),
        ("24:00,1M", "no time of day"),
        ("08:00,1M 08:00,2M", "a time twice"),
        ("@/nonexistent/rate", "cannot read the rate from '/nonexistent/rate': No such file"),
    ],
)
def test_what_is_no_rate_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        bandwidth.read(text)


def test_the_clock_changes_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    now, said, limit = [8 * 3600.0 - 1], list[str](), Bandwidth(0)
    throttle = bandwidth.Throttle("08:00,1M 09:00,off", limit, said.append, lambda: now[0])
    assert limit.rate == 0
    now[0] += 1
    throttle.tick(TICK._replace(seconds=0.5))
    assert limit.rate == 1_000_000
    now[0] += 3600
    throttle.tick(TICK._replace(seconds=0.6))
    assert limit.rate == 1_000_000  # not looked at yet
    throttle.tick(TICK._replace(seconds=1.6))
    assert limit.rate == 0
    assert said == ["bandwidth from now on: 976.6 KiB/s", "bandwidth from now on: no limit"]


def test_a_file_that_is_spoilt_leaves_the_rate_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "rate").write_text("1M\n")
    said, limit = list[str](), Bandwidth(0)
    throttle = bandwidth.Throttle(f"@{tmp_path}/rate", limit, said.append)
    (tmp_path / "rate").write_text("1x")
    for seconds in (0.0, 2.0, 4.0):
        throttle.tick(TICK._replace(seconds=seconds))
    assert (limit.rate, len(said)) == (1_000_000, 1)
    assert "stays as it was: '1x' is not" in said[0]
    (tmp_path / "rate").write_text("2M")
    throttle.tick(TICK._replace(seconds=6.0))
    assert limit.rate == 2_000_000


def test_what_is_owed_is_paid_at_the_new_rate() -> None:
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    limit = Bandwidth(100, lambda: now[0], sleep)
    limit.free_at = 50.0  # 5,000 bytes are owed
    limit.change(1000)
    assert limit.free_at == pytest.approx(5.0)
    limit.take(1000, Control())
    assert sum(slept) == pytest.approx(6.0)
    limit.change(0)
    limit.take(1 << 40, Control())
    assert sum(slept) == pytest.approx(6.0)


def test_the_rate_can_be_changed_during_a_run(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    (tmp_path / "rate").write_text("100k")
    spec = write(tmp_path / "spec", [entry(tmp_path / "large", tmp_path / "copy")])
    with start("-f", spec, "--bandwidth", "@rate", "--log-file", "log", cwd=tmp_path) as process:
        try:
            while (
                "1 operation loaded" not in (tmp_path / "log").read_text()
                if (tmp_path / "log").exists()
                else True
            ):
                time.sleep(0.01)
            assert process.poll() is None
            (tmp_path / "rate").write_text("off")
            assert process.wait(timeout=60) == 0  # at 100 kB/s it would take 200 s
        finally:
            process.kill()
    assert "bandwidth from now on: no limit" in (tmp_path / "log").read_text()


class Trickle(Remote):
    """The first file that is read comes byte by byte: to its end, or until its connection is cut."""

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        for job in jobs:
            content = self.world.store(self.authority)[job.path]
            if self.world.opened > 1:
                yield from self.inner.get(iter([job]))
                continue
            for at in range(len(content)):
                if self.closed.wait(0.01):
                    job.error = TimedOut("cut")
                    break
                job.end.write(content[at : at + 1])
            yield job


def test_a_connection_that_is_slow_but_not_silent_is_replaced() -> None:
    world = World(remote=Trickle)
    world.store("a")["/f"] = bytes(1 << 20)
    summary, told = world.run(move(0, "remote://a/f", "memory://b/g"), min_rate=1000, attempts=2)
    attempts = told.of(0).attempts
    assert (summary.exit_code, len(attempts)) == (0, 2)
    assert isinstance(attempts[0].error, TimedOut)
    assert "less than --min-rate" in str(attempts[0].error)


def test_without_a_least_rate_slowness_is_no_fault() -> None:
    world = World(remote=Trickle)
    world.store("a")["/f"] = bytes(70)  # longer than the stall time-out
    summary, told = world.run(move(0, "remote://a/f", "memory://b/g"))
    assert (summary.exit_code, len(told.of(0).attempts)) == (0, 1)


def test_the_log_as_json(tmp_path: Path) -> None:
    import json

    (tmp_path / "a").write_bytes(b"x")
    done = run("a", "b", "--log-format", "json", "--log-file", "log", cwd=tmp_path)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [set(line) for line in lines] == [{"time", "level", "message"}] * len(lines)
    assert lines[-1]["message"] == "All transfers completed successfully."
    assert {line["level"] for line in lines} == {"info"}
    assert (tmp_path / "log").read_text() == done.stderr
