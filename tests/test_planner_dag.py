"""The DAG, read as DAGMan's manual says it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.planner.model import CONFIGURATIONS
from pegasus_toolkit.planner.passes.structure import sort
from pegasus_toolkit.planner.writing import directory
from tests.planner_files import awkward, contents, everything, read_dag
from tests.planner_world import (
    KEG,
    job,
    named,
    planned,
    replica,
    shape,
    use,
    world,
    wrong,
)

# --- the DAG ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_dag_is_whole(configuration: str, tmp_path: Path) -> None:
    dags = [
        awkward(tmp_path, configuration),
        everything(),
        planned(world(tmp_path, shape("merge", 30)), configuration),
    ]
    dags.append(everything(configuration))
    for dag in dags:
        files = contents(dag)
        read = read_dag(files["x.dag"])
        assert set(read.jobs) == {*(node.name for node in dag.nodes), "receipt"}
        assert all(not file or file.removeprefix("/submit/") in files for file in read.jobs.values())
        assert {*read.parents, *(p for ps in read.parents.values() for p in ps)} <= set(read.jobs)
        order, cycle = sort(list(read.jobs), read.parents)
        assert not cycle and len(order) == len(read.jobs)
        retries = {line[0]: line[1:] for line in read.lines["RETRY"]}
        assert all(retries[node.name][1:] == ["UNLESS-EXIT", "2"] for node in dag.nodes)
        posts = {line[1] for line in read.lines["SCRIPT"] if line[0] == "POST"}
        assert posts == {name for name, file in read.jobs.items() if file}


def test_sub_workflows() -> None:
    dag = everything()
    files = contents(dag)
    read = read_dag(files["x.dag"])
    inner, planned_one = read.lines["SUBDAG"]
    scratch = "/s/local/joe/pegasus/w/R1"
    assert inner == ["EXTERNAL", "subworkflow_SUB", "/submit/subworkflow_SUB/plan/workflow.dag"]
    assert planned_one == ["EXTERNAL", "subworkflow_DAG", f"{scratch}/planned.dag", "DIR", scratch]
    assert [
        "PRE",
        "subworkflow_SUB",
        "/bin/pegasus-plan",
        "@/submit/jobs/subworkflow_SUB.args",
    ] in read.lines["SCRIPT"]
    words = files["jobs/subworkflow_SUB.args"].splitlines()
    assert "--if-missing" in words  # or a second try would find its own directory in the way
    assert words[-1] == f"{scratch}/inner.yml" and words[words.index("--input-dir") + 1] == scratch
    above = json.loads(files["jobs/subworkflow_SUB.above.json"])
    assert above["directory"] == scratch and above["wanted"] == {"inner.out": False}
    node = {one.name: one for one in dag.nodes}
    assert "subworkflow_SUB" not in {meta for one in dag.nodes for meta in one.metas}
    (out,) = (
        move
        for one in named(dag, "stage_out")
        for move in one.operations
        if getattr(move, "lfn", "") == "inner.out"
    )
    assert getattr(out, "sources")[0].url == f"file://{scratch}/inner.out"  # noqa: B009
    assert node["subworkflow_DAG"].inputs[0].lfn == "planned.dag"


def test_a_dag_that_dagman_cannot_find(tmp_path: Path) -> None:
    inner = {"type": "condorWorkflow", "file": "my dag", "id": "S", "uses": []}
    (line,) = wrong(world(tmp_path, [inner], replicas=[replica("my dag")]))
    assert "jobs[0]: DAGMan takes no spaces or quotes in /s/local/joe/pegasus/w/R1/my dag" in line


def test_nobody_waits_for_a_digest_that_a_sub_workflow_does_not_tell(tmp_path: Path) -> None:
    inner = {"type": "pegasusWorkflow", "file": "in.yml", "id": "S", "uses": [use("x", "output")]}
    dag = planned(world(tmp_path, [inner, job("a", ["x", "in.yml"], ["y!"])]))
    (node,) = named(dag, "keg_")
    assert {one.lfn: one.produced for one in node.inputs} == {"keg": False, "x": False, "in.yml": False}
    assert node.metas == ("stage_in_1_pool",)
    assert "inter_site_0" in dag.parents["keg_a"]


@pytest.mark.parametrize("n", [100, 1000])
def test_at_most_a_fifth_of_upstreams_jobs_and_files(n: int, tmp_path: Path) -> None:
    dag = planned(world(tmp_path, shape("fan", n)))
    auxiliary = [node for node in dag.nodes if node.kind != "compute"]
    assert len(auxiliary) <= max(0.522 * n / 5, 15)
    assert len(list(directory.files(dag, "x"))) <= 0.5 * n


# --- on disk ----------------------------------------------------------------------------------------


def test_a_plan_with_nothing_to_do_is_a_dag_all_the_same(tmp_path: Path) -> None:
    world(tmp_path, shape("diamond"), replicas=[replica("f.d", "/s/out/f.d")])
    lines = contents(planned(tmp_path))["x.dag"].splitlines()
    assert "JOB nothing_to_do /submit/submit/final.sub NOOP" in lines
    assert "FINAL receipt /submit/submit/final.sub" in lines


def test_profiles_of_dagman(tmp_path: Path) -> None:
    dagman = {
        "retry": "7",
        "priority": "3",
        "category": "big",
        "pre": "/my/pre",
        "pre.arguments": "a b",
        "abort-dag-on": "4 RETURN 5",
    }
    jobs: list[dict[str, Any]] = [{**shape("fan", 1)[0], "profiles": {"dagman": dagman}}]
    world(tmp_path, jobs, transformations=[KEG])
    more = {"profiles": {"dagman": {"big.maxjobs": "2", "maxidle": "9"}}}
    files = contents(planned(tmp_path, **more))
    for line in (
        "RETRY keg_j00000 7 UNLESS-EXIT 2",
        "PRIORITY keg_j00000 3",
        "CATEGORY keg_j00000 big",
        "SCRIPT PRE keg_j00000 /my/pre a b",
        "ABORT-DAG-ON keg_j00000 4 RETURN 5",
        "MAXJOBS big 2",
    ):
        assert line in files["x.dag"].splitlines()
    assert "DAGMAN_MAX_JOBS_IDLE = 9" in files["dagman.config"].splitlines()
