"""The report: one JSON object an operation, nothing secret, a valid beginning when the run is killed."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from pegasus_toolkit.transfer.errors import Denied, NotFound
from pegasus_toolkit.transfer.observer import Plan, Summary
from pegasus_toolkit.transfer.records.outfile import OutFile
from pegasus_toolkit.transfer.records.report import Report
from tests.material import sha256
from tests.outcomes import attempt, done, failed, local, make_directory, transfer, web

SUMMARY = Summary(done=1, skipped=0, failed=1, cancelled=0, bytes=3, seconds=0.5, attempts=2, exit_code=2)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_fields_of_a_transfer(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "r"))
    operation = transfer(web("http://h/a"), local("/b"), id=7, lfn="f.a")
    report.settled([done(operation, b"abc", verified=("digest", "size"))])
    (told,) = lines(tmp_path / "r")
    assert told["id"] == 7
    assert told["type"] == "transfer"
    assert told["lfn"] == "f.a"
    assert told["status"] == "done"
    assert told["source"] == {"url": "http://h/a", "site": "web"}
    assert told["destination"] == {"url": "file:///b", "site": "local"}
    assert told["route"] == "direct"
    assert told["bytes"] == 3
    assert told["digest"] == {"type": "sha256", "value": sha256(b"abc")}
    assert told["verified"] == ["digest", "size"]
    assert told["seconds"] == 0.5
    assert told["rate"] == 6
    assert len(told["attempts"]) == 1
    assert told["error"] is None


def test_error_and_attempts_of_a_failure(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "r"))
    operation = transfer(web("http://h/a"), local("/b"))
    error = NotFound("404 Not Found", url="http://h/a", host="h", hint="look", side="source")
    report.settled([failed(operation, error)])
    (told,) = lines(tmp_path / "r")
    expected = {
        "kind": "not found", "message": "404 Not Found", "url": "http://h/a", "host": "h",
        "hint": "look", "side": "source", "retryable": False, "exit_code": 2,
    }  # fmt: skip
    assert told["status"] == "failed"
    assert told["error"] == expected
    assert told["attempts"][0]["error"] == expected
    assert told["digest"] is None and told["rate"] is None


def test_the_source_and_destination_that_were_used_are_told(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "r"))
    operation = transfer(web("http://first/a"), local("/b"))
    second = attempt(operation, 3, started=1002.0)._replace(source=web("http://second/a"))
    first = attempt(operation, error=NotFound("404"))
    report.settled([done(operation, b"abc", attempts=(first, second))])
    (told,) = lines(tmp_path / "r")
    assert told["source"]["url"] == "http://second/a"
    assert [a["source"]["url"] for a in told["attempts"]] == ["http://first/a", "http://second/a"]
    assert told["seconds"] == 2.5
    assert told["rate"] == 6


def test_no_secret_is_written(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "r"))
    url = "https://u:hunter2@h/a?X-Amz-Signature=hunter2"
    operation = transfer(web(url), local("/b"))
    error = Denied(f"GET {url} said no", url=url, hint=f"try {url}")
    report.settled([failed(operation, error, detail=url)])
    plan = Plan("none", url, operation.sources[0], operation.destinations[0], error)
    report.planned(operation, plan, 3)
    assert b"hunter2" not in (tmp_path / "r").read_bytes()
    assert len(lines(tmp_path / "r")) == 2


def test_names_of_any_letters_make_valid_lines(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "r"))
    name = 'a"b\\c\nd\te\udce9\u202e日本'
    report.settled([done(transfer(local(f"/{name}"), local("/b"), lfn=name), b"abc")])
    (told,) = lines(tmp_path / "r")
    assert told["lfn"] == name.replace("\udce9", "\\udce9")


def test_mkdir_has_a_destination_only(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "r"))
    report.settled([done(make_directory(Path("/d")), digest="", algorithm="")])
    (told,) = lines(tmp_path / "r")
    assert (told["type"], told["source"], told["destination"]["url"]) == ("mkdir", None, "file:///d")


def test_lines_are_there_before_the_end_and_the_summary_last(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "r"))
    operation = transfer(web("http://h/a"), local("/b"))
    report.settled([done(operation, b"abc"), failed(operation, NotFound("no"))])
    assert [told["type"] for told in lines(tmp_path / "r")] == ["transfer", "transfer"]
    report.finish(SUMMARY, 2, {})
    last = lines(tmp_path / "r")[-1]
    assert last["type"] == "summary"
    assert (last["done"], last["failed"], last["exit_code"]) == (1, 1, 2)


def test_a_full_disk_is_remembered_and_stops_nothing() -> None:
    report = Report("/dev/full")
    operation = transfer(web("http://h/a"), local("/b"))
    report.settled([done(operation, b"abc")])
    report.settled([done(operation, b"abc")])
    report.finish(SUMMARY, 0, {})
    assert (
        report.file.complaint("the report") == "the report '/dev/full' is incomplete: No space left on device"
    )


def test_a_write_that_the_system_cuts_short_is_remembered(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = OutFile(str(tmp_path / "f"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        file.write(bytes(300))
        file.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "f").stat().st_size == 100
    assert "File too large" in (file.complaint("it") or "")
