"""What profiles and hooks make of jobs: clusters, scripts of one's own, programs named by the job."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.planner.model import Dag
from pegasus_toolkit.planner.writing.dag import render
from pegasus_toolkit.planner.writing.submit import submits
from tests.planner_files import Read, read_dag
from tests.planner_world import KEG, LOCAL, POOL, job, named, planned, replica, site, world, wrong
from tests.test_planner_subworkflows import command
from tests.worker_world import WORKER


def timed(id: str, seconds: int, most: int = 100) -> dict[str, Any]:
    profiles = {"pegasus": {"runtime": str(seconds), "clusters.maxruntime": str(most)}}
    return job(id, [], [f"{id}!"], profiles=profiles)


def clusters(dag: Dag) -> list[list[str]]:
    return sorted(list(node.jobs) for node in dag.nodes if node.kind == "compute")


def test_clusters_that_run_for_so_long(tmp_path: Path) -> None:
    world(tmp_path, [timed(f"j{n}", seconds) for n, seconds in enumerate((60, 30, 50, 40, 120, 0))])
    found = clusters(planned(tmp_path, clusterers=("horizontal",)))
    # None over 100 s; who runs longer, or does not say how long, is alone.
    assert found == [["j0", "j3"], ["j1", "j2"], ["j4"], ["j5"]]
    asked = {"pegasus.clusterer.preference": "num"}
    assert len(clusters(planned(tmp_path, clusterers=("horizontal",), properties=asked))) == 6


def test_all_jobs_of_a_site_as_one(tmp_path: Path) -> None:
    sites = [LOCAL, POOL, site("other", **{"auxillary.local": "true"})]
    there = {"selector": {"execution.site": "other"}}
    jobs = [job("a", ["in"], ["b"]), job("b", ["b"], ["c!"]), job("x", ["in"], ["y!"], profiles=there)]
    world(tmp_path, jobs, sites=sites)
    assert clusters(planned(tmp_path, clusterers=("whole",))) == [["a", "b"], ["x"]]


def written(dag: Dag) -> Read:
    bundles = {node.name: "b" for node in dag.nodes} | {"receipt": "b"}
    return read_dag(render(dag, submits(dag, "w-0", bundles)))


def scripts(dag: Dag, node: str) -> dict[str, str]:
    """The scripts of a node, by when they run."""
    return {words[0]: " ".join(words[2:]) for words in written(dag).lines["SCRIPT"] if words[1] == node}


CHECK = "/bin/pegasus-worker --check /submit/records/keg_a.json $RETURN"


@pytest.mark.parametrize(
    ("dagman", "post"),
    [
        ({}, CHECK),
        ({"post": "/my/post", "post.arguments": "-x 1"}, f"{CHECK} --then /my/post -x 1"),
        ({"POST": "mine", "post.path.mine": "/my/post"}, f"{CHECK} --then /my/post"),
        ({"post": "mine", "post.path.mine": "/my/post", "post.scope": "none"}, CHECK),
        ({"post": "pegasus-exitcode", "post.path.pegasus-exitcode": "/x/pegasus-exitcode"}, CHECK),
        ({"noop": "true"}, None),
        ({"noop": "true", "post": "/my/post"}, "/my/post"),
    ],
)
def test_post_scripts_of_ones_own(dagman: dict[str, str], post: str | None, tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"], profiles={"dagman": dagman})])
    dag = planned(tmp_path)
    assert scripts(dag, "keg_a").get("POST") == post
    text = render(dag, submits(dag, "w-0", {node.name: "b" for node in dag.nodes} | {"receipt": "b"}))
    (line,) = (line for line in text.splitlines() if line.startswith("JOB keg_a "))
    assert line.endswith(" NOOP") == ("noop" in dagman)


def test_a_program_that_the_job_names(tmp_path: Path) -> None:
    own = {"selector": {"execution.site": "pool", "pfn": "/opt/mine"}}
    world(tmp_path, [job("a", [], ["x!"], profiles=own)], transformations=[KEG])
    (task,) = named(planned(tmp_path), "keg_a")[0].tasks
    assert (task.program, task.staged) == ("/opt/mine", False)
    nowhere = {"name": "keg", "sites": []}
    world(tmp_path, [job("a", [], ["x!"], profiles=own)], transformations=[nowhere])
    assert named(planned(tmp_path), "keg_a")[0].tasks[0].program == "/opt/mine"
    world(tmp_path, [job("a", [], ["x!"])], transformations=[nowhere])
    assert "can run at none of: pool" in wrong(tmp_path)[0]


def test_names_of_jobs_with_a_prefix(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    assert [node.jobs for node in named(planned(tmp_path, prefix="my "), "my_keg_a")] == [("a",)]


# --- hooks ------------------------------------------------------------------------------------------


def shell(*pairs: str) -> dict[str, Any]:
    return {"shell": [{"_on": pair.partition(" ")[0], "cmd": pair.partition(" ")[2]} for pair in pairs]}


def told(root: Path) -> list[str]:
    return (root / "told").read_text().splitlines()


def note(root: Path, event: str, word: str) -> str:
    """A hook that notes that it was run, with what it was told."""
    return f'{event} echo "{word} $PEGASUS_JOBID $PEGASUS_EVENT ${{PEGASUS_STATUS:-none}}" >> {root}/told'


@pytest.mark.parametrize("well", [True, False], ids=["success", "error"])
def test_hooks_of_workflow_jobs_and_programs(well: bool, tmp_path: Path) -> None:
    events = ("start", "success", "error", "end", "all", "never")
    local = site("local", storage=str(tmp_path / "out"))
    local["directories"][0] |= {
        "path": str(tmp_path / "s"),
        "fileServers": [{"url": f"file://{tmp_path}/s", "operation": "all"}],
    }
    jobs = [
        job("a", [], [], hooks=shell(*(note(tmp_path, one, f"job-{one}") for one in events))),
        job("b", [], [], hooks=shell("end exit 3")),
    ]
    for one in jobs:
        one["arguments"] = []
    path = "/bin/true" if well else "/bin/false"
    program = {"name": "keg", "sites": [{"name": "local", "pfn": path, "type": "installed"}]}
    program["hooks"] = shell(note(tmp_path, "end", "program"))
    hooks = shell(*(note(tmp_path, one, f"flow-{one}") for one in events))
    world(tmp_path, jobs, sites=[local], transformations=[program], hooks=hooks)
    done = command(
        tmp_path,
        "pegasus-plan",
        "-q",
        "-s",
        "local",
        "-D",
        "dagman.retry=0",
        "--relative-dir",
        "submit",
        "--submit",
    )
    assert done.returncode == (0 if well else 1), done.stderr
    lines = told(tmp_path)
    assert lines[:2] == ["flow-start workflow start none", "flow-all workflow start none"]
    event, status = ("success", "0") if well else ("error", "1")
    for who, name in (("job", "keg_a"), ("flow", "workflow")):
        mine = [line for line in lines if line.split()[1] == name and who in line]
        ends = [f"{who}-{on} {name} {event} {status}" for on in (event, "end", "all")]
        assert sorted(mine[2:]) == sorted(ends), lines
        assert mine[:2] == [f"{who}-{on} {name} start none" for on in ("start", "all")]
    assert {line for line in lines if line.startswith("program")} == {
        f"program keg_{one} {event} {status}" for one in "ab"
    }
    # A hook that fails changes nothing, and is told.
    assert "exit code 3: exit 3" in (tmp_path / "submit/logs/keg_b.hooks.log").read_text()


def test_hooks_of_sub_workflows(tmp_path: Path) -> None:
    inner = {"type": "pegasusWorkflow", "file": "in.yml", "id": "S", "uses": [], "hooks": shell("all x")}
    dag = planned(world(tmp_path, [inner], replicas=[replica("in.yml")]))
    found = scripts(dag, "subworkflow_S")
    hook = "/bin/pegasus-worker --hook /submit/jobs/hooks.json subworkflow_S"
    assert found["PRE"] == f"{hook} start --then /bin/pegasus-plan @/submit/jobs/subworkflow_S.args"
    assert found["POST"] == f"{hook} end $RETURN"


@pytest.mark.parametrize(("code", "then", "expected"), [(0, "exit 0", 0), (3, "exit 0", 3), (0, "exit 4", 4)])
def test_the_exit_code_of_scripts_together(code: int, then: str, expected: int, tmp_path: Path) -> None:
    for directory in ("jobs", "logs"):
        (tmp_path / directory).mkdir()
    hooks = tmp_path / "jobs" / "hooks.json"
    hooks.write_text(json.dumps({"n": [["end", "exit 9"]]}))
    words = [WORKER, "--hook", hooks, "n", "end", str(code), "--then", "/bin/sh", "-c", then]
    assert subprocess.run(words, check=False, env={"PATH": os.environ["PATH"]}).returncode == expected
    assert "exit code 9" in (tmp_path / "logs" / "n.hooks.log").read_text()
