"""Jobs for Slurm: what HTCondor's batch gahp makes of their submit files, run by a real Slurm."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from Pegasus.api import Namespace, SiteCatalog

from tests.servers.slurm import Slurm
from tests.worker_world import Submitted, plan
from tests.workflows.shapes import World, fanout, found

# What the gahp's script for Slurm writes for each attribute of a job.
DIRECTIVES = {
    "batch_project": "-A {}",
    "batch_runtime": "-t {minutes}",
    "request_memory": "--mem={}",
    "batch_queue": "-p {}",
    "+NodeNumber": "-n {}",
    "+SMPGranularity": "--ntasks-per-node {}",
    "request_gpus": "--gres=gpu:{}",
    "batch_extra_submit_args": "{}",
}


class Catalogued(World):
    """A pool that is a batch system of this machine's. ``profiles``: of its site, in ``pegasus``."""

    profiles: dict[str, str]

    def _sites(self) -> SiteCatalog:
        sites = super()._sites()
        pool = sites.sites[self.pool]
        pool.add_condor_profile(grid_resource="batch slurm")
        for key, value in {"style": "glite", **self.profiles}.items():
            pool.add_profiles(Namespace.PEGASUS, key, value)
        return sites


def world(root: Path, configuration: str, n: int = 1, **profiles: str) -> World:
    """``n`` jobs that know nothing of each other."""
    made = Catalogued(root, configuration, pool="cluster")
    made.profiles = profiles
    fanout(made, n)
    return made.write()


def script(told: dict[str, str]) -> str:
    """The script that the gahp submits: its job starts where it is submitted, and is not copied."""
    assert told["universe"] == "grid" and told["grid_resource"] == "batch slurm"
    assert told["transfer_executable"] == "false" and "transfer_input_files" not in told
    lines = ["#!/bin/bash"]
    for key, text in DIRECTIVES.items():
        if value := told.get(key):
            minutes = int(value) // 60 if value.isdecimal() else 0
            lines.append(f"#SBATCH {text.format(value, minutes=minutes)}")
    words = shlex.join([told["executable"], *told["arguments"].strip('"').split()])
    lines.append(f"{words} > {told['output']} 2> {told['error']}")
    return "\n".join((*lines, ""))


def run(slurm: Slurm, submitted: Submitted, *words: str) -> dict[str, str]:
    """All nodes, those for Slurm at once, the others as HTCondor would; the numbers of Slurm's jobs."""
    given: dict[str, str] = {}
    for name in submitted.order():
        told = submitted.described(name)
        if told["universe"] != "grid":
            if given and not name.startswith(("create_dir", "stage_in")):
                wait(slurm, given)
            assert submitted.check(name, submitted.run(name)) == 0, submitted.told(name)
            continue
        path = submitted.path / f"{name}.sh"
        path.write_text(script(told))
        out = slurm.run("sbatch", "--parsable", *words, path, directory=Path(told["initialdir"]))
        given[name] = out.strip()
    return given


def wait(slurm: Slurm, given: dict[str, str]) -> None:
    """Until all those jobs are over."""
    while slurm.run("squeue", "-h", "-t", "PENDING,RUNNING", "-j", ",".join(given.values())):
        time.sleep(0.05)


@pytest.mark.parametrize("configuration", ["condorio", "nonsharedfs", "sharedfs"])
def test_jobs_that_start_in_one_directory_keep_their_files_apart(
    slurm: Slurm, tmp_path: Path, configuration: str
) -> None:
    made = world(tmp_path, configuration, 6)
    submitted = plan(made, sites="cluster")
    given = run(slurm, submitted)
    assert len(given) == 6
    assert dict(found(made.outputs)) == made.expected
    assert not list((submitted.path / "records").glob("pegasus-*"))


ASKED = {"queue": "other", "project": "p1", "runtime": "570", "memory": "300", "cores": "3"}


def test_what_a_job_asks_for_arrives(slurm: Slurm, tmp_path: Path) -> None:
    more = {"glite.arguments": "--constraint=fast --nice=7"}
    made = world(tmp_path, "condorio", **ASKED, **more)
    (number,) = run_held(slurm, plan(made, sites="cluster")).values()
    job = shown(slurm, number)
    assert job["Partition"] == "other" and job["Account"] == "p1" and job["TimeLimit"] == "00:10:00"
    assert job["MinMemoryNode"] == "300M" and job["Features"] == "fast" and job["Nice"] == "7"
    assert job["NumNodes"].partition("-")[0] == "1" and job["NumTasks"] == "3"


@pytest.mark.parametrize(
    ("asked", "nodes", "tasks"),
    [
        ({"nodes": "2", "ppn": "4"}, "2", "8"),
        ({"nodes": "2", "ppn": "4", "cores": "99"}, "2", "8"),
        ({"cores": "8", "ppn": "4"}, "2", "8"),
        ({"cores": "8", "nodes": "2"}, "2", "8"),
        ({"nodes": "2"}, "2", "2"),
        ({"maxwalltime": "90"}, "1", "1"),
    ],
)
def test_nodes_and_processors_are_pegasus_own(
    slurm: Slurm, tmp_path: Path, asked: dict[str, str], nodes: str, tasks: str
) -> None:
    (number,) = run_held(slurm, plan(world(tmp_path, "nonsharedfs", **asked), sites="cluster")).values()
    job = shown(slurm, number)
    assert (job["NumNodes"].partition("-")[0], job["NumTasks"]) == (nodes, tasks)
    assert "maxwalltime" not in asked or job["TimeLimit"] == "01:30:00"


def run_held(slurm: Slurm, submitted: Submitted) -> dict[str, str]:
    """Only what is for Slurm, held there."""
    given = {}
    for name in submitted.order():
        told = submitted.described(name)
        if told["universe"] == "grid":
            path = submitted.path / f"{name}.sh"
            path.write_text(script(told))
            given[name] = slurm.run("sbatch", "--parsable", "-H", path).strip()
    return given


def shown(slurm: Slurm, number: str) -> dict[str, Any]:
    """What Slurm knows of a job, which is then cancelled."""
    text = slurm.run("scontrol", "show", "job", number)
    slurm.run("scancel", number)
    return dict(re.findall(r"(\S+?)=(\S*)", text))
