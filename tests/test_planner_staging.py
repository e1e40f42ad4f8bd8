"""What the passes that move and remove files promise, asked of whole plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_toolkit.planner.catalogs import Pfn
from pegasus_toolkit.planner.model import MakeDirectory, Move
from tests.planner_world import (
    LOCAL,
    POOL,
    SCRATCH,
    ancestors,
    job,
    moves,
    named,
    planned,
    removed,
    replica,
    shape,
    site,
    world,
)

# --- create-dir, stage-in, inter-site ---------------------------------------------------------------


@pytest.mark.parametrize("configuration", ["condorio", "nonsharedfs", "sharedfs"])
@pytest.mark.parametrize("name", ["diamond", "split", "merge", "pipeline", "fan"])
def test_whatever_touches_a_directory_waits_for_it(name: str, configuration: str, tmp_path: Path) -> None:
    dag = planned(world(tmp_path, shape(name, 25)), configuration)
    (made,) = named(dag, "create_dir")
    (operation,) = made.operations
    assert isinstance(operation, MakeDirectory) and operation.target.url.endswith(SCRATCH)
    for node in dag.nodes:
        if node is not made and node.kind != "register":
            assert made.name in ancestors(dag, node.name)


def test_a_job_without_inputs_waits_for_its_directory(tmp_path: Path) -> None:
    keg = {"name": "keg", "sites": [{"name": "pool", "pfn": "/opt/keg", "type": "installed"}]}
    dag = planned(world(tmp_path, [job("a", [], ["x"]), job("b", ["x"], ["y!"])], transformations=[keg]))
    assert dag.parents["keg_a"] == ("create_dir_0_pool",)
    assert dag.parents["keg_b"] == ("keg_a",)


@pytest.mark.parametrize("configuration", ["condorio", "nonsharedfs", "sharedfs"])
@pytest.mark.parametrize("name", ["diamond", "split", "merge", "pipeline", "fan"])
def test_every_input_is_there_before_a_job_and_stays_until_its_last_user(
    name: str, configuration: str, tmp_path: Path
) -> None:
    dag = planned(world(tmp_path, shape(name, 25)), configuration)
    placed: dict[str, str] = {}
    for node in dag.nodes:
        for move in node.operations:
            if isinstance(move, Move) and node.kind in ("stage_in", "inter_site"):
                placed[move.lfn] = node.name
        placed.update((one.lfn, node.name) for one in node.outputs)
    gone = {url.rpartition("/")[2]: node for url, node in removed(dag).items()}
    users: dict[str, set[str]] = {}
    for node in dag.nodes:
        for one in node.inputs:
            users.setdefault(one.lfn, set()).add(node.name)
        for move in node.operations:
            if isinstance(move, Move) and node.kind == "stage_out":
                users.setdefault(move.lfn, set()).add(node.name)
    assert users
    for lfn, names in users.items():
        for user in names:
            assert placed[lfn] in ancestors(dag, user)
            assert user in ancestors(dag, gone[lfn])


def test_staging_is_grouped_by_consumer(tmp_path: Path) -> None:
    jobs = [job(f"j{i:03d}", [f"a{i}", f"b{i}", f"c{i}"], [f"o{i}!"]) for i in range(200)]
    dag = planned(world(tmp_path, jobs))
    stages = named(dag, "stage_in")
    assert len(stages) <= 11  # ten, and one for the program
    for node in named(dag, "keg_"):
        own = {f"{letter}{node.jobs[0][1:].lstrip('0') or '0'}" for letter in "abc"}
        waits = [s for s in stages if s.name in ancestors(dag, node.name)]
        files = [{m.lfn for m in s.operations if isinstance(m, Move)} for s in waits]
        assert any(own <= lfns for lfns in files)
        # One for its own files, one for the program that all need.
        assert [lfns for lfns in files if not lfns & own] in ([], [{"keg"}])


def test_batches_are_sized_by_bytes_too(tmp_path: Path) -> None:
    jobs = shape("fan", 20)
    big = [replica(f"in{i}", metadata={"size": 6 * 1024**3}) for i in range(20)]
    few = [replica(f"in{i}", metadata={"size": 6}) for i in range(20)]
    assert len(named(planned(world(tmp_path, jobs, replicas=big)), "stage_in")) >= 20
    assert len(named(planned(world(tmp_path, jobs, replicas=few)), "stage_in")) <= 3


def test_the_user_says_how_many_stage_in_jobs(tmp_path: Path) -> None:
    pool = site("pool", **{"auxillary.local": "true", "stagein.clusters": "2"})
    dag = planned(world(tmp_path, shape("fan", 50), sites=[LOCAL, pool]))
    assert (
        len(
            [
                s
                for s in named(dag, "stage_in")
                if {m.lfn for m in s.operations if isinstance(m, Move)} != {"keg"}
            ]
        )
        == 2
    )


def test_files_go_between_sites(tmp_path: Path) -> None:
    two = site("two", "http://two/s")
    jobs = [
        job("a", [], ["x"], profiles={"selector": {"execution.site": "pool"}}),
        job("b", ["x"], ["y!"], profiles={"selector": {"execution.site": "two"}}),
    ]
    dag = planned(world(tmp_path, jobs, sites=[LOCAL, POOL, two]), sites=("pool", "two"))
    (move,) = moves(dag, "inter_site")
    assert move.sources[0].url == f"file:///s/pool/{SCRATCH}/x"
    assert move.destinations[0].url == f"http://two/s/{SCRATCH}/x"
    (made,) = (n.name for n in named(dag, "create_dir") if n.name.endswith("two"))
    assert {made, "keg_a"} <= ancestors(dag, "inter_site_0")
    assert "inter_site_0" in ancestors(dag, "keg_b")
    assert {f"file:///s/pool/{SCRATCH}/x", f"http://two/s/{SCRATCH}/x"} <= removed(dag).keys()


def test_bypassed_inputs_are_fetched_by_the_job(tmp_path: Path) -> None:
    one = job("a", ["x"], ["y!"])
    one["uses"][0]["bypass"] = True
    dag = planned(world(tmp_path, [one], replicas=[replica("x", "http://h/x")]))
    assert "x" not in [m.lfn for m in moves(dag, "stage_in")]
    (node,) = named(dag, "keg_")
    assert [s.url for i in node.inputs for s in i.sources if i.lfn == "x"] == ["http://h/x"]
    assert not any(url.endswith("/x") for url in removed(dag))


# --- stage-out, registration, cleanup ---------------------------------------------------------------


def test_what_is_not_staged_out_is_not_registered(tmp_path: Path) -> None:
    one = job("a", [], ["kept!", "lost"])
    one["uses"][1]["registerReplica"] = True  # but stageOut is false
    dag = planned(world(tmp_path, [one]))
    (node,) = named(dag, "register")
    assert [(r.lfn, r.pfn.url) for r in node.registrations] == [("kept", "file:///s/out/kept")]
    assert "stage_out_0" in ancestors(dag, node.name)
    assert [m.lfn for m in moves(dag, "stage_out")] == ["kept"]
    assert not named(planned(tmp_path, register=False), "register")


def test_cleanup_removes_only_what_this_run_put_there(tmp_path: Path) -> None:
    for cleanup in ("inplace", "leaf"):
        dag = planned(world(tmp_path, shape("diamond")), cleanup=cleanup)
        own = f"file:///s/pool/{SCRATCH}"
        assert all(url == own or url.startswith(own + "/") for url in removed(dag))
        assert own in removed(dag)
        last = named(dag, "cleanup_directory")[0].name
        assert ancestors(dag, last) == {node.name for node in dag.nodes} - {last}
    assert not removed(planned(tmp_path, cleanup="none"))


def test_two_runs_share_no_directory(tmp_path: Path) -> None:
    world(tmp_path, shape("diamond"))
    first, second = planned(tmp_path), planned(tmp_path, run="R2", scratch="joe/pegasus/w/R2")
    assert not removed(first).keys() & removed(second).keys()


def test_outputs_go_to_every_output_site_or_a_directory(tmp_path: Path) -> None:
    far = site("far", "http://far/s", storage="/far")
    dag = planned(
        world(tmp_path, shape("diamond"), sites=[LOCAL, {**far, "profiles": POOL["profiles"]}, POOL]),
        output_sites=("local", "far"),
    )
    assert dag.outputs["f.d"] == (Pfn("local", "file:///s/out/f.d"), Pfn("far", "file:///far/f.d"))
    dag = planned(tmp_path, output_directory="/my out")
    assert dag.outputs["f.d"] == (Pfn("local", "file:///my out/f.d"),)


def test_a_token_goes_to_who_writes_to_a_federation(tmp_path: Path) -> None:
    pool = site("pool", "osdf:///ospool/ap40/data/joe", style="condor")
    settings = {"environ": {"BEARER_TOKEN_FILE": "/h/token", "PEGASUS_CREDENTIALS": "/h/conf"}}
    dag = planned(world(tmp_path, [job("a", ["i"], ["o!"])], sites=(LOCAL, pool)), **settings)
    (node,) = named(dag, "stage_in")
    written = [one.destinations[0].url for one in moves(dag, "stage_in")]
    assert any(url.startswith("osdf:///ospool/ap40/data/joe/") for url in written)
    assert [(one.variable, one.path) for one in node.credentials] == [("BEARER_TOKEN_FILE_pool", "/h/token")]
