"""What DAGMan and HTCondor themselves wrote: one run that failed in many ways, and its rescue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pegasus_toolkit.monitor.status import Counts
from tests.monitor_world import alive, asked, command, counted, recorded, seen, told


def test_as_dagmans_own_table_has_it(tmp_path: Path) -> None:
    """Of ten nodes DAGMan counts 4 done, 1 queued (held), 3 failed, 1 unready, 1 futile."""
    alive(recorded("held", tmp_path))
    now = seen(tmp_path)
    assert now.counts == Counts(unready=2, queued=1, done=4, failed=3)
    assert (now.state, now.note) == ("Held", "1 held, and nothing else in progress")


def test_a_dagman_that_is_gone_is_told_as_such(tmp_path: Path) -> None:
    recorded("held", tmp_path)
    log = tmp_path / "w.dag.dagman.out"
    log.write_text(log.read_text().replace("PID = 30879", "PID = 4194305"))  # Linux has no such process
    now = seen(tmp_path)
    assert now.state == "Unknown" and "process 4194305" in now.note
    assert now.counts.queued == 1


@pytest.mark.parametrize(("status", "state"), [(3, "Held"), (1, "Failure")])
def test_a_dagman_that_is_to_be_started_again_has_not_ended(tmp_path: Path, status: int, state: str) -> None:
    log = recorded("held", tmp_path) / "w.dag.dagman.out"
    end = f"**** condor_scheduniv_exec.7.0 (condor_DAGMAN) pid 30879 EXITING WITH STATUS {status}"
    log.write_text(f"{log.read_text()}11/22/26 20:00:00 {end}\n")
    assert seen(tmp_path).state == state


REFUSED = """\
11/30/26 22:20:00 ERROR: of the run before
11/30/26 22:21:01 ** condor_scheduniv_exec.521.0 (CONDOR_DAGMAN) STARTING UP
11/30/26 22:21:01 ** PID = 4194305
11/30/26 22:21:01 Warning: failed to get attribute DAGNodeName
11/30/26 22:21:01 Warning: default node log file /tmp/w.dag.nodes.log is in /tmp
11/30/26 22:21:01 ERROR: Warning is fatal error because of DAGMAN_USE_STRICT setting
11/30/26 22:21:01 Aborting DAG...
11/30/26 22:21:01 **** condor_dagman (condor_DAGMAN) pid 4194305 EXITING WITH STATUS 1
"""


def test_what_dagman_said_before_it_gave_up_is_told(tmp_path: Path) -> None:
    (tmp_path / "w.dag").write_text("JOB a a.sub\n")
    (tmp_path / "w.dag.dagman.out").write_text(REFUSED)
    now = seen(tmp_path)
    reason = (
        "Warning: default node log file /tmp/w.dag.nodes.log is in /tmp;"
        " ERROR: Warning is fatal error because of DAGMAN_USE_STRICT setting"
    )
    assert (now.state, now.note) == ("Failure", f"DAGMan gave up: {reason}")
    assert reason in command("analyzer", tmp_path).stdout
    assert reason in command("status", tmp_path).stdout
    # Nodes that failed say for themselves what happened.
    assert "gave up" not in seen(recorded("failed", tmp_path / "other")).note


def test_every_attempt_and_how_it_ended(tmp_path: Path) -> None:
    recorded("failed", tmp_path)
    rows = asked(
        tmp_path,
        "SELECT name, status, signal, verdict, removed, failed FROM attempts JOIN nodes ON nodes.id = node"
        " ORDER BY nodes.id, attempts.id",
    )
    assert rows == [
        ("a", 0, None, None, 0, 0),
        ("b", 1, None, None, 0, 1),
        ("b", 0, None, None, 0, 0),
        ("c", 0, None, 0, 0, 0),
        ("d", 1, None, None, 0, 1),
        ("d", 1, None, None, 0, 1),
        ("h", None, None, None, 1, 1),
        ("k", None, 9, 1, 0, 1),
        ("p", None, None, None, 0, 1),
        ("n", 0, None, None, 0, 0),
        ("f", 0, None, None, 0, 0),
    ]


def test_a_final_node_that_does_well_makes_no_success(tmp_path: Path) -> None:
    now = seen(recorded("failed", tmp_path))
    assert now.counts == Counts(unready=1, done=5, failed=4)
    assert now.state == "Failure" and "exit code 0, but 4 failed" in now.note


def test_why_it_was_held_outlives_that_it_was_removed_for_it(tmp_path: Path) -> None:
    recorded("failed", tmp_path)
    ((reason,),) = asked(
        tmp_path, "SELECT reason FROM attempts JOIN nodes ON nodes.id = node WHERE name = 'h'"
    )
    assert reason.startswith("Transfer input files failure") and reason.endswith("(code 13)")


def test_the_rescue_goes_on_and_the_history_stays(tmp_path: Path) -> None:
    """DAGMan cuts its event log when it begins anew; what was read before is not lost."""
    assert counted(recorded("failed", tmp_path)).failed == 4
    before = asked(tmp_path, "SELECT * FROM attempts ORDER BY id")
    now = seen(recorded("rescued", tmp_path))
    assert (now.counts, now.state) == (Counts(done=10), "Success")
    after = asked(tmp_path, "SELECT * FROM attempts ORDER BY id")
    assert after[: len(before)] == before and len(after) == len(before) + 6
    runs = asked(tmp_path, "SELECT status, recovery, rescue FROM runs ORDER BY id")
    assert runs == [(0, 0, ""), (0, 0, "w.dag.rescue001")]


def test_made_anew_after_the_rescue_it_knows_what_the_files_know(tmp_path: Path) -> None:
    assert seen(recorded("rescued", tmp_path)).counts == Counts(done=10)
    rows = asked(tmp_path, "SELECT name FROM attempts JOIN nodes ON nodes.id = node ORDER BY nodes.id")
    assert (
        "".join(name for (name,) in rows) == "dhkppef"
    )  # that p's PRE script failed once, DAGMan's log tells


def written(log: Path, stamp: re.Pattern[bytes]) -> list[tuple[str, bytes]]:
    """What stood in the log at the end of each second."""
    content, found = log.read_bytes(), []
    for match in stamp.finditer(content):
        if found:
            found[-1] = (found[-1][0], content[: match.start()])
        found.append((match[1].decode(), content))
    return found


@pytest.mark.parametrize("stage", ["held", "failed", "rescued"])
def test_read_second_by_second_as_it_is_written_it_comes_to_the_same(tmp_path: Path, stage: str) -> None:
    whole, grown = recorded(stage, tmp_path / "whole"), recorded(stage, tmp_path / "grown")
    said = written(grown / "w.dag.dagman.out", re.compile(rb"^../../.. (..:..:..) ", re.MULTILINE))
    events = written(grown / "w.dag.nodes.log", re.compile(rb"^\d{3} \(.*?\) \S+ (..:..:..) ", re.MULTILINE))
    moments = sorted({moment for moment, _ in (*said, *events)})
    for moment in moments:
        for name, log in (("dagman.out", said), ("nodes.log", events)):
            content = [part for at, part in log if at <= moment][-1:]
            cut = b"" if moment == moments[-1] else b"001 (0"  # and the beginning of a line
            (grown / f"w.dag.{name}").write_bytes(b"".join((*content, cut)))
        counted(grown)
    for query in ("name, state, failures FROM nodes", "* FROM attempts", "* FROM runs"):
        assert asked(grown, f"SELECT {query} ORDER BY id") == asked(whole, f"SELECT {query} ORDER BY id")
    assert len(moments) > 5


def test_the_analyzer_tells_what_to_try(tmp_path: Path) -> None:
    recorded("failed", tmp_path)
    found = told("analyzer", tmp_path)
    (one,) = found["workflows"]
    assert found["exit"] == 2 and one["jobs"]["failed"] == 4 and one["jobs"]["unsubmitted"] == 1
    failures = {failure["node"]: failure for failure in one["failures"]}
    assert list(failures) == ["d", "h", "k", "p"]
    assert (failures["d"]["attempts"], failures["d"]["status"]) == (2, 1)
    assert failures["k"]["status"] == -9 and "out of memory" in failures["k"]["hints"][0]
    assert "not.there" in failures["h"]["reason"] and "HTCondor could not carry" in failures["h"]["hints"][0]
    assert "PRE script failed" in failures["p"]["hints"][0] and len(failures["p"]["hints"]) == 1


def test_the_analyzer_tells_of_what_is_held(tmp_path: Path) -> None:
    alive(recorded("held", tmp_path))
    done = command("analyzer", "--exit-code", tmp_path)
    assert done.returncode == 2
    assert " # jobs held       :       1 (10.00%)" in done.stdout
    assert "try: mend what the reason names, then: condor_release 38" in done.stdout


def test_the_graph_shows_states(tmp_path: Path) -> None:
    recorded("failed", tmp_path)
    lines = command("graph", tmp_path).stdout.splitlines()
    colour = {line.split('"')[1]: line.split('fillcolor="')[1][:7] for line in lines if "label=" in line}
    assert colour["a"] == colour["n"] == "#b9e5b4" and colour["d"] == "#ff9d96" and colour["e"] == "#f2f2f2"
    assert sum(" -> " in line for line in lines) == 8
