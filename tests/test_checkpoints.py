"""Checkpoint files: kept when a job fails or is ended, verified, and brought back at its next attempt."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from Pegasus.api import (
    OS,
    Arch,
    Directory,
    File,
    FileServer,
    Job,
    Operation,
    Properties,
    ReplicaCatalog,
    Site,
    SiteCatalog,
    Transformation,
    TransformationCatalog,
    Workflow,
)

from pegasus_toolkit.planner.model import PlanError
from tests.planner_files import contents, expanded
from tests.planner_world import job, named, planned, replica, use, world
from tests.test_workflows import BIN, CONFIGURATIONS, command, environ
from tests.worker_world import one_node

COUNT = """#!/bin/sh
seen=$(cat dir/state 2>/dev/null || echo 0)
echo $seen >> {root}/seen
echo $((seen + 1)) > dir/state
[ $seen -ge 12 ] || exit 3
echo $seen > result
{more}
"""
LASTING = """#!/bin/sh
trap 'echo far > dir/state; kill $!; exit 1' TERM
if [ -e dir/state ]; then cat dir/state > result; exit 0; fi
sleep 60 &
: > {root}/begun
wait
"""


def prepared(root: Path, configuration: str, script: str, first: int | None = None, **profiles: str) -> Path:
    """A workflow of one job with the checkpoint ``dir/state``, planned. ``first``: what it begins with."""
    scratch, outputs = root / "scratch", root / "outputs"
    pool = Site("pool", arch=Arch.X86_64, os_type=OS.LINUX)
    pool.add_directories(
        Directory(Directory.SHARED_SCRATCH, str(scratch / "pool")).add_file_servers(
            FileServer(f"file://{scratch}/pool", Operation.ALL)
        )
    )
    pool.add_pegasus_profile(style="condor", auxillary_local=True).add_condor_profile(universe="vanilla")
    local = Site("local").add_directories(
        *(
            Directory(kind, str(path)).add_file_servers(FileServer(f"file://{path}", Operation.ALL))
            for kind, path in (
                (Directory.SHARED_SCRATCH, scratch / "local"),
                (Directory.LOCAL_STORAGE, outputs),
            )
        )
    )
    (root / "program").write_text(script)
    (root / "program").chmod(0o755)
    program = Transformation("count", site="local", pfn=str(root / "program"), is_stageable=True)
    counted = Job(program).add_checkpoint(File("dir/state")).add_outputs(File("result"))
    counted.add_dagman_profile(retry="3")
    for key, value in profiles.items():
        counted.add_pegasus_profile(**{key: value})
    replicas = ReplicaCatalog()
    if first is not None:
        (root / "first").write_text(f"{first}\n")
        replicas.add_replica("local", "dir/state", str(root / "first"))
    properties = Properties()
    properties["pegasus.data.configuration"] = configuration
    properties.write(str(root / "pegasus.properties"))
    workflow = Workflow("counts").add_jobs(counted).add_site_catalog(SiteCatalog().add_sites(pool, local))
    workflow.add_transformation_catalog(TransformationCatalog().add_transformations(program))
    workflow.add_replica_catalog(replicas).write(str(root / "workflow.yml"))
    done = command(root, "pegasus-plan", "-q", "-s", "pool", "--relative-dir", "submit", "workflow.yml")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_each_attempt_goes_on_from_the_last(tmp_path: Path, configuration: str) -> None:
    submit = prepared(tmp_path, configuration, COUNT.format(root=tmp_path, more=""), 10)
    done = command(tmp_path, "pegasus-run", str(submit))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text().split() == ["10", "11", "12"]
    assert (tmp_path / "outputs" / "result").read_text() == "12\n"
    assert (tmp_path / "outputs" / "dir" / "state").read_text() == "13\n"
    assert any('"lfn":"dir/state"' in path.read_text() for path in tmp_path.rglob("*.yml"))


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_job_begins_without_one_and_need_not_leave_one(tmp_path: Path, configuration: str) -> None:
    script = COUNT.format(root=tmp_path, more="rm dir/state").replace("-ge 12", "-ge 1")
    done = command(tmp_path, "pegasus-run", str(prepared(tmp_path, configuration, script)))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text().split() == ["0", "1"]
    assert not (tmp_path / "outputs" / "dir" / "state").exists()
    (catalog,) = [path for path in tmp_path.rglob("*.yml") if '"lfn":"result"' in path.read_text()]
    assert '"lfn":"dir/state"' not in catalog.read_text()
    assert not any(path.is_file() for path in (tmp_path / "scratch").rglob("*"))


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_run_that_is_ended_goes_on_from_what_its_jobs_left(tmp_path: Path, configuration: str) -> None:
    submit = prepared(tmp_path, configuration, LASTING.format(root=tmp_path))
    argv = [str(BIN / "pegasus-run"), str(submit)]
    process = subprocess.Popen(argv, env=environ(tmp_path), stderr=subprocess.DEVNULL)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 2
    assert command(tmp_path, "pegasus-run", str(submit)).returncode == 0
    assert (tmp_path / "outputs" / "result").read_text() == "far\n"


# --- one node ---------------------------------------------------------------------------------------

SHELL = {"id": "t", "transformation": "t", "program": "/bin/sh", "staged": False}


def attempt(root: Path, script: str, task: Mapping[str, Any] = {}, **more: Any) -> Any:
    """A node with the checkpoint ``state``."""
    told = {**SHELL, "arguments": ["-c", script], **task}
    return one_node(root, tasks=[told], checkpoints=["state"], **more)


def test_at_its_checkpoint_time_a_program_is_told_to_leave_one(tmp_path: Path) -> None:
    script = "trap 'echo saved > state; exit 0' TERM; sleep 60 & wait"
    done = attempt(tmp_path, script, {"checkpoint": 1, "walltime": 600})
    assert done.code == 1 and "was ended after its checkpoint.time of 1 s" in done.record["error"]
    again = attempt(tmp_path, "cat state")
    assert again.code == 0 and again.record["tasks"][0]["stdout"] == "saved\n"
    assert again.record["checks"] == {"made": 1}
    assert [one["lfn"] for one in again.record["inputs"]] == ["state"]
    assert attempt(tmp_path, "test ! -e state").code == 0  # what is done leaves nothing to go on from


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-3], lambda b: b[3:], lambda b: b"X" + b[1:], lambda b: b[:5]]
)
def test_a_damaged_checkpoint_is_not_used_and_told(tmp_path: Path, damage: Any) -> None:
    assert attempt(tmp_path, "echo saved > state; exit 1").code == 1
    (kept,) = tmp_path.rglob("*.checkpoint")
    kept.write_bytes(damage(kept.read_bytes()))
    done = attempt(tmp_path, "test ! -e state")
    assert done.code == 0, done.record
    assert done.record["checks"] == {"made": 1, "failed": 1}


def test_what_a_killed_attempt_left_in_a_shared_directory_is_not_used(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "state").write_text("half")
    assert attempt(tmp_path, "test ! -e state", directory=str(shared)).code == 0


# --- plans ------------------------------------------------------------------------------------------


def test_the_kept_file_travels_with_the_record(tmp_path: Path) -> None:
    uses = [use("x"), use("y", "output"), use("state", "checkpoint")]
    world(tmp_path, [job("a", [], uses=uses)])
    for configuration in ("condorio", "nonsharedfs"):
        files = contents(planned(tmp_path, configuration))
        found = expanded(files, "keg_a")
        assert files["records/keg_a.checkpoint"] == ""
        assert found["when_to_transfer_output"] == "ON_EXIT_OR_EVICT"
        assert "/submit/records/keg_a.checkpoint" in found["transfer_input_files"]
        assert "keg_a.checkpoint" in found["transfer_output_files"].split(",")


def test_a_checkpoint_is_one_jobs_alone(tmp_path: Path) -> None:
    jobs = [
        job("a", ["x"], uses=[use("x"), use("s", "checkpoint")]),
        job("b", ["s"]),
        job("c", [], ["s"]),
    ]
    world(tmp_path, jobs)
    with pytest.raises(PlanError) as told:
        planned(tmp_path)
    assert str(told.value).count("'s' is a checkpoint of 'a' and can be nothing else") == 2


def test_checkpoint_time(tmp_path: Path) -> None:
    profiles = {"checkpoint.time": "5", "maxwalltime": "9"}
    uses = [use("s", "checkpoint")]
    world(tmp_path, [job("a", [], uses=uses, profiles={"pegasus": profiles})], replicas=[replica("s")])
    (node,) = named(planned(tmp_path), "keg_")
    assert (node.tasks[0].checkpoint, node.tasks[0].walltime) == (300, 540)
    assert [one.lfn for one in node.inputs if one.lfn == "s"] == ["s"]
    world(tmp_path, [job("a", [], uses=uses, profiles={"pegasus": {**profiles, "maxwalltime": "5"}})])
    with pytest.raises(PlanError, match=r"checkpoint.time \(5 min\) leaves nothing of maxwalltime \(5 min\)"):
        planned(tmp_path)
