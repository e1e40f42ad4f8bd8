"""Inputs that many jobs share, in HTCondor's catalogs of common files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from pegasus_toolkit.engines.htcondor import schedd
from pegasus_toolkit.planner.model import CONFIGURATIONS
from tests.planner_files import contents, expanded
from tests.planner_world import LOCAL, job, planned, site, world
from tests.test_workflows import run
from tests.worker_world import PLAN, plan
from tests.workflows.shapes import found, make

ASKED = "-Dpegasus.condor.common.files=true"
SCRATCH = "/s/local/joe/pegasus/w/R1"


def told(root: Path, jobs: list[dict[str, object]], name: str, **more: object) -> dict[str, str]:
    dag = planned(world(root, jobs), str(more.pop("configuration", "condorio")), **{"common": True, **more})
    return expanded(contents(dag), name)


def test_what_many_jobs_share_travels_once(tmp_path: Path) -> None:
    """The program and a file of all jobs; one of four jobs; one of three; and each job's own."""
    jobs = []
    for n in range(5):
        more = [f"own{n}", *(["four"] if n < 4 else []), *(["three"] if n < 3 else [])]
        jobs.append(job(f"j{n}", ["ref", *more], [f"out{n}!"]))
    first = told(tmp_path, jobs, "keg_j0")
    assert first["MY.CommonInputCatalogs"] == '"pegasus0, pegasus1"'
    assert first["MY._x_catalog_pegasus0"] == f'"{SCRATCH}/keg, {SCRATCH}/ref"'
    assert first["MY._x_catalog_pegasus1"] == f'"{SCRATCH}/four"'
    carried = first["transfer_input_files"].split(",")
    assert {f"{SCRATCH}/own0", f"{SCRATCH}/three"} <= set(carried)
    assert not {f"{SCRATCH}/{name}" for name in ("keg", "ref", "four")} & set(carried)
    last = told(tmp_path, jobs, "keg_j4")
    assert last["MY.CommonInputCatalogs"] == '"pegasus0"'
    assert f"{SCRATCH}/own4" in last["transfer_input_files"].split(",")


def test_what_a_job_makes_is_carried_to_each(tmp_path: Path) -> None:
    """It may be made again, which HTCondor would not see."""
    jobs = [job("make", ["in"], ["made"]), *(job(f"j{n}", ["made"], [f"out{n}!"]) for n in range(5))]
    told_of = told(tmp_path, jobs, "keg_j0")
    assert told_of["MY._x_catalog_pegasus0"] == f'"{SCRATCH}/keg"'
    assert f"{SCRATCH}/made" in told_of["transfer_input_files"].split(",")


@pytest.mark.parametrize(
    ("common", "configuration", "ref"),
    [(False, "condorio", "ref"), (True, "nonsharedfs", "ref"), (True, "sharedfs", "ref")],
)
def test_catalogs_are_for_pools_that_know_them_and_carry_files(
    tmp_path: Path, common: bool, configuration: str, ref: str
) -> None:
    jobs = [job(f"j{n}", [ref], [f"out{n}!"]) for n in range(5)]
    found = told(tmp_path, jobs, "keg_j0", configuration=configuration, common=common)
    assert not [key for key in found if "atalog" in key]


@pytest.mark.parametrize("resource", ["batch slurm joe@there", "condor there collector.there"])
def test_what_goes_through_a_gahp_is_carried_to_each(tmp_path: Path, resource: str) -> None:
    pool = site("pool", style="condor", **{"auxillary.local": "true"})
    pool["profiles"]["condor"] = {"universe": "grid", "grid_resource": resource}
    jobs = [job(f"j{n}", ["ref"], [f"out{n}!"]) for n in range(5)]
    dag = planned(world(tmp_path, jobs, sites=(LOCAL, pool)), "condorio", common=True)
    found = expanded(contents(dag), "keg_j0")
    assert f"{SCRATCH}/ref" in found["transfer_input_files"].split(",")
    assert not [key for key in found if "atalog" in key]


def test_a_name_that_a_catalog_cannot_hold_is_carried_to_each(tmp_path: Path) -> None:
    jobs = [job(f"j{n}", ["a b"], [f"out{n}!"]) for n in range(5)]
    found = told(tmp_path, jobs, "keg_j0")
    assert found["MY._x_catalog_pegasus0"] == f'"{SCRATCH}/keg"'
    assert f"{SCRATCH}/a b" in found["transfer_input_files"].split(",")


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_worker_travels_once_in_every_configuration(tmp_path: Path, configuration: str) -> None:
    jobs = [job(f"j{n}", ["ref"], [f"out{n}!"]) for n in range(5)]
    worker = {"": f"{planned(world(tmp_path, jobs)).settings.submit}/pegasus-worker"}
    of = told(tmp_path, jobs, "keg_j0", configuration=configuration, workers=worker)
    assert (of["executable"], of["transfer_executable"]) == ("/usr/bin/env", "false")
    assert of["arguments"].startswith('"python3 ./pegasus-worker ')
    assert worker[""] in of["MY._x_catalog_pegasus0"]


def test_a_worker_that_the_user_names_is_carried_to_each(tmp_path: Path) -> None:
    jobs = [job(f"j{n}", ["ref"], [f"out{n}!"]) for n in range(5)]
    of = told(tmp_path, jobs, "keg_j0", workers={"": "/w/pegasus-worker"})
    assert (of["executable"], of["transfer_executable"]) == ("/w/pegasus-worker", "true")


def test_the_local_engine_runs_the_same_plan(tmp_path: Path) -> None:
    made = make("fanout", tmp_path, "condorio", 5, pegasus_condor_common_files="true")
    submitted = plan(made)
    assert json.loads((submitted.path / "plan.json").read_text())["warnings"] == []
    assert "CommonInputCatalogs" in (submitted.path / "submit/compute-condorpool.sub").read_text()
    assert "\nexecutable = /usr/bin/env\n" in (submitted.path / "submit/compute-condorpool.sub").read_text()
    done = run(made, submitted.path)
    assert done.returncode == 0, done.stderr
    assert dict(found(made.outputs)) == made.expected


def with_catalogs(directory: Path) -> None:
    """A ``condor_version`` that has them."""
    for name, text in {
        "condor_submit_dag": "",
        "condor_version": "$CondorVersion: 25.14.0 2026-11-30 $",
    }.items():
        (directory / name).write_text(f"#!/bin/sh\necho '{text}'\n")
        (directory / name).chmod(0o755)


def test_who_plans_through_the_api_has_none(tmp_path: Path) -> None:
    """Its ``wait`` fails at jobs that HTCondor calls blocked, those of sub-workflows, too."""
    made = make("fanout", tmp_path, "condorio", 5)
    with_catalogs(tmp_path)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    there = {}
    for name, options in {"by hand": (), "api": ("--json",), "asked": ("--json", ASKED)}.items():
        submit = tmp_path / name.replace(" ", "-")
        command = [PLAN, *options, "-s", "condorpool", "--relative-dir", submit.name, "workflow.yml"]
        subprocess.run(command, cwd=made.root, env=environ, check=True, capture_output=True)
        there[name] = "CommonInputCatalogs" in (submit / "submit/compute-condorpool.sub").read_text()
    assert there == {"by hand": True, "api": False, "asked": True}
    assert "pegasus.condor.common.files = false" in (tmp_path / "api/pegasus.properties").read_text()


def test_which_htcondor_it_is(tmp_path: Path) -> None:
    with_catalogs(tmp_path)
    assert schedd.version({"PATH": str(tmp_path)}) == (25, 14, 0) > schedd.COMMON_FILES
    (tmp_path / "condor_submit_dag").unlink()
    assert schedd.version({"PATH": str(tmp_path)}) == (0,) < schedd.COMMON_FILES
