"""The local engine does with a DAG what DAGMan does with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pegasus_toolkit.dag import events
from pegasus_toolkit.dag.problems import DagError
from tests.local_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_children_wait_for_all_their_parents(world: World) -> None:
    world.jobs(
        """
        JOB D job.sub
        JOB C job.sub
        JOB B job.sub
        JOB A job.sub
        PARENT A CHILD B C
        PARENT B C CHILD D
        """
    )
    assert world.run() == 0
    assert world.order == ["A", "B", "C", "D"]
    assert world.told.counts["done"] == 4
    assert not list(world.directory.glob("x.dag.rescue*")) and not (world.directory / "x.dag.lock").exists()
    assert json.loads(world.read("x.dag.metrics"))["exitcode"] == 0
    assert world.log[-1].endswith("EXITING WITH STATUS 0")


def test_priority_goes_first_then_the_order_of_the_file(world: World) -> None:
    world.jobs("".join(f"JOB {name} job.sub\n" for name in "ABCDE") + "PRIORITY D 5\nPRIORITY B -1\n")
    assert world.run() == 0
    assert world.order == ["D", "A", "C", "E", "B"]


def test_no_more_of_a_category_than_it_may(world: World) -> None:
    """A and B could run together, but one is to come after the other; C meets A."""
    world.fifo("a"), world.fifo("c")
    world.script("meet.sh", "case $1 in A) : > a; : < c;; C) : < a; : > c;; esac; echo $1 >> order")
    world.jobs(
        "".join(f"JOB {name} job.sub\n" for name in "ABC")
        + "CATEGORY A big\nCATEGORY B big\nMAXJOBS big 1\nPRIORITY B -1\n",
        "meet.sh",
    )
    assert world.run(jobs=3) == 0
    starts = [event.node for event in world.events if event.kind == events.SUBMIT]
    assert starts == ["A", "C", "B"]


def test_so_many_jobs_at_a_time(world: World) -> None:
    """With three slots three jobs meet; with a fourth job's slot taken by another that asks for all three."""
    for name in "abc":
        world.fifo(name)
    world.script("meet.sh", "case $1 in A) : > a; : < c;; B) : < a; : > b;; C) : < b; : > c;; esac")
    world.jobs("JOB A job.sub\nJOB B job.sub\nJOB C job.sub\n", "meet.sh")
    assert world.run(jobs=3) == 0


def test_a_job_gets_the_cores_that_it_asks_for(world: World) -> None:
    """While one job of two cores runs, there is no room for another."""
    world.write("two.sub", f"request_cpus = 2\n{world.read('job.sub')}")
    world.jobs("JOB A two.sub\nJOB B two.sub\nJOB C two.sub\n")
    assert world.run(jobs=3) == 0
    one_by_one = [events.SUBMIT, events.EXECUTE, events.TERMINATED] * 3
    assert [event.kind for event in world.events] == one_by_one
    world.write("x.dag.metrics", "")
    world.write("two.sub", f"request_cpus = 99\nrequest_memory = 64 GB\n{world.read('job.sub')}")
    assert world.run(jobs=3) == 0  # all there is, and alone
    assert [event.kind for event in world.events] == one_by_one * 2


def test_what_fails_is_tried_again_as_often_as_it_may(world: World) -> None:
    world.script("flaky.sh", 'echo "$1 $2" >> order; test $2 -ge 2')
    world.jobs("JOB A job.sub\nRETRY A 2\n", "flaky.sh")
    assert world.run() == 0
    assert world.read("order") == "A 0\nA 1\nA 2\n"
    assert world.ended() == [("A", 1), ("A", 1), ("A", 0)]
    assert [event.cluster for event in world.events if event.kind == events.SUBMIT] == [1, 2, 3]
    assert world.told.lines[0] == "warning: A: job failed with status 1; try 2 of 3"


def test_a_failure_ends_what_needs_it_and_nothing_else(world: World) -> None:
    world.script("bad.sh", "exit 3")
    world.jobs(
        """
        JOB A job.sub
        JOB Bad job.sub
        JOB Below job.sub
        JOB BelowThat job.sub
        JOB Z job.sub
        VARS Bad script="bad.sh"
        RETRY Bad 1
        PARENT Bad CHILD Below
        PARENT Below A CHILD BelowThat
        PARENT A CHILD Z
        JOB Before job.sub DONE
        PARENT Bad CHILD Before
        """
    )
    assert world.run() == 1
    assert world.order == ["A", "Z"]
    assert world.done() == {"A", "Z", "Before"}
    assert "#   Bad,<ENDLIST>" in world.read("x.dag.rescue001")
    assert (world.told.counts["failed"], world.told.counts["futile"]) == (1, 2)
    assert world.told.lines[-1] == "error: Bad failed: job failed with status 3 (after 1 node retries)"


def test_an_exit_code_that_no_retry_mends(world: World) -> None:
    world.script("bad.sh", "echo x >> order; exit 2")
    world.jobs("JOB A job.sub\nRETRY A 5 UNLESS-EXIT 2\n", "bad.sh")
    assert world.run() == 1 and world.order == ["x"]


def test_a_run_goes_on_from_its_rescue_file(world: World) -> None:
    world.script("once.sh", "echo $1 >> order; test -e mended")
    world.jobs('JOB A job.sub\nJOB B job.sub\nPARENT A CHILD B\nVARS B script="once.sh"\n')
    assert world.run() == 1
    assert world.run() == 1
    assert world.done() == {"A"} and (world.directory / "x.dag.rescue002").exists()
    world.write("mended", "")
    assert world.run() == 0
    assert world.order == ["A", "B", "B", "B"]
    clusters = [event.cluster for event in world.events if event.kind == events.SUBMIT]
    assert clusters == [1, 2, 3, 4]  # none twice


def test_scripts_around_a_job(world: World) -> None:
    world.script("s.sh", 'echo "$@" >> scripts; echo to-nowhere')
    world.jobs(
        """
        JOB A job.sub
        JOB B job.sub
        RETRY A 3
        SCRIPT PRE A s.sh pre $JOB $RETRY $MAX_RETRIES $RETURN $node
        SCRIPT POST A ./s.sh post $JOB $JOBID $RETURN $PRE_SCRIPT_RETURN $SUCCESS $DAG_STATUS $FAILED_COUNT
        SCRIPT DEBUG told STDOUT POST B s.sh $DONE_COUNT $NODE_COUNT $UNKNOWN
        PARENT A CHILD B
        """
    )
    assert world.run() == 0
    assert world.read("scripts").splitlines() == [
        "pre A 0 3 $RETURN A",
        "post A 1.0 0 0 True 0 0",
        "1 2 $UNKNOWN",
    ]
    assert world.read("told") == "to-nowhere\n"
    assert world.log[10:15] == [
        "Running PRE script of Node A...",
        "PRE Script of node A completed successfully.",
        "Submitting HTCondor Node A job(s)...",
        "Node A job proc (1.0.0) completed successfully.",
        "Running POST script of Node A...",
    ]


def test_the_post_script_decides(world: World) -> None:
    world.script("post.sh", "test $1 = 5")
    world.script("bad.sh", "exit 5")
    world.jobs(
        """
        JOB Good job.sub
        JOB Bad job.sub
        VARS Good script="bad.sh"
        SCRIPT POST Good post.sh $RETURN
        SCRIPT POST Bad post.sh $RETURN
        """
    )
    assert world.run() == 1
    assert world.done() == {"Good"}
    assert world.told.lines == ["error: Bad failed: POST script failed with status 1"]


def test_a_pre_script_that_fails_and_one_that_skips(world: World) -> None:
    world.script("pre.sh", "exit 7")
    world.jobs(
        """
        JOB A job.sub
        JOB B job.sub
        JOB C job.sub
        SCRIPT PRE A pre.sh
        SCRIPT POST A ok.sh post
        PRE_SKIP A 7
        SCRIPT PRE B pre.sh
        SCRIPT POST B ok.sh post
        SCRIPT PRE C no-such-program
        RETRY B 1
        """
    )
    assert world.run() == 1
    assert world.order == [] and world.done() == {"A"}
    assert [(one.kind, one.node) for one in world.events] == [(events.PRE_SKIP, "A")]
    assert world.log.count("PRE Script of Node B failed with status 7") == 2
    assert any("C: PRE script cannot be started: No such file" in line for line in world.told.lines)


def test_a_script_that_says_later(world: World) -> None:
    world.script("pre.sh", "test -e seen && exit 0; : > seen; exit 4")
    world.jobs("JOB A job.sub\nSCRIPT DEFER 4 0 PRE A pre.sh\n")
    assert world.run() == 0
    assert world.log.count("Running PRE script of Node A...") == 2


@pytest.mark.parametrize(("returned", "code"), [("", 9), ("RETURN 0", 0), ("RETURN 5", 5)])
def test_a_node_ends_the_dag(world: World, returned: str, code: int) -> None:
    world.script("bad.sh", "exit 9")
    world.jobs(
        f"""
        JOB A job.sub
        JOB B job.sub
        FINAL F job.sub
        RETRY A 3
        ABORT-DAG-ON A 9 {returned}
        VARS A script="bad.sh"
        VARS F script="ok.sh"
        """
    )
    assert world.run() == code
    assert world.order == ["F"]
    assert len(list(world.directory.glob("x.dag.rescue*"))) == (1 if code else 0)


def test_what_runs_is_ended_with_the_dag(world: World) -> None:
    """A ends the DAG when B and its child run; both are gone then, before the final node begins."""
    world.fifo("ready")
    world.script("long.sh", "(trap '' TERM; echo $$ > pid; : > ready; exec sleep 1000) & wait")
    world.script("abort.sh", ": < ready; exit 9")
    world.script("final.sh", "kill -0 $(cat pid) 2>/dev/null && echo alive >> order; echo $1 >> order")
    world.jobs(
        """
        JOB A job.sub
        JOB B job.sub
        FINAL F job.sub
        ABORT-DAG-ON A 9
        VARS A script="abort.sh"
        VARS F script="final.sh"
        """,
        "long.sh",
    )
    assert world.run(jobs=2) == 9
    assert world.order == ["F"]
    assert [one.kind for one in world.events if one.cluster == 2][-1] == events.ABORTED
    assert world.done() == set()


def test_the_final_node_comes_last_whatever_happened(world: World) -> None:
    world.script("bad.sh", "exit 1")
    world.script("post.sh", "echo $1,$2,$3 >> order")
    world.jobs(
        """
        FINAL F job.sub
        JOB A job.sub
        JOB B job.sub
        SCRIPT POST F post.sh $DAG_STATUS $FAILED_COUNT $RETURN
        VARS A script="bad.sh"
        VARS F script="ok.sh"
        """
    )
    assert world.run() == 1
    assert world.order == ["B", "F", "2,1,0"]
    assert world.done() == {"B"}


def test_a_final_node_that_fails_fails_the_dag(world: World) -> None:
    world.script("bad.sh", "exit 1")
    world.jobs('JOB A job.sub\nFINAL F job.sub\nVARS F script="bad.sh"\n')
    assert world.run() == 1
    assert world.done() == {"A"} and world.run() == 1


def test_nothing_to_do(world: World) -> None:
    world.write("x.dag", "JOB A none.sub NOOP\nJOB B none.sub NOOP\nPARENT A CHILD B\nJOB C none.sub DONE\n")
    assert world.run() == 0
    assert world.ended() == [("A", 0), ("B", 0)]


def test_inline_descriptions_and_directories(world: World) -> None:
    (world.directory / "sub").mkdir()
    world.write("sub/there.sub", "executable = where.sh\nuniverse = local\noutput = out\nqueue\n")
    world.script("sub/where.sh", "pwd")
    world.write(
        "x.dag",
        """
        JOB A there.sub DIR sub
        JOB B {
            executable = /bin/sh
            universe = local
            arguments = "-c 'echo inline $(x) > b'"
        }
        VARS B x="one"
        """,
    )
    assert world.run() == 0
    assert world.read("sub/out") == f"{world.directory}/sub\n" and world.read("b") == "inline one\n"


def test_what_dagmans_settings_say(world: World) -> None:
    """One job at a time although there are slots for more."""
    world.script("alone.sh", "mkdir mark || exit 9; rmdir mark")
    world.script("pre.sh", "mkdir other || exit 9; rmdir other")
    world.write("dagman.config", "DAGMAN_MAX_JOBS_SUBMITTED = 1\nDAGMAN_MAX_PRE_SCRIPTS = 1\n")
    world.jobs(
        "CONFIG dagman.config\n"
        + "".join(f"JOB {name} job.sub\nSCRIPT PRE {name} pre.sh\n" for name in "ABCD"),
        "alone.sh",
    )
    assert world.run(jobs=4) == 0
    assert [event.kind for event in world.events] == [events.SUBMIT, events.EXECUTE, events.TERMINATED] * 4
    scripts = [line.split()[0] for line in world.log if "PRE script of Node" in line or "PRE Script" in line]
    assert scripts == ["Running", "PRE"] * 4


def test_all_that_is_wrong_is_told_before_anything_runs(world: World) -> None:
    world.write("bad.sub", "executable = x\nnonsense\nqueue 5\n")
    world.jobs("JOB A job.sub\nJOB B bad.sub\nJOB C none.sub\n")
    with pytest.raises(DagError) as caught:
        world.run()
    assert len(caught.value.problems) == 3
    assert sorted(os.listdir(world.directory)) == ["bad.sub", "job.sub", "ok.sh", "x.dag"]


def test_what_cannot_be_submitted_is_not_tried_again(world: World) -> None:
    world.write("docker.sub", "universe = docker\ndocker_image = x\nexecutable = /bin/true\nqueue\n")
    world.jobs(
        """
        JOB A docker.sub
        JOB B job.sub
        JOB C later.sub
        SCRIPT POST A ok.sh $RETURN
        RETRY A 3
        RETRY C 3
        PARENT B CHILD C
        """
    )
    assert world.run() == 1
    assert sorted(world.order) == ["-1001", "B"]
    text = "\n".join(world.told.lines)
    assert "universe docker is not for this machine alone" in text and "docker_image is not supported" in text
    assert "later.sub: cannot be read" in text
    assert world.done() == {"A", "B"}
    assert len([line for line in world.log if line.startswith("Event: ULOG_SUBMIT_FAILURE")]) == 3


def test_a_program_that_is_not_there(world: World) -> None:
    world.write("job.sub", "universe = local\nexecutable = nowhere\nqueue\n")
    world.jobs("JOB A job.sub\nSCRIPT POST A ok.sh $RETURN\n")
    assert world.run() == 0
    assert world.order == ["-1002"]
    kinds = [one.kind for one in world.events]
    assert kinds == [events.SUBMIT, events.EXECUTE, events.HELD, events.ABORTED, events.POST_SCRIPT]
    assert "cannot be started: No such file or directory" in world.told.lines[0]


def test_ten_thousand_nodes(tmp_path: Path) -> None:
    """All wait for one, and one for all, twice over: no step may look at pairs of nodes."""
    first, second = ([f"{level}{n}" for n in range(5000)] for level in "ab")
    text = "".join(f"JOB {name} x NOOP\n" for name in (*first, *second, "end"))
    text += f"PARENT {' '.join(first)} CHILD {' '.join(second)}\nPARENT {' '.join(second)} CHILD end\n"
    text += "".join(f"CATEGORY {name} one\n" for name in second) + "MAXJOBS one 1\n"
    world = World(tmp_path)
    world.write("x.dag", text)
    assert world.run() == 0
    ended = [node for node, _ in world.ended()]
    assert ended == [*first, *second, "end"]
