"""Event logs that we write are read by HTCondor's own reader, and those that it writes by ours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.dag import dagman, events, rescue
from pegasus_toolkit.dag.problems import DagError

AT = 1795354372.25

# As HTCondor 24 writes it, with events that matter to nobody here.
THEIRS = """\
000 (108.000.000) 2026-11-22 13:32:52 Job submitted from host: <10.0.0.1:9618?addrs=10.0.0.1-9618&alias=x>
    DAG Node: stage_in
...
040 (108.000.000) 2026-11-22 13:32:53 Started transferring input files
\tTransferring to host: <10.0.0.2:1234>
...
001 (108.000.000) 2026-11-22 13:32:54 Job executing on host: <10.0.0.2:1234>
\tSlotName: slot1_1@node
\tCondorScratchDir = "/var/lib/condor/execute/dir_1"
\tCpus = 1
...
006 (108.000.000) 2026-11-22 13:33:00 Image size of job updated: 1500
\t2  -  MemoryUsage of job (MB)
...
005 (108.000.000) 2026-11-22 13:33:01 Job terminated.
\t(1) Normal termination (return value 7)
\t\tUsr 1 02:03:04, Sys 0 00:00:05  -  Run Remote Usage
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Local Usage
\t\tUsr 1 02:03:04, Sys 0 00:00:05  -  Total Remote Usage
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Total Local Usage
\t104  -  Run Bytes Sent By Job
\tPartitionable Resources :    Usage  Request Allocated
\t   Cpus                 :                 1         1

\tJob terminated of its own accord at 2026-11-22T13:33:01Z with exit-code 7.
...
012 (109.000.000) 2026-11-22 13:33:02 Job was held.
\tTransfer output files failure at execution point
\tCode 12 Subcode 2
...
"""


def written() -> str:
    return "".join(
        (
            events.submitted(1, AT, "A", "host:0"),
            events.executing(1, AT + 1, "host:0"),
            events.terminated(1, AT + 2, 3, 90061.9, 5.2),
            events.post_script(1, AT + 3, "A", -9),
            events.submitted(2, AT, "B", "host:0"),
            events.held(2, AT, "no file\nx", 13),
            events.aborted(2, AT, "gone"),
            events.pre_skip(3, AT, "C"),
            events.terminated(1234, AT, -15),
            events.post_script(1234, AT, "D", 0),
        )
    )


def test_htcondor_reads_what_we_write(tmp_path: Path) -> None:
    htcondor2 = pytest.importorskip("htcondor2", reason="HTCondor's Python bindings are not installed")
    log = tmp_path / "x.log"
    log.write_text(written())
    found: list[dict[str, Any]] = [dict(one) for one in htcondor2.JobEventLog(str(log)).events(0)]
    assert [one["EventTypeNumber"] for one in found] == [0, 1, 5, 16, 0, 12, 9, 34, 5, 16]
    assert [one["Cluster"] for one in found] == [1, 1, 1, 1, 2, 2, 2, 3, 1234, 1234]
    assert found[0]["LogNotes"] == "DAG Node: A" and found[0]["StructuredNotes"]["DAGNodeName"] == "A"
    assert found[2]["ReturnValue"] == 3 and found[2]["TerminatedNormally"]
    assert found[2]["RunRemoteUsage"] == "Usr 1 01:01:01, Sys 0 00:00:05"
    assert (found[3]["DAGNodeName"], found[3]["TerminatedBySignal"]) == ("A", 9)
    assert (found[5]["HoldReason"], found[5]["HoldReasonCode"]) == ("no file x", 13)
    assert found[6]["Reason"] == "gone"
    assert found[7]["SkipEventLogNotes"] == "DAG Node: C"
    assert found[8]["TerminatedBySignal"] == 15 and not found[8]["TerminatedNormally"]
    assert found[9]["ReturnValue"] == 0
    assert [one.timestamp for one in htcondor2.JobEventLog(str(log)).events(0)][:2] == [int(AT), int(AT) + 1]


def test_we_read_what_we_write(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(written())
    found = list(events.EventLog(log))
    assert [one.kind for one in found] == [0, 1, 5, 16, 0, 12, 9, 34, 5, 16]
    assert [one.at for one in found[:4]] == [AT, AT + 1, AT + 2, AT + 3]
    assert [one.node for one in found] == ["A", "", "", "A", "B", "", "", "C", "", "D"]
    assert (found[2].returned, found[2].signal, found[2].user, found[2].system) == (3, None, 90061, 5)
    assert (found[3].returned, found[3].signal, found[8].signal) == (None, 9, 15)
    assert (found[5].reason, found[5].code, found[6].reason) == ("no file x", 13, "gone")


def test_we_read_what_htcondor_writes(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(THEIRS)
    submitted, _, executing, _, terminated, held = events.EventLog(log)
    begin = time.mktime((2026, 11, 22, 13, 32, 52, 0, 0, -1))
    assert (submitted.node, submitted.cluster, submitted.at) == ("stage_in", 108, begin)
    assert executing.text == "Job executing on host: <10.0.0.2:1234>" and executing.at == begin + 2
    assert (terminated.returned, terminated.user, terminated.system) == (7, 93784, 5)
    assert (held.code, held.reason) == (12, "Transfer output files failure at execution point")


def test_a_log_is_read_as_it_grows(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    reader = events.EventLog(log)
    assert list(reader) == []
    text = written()
    half = text.index("005 (001") + 30
    log.write_text(text[:half])
    assert [one.kind for one in reader] == [0, 1]
    assert list(reader) == []
    log.write_text(text)
    assert next(iter(reader)).kind == 5
    later = events.EventLog(log, reader.offset)  # from what was kept
    assert [one.kind for one in later] == [16, 0, 12, 9, 34, 5, 16]
    assert later.offset == len(text) and next(iter(reader)).kind == 16


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("nonsense\n...\n" + events.executing(7, AT, "h") + "\xff\n...\n")
    assert [one.cluster for one in events.EventLog(log)] == [7]


def test_other_forms_of_time(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(
        "001 (1.0.0) 2026-11-22T13:32:52.5Z Job executing on host: <h>\n...\n"
        "001 (2.0.0) 01/02 03:04:05 Job executing on host: <h>\n...\n"
    )
    utc, old = events.EventLog(log)
    assert utc.at == 1795354372.5
    assert time.localtime(old.at)[1:6] == (1, 2, 3, 4, 5) and old.at < time.time() + 86400


def test_rescue_files_are_numbered_and_read_back(tmp_path: Path) -> None:
    dag = tmp_path / "x.dag"
    assert rescue.newest(dag) is None
    first = rescue.write(dag, ["A", "B"], ["C"], 4)
    assert first.name == "x.dag.rescue001" and rescue.newest(dag) == first
    second = rescue.write(dag, ["A", "B", "C"], [], 4)
    assert second.name == "x.dag.rescue002" and rescue.newest(dag) == second
    assert rescue.read(first) == {"A", "B"} and rescue.read(second) == {"A", "B", "C"}
    lines = first.read_text().splitlines()
    assert lines[0] == "# Rescue DAG file, created after running"
    assert "#   C,<ENDLIST>" in lines and lines[-2:] == ["DONE A", "DONE B"]
    assert [one.name for one in tmp_path.iterdir() if "rescue" not in one.name] == []


def test_rescue_files_of_others_are_read_and_broken_ones_told(tmp_path: Path) -> None:
    file = tmp_path / "x.dag.rescue001"
    file.write_text("# x\nDONE A\n# 1 of 3 retries already performed; 2 remaining\nRETRY B 2 UNLESS-EXIT 2\n")
    assert rescue.read(file) == {"A"}
    file.write_text("DONE A\nJOB B b.sub\nDONE\n")
    with pytest.raises(DagError) as caught:
        rescue.read(file)
    assert [one.line for one in caught.value.problems] == [2, 3]


def test_lines_of_dagmans_log() -> None:
    found = dagman.sentence(dagman.line("Running PRE script of Node a-b...", AT))
    assert found is not None
    assert (found.at, found.text, found.node) == (int(AT), "Running PRE script of Node a-b...", "a-b")
    theirs = dagman.sentence("11/22/26 13:32:52 POST Script of node X failed with status 1\n")
    assert theirs is not None and theirs.node == "X"
    assert dagman.sentence("  ===     ===\n") is None


def test_settings_of_dagman(tmp_path: Path) -> None:
    file = tmp_path / "dagman.config"
    file.write_text("# x\nDAGMAN_MAX_PRE_SCRIPTS = 3\ndagman_max_jobs_submitted=7\n")
    assert dagman.settings(file) == {"MAX_PRE_SCRIPTS": "3", "MAX_JOBS_SUBMITTED": "7"}
    file.write_text("nonsense\n")
    with pytest.raises(DagError, match="expected NAME = value"):
        dagman.settings(file)
