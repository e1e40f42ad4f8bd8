"""``pegasus-status`` as a program."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pegasus_toolkit.dag.process import started
from tests.local_world import World
from tests.monitor_world import alive, command, recorded, runs_it, told

HEAD = "UNRDY READY   PRE  IN_Q  POST  DONE  FAIL %DONE STATE   DAGNAME"
STATUS = [sys.executable, "-m", "pegasus_toolkit.cli.status"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A DAG with two sub-workflows, one of which holds another; the second was not made yet."""
    world = World(tmp_path)
    for place, text in {
        "one/x.dag": "JOB A job.sub\nSUBDAG EXTERNAL deep deep/y.dag DIR .\n",
        "one/deep/y.dag": "JOB A job.sub\nJOB B job.sub DONE\n",
    }.items():
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    world.jobs(f"SUBDAG EXTERNAL one {tmp_path}/one/x.dag\nSUBDAG EXTERNAL two two/z.dag\nJOB C job.sub\n")
    return tmp_path


def test_the_table_is_the_one_that_people_know(tmp_path: Path) -> None:
    alive(recorded("held", tmp_path))
    done = command("status", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        HEAD,
        "    2     0     0     1     0     4     3  40.0 Held    *w.dag",
        "w.dag: 1 held, and nothing else in progress",
    ]


def test_an_engine_that_was_killed_is_gone_also_before_its_parent_knows(tmp_path: Path) -> None:
    engine = subprocess.Popen(["sleep", "1000"])
    begun = started(engine.pid)
    try:
        runs_it(recorded("held", tmp_path), engine.pid)
        assert state(tmp_path) == "Held"
        lock = tmp_path / "w.dag.lock"
        lock.write_text(f"{engine.pid}\nhost {os.uname().nodename}\nstarted {begun}\n")
        assert state(tmp_path) == "Held"
        lock.write_text(f"{engine.pid}\nhost {os.uname().nodename}\nstarted 1 another\n")
        assert state(tmp_path) == "Unknown"  # its number was given again
        lock.unlink()
        engine.kill()
        os.waitid(os.P_PID, engine.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
        assert state(tmp_path) == "Unknown"
    finally:
        engine.kill()
        engine.wait()


def state(path: Path) -> str:
    """Of the whole run."""
    found: str = json.loads(command("status", "--json", path).stdout)["dags"]["root"]["state"]
    return found


def test_pegasus_own_api_reads_it(tmp_path: Path) -> None:
    client = pytest.importorskip("Pegasus.client._client").Client
    recorded("rescued", tmp_path)
    read = client._parse_status_output(command("status", "--long", tmp_path).stdout, "w")
    assert read["totals"]["succeeded"] == read["totals"]["total"] == 10
    assert read["dags"]["root"]["state"] == "Success" and read["dags"]["root"]["dagname"] == "w.dag"


def test_here_is_where_it_looks(tmp_path: Path) -> None:
    recorded("rescued", tmp_path)
    assert command("status", cwd=tmp_path).stdout == command("status", tmp_path / "w.dag").stdout


def test_jobs_with_why_they_are_held(tmp_path: Path) -> None:
    alive(recorded("held", tmp_path))
    lines = command("status", "--jobs", tmp_path).stdout.splitlines()
    assert re.fullmatch(r" +38 Held +(\d+\+)?\d\d:\d\d:\d\d   1 h", lines[-2])
    assert "held: Transfer input files failure" in lines[-1]


def test_sub_workflows_in_their_tree(tree: Path) -> None:
    lines = command("status", "-l", tree).stdout.splitlines()
    assert [line[42:] for line in lines[:5]] == [
        HEAD[42:],
        "  0.0 Unknown *x.dag",
        "  0.0 Unknown └─x.dag",
        " 50.0 Unknown   └─y.dag",
        " 14.2         all 3 together",
    ]
    short = command("status", tree).stdout.splitlines()
    assert short[1].split() == [
        "0",
        "6",
        "0",
        "0",
        "0",
        "1",
        "0",
        "14.2",
        "Unknown",
        "*x.dag",
        "(with",
        "2",
        "sub-workflows)",
    ]


def test_json_has_upstreams_keys(tree: Path) -> None:
    found = told("status", tree)
    assert list(found["dags"]) == ["root", "one", "one/deep"]
    assert found["totals"]["total"] == 7 and found["totals"]["percent_done"] == 14.2
    keys = {"unready", "ready", "pre", "queued", "post", "succeeded", "failed", "percent_done", "total"}
    assert keys <= found["totals"].keys() and keys | {"state", "dagname"} <= found["dags"]["root"].keys()
    assert found["dags"]["one/deep"]["submit_directory"] == str(tree / "one" / "deep")


def test_watching_ends_with_the_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fifo("go")
    world.script("wait.sh", ": < go")
    world.jobs("JOB A job.sub\n", "wait.sh")
    engine = world.start("-q")
    try:
        watch = subprocess.Popen([*STATUS, "-w", "0.1", tmp_path], stdout=subprocess.PIPE, text=True)
        assert watch.stdout is not None
        while "Running" not in watch.stdout.readline():
            pass
        world.write("go", "")
        rest, _ = watch.communicate()
    finally:
        engine.terminate()
        engine.communicate()
    assert watch.returncode == 0 and "1     0 100.0 Success *x.dag" in rest


def test_watching_on_a_terminal_until_ctrl_c(tmp_path: Path) -> None:
    alive(recorded("held", tmp_path))
    ours, theirs = pty.openpty()
    watch = subprocess.Popen(
        [*STATUS, "--watch=60", tmp_path],
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where tests run behind a shell
    )
    os.close(theirs)
    seen = b""
    while b"DAGNAME" not in seen or b"\x1b[J" not in seen:
        seen += os.read(ours, 4096)
    watch.send_signal(signal.SIGINT)
    assert watch.wait() == 0
    os.close(ours)
    assert seen.startswith(b"\x1b[H") and b"Traceback" not in seen


@pytest.mark.parametrize(
    ("words", "said"),
    [(["nowhere"], "no such directory"), (["."], "no .dag file"), (["-w", "0", "."], "0.1 to 86400")],
)
def test_what_is_no_run_is_said_in_a_line(tmp_path: Path, words: list[str], said: str) -> None:
    done = command("status", *words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_a_broken_dag_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.dag").write_text("JOB A a.sub\nJOBS B b.sub\n")
    done = command("status", tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"pegasus-status: {tmp_path}/x.dag:2: 'JOBS' is no word of DAGMan's\n"


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    recorded("rescued", tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*STATUS, tmp_path], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_where_it_cannot_write_it_says_so_only_if_asked(tmp_path: Path) -> None:
    recorded("rescued", tmp_path)
    (tmp_path / "run.db").mkdir()
    quiet, verbose = command("status", tmp_path), command("status", "-v", tmp_path)
    assert quiet.stdout == verbose.stdout and "100.0 Success" in quiet.stdout
    assert quiet.stderr == "" and "a copy in memory is used" in verbose.stderr


def test_options_as_pegasus_has_them(tree: Path) -> None:
    lines = command("status", "-l", "-D", "-L", "-Q", "--noqueue", tree).stdout.splitlines()
    assert lines[0] == HEAD and any(f"{tree}/one/deep" in line for line in lines)
    assert any(line.startswith("UNRDY waits for other nodes") for line in lines)
    known = json.loads(command("status", "-j", tree).stdout)
    assert known["dags"].keys() >= {"root", "one", "one/deep"}
    assert known["totals"] == told("status", tree)["totals"]
