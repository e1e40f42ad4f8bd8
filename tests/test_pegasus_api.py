"""Pegasus' own Python API, with our commands on PATH and no HTCondor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_workflows import BIN, environ
from tests.workflows.shapes import found, make

SCRIPT = """
import sys
from pathlib import Path
from tests.workflows.shapes import make

workflow = make("diamond", Path.cwd(), "condorio").workflow
workflow.plan(submit=True, sites=["condorpool"], output_sites=["local"]).wait(delay=1)
workflow.status()
workflow.analyze()
workflow.statistics()
workflow.graph(output="diamond.dot")
workflow.run()
"""
FAILING = """
import logging
from pathlib import Path
from Pegasus.api import *

logging.basicConfig(level=logging.INFO)
program = Transformation("broken", site="condorpool", pfn=str(Path.cwd() / "broken"), is_stageable=False)
job = Job(program).add_outputs(File("made"), stage_out=True)
workflow = Workflow("fails").add_jobs(job)
workflow.add_transformation_catalog(TransformationCatalog().add_transformations(program))
workflow.plan(submit=True, output_dir="outputs", dir="submit")
Path("returned").touch()  # what the program waits for
workflow.wait(delay=1)
assert workflow.get_status()["dags"]["root"]["state"] == "Failure"
workflow.analyze()
workflow.statistics()
workflow.status(long=True)
Path("broken").write_text("#!/bin/sh\\ntouch made\\n")
workflow.run()
workflow.wait(delay=1)
assert workflow.get_status()["dags"]["root"]["state"] == "Success"
"""
LASTING = """
from pathlib import Path
from Pegasus.api import *

program = Transformation("lasting", site="condorpool", pfn=str(Path.cwd() / "lasting"), is_stageable=False)
workflow = Workflow("lasts").add_jobs(Job(program, _id="longest"))
workflow.add_transformation_catalog(TransformationCatalog().add_transformations(program))
workflow.plan(submit=True, dir="submit")
with open("begun") as pipe:
    pipe.read()
known = workflow.get_status()
(jobs,) = known["condor_jobs"].values()
assert known["dags"]["root"]["state"] == "Running", known
assert jobs["DAG_NAME"] == "root", jobs
engine, job = jobs["DAG_CONDOR_JOBS"]
assert (engine["pegasus_wf_xformation"], engine["JobStatusName"]) == ("pegasus::dagman", "Run")
assert (job["pegasus_wf_dag_job_id"], job["pegasus_site"], job["JobStatusName"]) == (
    "lasting_longest", "condorpool", "Run"), job
workflow.status(long=True)
workflow.remove()
assert workflow.get_status()["dags"]["root"]["state"] == "Failure"
"""


def api(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs ``script`` as a user's program."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={**environ(root), "PYTHONPATH": str(Path(__file__).parents[1]), "PATH": f"{BIN}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_api_plans_runs_and_tells(tmp_path: Path) -> None:
    world = make("diamond", tmp_path, "condorio")
    done = api(tmp_path, SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert dict(found(world.outputs)) == world.expected
    assert "Success" in done.stdout
    assert "digraph" in (tmp_path / "diamond.dot").read_text()


def test_a_run_that_fails_is_looked_at_mended_and_run_again(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text(f"#!/bin/sh\nwhile [ ! -e {tmp_path}/returned ]; do sleep 0.1; done; exit 3\n")
    program.chmod(0o755)
    done = api(tmp_path, FAILING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit code 3" in done.stdout + done.stderr
    assert (tmp_path / "outputs" / "made").is_file()


def test_jobs_are_shown_while_they_run_and_removed(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "begun")
    program = tmp_path / "lasting"
    program.write_text(f"#!/bin/sh\n: > {tmp_path}/begun\nexec sleep 60\n")
    program.chmod(0o755)
    done = api(tmp_path, LASTING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lasting_longest" in done.stdout
    assert not any((tmp_path / ".local" / "state" / "pegasus-toolkit" / "runs").rglob("[0-9]*"))


@pytest.mark.parametrize("name", ["pegasus-condor-q", "condor_q"])
def test_htcondors_own_condor_q_is_asked_where_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours" / name).symlink_to(BIN / "pegasus-condor-q")
    (tmp_path / "theirs" / "condor_q").write_text('#!/bin/sh\necho "real $*"\n')
    (tmp_path / "theirs" / "condor_q").chmod(0o755)
    path = f"{tmp_path}/ours:{BIN}:{tmp_path}/theirs:/usr/bin:/bin"
    done = subprocess.run(
        [tmp_path / "ours" / name, "-constraint", "x", "-json"],
        env={"PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "real -constraint x -json\n"), done.stderr
