"""Upstream's statistics: YAML that no name can forge, and files that no other run overwrites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pegasus_toolkit.transfer import units
from pegasus_toolkit.transfer.errors import Corrupted, NotFound
from pegasus_toolkit.transfer.records.statistics import Statistics
from tests.material import AWKWARD
from tests.outcomes import attempt, done, failed, local, transfer, web


def test_the_form_that_upstream_writes(tmp_path: Path) -> None:
    statistics = Statistics(str(tmp_path), 1234.7)
    operation = transfer(local("/a"), local("/b", "site b"), lfn="f.a")
    statistics.settled([done(operation, b"abc")])
    statistics.close()
    assert (tmp_path / "1234-transfer").read_text() == (
        "- transfer_attempts:\n"
        '  - src_url: "file:///a"\n'
        '    src_label: "local"\n'
        '    dst_url: "file:///b"\n'
        '    dst_label: "site b"\n'
        "    success: True\n"
        "    start: 1000\n"
        "    duration: 0.5\n"
        '    lfn: "f.a"\n'
        "    bytes: 3\n"
    )


def test_every_attempt_has_an_entry(tmp_path: Path) -> None:
    statistics = Statistics(str(tmp_path), 1)
    operation = transfer(local("/a"), local("/b"))
    attempts = (attempt(operation, error=NotFound("no")), attempt(operation, 3))
    statistics.settled([done(operation, b"abc", attempts=attempts)])
    (told,) = yaml.safe_load((tmp_path / "1-transfer").read_text())
    assert [entry["success"] for entry in told["transfer_attempts"]] == [False, True]


@pytest.mark.parametrize(
    "name", [*AWKWARD, '"\n- forged: true\n  x: "', "\u2028", "\x85", "a\udce9b", "\ufeff"]
)
def test_no_name_forges_an_entry(name: str, tmp_path: Path) -> None:
    statistics = Statistics(str(tmp_path), 1)
    statistics.settled([done(transfer(local("/a"), local(f"/{name}", name), lfn=name), b"abc")])
    (told,) = yaml.safe_load((tmp_path / "1-transfer").read_bytes())
    (entry,) = told["transfer_attempts"]
    expected = name.replace("\udce9", "\\udce9")
    assert (entry["lfn"], entry["dst_label"]) == (expected, expected)
    assert entry["dst_url"] == f"file:///{expected}"


def test_no_secret_is_written(tmp_path: Path) -> None:
    statistics = Statistics(str(tmp_path), 1)
    statistics.settled([done(transfer(web("https://u:hunter2@h/a?sig=hunter2"), local("/b")), b"abc")])
    assert "hunter2" not in (tmp_path / "1-transfer").read_text()


def test_runs_of_the_same_second_have_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "5-transfer").write_text("another run's")
    for _ in range(2):
        Statistics(str(tmp_path), 5).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5-1-transfer", "5-2-transfer", "5-transfer"]
    assert (tmp_path / "5-transfer").read_text() == "another run's"


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Statistics(str(tmp_path / "none"), 1)


def test_totals_in_the_log() -> None:
    statistics = Statistics("", 1)
    operation = transfer(web("http://h/a"), local("/b"))
    statistics.settled([done(operation, bytes(2048)), failed(operation, NotFound("no"))])
    assert list(statistics.lines(2.0, 1)) == [
        "Stats: Total 2 transfers, 2.0 KiB transferred in 2 seconds. Rate: 1.0 KiB/s (8.0 Kib/s)",
        "       Between sites web->local : 2 transfers, 2.0 KiB transferred in 2 seconds. "
        "Rate: 1.0 KiB/s (8.0 Kib/s)",
    ]


def test_no_transfers_in_the_log() -> None:
    assert list(Statistics("", 1).lines(2.0, 1)) == ["Stats: no local files in the transfer set"]


def test_checks_and_digests_are_counted_for_the_monitor() -> None:
    statistics = Statistics("", 1)
    checked = transfer(web("http://h/a"), local("/b"), linkage="input", generate_checksum=True, lfn="a")
    statistics.settled([done(checked, b"abc", verified=("digest",)), failed(checked, Corrupted("differs"))])
    marks = "@@@MONITORING_PAYLOAD - START@@@", "@@@MONITORING_PAYLOAD - END@@@"
    found = [line for line in statistics.lines(1.0, 77) if "MONITORING" in line]
    assert all(line.startswith(marks[0]) and line.endswith(marks[1]) for line in found)
    told = [json.loads(line[len(marks[0]) : -len(marks[1])]) for line in found]
    assert [t["payload"][0] for t in told] == [
        {"event": "check", "file_type": "input", "succeeded": 1, "failed": 1, "duration": "0.000"},
        {"event": "compute", "file_type": "input", "succeeded": 1, "failed": 0, "duration": "0.000"},
    ]
    assert all((t["ts"], t["monitoring_event"]) == (77, "int.metric") for t in told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("500k", 500_000), ("10M", 10_000_000), ("10MB/s", 10_000_000), ("1.5GiB", 3 << 29),
     ("2 KiB", 2048), ("1T", 10**12), ("7B", 7)],
)  # fmt: skip
def test_sizes_are_read(text: str, expected: int) -> None:
    assert units.parse(text) == expected


@pytest.mark.parametrize("text", ["", "M", "-1", "10Mb", "10 bits", "1e9", "nan", "١٠", "10M\n10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number of bytes"):
        units.parse(text)
