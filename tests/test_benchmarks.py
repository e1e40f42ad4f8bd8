"""The benchmark's own arithmetic, and that it would notice files that did not arrive whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import measure, report, sets
from benchmarks.tools import OURS


def record(tool: str, seconds: float, **more: object) -> dict[str, object]:
    found = {"case": "local", "set": "B", "tool": tool, "seconds": seconds, "cpu": 1.0, "peak": 50.0}
    return {**found, "files": 10_000, "bytes": 40_960_000, **more}


def results(*records: dict[str, object], **more: object) -> dict[str, object]:
    return {"records": list(records), **more}


def bar(found: dict[str, object], what: str) -> report.Bar:
    return next(bar for bar in report.bars(found) if bar.what == what)


def test_the_median_counts_and_runs_that_went_wrong_do_not() -> None:
    runs = [record(OURS, s) for s in (1.0, 9.0, 2.0)] + [record(OURS, 0.1, error="half of it missing")]
    assert report.cells(runs)["local", "B", OURS].seconds == 2.0


@pytest.mark.parametrize(("ours", "reached"), [(0.79, True), (0.81, False)])
def test_a_bar_is_reached_or_not(ours: float, reached: bool) -> None:
    assert bar(results(record(OURS, ours), record("rclone", 1.0)), "local, B").reached is reached


def test_memory_is_that_of_the_worst_run() -> None:
    found = results(record(OURS, 1.0), record(OURS, 1.0, peak=201.0))
    assert not bar(found, "peak memory").reached


def test_a_wrong_run_of_ours_is_told() -> None:
    wrong = bar(results(record(OURS, 1.0, error="wrong digest")), "all files arrived whole")
    assert not wrong.reached
    assert OURS in wrong.measured


def test_one_crash_in_a_hundred_is_told() -> None:
    exits = {"http": {"runs": 100, "clean": 99, "codes": {0: 99, -6: 1}}}
    assert not bar(results(exits=exits), "clean exit, http").reached


def test_results_replace_only_what_stands_between_the_marks() -> None:
    machine = dict.fromkeys(("processor", "cores", "memory", "kernel", "load"), "x")
    found = results(record(OURS, 1.0), machine=machine, date="today", versions={})
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.publish(page, found)
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert report.publish(once, found) == once


@pytest.mark.parametrize("harm", ["gone", "short", "other", "more"])
def test_the_check_sees_what_is_wrong(tmp_path: Path, harm: str) -> None:
    files = sets.make(tmp_path, sets.Shape(6, 64, 2))
    sets.check(tmp_path, files)
    path = tmp_path / files[-1].path
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "short":
        path.write_bytes(content[:-1])
    elif harm == "other":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.with_name("more").touch()
    with pytest.raises(sets.Wrong):
        sets.check(tmp_path, files)


def test_usage_is_that_of_the_program() -> None:
    held = "import sys; held = bytearray(100 << 20); sys.exit(3)"
    usage = measure.run([[sys.executable, "-c", "pass"], [sys.executable, "-c", held]])
    assert usage.code == 3
    assert 100 < usage.peak < 200
    assert usage.seconds > 0


def test_a_command_after_one_that_failed_is_not_run(tmp_path: Path) -> None:
    usage = measure.run([["false"], ["touch", str(tmp_path / "made")]])
    assert usage.code == 1
    assert not (tmp_path / "made").exists()
