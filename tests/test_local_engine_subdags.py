"""DAGs within a DAG run in the same engine."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

from tests.local_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_sub_dag_that_is_planned_first(world: World) -> None:
    """The inner DAG is not there before the PRE script; its slots are the outer's; a retry goes on in it."""
    (world.directory / "in").mkdir()
    world.script(
        "in/work.sh", "echo inner $1 >> ../order; test $1 = I || test -e ../seen || { : > ../seen; exit 1; }"
    )
    world.write(
        "inner.txt",
        f"""
        JOB I {world.directory}/in/job.sub
        JOB J {world.directory}/in/job.sub
        PARENT I CHILD J
        """,
    )
    world.write("in/job.sub", "universe = local\nexecutable = work.sh\narguments = $(JOB)\nqueue\n")
    world.jobs(
        """
        SUBDAG EXTERNAL S y.dag DIR in
        JOB After job.sub
        SCRIPT PRE S ../plan.sh
        RETRY S 1
        PARENT S CHILD After
        """
    )
    world.script("plan.sh", "cd ..; test -e in/y.dag || cp inner.txt in/y.dag")
    assert world.run() == 0
    assert world.read("order").splitlines() == ["inner I", "inner J", "inner J", "After"]
    assert world.ended() == [("S", 1), ("S", 0), ("After", 0)]
    assert (world.directory / "in/y.dag.rescue001").exists()
    assert json.loads(world.read("in/y.dag.metrics"))["exitcode"] == 0


def test_many_sub_dags_take_turns(world: World) -> None:
    """Each has files open, and there are more of them than a process may have."""
    for number in range(40):
        world.write(
            f"{number}.dag",
            "JOB A none.sub NOOP\n" if number % 2 else 'JOB A job.sub\nVARS A script="ok.sh"\n',
        )
    names = [f"S{number}" for number in range(40)]
    world.write(
        "x.dag",
        "".join(f"SUBDAG EXTERNAL {name} {name[1:]}.dag\n" for name in names) + "JOB Z none.sub NOOP\n",
    )
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, before[1]))
    try:
        assert world.run() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert dict(world.ended()) == dict.fromkeys((*names, "Z"), 0)


def test_a_sub_dag_that_was_done_when_the_engine_was_killed_is_not_run_again(world: World) -> None:
    """As if it was killed between the end of the inner DAG and the line about it in the outer's log."""
    world.write("in.dag", 'JOB I job.sub\nVARS I script="ok.sh"\n')
    world.jobs("SUBDAG EXTERNAL S in.dag\nJOB After job.sub\nPARENT S CHILD After\n")
    assert world.run() == 0
    log = world.read("x.dag.nodes.log")
    world.write("x.dag.nodes.log", log[: log.index("005 (")])
    world.write("x.dag.lock", f"999999999\nhost {os.uname().nodename}\nstarted 1 x\noffset 0\nrescue \n")
    assert world.run() == 0
    assert world.order == ["I", "After", "After"]
    assert world.ended() == [("S", 0), ("After", 0)]
