"""The run's database, filled from what the local engine writes: while it runs, after a kill, by several."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pegasus_toolkit.dag import dagman, events
from pegasus_toolkit.dag.problems import DagError
from pegasus_toolkit.monitor.database import opened
from pegasus_toolkit.monitor.locate import NotARun, find
from pegasus_toolkit.monitor.status import Counts, jobs
from tests.local_world import World
from tests.monitor_world import asked, counted, seen

CHAIN = "JOB A job.sub\nJOB B job.sub\nJOB C job.sub\nPARENT A CHILD B\nPARENT B CHILD C\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def until(true: Callable[[], bool]) -> None:
    """Looks again and again; that it comes to pass is what is tested, within the test's time."""
    while not true():
        pass


def test_before_it_is_started(world: World) -> None:
    world.jobs(CHAIN + "FINAL F job.sub\n")
    now = seen(world.directory)
    assert now.counts == Counts(unready=3, ready=1)
    assert (now.state, now.note, now.seconds) == ("Unknown", "it was not started yet", None)


def test_a_run_that_went_well(world: World) -> None:
    world.jobs(CHAIN)
    assert world.run() == 0
    assert seen(world.directory)[:3] == (Counts(done=3), "Success", "")
    assert asked(world.directory, "SELECT name, state FROM nodes") == [(name, "done") for name in "ABC"]
    rows = asked(world.directory, "SELECT job, status, verdict, failed FROM attempts ORDER BY id")
    assert rows == [(f"{n}.0.0", 0, None, 0) for n in (1, 2, 3)]
    ((began, ended),) = asked(world.directory, "SELECT started, ended FROM runs")
    assert ended >= began


def test_what_is_queued_and_what_waits_while_it_runs(world: World) -> None:
    world.fifo("go")
    world.script("wait.sh", ": < go")
    world.jobs(CHAIN.replace("JOB B", 'VARS B script="wait.sh"\nJOB B'))
    engine = world.start("-q")
    try:
        until(lambda: counted(world.directory) == Counts(unready=1, queued=1, done=1))
        until(lambda: asked(world.directory, "SELECT state FROM nodes WHERE name = 'B'") == [("running",)])
        assert seen(world.directory).state == "Running"
        with opened(find(str(world.directory))) as connection:
            (job,) = jobs(connection)
        assert (job.node, job.state, job.attempt) == ("B", "running", 1) and job.seconds >= 0
    finally:
        (world.directory / "go").write_text("")
        engine.communicate()
    assert seen(world.directory)[:2] == (Counts(done=3), "Success")


def test_scripts_are_seen_while_they_run(world: World) -> None:
    world.fifo("pre"), world.fifo("post")
    world.script("pre.sh", ": < pre")
    world.script("post.sh", ": < post")
    world.jobs("JOB A job.sub\nSCRIPT PRE A pre.sh\nSCRIPT POST A post.sh\n")
    engine = world.start("-q")
    try:
        until(lambda: counted(world.directory) == Counts(pre=1))
        (world.directory / "pre").write_text("")
        until(lambda: counted(world.directory) == Counts(post=1))
    finally:
        (world.directory / "post").write_text("")
        engine.communicate()
    assert counted(world.directory) == Counts(done=1)


def test_a_retry_is_another_attempt(world: World) -> None:
    world.script("once.sh", "test $2 -gt 0")
    world.jobs("JOB A job.sub\nRETRY A 2\n", "once.sh")
    assert world.run() == 0
    rows = asked(world.directory, "SELECT status, failed FROM attempts ORDER BY id")
    assert rows == [(1, 1), (0, 0)] and counted(world.directory) == Counts(done=1)


def test_no_retry_after_the_exit_code_that_forbids_it(world: World) -> None:
    world.script("two.sh", "exit 2")
    world.jobs("JOB A job.sub\nJOB B job.sub\nRETRY A 3 UNLESS-EXIT 2\nPARENT A CHILD B\n", "two.sh")
    assert world.run() == 1
    assert counted(world.directory) == Counts(unready=1, failed=1)
    assert asked(world.directory, "SELECT count(*) FROM attempts") == [(1,)]


def test_after_a_rescue_the_failed_are_tried_anew(world: World) -> None:
    world.script("need.sh", "test -e needed")
    world.jobs(CHAIN.replace("JOB B", 'VARS B script="need.sh"\nJOB B'))
    assert world.run() == 1
    assert seen(world.directory)[:2] == (Counts(unready=1, done=1, failed=1), "Failure")
    world.write("needed", "")
    assert world.run() == 0
    expected = (Counts(done=3), "Success")
    assert seen(world.directory)[:2] == expected
    assert asked(world.directory, "SELECT status, recovery FROM runs ORDER BY id") == [(1, 0), (0, 0)]
    before = asked(world.directory, "SELECT * FROM attempts ORDER BY id")
    (world.directory / "run.db").unlink()
    assert seen(world.directory)[:2] == expected
    assert asked(world.directory, "SELECT * FROM attempts ORDER BY id") == before


def test_an_engine_that_was_killed_is_told_and_its_next_run_is_followed(world: World) -> None:
    world.fifo("go")
    world.script("wait.sh", "test -e once || { touch once; : < go; }")
    world.jobs(CHAIN.replace("JOB B", 'VARS B script="wait.sh"\nJOB B'))
    engine = world.start("-q")
    until(lambda: asked(world.directory, "SELECT state FROM nodes WHERE name = 'B'") == [("running",)])
    until((world.directory / "once").exists)
    engine.send_signal(signal.SIGKILL)
    engine.communicate()
    now = seen(world.directory)
    assert (now.state, now.counts) == ("Unknown", Counts(unready=1, queued=1, done=1))
    assert f"process {engine.pid}" in now.note
    assert world.run() == 0
    assert seen(world.directory)[:2] == (Counts(done=3), "Success")
    runs = asked(world.directory, "SELECT status, recovery != 0 FROM runs ORDER BY id")
    assert runs == [(None, 0), (0, 1)]
    tries = asked(
        world.directory, "SELECT removed FROM attempts JOIN nodes ON nodes.id = node WHERE name = 'B'"
    )
    assert tries == [(1,), (0,)]


def test_several_commands_at_once_fill_it_once(world: World) -> None:
    world.jobs("".join(f"JOB N{n} job.sub\n" for n in range(30)))
    assert world.run(jobs=2) == 0
    argv = [sys.executable, "-m", "pegasus_toolkit.cli.status", str(world.directory)]
    several = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(5)]
    said = [one.communicate() for one in several]
    assert [one.returncode for one in several] == [0] * 5
    assert len(set(said)) == 1 and b" 30     0 100.0 Success *x.dag" in said[0][0]
    assert asked(world.directory, "SELECT count(*), count(DISTINCT job) FROM attempts") == [(30, 30)]


@pytest.mark.parametrize("harm", ["junk", "other", "directory"])
def test_a_database_that_is_none_does_no_harm(world: World, harm: str) -> None:
    world.jobs(CHAIN)
    assert world.run() == 0
    counted(world.directory)
    file = world.directory / "run.db"
    if harm == "junk":
        file.write_bytes(b"junk" * 1000)
    elif harm == "other":
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA user_version = 99")
            connection.execute("DELETE FROM nodes")
        connection.close()
    else:  # nothing can be written there
        file.unlink()
        file.mkdir()
    notes: list[str] = []
    with opened(find(str(world.directory)), note=notes.append) as connection:
        assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (3,)
    assert [note.rpartition("; ")[2] for note in notes] == {
        "junk": ["it is made anew"],
        "other": [],
        "directory": ["a copy in memory is used"],
    }[harm]


def test_another_dag_in_its_place_is_read_anew(world: World) -> None:
    world.jobs(CHAIN)
    assert counted(world.directory).total == 3
    world.jobs(CHAIN + "JOB D job.sub\n")
    assert counted(world.directory).total == 4


def test_a_dag_that_nobody_can_run_is_refused(world: World) -> None:
    world.jobs(CHAIN + "PARENT C CHILD A\n")
    with pytest.raises(DagError, match="wait for each other"):
        counted(world.directory)


def test_which_run_is_meant(tmp_path: Path) -> None:
    with pytest.raises(NotARun, match="no such directory"):
        find(str(tmp_path / "nowhere"))
    with pytest.raises(NotARun, match=r"no \.dag file"):
        find(str(tmp_path))
    (tmp_path / "a.dag").touch()
    assert find(str(tmp_path)).database == f"{tmp_path}/run.db"
    (tmp_path / "b.dag").touch()
    with pytest.raises(NotARun, match="several"):
        find(str(tmp_path))
    (tmp_path / "braindump.yml").write_text('{"dag": "b.dag"}')
    assert find(str(tmp_path)).name == "b.dag"
    assert find(str(tmp_path / "a.dag")).database == f"{tmp_path}/a.dag.run.db"


T = 1_790_000_000.0


def write(path: Path, dag: str, said: list[tuple[float, str]], log: list[str]) -> Path:
    """A run whose logs hold just this."""
    (path / "x.dag").write_text(dag)
    (path / "x.dag.dagman.out").write_text("".join(dagman.line(text, at) for at, text in said))
    (path / "x.dag.nodes.log").write_text("".join(log))
    return path


BEGUN = [(T + 0, "** dagman STARTING UP"), (T + 1, "Bootstrapping...")]
AGAIN = [(T + 1000, "** dagman STARTING UP"), (T + 1001, "Bootstrapping...")]
DONE = [events.submitted(1, T + 2, "A", "h"), events.terminated(1, T + 3, 0)]


def test_what_the_dag_says_is_done_stays_so(tmp_path: Path) -> None:
    dag = "JOB A a.sub\nJOB B b.sub DONE\n"
    assert counted(write(tmp_path, dag, BEGUN, DONE)) == Counts(done=2)


def test_a_new_run_without_a_rescue_file_begins_from_nothing(tmp_path: Path) -> None:
    ended = (T + 500, "**** dagman pid 1 EXITING WITH STATUS 1")
    write(tmp_path, "JOB A a.sub\nJOB B b.sub\n", [*BEGUN, ended, *AGAIN], DONE)
    assert counted(tmp_path) == Counts(ready=2)


def test_a_run_that_recovers_goes_on_where_the_last_was(tmp_path: Path) -> None:
    found = (T + 1000.5, "Lock file x.dag.lock detected")
    again = [AGAIN[0], found, AGAIN[1]]
    assert counted(write(tmp_path, "JOB A a.sub\nJOB B b.sub\n", [*BEGUN, *again], DONE)) == Counts(
        ready=1, done=1
    )


def test_nobody_waits_for_a_job_of_a_run_that_is_gone(tmp_path: Path) -> None:
    """DAGMan runs the POST script of a job that is removed; one that it lost before is begun anew."""
    dag = "JOB A a.sub\nSCRIPT POST A p.sh\n"
    removed = [events.submitted(1, T + 2, "A", "h"), events.aborted(1, T + 1002, "lost")]
    assert counted(write(tmp_path, dag, [*BEGUN, AGAIN[0]], removed)) == Counts(ready=1)
    (tmp_path / "run.db").unlink()
    assert counted(write(tmp_path, dag, BEGUN, removed)) == Counts(post=1)


def test_a_log_in_another_ones_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    dag = "JOB A a.sub\nJOB B b.sub\n"
    assert counted(write(tmp_path, dag, BEGUN, DONE[:1])) == Counts(ready=1, queued=1)
    other = [
        events.submitted(9, T + 4, "B", "another host, so that it is longer"),
        events.terminated(9, T + 5, 0),
    ]
    (tmp_path / "x.dag.nodes.log").write_text("".join(other))
    assert counted(tmp_path) == Counts(queued=1, done=1)
