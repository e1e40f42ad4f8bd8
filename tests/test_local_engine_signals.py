"""Signals, kills and restarts of a whole run, by the command."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from pegasus_toolkit.dag import events
from pegasus_toolkit.engines.local.lock import Lock, Running, holder, started
from tests.local_world import PROGRAM, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A runs; then B says so, and goes on until it is ended, unless ``mended`` is there; C is last."""
    found = World(tmp_path)
    found.fifo("ready"), found.fifo("alive")
    found.script(
        "long.sh", "echo $1 >> order; test -e mended && exit; exec 3> alive; : > ready; exec sleep 1000"
    )
    found.jobs(
        """
        JOB A job.sub
        JOB B job.sub
        JOB C job.sub
        PARENT A CHILD B
        PARENT B CHILD C
        VARS B script="long.sh"
        """
    )
    return found


def begun(world: World, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    """A run whose job B is at work; and what is at its end when B is gone."""
    process = world.start(*arguments)
    alive = os.open(world.directory / "alive", os.O_RDONLY)
    world.read("ready")
    return process, alive


def gone(alive: int) -> None:
    """Waits until whoever held ``alive`` open is gone."""
    assert os.read(alive, 1) == b""
    os.close(alive)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_jobs_and_the_run_can_go_on(world: World, number: int) -> None:
    """It goes to all of the process group, as a terminal sends it."""
    process, alive = begun(world)
    os.killpg(process.pid, number)
    _, told = process.communicate()
    gone(alive)
    assert process.returncode == 2
    assert f"{signal.Signals(number).name}: ending what runs" in told
    assert f"to go on:      pegasus-run {world.directory}" in told
    assert world.done() == {"A"} and not (world.directory / "x.dag.lock").exists()
    assert [one.kind for one in world.events][-1] == events.ABORTED
    assert world.log[-1].endswith("EXITING WITH STATUS 2")
    world.write("mended", "")
    again = world.start()
    assert again.wait() == 0 and again.communicate()
    assert world.order == ["A", "B", "B", "C"]


def test_a_job_that_ignores_sigterm_is_killed(world: World) -> None:
    world.write("pid", str(os.getpid()))
    world.script("long.sh", "trap '' TERM; kill -TERM $(cat pid); while :; do sleep 1000; done")
    assert world.run(grace=0.0) == 2
    assert world.done() == {"A"} and [one.kind for one in world.events][-1] == events.ABORTED


def test_the_second_signal_kills_at_once(world: World) -> None:
    """The job tells that the first one came, and stays."""
    world.fifo("told")
    world.script(
        "long.sh", "trap ': > told' TERM; exec 3> alive; : > ready; while :; do sleep 1000 & wait; done"
    )
    process, alive = begun(world)
    process.send_signal(signal.SIGINT)
    world.read("told")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    gone(alive)
    assert process.returncode == 2 and "SIGINT: killed" in told
    assert world.done() == {"A"} and [one.kind for one in world.events][-1] == events.ABORTED
    assert not (world.directory / "x.dag.lock").exists()


def test_the_final_node_runs_after_a_signal(world: World) -> None:
    with world.dag.open("a") as stream:
        stream.write('FINAL F job.sub\nSCRIPT POST F ok.sh $DAG_STATUS\nVARS F script="ok.sh"\n')
    process, alive = begun(world)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    gone(alive)
    assert process.returncode == 2 and world.order == ["A", "B", "F", "4"]


def test_a_killed_engine_leaves_nothing_running_and_goes_on_where_it_was(world: World) -> None:
    process, alive = begun(world)
    process.kill()
    gone(alive)  # the job does not outlive it
    process.communicate()
    assert (world.directory / "x.dag.lock").exists()
    world.write("mended", "")
    again = world.start()
    again.communicate()
    assert again.returncode == 0
    assert world.order == ["A", "B", "B", "C"]
    submitted = [(one.cluster, one.node) for one in world.events if one.kind == events.SUBMIT]
    assert submitted == [(1, "A"), (2, "B"), (3, "B"), (4, "C")]
    assert [one.cluster for one in world.events if one.kind == events.ABORTED] == [2]


def test_only_the_post_script_was_missing(world: World) -> None:
    """A's job is over when the engine is killed in its POST script: only that is run again."""
    world.script(
        "post.sh", "echo post $1 >> order; test -e mended && exit; exec 3> alive; : > ready; exec sleep 1000"
    )
    world.script("long.sh", "exit 0")
    with world.dag.open("a") as stream:
        stream.write("SCRIPT POST A post.sh $RETURN\n")
    process, alive = begun(world)
    process.kill()
    gone(alive)
    process.communicate()
    world.write("mended", "")
    again = world.start()
    again.communicate()
    assert again.returncode == 0
    assert world.read("order").splitlines() == ["A", "post 0", "post 0", "C"]


def test_what_a_rescue_file_does_not_name_is_not_done(world: World) -> None:
    """A line was taken out of it. A runs again, and also after a kill, although it was done long ago."""
    process, alive = begun(world)
    process.send_signal(signal.SIGINT)
    process.communicate()
    gone(alive)
    world.write("x.dag.rescue001", world.read("x.dag.rescue001").replace("DONE A\n", ""))
    ok = world.read("ok.sh")
    world.write("ok.sh", world.read("long.sh"))
    process, alive = begun(world)
    process.kill()
    gone(alive)
    process.communicate()
    world.write("ok.sh", ok)
    world.write("mended", "")
    again = world.start()
    again.communicate()
    assert again.returncode == 0 and world.order == ["A", "B", "A", "A", "B", "C"]


def test_killed_in_the_second_attempt(world: World) -> None:
    """The first one's POST script is no reason to run only that."""
    world.script("post.sh", "echo post $1 >> order; exit $1")
    world.script("ok.sh", "echo $1 $2 >> order; test $2 = 0 -a ! -e mended && exit 3; . ./long.sh")
    with world.dag.open("a") as stream:
        stream.write("SCRIPT POST A post.sh $RETURN\nRETRY A 1\n")
    process, alive = begun(world)
    process.kill()
    gone(alive)
    process.communicate()
    world.write("mended", "")
    again = world.start()
    again.communicate()
    assert again.returncode == 0
    lines = world.read("order").splitlines()
    assert lines == ["A 0", "post 3", "A 1", "A", "A 0", "A", "post 0", "B", "C 0", "C"]


def test_killed_after_a_rescue(world: World) -> None:
    """What was done before the rescue file and since both count."""
    process, alive = begun(world)
    process.send_signal(signal.SIGINT)
    process.communicate()
    gone(alive)
    world.script("two.sh", "echo $1 >> order; exec 3> alive; : > ready; exec sleep 1000")
    world.write("mended", "")
    text = world.read("x.dag")
    world.write("x.dag", f'{text}VARS C script="two.sh"\n')
    process, alive = begun(world)
    process.kill()
    gone(alive)
    process.communicate()
    assert world.order == ["A", "B", "B", "C"]
    world.write("x.dag", text)
    again = world.start()
    again.communicate()
    assert again.returncode == 0 and world.order == ["A", "B", "B", "C", "C"]


def test_an_event_that_was_half_written(world: World) -> None:
    process, alive = begun(world)
    process.kill()
    gone(alive)
    process.communicate()
    with (world.directory / "x.dag.nodes.log").open("a") as stream:
        stream.write("005 (002.000.000) 2026-11-22 13:00:00 Job termin")
    world.write("mended", "")
    again = world.start()
    again.communicate()
    assert again.returncode == 0
    assert world.ended() == [("A", 0), ("B", 0), ("C", 0)]


def test_one_engine_at_a_time(world: World) -> None:
    process, alive = begun(world)
    other = world.start()
    _, told = other.communicate()
    assert other.returncode == 2
    assert told.count("pegasus-run:") == 1 and f"is being run already, by process {process.pid}" in told
    assert holder(str(world.dag)) == process.pid
    process.send_signal(signal.SIGINT)
    process.communicate()
    gone(alive)
    assert holder(str(world.dag)) == 0


def test_locks_of_others(tmp_path: Path) -> None:
    dag = str(tmp_path / "x.dag")
    file = tmp_path / "x.dag.lock"
    file.write_text("1234\nhost elsewhere\nstarted 1\noffset 7\nrescue \n")
    with pytest.raises(
        Running, match=r"run on elsewhere, by process 1234; if it is not, remove .*x\.dag\.lock"
    ):
        Lock(dag).take()
    file.write_text("whatever DAGMan writes\n")
    with pytest.raises(Running, match="by DAGMan"):
        Lock(dag).take()
    assert file.exists()
    host = os.uname().nodename
    # That pid runs, but it is another process: the lock's own has ended.
    file.write_text(f"{os.getppid()}\nhost {host}\nstarted 1 x\noffset 7\nrescue /r\n")
    lock = Lock(dag)
    left = lock.take()
    assert left is not None and (left.offset, left.rescue) == (7, "/r")
    lock.release(keep=True)
    assert file.exists()
    file.write_text(f"{os.getppid()}\nhost {host}\nstarted {started(os.getppid())}\n")
    with pytest.raises(Running, match="already"):
        Lock(dag).take()


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [PROGRAM, "--engine", "local", *map(str, arguments)]
    return subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_the_command_tells_what_it_did(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.jobs("JOB A job.sub\nJOB B job.sub\nPARENT A CHILD B\n")
    done = command("--json", "--wait", "--jobs", "1", cwd=tmp_path)
    assert done.returncode == 0 and "2 of 2 nodes are done" in done.stderr
    told = json.loads(done.stdout)
    assert (told["submit_dir"], told["exit"], told["nodes"]["done"]) == (str(tmp_path), 0, 2)
    again = command(tmp_path, cwd=Path("/"))
    assert again.returncode == 0 and "all is done already" in again.stderr and world.order == ["A", "B"]


def test_the_command_names_what_failed_and_where_to_look(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.script("bad.sh", "exit 4")
    world.jobs("JOB A job.sub\nJOB B job.sub\nPARENT A CHILD B\n", "bad.sh")
    done = command(tmp_path, cwd=Path("/"))
    assert done.returncode == 1
    assert "A failed: job failed with status 4" in done.stderr
    assert (
        "0 of 2 nodes are done" in done.stderr
        and "1 failed; 1 not run because they depend on them" in done.stderr
    )
    assert f"what happened: pegasus-analyzer {tmp_path}" in done.stderr


def test_on_a_terminal_one_line_tells_how_far_it_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.jobs("JOB A job.sub\nJOB B job.sub\nDOT x.dot\n")
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    argv = [PROGRAM, "--engine", "local", "-v", str(tmp_path)]
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    told = b""
    with contextlib.suppress(OSError):  # its end, on Linux
        while data := os.read(ours, 4096):
            told += data
    os.close(ours)
    assert process.wait() == 0
    assert b"\r\x1b[K[" in told and b"/2 nodes" in told
    assert b"A is done" in told and b"DOT is left out by the local engine" in told
    assert told.rstrip().endswith(b"s") and b"2 of 2 nodes are done" in told


def test_what_the_command_refuses(tmp_path: Path) -> None:
    done = command(tmp_path, cwd=Path("/"))
    assert done.returncode == 2 and f"{tmp_path} holds no planned workflow" in done.stderr
    assert command("--jobs", "0", cwd=tmp_path).returncode == 2
    assert command("--engine", "other", cwd=tmp_path).returncode == 2
    (tmp_path / "x.dag").write_text("JOB A none.sub\nNONSENSE\n")
    done = command(cwd=tmp_path)
    assert done.returncode == 2
    assert f"pegasus-run: {tmp_path}/x.dag:2: 'NONSENSE' is no word of DAGMan's" in done.stderr
    assert done.stderr.endswith("1 error; nothing was started\n")
    assert os.listdir(tmp_path) == ["x.dag"]
    (tmp_path / "y.dag").write_text("JOB A none.sub NOOP\n")
    assert command(cwd=tmp_path).returncode == 2
    (tmp_path / "plan.json").write_text('{"dag": "y.dag"}')
    assert command(cwd=tmp_path).returncode == 0


def test_the_worker_of_a_plan_is_ours_and_another_of_that_name_is_not(tmp_path: Path) -> None:
    """Both files here are scripts that would say so; ours is not started anew."""
    world = World(tmp_path)
    (tmp_path / "other").mkdir()
    for name in ("pegasus-worker", "other/pegasus-worker"):
        world.script(name, "echo script")
    world.write("plan.json", json.dumps({"dag": "x.dag", "workers": [f"{tmp_path}/pegasus-worker"]}))
    world.write("other/plan.json", "[]")
    text = "universe = vanilla\nexecutable = $(where)pegasus-worker\narguments = --version\noutput = $(JOB)\n"
    world.write("a.sub", f"{text}should_transfer_files = YES\nqueue\n")
    world.write("x.dag", 'JOB A a.sub\nJOB B a.sub\nVARS B where="other/"\n')
    assert command(tmp_path, cwd=tmp_path).returncode == 0
    assert world.read("A").startswith("pegasus-toolkit ") and world.read("B") == "script\n"
