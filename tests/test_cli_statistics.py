"""``pegasus-statistics`` as a program: its numbers against what is known of the runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.local_world import World
from tests.monitor_world import asked, command, recorded, run, told
from tests.worker_world import plan
from tests.workflows.shapes import make


@pytest.fixture(scope="module")
def flaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, one of which fails once; where what was staged was digested by the worker."""
    submitted = plan(make("flaky", tmp_path_factory.mktemp("flaky"), "nonsharedfs"))
    assert run(submitted) == 0
    return submitted.path


def records(path: Path) -> list[dict[str, Any]]:
    """As the workers left them, one for each attempt."""
    return [json.loads(line) for line in (path / "provenance.jsonl").read_text().splitlines()]


def test_tasks_jobs_and_retries(flaky: Path) -> None:
    found = told("statistics", flaky)
    nodes = sum(json.loads((flaky / "plan.json").read_text())["nodes"].values()) + 1  # the receipt
    assert found["tasks"] == {"succeeded": 2, "failed": 0, "incomplete": 0, "retries": 1, "total": 2}
    assert found["jobs"] == {"succeeded": nodes, "failed": 0, "incomplete": 0, "retries": 1, "total": nodes}
    assert found["workflows"]["total"] == 0


def test_times_and_bytes_are_those_of_the_records(flaky: Path) -> None:
    found, lines = told("statistics", flaky), records(flaky)
    seconds = [line["record"].get("seconds", 0.0) for line in lines]
    assert found["cumulative"] == pytest.approx(sum(seconds))
    bad = [line["record"]["seconds"] for line in lines if line["verdict"]]
    assert len(bad) == 1 and found["badput"] == pytest.approx(bad[0])
    for key in ("bytes_in", "bytes_out"):
        assert found[key] == sum(line["record"].get(key, 0) for line in lines) > 0
    checks = [line["record"].get("checks", {}) for line in lines]
    assert found["checks"] == sum(one.get("made", 0) for one in checks) > 0
    assert found["mismatches"] == 0


def test_seen_from_the_submit_side_it_is_the_log_that_counts(flaky: Path) -> None:
    found = told("statistics", flaky)
    rows = asked(flaky, "SELECT ended - started, failed FROM attempts")
    assert found["cumulative_submit"] == pytest.approx(sum(seconds for seconds, _ in rows))
    assert found["badput_submit"] == pytest.approx(sum(seconds for seconds, failed in rows if failed))
    assert found["cumulative_submit"] > found["cumulative"] > 0


def test_by_transformation(flaky: Path) -> None:
    (table,) = told("statistics", "-s", "tf", flaky)["breakdown"]
    rows = {(row["transformation"], row["type"]): row for row in table["rows"]}
    good, bad = rows["keg", "successful"], rows["keg", "failed"]
    assert (good["count"], bad["count"]) == (2, 1)
    assert good["min"] <= good["mean"] <= good["max"] and good["total"] == pytest.approx(2 * good["mean"])
    assert good["max_rss_MiB"] > 1 and 0 < good["cpu_percent"] <= 200
    assert rows["pegasus::stage_in", "successful"]["count"] == 1


def test_each_attempt_of_each_job(flaky: Path, tmp_path: Path) -> None:
    done = command("statistics", "-s", "jb_stats", "-f", "csv", "-o", tmp_path, flaky)
    assert done.returncode == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "jobs.csv").read_text())))
    tries = [(row["try"], row["exit"], row["phase"]) for row in rows if "flaky" in row["job"]]
    assert tries == [("1", "1", "run"), ("2", "0", "")]
    assert all(row["site"] and row["host"] and float(row["runtime"]) >= 0 for row in rows)


def test_which_job_made_which_file_with_which_digest_from_which(flaky: Path) -> None:
    made = asked(flaky, "SELECT node, digest FROM provenance WHERE lfn = 'f.c' ORDER BY at", records=True)
    (record,) = [line for line in records(flaky) if "flaky" in line["node"] and not line["verdict"]]
    assert made[0] == (record["node"], record["record"]["outputs"][0]["digest"])
    inputs = asked(
        flaky,
        "SELECT files.lfn FROM provenance JOIN files ON files.record = provenance.record AND NOT made"
        f" WHERE provenance.lfn = 'f.c' AND node = '{record['node']}' ORDER BY 1",
        records=True,
    )
    assert inputs == [("f.b",), ("keg",)]


def test_a_record_may_be_there_before_the_event_log_tells_of_its_attempt(flaky: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(flaky, copy, ignore=shutil.ignore_patterns("run.db"))
    log = copy / "flaky-0.dag.nodes.log"
    content = log.read_bytes()
    log.write_bytes(content[: content.index(b"\n...\n", len(content) // 2) + 5])
    query = "SELECT number, node, attempt FROM records ORDER BY id"
    assert None in [attempt for *_, attempt in asked(copy, query, records=True)]
    log.write_bytes(content)
    assert asked(copy, query, records=True) == asked(flaky, query, records=True)


def test_all_levels_as_text_and_in_files(flaky: Path, tmp_path: Path) -> None:
    done = command("statistics", "-s", "all", "-o", tmp_path / "new" / "out", flaky)
    assert (done.returncode, done.stderr) == (0, "")
    names = ["breakdown", "integrity", "jobs", "summary", "time", "workflow"]
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == [f"{n}.txt" for n in names]
    for name in names:
        assert (tmp_path / "new" / "out" / f"{name}.txt").read_text() in done.stdout + "\n"
    lines = {
        key.strip(): value for key, _, value in (line.partition(": ") for line in done.stdout.splitlines())
    }
    assert lines["cumulative job badput wall time"].endswith(" s")


def test_what_was_never_run_is_incomplete(tmp_path: Path) -> None:
    submitted = plan(make("stuck", tmp_path, "nonsharedfs", 3))
    before = told("statistics", submitted.path)
    assert before["tasks"]["incomplete"] == 3 and before["wall"] == 0
    assert run(submitted) == 1
    after = told("statistics", submitted.path)
    assert after["tasks"] == {"succeeded": 1, "failed": 1, "incomplete": 1, "retries": 1, "total": 3}
    assert after["jobs"]["failed"] == 2 and after["jobs"]["incomplete"] > 0


def test_sub_workflows_count_with_what_is_in_them(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "job.sub").write_text((tmp_path / "job.sub").read_text())
    (tmp_path / "below" / "ok.sh").write_text("exit 0")
    below = 'VARS ALL_NODES script="ok.sh"\nJOB B job.sub DIR .\nJOB C job.sub\n'
    (tmp_path / "below" / "y.dag").write_text(below)
    world.jobs(f"JOB A job.sub\nSUBDAG EXTERNAL sub {tmp_path}/below/y.dag DIR {tmp_path}/below\n")
    assert world.run() == 0
    found = told("statistics", "-s", "wf", tmp_path)
    assert found["jobs"]["succeeded"] == 3 and found["workflows"]["succeeded"] == 1
    totals = [[row["total"] for row in table["rows"]] for table in found["workflow"]]
    assert totals == [[0, 1, 1], [0, 2, 0]]


def test_dagmans_runs_are_added_up(tmp_path: Path) -> None:
    recorded("rescued", tmp_path)
    found = told("statistics", tmp_path)
    assert found["wall"] == 76.0 + 8.0  # as DAGMan's log has them
    assert found["jobs"]["succeeded"] == 10


@pytest.mark.parametrize(
    ("words", "said"), [(["-s", "lots"], "no such level: 'lots'"), (["none"], "no such")]
)
def test_what_cannot_be_told(tmp_path: Path, words: list[str], said: str) -> None:
    done = command("statistics", *words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr


def test_a_run_that_was_killed_ends_with_the_last_that_is_known_of_it(tmp_path: Path) -> None:
    recorded("held", tmp_path)
    log = tmp_path / "w.dag.dagman.out"
    log.write_text(log.read_text().replace("PID = 30879", "PID = 4194305"))  # Linux has no such process
    assert told("statistics", tmp_path)["wall"] == 5.0  # from 13:50:31 until a job ended at 13:50:36


def test_several_runs_by_directory_and_by_id(flaky: Path, tmp_path: Path) -> None:
    one = told("statistics", flaky)
    both = told("statistics", flaky, flaky)
    assert both["tasks"]["total"] == 2 * one["tasks"]["total"] and both["wall"] == 2 * one["wall"]
    shutil.copytree(flaky, tmp_path / "runs" / "mine")
    id = json.loads((flaky / "plan.json").read_text())["run"]
    done = command("statistics", "-u", "-m", "-p", "--json", id, cwd=tmp_path)
    assert json.loads(done.stdout)["tasks"] == one["tasks"]
    assert "-m changes nothing here" in done.stderr
    done = command("statistics", "-u", "nobody", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and "has the id nobody" in done.stderr
