"""``pegasus-worker --check``: verdicts on attempts, and the log of them."""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from pegasus_toolkit.records import Failure
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.worker.verdict import check
from tests.worker_world import WORKER


@pytest.fixture
def records(tmp_path: Path) -> Path:
    (tmp_path / "records").mkdir()
    return tmp_path / "records"


def leave(records: Path, exit: int = 0, **more: Any) -> Path:
    """A record, as a fresh file in the place of the one before."""
    path, aside = records / "n.json", records / "aside"
    aside.write_text(json.dumps({"version": 1, "node": "n", "exit": exit, **more}))
    aside.rename(path)
    return path


def lines(records: Path) -> list[Any]:
    return [json.loads(line) for line in (records.parent / "provenance.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("returned", "exit", "verdict", "why"),
    [
        (0, 0, 0, ""),
        (1, 1, 1, "broken"),
        (2, 2, 2, "broken"),
        (1, 0, 1, "it ended with exit code 1; though its record says that all is done"),
        (0, 1, 1, "broken; the record says exit code 1, the job 0"),
        (0, 2, 1, "broken; the record says exit code 2, the job 0"),
        (-9, 1, 1, "broken; it was ended by signal 9"),
        (-9, 2, 1, "broken; it was ended by signal 9"),
        (-1002, 0, 1, "the job was removed, or held and removed; though its record says that all is done"),
        (3, 3, 1, "broken; it ended with exit code 3"),
    ],
)
def test_record_and_exit_code_must_agree(
    returned: int, exit: int, verdict: int, why: str, records: Path
) -> None:
    path = leave(records, exit, error="broken" if exit else "")
    found = check(str(path), returned)
    assert (found.code, found.why) == (verdict, why)
    (line,) = lines(records)
    assert line.pop("at") > 1.7e9
    assert line == {
        **{"node": "n", "return": returned, "verdict": verdict, "why": why, "attempt": 1},
        "record": json.loads(path.read_text()),
    }


@pytest.mark.parametrize(
    ("failure", "exit", "host", "told"),
    [
        (
            "machine",
            1,
            "node1.x",
            '!regexp("^node1[.]x([.]|$)", TARGET.Machine, "i") || time() - QDate > 300',
        ),
        ("machine", 2, "node1.x", ""),
        ("program", 1, "node1.x", ""),
        ("machine", 1, "", ""),
    ],
)
def test_what_a_machine_lacks_is_tried_elsewhere(
    failure: str, exit: int, host: str, told: str, records: Path
) -> None:
    for _ in range(2):
        check(str(leave(records, exit, error="x", failure=failure, host=host)), exit)
    file = records / "n.elsewhere"
    line = f"requirements = ($(requirements:true)) && ({told})\n"
    assert (file.read_text() if file.exists() else "") == (line * 2 if told else "")


def test_no_record(records: Path) -> None:
    found = check(str(records / "n.json"), -1001)
    assert (found.code, found.why) == (1, "the job left no record; HTCondor did not take the job")
    assert lines(records)[0]["record"] is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is broken"),
        ("{", "is broken"),
        ("[]", "of another version or node"),
        ('{"version": 2, "node": "n", "exit": 0}', "of another version or node"),
        ('{"version": 1, "node": "m", "exit": 0}', "of another version or node"),
        ('{"version": 1, "node": "n"}', "the record says exit code None"),
    ],
)
def test_records_that_prove_nothing(content: str, why: str, records: Path) -> None:
    (records / "n.json").write_text(content)
    found = check(str(records / "n.json"), 0)
    assert found.code == 1 and why in found.why


def test_a_record_counts_for_one_attempt_only(records: Path) -> None:
    path = leave(records, 1, error="first")
    assert check(str(path), 1).why == "first"
    found = check(str(path), 0)  # this one died before it began
    assert found.code == 1 and "of the attempt before" in found.why
    leave(records, 1, error="third")
    assert check(str(path), 1).why == "third"
    leave(records, 0)
    assert check(str(path), 0).code == 0
    told = lines(records)
    assert [one["attempt"] for one in told] == [1, 2, 3, 4]
    assert [one["record"] and one["record"].get("error") for one in told] == ["first", None, "third", None]


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (("1", "3"), "3 nodes failed"),
        (("0", "1"), "1 nodes failed"),
        (("4", "0"), "the DAG was removed"),
        (("9", ""), "DAG status 9"),
    ],
)
def test_the_last_node_does_not_make_good_what_failed(rest: tuple[str, str], why: str, records: Path) -> None:
    path = leave(records)
    assert check(str(path), 0, ("0", "0")).code == 0
    found = check(str(path), 0, rest)
    assert (found.code, found.why) == (1, why)


def test_a_record_of_many_lines_becomes_one(records: Path) -> None:
    (records / "n.json").write_text(json.dumps({"version": 1, "node": "n", "exit": 0}, indent=1))
    check(str(records / "n.json"), 0)
    assert lines(records)[0]["record"]["exit"] == 0


def test_half_a_line_of_another_is_left_behind(records: Path) -> None:
    (records.parent / "provenance.jsonl").write_text('{"node": "m", "rec')
    check(str(leave(records)), 0)
    text = (records.parent / "provenance.jsonl").read_text().splitlines()
    assert len(text) == 2 and json.loads(text[1])["node"] == "n"


def test_a_full_disk_leaves_no_half_line_and_is_no_success(records: Path) -> None:
    path = leave(records, error="x" * 3000)
    log = records.parent / "provenance.jsonl"
    log.write_text("{}\n")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = subprocess.run(
        [WORKER, "--check", path, "0"], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "cannot be noted" in done.stderr
    assert log.read_text() == "{}\n"


def checks(path: str) -> None:
    for _ in range(50):
        check(path, 1)


def test_several_at_once_do_not_mix(records: Path) -> None:
    context = multiprocessing.get_context("fork")
    paths = []
    for name in "abc":
        paths.append(records / f"{name}.json")
        paths[-1].write_text(json.dumps({"version": 1, "node": name, "exit": 1, "error": name * 9000}))
    workers = [context.Process(target=checks, args=(str(path),)) for path in paths]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    told = lines(records)
    assert sorted((one["node"], one["attempt"]) for one in told) == [
        (name, n) for name in "abc" for n in range(1, 51)
    ]


def test_as_dagman_calls_it(records: Path) -> None:
    path = leave(records, 2, error="no such input")
    done = subprocess.run([WORKER, "--check", path, "2"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "pegasus-worker: no such input\n")
    again = subprocess.run([WORKER, "--check", path, "-1004", "1", "2"], capture_output=True, check=False)
    assert again.returncode == 1


def test_every_error_of_a_transfer_is_a_kind_that_records_know() -> None:
    def below(kind: type[TransferError]) -> set[str]:
        return {kind.kind}.union(*map(below, kind.__subclasses__()))

    assert below(TransferError) <= set(get_args(Failure))
