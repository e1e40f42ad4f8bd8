"""The HTCondor engine, as far as it can be tried without HTCondor's daemons."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.cli import workflow_run
from pegasus_toolkit.dag import events
from pegasus_toolkit.engines.choose import choose
from pegasus_toolkit.engines.htcondor import dagman, schedd
from pegasus_toolkit.engines.htcondor.bindings import Bindings
from pegasus_toolkit.engines.htcondor.dagman import Ended, Given
from pegasus_toolkit.engines.htcondor.schedd import Job, NoPool, Schedd, Submission, find, text
from pegasus_toolkit.engines.local.lock import Running
from tests.local_world import World as LocalWorld
from tests.worker_world import PLAN, plan
from tests.workflows.shapes import found, make

NOWHERE = {"PATH": "/nonexistent"}
REMOVE = PLAN.with_name("pegasus-remove")


class Queue:
    """A queue without jobs, or with those that it is told of."""

    way = "a list"

    def __init__(self, *jobs: Job) -> None:
        self.held = list(jobs)
        self.submitted: list[Submission] = []
        self.started: list[str] = []
        self.asked: list[str] = []

    def submit(self, submission: Submission) -> int:
        self.submitted.append(submission)
        return 7

    def start(self, description: str) -> int:
        self.started.append(description)
        return 8

    def jobs(self, constraint: str) -> list[Job]:
        self.asked.append(constraint)
        return self.held

    def remove(self, cluster: int) -> None:
        self.held = [one for one in self.held if one.cluster != cluster]


class Slow(Queue):
    """Jobs take their time to go."""

    def remove(self, cluster: int) -> None:
        pass


_: type[Schedd] = Queue


def test_without_htcondor_it_runs_here_and_says_why(tmp_path: Path) -> None:
    choice = choose("auto", str(tmp_path / "x.dag"), NOWHERE)
    assert choice.schedd is None
    assert choice.why.startswith(
        "engine: local, since there is no HTCondor: condor_submit_dag is not on PATH"
    )
    assert choose("local", "x.dag", NOWHERE).why == "engine: local, as asked for"
    with pytest.raises(NoPool, match="condor_submit_dag is not on PATH, and HTCondor is not configured"):
        choose("htcondor", str(tmp_path / "x.dag"), NOWHERE)


def test_commands_that_fail_are_no_pool(tmp_path: Path) -> None:
    for name in ("condor_submit_dag", "condor_q"):
        (tmp_path / name).write_text("#!/bin/sh\necho no schedd at home >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/bin:/usr/bin"}
    with pytest.raises(NoPool, match="condor_q: no schedd at home"):
        find(environ)
    # Who has a pool does not want all jobs on the submit host, without a word.
    silent = "its queue does not answer: condor_q: no schedd at home; .*--engine local"
    with pytest.raises(NoPool, match=silent):
        choose("auto", str(tmp_path / "x.dag"), environ)
    assert choose("local", str(tmp_path / "x.dag"), environ).schedd is None


def test_what_the_local_engine_has_begun_it_ends(tmp_path: Path) -> None:
    dag = tmp_path / "x.dag"
    (tmp_path / "x.dag.lock").write_text("4194304\nhost elsewhere\nstarted 1 2\noffset 0\nrescue \n")
    assert choose("auto", str(dag), NOWHERE).why == "engine: local, which has begun this run"
    queue = Queue()
    with pytest.raises(Running, match="elsewhere"):
        dagman.submit(queue, str(dag), NOWHERE)
    assert not queue.submitted and dag.with_name("x.dag.lock").exists()


def test_an_engine_that_was_killed_is_not_followed_by_dagman(tmp_path: Path) -> None:
    world = LocalWorld(tmp_path)
    world.script("long.sh", "echo $$ > pid; exec sleep 1000")
    world.jobs("JOB A job.sub", script="long.sh")
    with world.start() as running:
        while not (tmp_path / "pid").exists() and running.poll() is None:
            os.sched_yield()
        queue = Queue()
        with pytest.raises(Running, match=f"process {running.pid}"):
            dagman.submit(queue, str(world.dag), NOWHERE)
        running.kill()
    with pytest.raises(Running, match="only it can go on from there"):
        dagman.submit(queue, str(world.dag), NOWHERE)
    assert not queue.submitted and dagman.local(str(world.dag))


def test_a_run_is_submitted_once(tmp_path: Path) -> None:
    dag = str(tmp_path / "x.dag")
    with pytest.raises(Running, match="already, by DAGMan, job 3"):
        dagman.submit(Queue(Job(3)), dag, NOWHERE)
    (tmp_path / "x.dag.rescue002").write_text("DONE A\n")
    (tmp_path / "x.dag.dagman.log").write_text("old\n")
    queue = Queue()
    assert dagman.submit(queue, dag, NOWHERE) == Given(7, 4, f"{dag}.rescue002")
    assert "http_proxy" not in queue.submitted[0].inherited
    proxies = {"http_proxy": "http://proxy:3128", "https_proxy": "http://joe:secret@proxy:3128"}
    dagman.submit(queue, dag, proxies)
    assert queue.submitted[1].inherited[-1] == "http_proxy"
    assert queue.asked[:1] == [f'UserLog == "{dag}.dagman.log"'] and queue.submitted[0].dag == dag


@pytest.mark.parametrize(
    ("event", "ended"),
    [
        (events.terminated(7, 1.0, 0), Ended(0)),
        (events.terminated(7, 1.0, 1), Ended(1)),
        (events.terminated(7, 1.0, -9), Ended(1, "DAGMan was ended by signal 9")),
        (events.aborted(7, 1.0, "via condor_rm"), Ended(2, "DAGMan was removed: via condor_rm")),
        (
            events.held(7, 1.0, "no such program", 6),
            Ended(1, "DAGMan is held: no such program; condor_release 7 lets it go on"),
        ),
    ],
)
def test_the_log_tells_how_it_ended(event: str, ended: Ended, tmp_path: Path) -> None:
    before = events.terminated(7, 1.0, 1)
    log = tmp_path / "x.dag.dagman.log"
    log.write_text(before + events.submitted(7, 1.0, "", "h") + events.terminated(6, 1.0, 3) + event)
    never: Callable[[], str] = lambda: pytest.fail("nothing to wait for")  # noqa: E731
    assert dagman.wait(Queue(), str(tmp_path / "x.dag"), Given(7, len(before), ""), never) == ended


def test_waiting_goes_on_until_the_log_says_more(tmp_path: Path) -> None:
    log = tmp_path / "x.dag.dagman.log"
    # DAGMan's exit code 3 says that it wants to be started again.
    said = (events.executing(7, 1.0, "h"), events.held(7, 1.5, "via condor_hold (by user joe)", 1))
    log.write_text("".join((*said, events.terminated(7, 1.6, 3))))
    looks: list[int] = []

    def meanwhile() -> str:
        looks.append(1)
        with log.open("a") as file:
            file.write(events.terminated(7, 2.0, 4))
        return ""

    assert dagman.wait(Queue(), str(tmp_path / "x.dag"), Given(7, 0, ""), meanwhile) == Ended(4)
    assert len(looks) == 1


class Restarting(Queue):
    """A queue that gives no answer for a while."""

    def __init__(self, silent: int) -> None:
        super().__init__(Job(7))
        self.silent = silent

    def jobs(self, constraint: str) -> list[Job]:
        self.silent -= 1
        if self.silent >= 0:
            raise NoPool("condor_q: no schedd at home")
        return super().jobs(constraint)


def test_a_queue_that_starts_again_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dagman, "_LOOK", 0)
    monkeypatch.setattr(dagman, "_ASK", 1)
    log = tmp_path / "x.dag.dagman.log"
    log.write_text(events.executing(7, 1.0, "h"))
    queue = Restarting(dagman.SILENCE - 1)

    def meanwhile() -> str:
        if queue.silent < 0:
            log.write_text(log.read_text() + events.terminated(7, 2.0, 0))
        return ""

    assert dagman.wait(queue, str(tmp_path / "x.dag"), Given(7, 0, ""), meanwhile) == Ended(0)
    log.write_text(events.executing(7, 1.0, "h"))
    with pytest.raises(NoPool, match="no schedd at home"):
        dagman.wait(Restarting(dagman.SILENCE), str(tmp_path / "x.dag"), Given(7, 0, ""), lambda: "")


def test_what_nobody_releases_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dagman, "_LOOK", 0)
    (tmp_path / "x.dag.dagman.log").write_text(events.executing(7, 1.0, "h"))
    looks: list[str] = []

    def meanwhile() -> str:
        looks.append("" if len(looks) == 5 else "shard_0 is held: via condor_hold (by user joe)")
        return looks[-1]

    ended = dagman.wait(Queue(Job(7)), str(tmp_path / "x.dag"), Given(7, 0, ""), meanwhile)
    assert ended.code == 1 and ended.why.startswith(
        "shard_0 is held: via condor_hold (by user joe); not waited"
    )
    assert len(looks) > dagman.STUCK


def test_all_that_belongs_to_a_run_is_waited_for(tmp_path: Path) -> None:
    known = {"dag": "x.dag", "wf_uuid": "R1", "root_wf_uuid": "R1", "pegasus_wf_name": "x"}
    (tmp_path / "braindump.yml").write_text(json.dumps(known))
    queue = Queue(Job(3))
    assert dagman.remove(queue, str(tmp_path / "x.dag"), lambda left: False)
    assert not queue.held
    whole = 'ClusterId == 3 || DAGManJobId == 3 || pegasus_root_wf_uuid == "R1" || pegasus_wf_uuid == "R1"'
    assert queue.asked[-1] == whole
    (tmp_path / "braindump.yml").write_text(json.dumps({**known, "root_wf_uuid": "R0"}))
    assert dagman.remove(Queue(Job(3)), str(tmp_path / "x.dag"), lambda left: False)
    slow = Slow(Job(3))
    assert not dagman.remove(slow, str(tmp_path / "x.dag"), lambda left: False)
    assert "root" not in slow.asked[-1]


@pytest.fixture
def bindings() -> Bindings:
    pytest.importorskip("htcondor2", reason="HTCondor's Python bindings are not installed")
    return Bindings()


def test_htcondors_own_code_takes_what_is_submitted(bindings: Bindings, tmp_path: Path) -> None:
    submitted = plan(make("diamond", tmp_path, "condorio", 4))
    queue = Queue()
    dagman.submit(queue, str(submitted.file), NOWHERE)
    told: Any = bindings.described(queue.submitted[0])
    run = json.loads((submitted.path / "plan.json").read_text())["run"]
    assert told["MY.pegasus_wf_uuid"] == text(run) == told["MY.pegasus_root_wf_uuid"]
    assert told["MY.pegasus_wf_xformation"] == '"pegasus::dagman"'
    assert "X509_*" in told["getenv"] and "-AutoRescue 1" in told["arguments"]
    assert told["log"] == f"{submitted.file}.dagman.log"
    # A second time, as after a failure: what is there is no reason to refuse.
    bindings.described(queue.submitted[0])


def test_strings_of_classads() -> None:
    classad = pytest.importorskip("classad2", reason="HTCondor's Python bindings are not installed")
    for one in ("plain", 'a "quoted" one', "back\\slash", "ü"):
        assert classad.ExprTree(text(one)).eval() == one


def test_pegasus_plan_submits(tmp_path: Path) -> None:
    world = make("diamond", tmp_path, "condorio", 4)
    words = [PLAN, "--submit", "--json", "--dir", "submit", "-s", "condorpool", "workflow.yml"]
    environ = {**os.environ, "PATH": "/usr/bin:/bin"}
    environ.pop("CONDOR_CONFIG", None)
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert planned.keys() == {"submit_dir", "message"}
    watch = [
        PLAN.with_name("pegasus-status"),
        "-w",
        "0.2",
        planned["submit_dir"],
    ]  # it goes on in the background
    assert subprocess.run(watch, env=environ, capture_output=True, check=False).returncode == 0
    assert dict(found(world.outputs)) == world.expected
    assert "engine: local, since there is no HTCondor" in done.stderr


def test_a_run_that_fails_is_the_commands_failure(tmp_path: Path) -> None:
    make("pipeline", tmp_path, "condorio", 2)
    (tmp_path / "data" / "in.txt").write_text("not what the catalog says")
    words = [PLAN, "--submit", "-q", "--dir", "submit", "-s", "condorpool", "workflow.yml"]
    environ = {**os.environ, "PATH": "/usr/bin:/bin"}
    environ.pop("CONDOR_CONFIG", None)
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "stage_in_0_local failed" in done.stderr


def test_a_plan_that_fails_submits_nothing(tmp_path: Path) -> None:
    make("diamond", tmp_path, "condorio", 4)
    (tmp_path / "data" / "f.a").unlink()
    words = [PLAN, "--submit", "--dir", "submit", "-s", "condorpool", "workflow.yml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "nothing was planned" in done.stderr and "engine" not in done.stderr
    assert not (tmp_path / "submit").exists()


def test_remove_ends_the_local_engine(tmp_path: Path) -> None:
    world = LocalWorld(tmp_path)
    # It takes its time to end, and is waited for.
    world.script("long.sh", "trap 'sleep 1; exit 1' TERM; echo $$ > pid; sleep 1000 & wait")
    world.jobs('JOB A job.sub\nJOB B job.sub\nVARS B script="long.sh"\nPARENT A CHILD B')
    with world.start() as running:
        while not (tmp_path / "pid").exists() and running.poll() is None:
            os.sched_yield()
        done = subprocess.run([REMOVE, tmp_path], capture_output=True, text=True, check=False)
        assert running.wait(30) == 2
    assert done.returncode == 0 and "has ended" in done.stdout
    assert f"{world.dag}.rescue001" in done.stdout
    assert (tmp_path / "x.dag.rescue001").read_text().splitlines()[-1] == "DONE A"
    again = subprocess.run([REMOVE, tmp_path], env={**NOWHERE}, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "nothing runs there on this machine" in again.stderr


def test_remove_where_there_is_no_run(tmp_path: Path) -> None:
    done = subprocess.run([REMOVE, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "not a submit directory" in done.stderr


def test_what_is_asked_for_and_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted = plan(make("diamond", tmp_path, "condorio", 4))
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CONDOR_CONFIG", raising=False)
    assert workflow_run.main(["--engine", "htcondor", str(submitted.path)]) == 2
    assert "HTCondor is not configured here" in capsys.readouterr().err
    assert not list(submitted.path.glob("*.lock"))


def test_what_the_bindings_put_into_the_environment_is_no_htcondor() -> None:
    """They set CONDOR_CONFIG themselves where they found nothing, for every program that follows."""
    assert not schedd.installed({"PATH": "/usr/bin:/bin", "CONDOR_CONFIG": "/dev/null"})
    assert schedd.installed({"PATH": "/usr/bin:/bin", "CONDOR_CONFIG": "/some/condor_config"})


def test_pegasus_own_api_reads_the_braindump(tmp_path: Path) -> None:
    from Pegasus import braindump

    submitted = plan(make("diamond", tmp_path, "condorio", 4))
    with (submitted.path / "braindump.yml").open() as file:
        known = braindump.load(file)
    assert known.submit_dir == submitted.path and known.pegasus_wf_name == "diamond-0"
    assert (
        known.wf_uuid == known.root_wf_uuid == submitted.described("receipt")["MY.pegasus_wf_uuid"].strip('"')
    )
