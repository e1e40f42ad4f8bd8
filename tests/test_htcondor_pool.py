"""Plans on a real HTCondor pool, where there is one: real DAGMan, real execute nodes.

The tests' user must be one whose jobs the pool runs, and who can read the tests' files on its nodes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.dag import rescue
from pegasus_toolkit.engines.htcondor import dagman
from pegasus_toolkit.engines.htcondor.bindings import Bindings
from pegasus_toolkit.engines.htcondor.commands import Commands
from pegasus_toolkit.engines.htcondor.dagman import Ended, Given
from pegasus_toolkit.engines.htcondor.schedd import Submission, text
from pegasus_toolkit.planner.model import CONFIGURATIONS
from tests.servers.nginx import PASSWORD, USER
from tests.servers.webdav import Dav
from tests.test_checkpoints import LASTING, prepared
from tests.test_slurm import world as slurm_world
from tests.worker_world import PLAN, WORKER, Submitted, plan
from tests.workflows.shapes import KEG, SHAPES, World, diamond, found, make, pipeline

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("pool")]
RUN, REMOVE = PLAN.with_name("pegasus-run"), PLAN.with_name("pegasus-remove")
_QUOTED = text('a "name"')
Kept = dict[tuple[str, str], tuple[World, "subprocess.Popen[str]"]]


def started(submitted: Submitted) -> subprocess.Popen[str]:
    """It is waited for in the background."""
    words = [RUN, "--engine", "htcondor", "--wait", "-q", submitted.path]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ran(submitted: Submitted) -> tuple[int, str]:
    """Runs it to its end: exit code and what was said."""
    running = started(submitted)
    said = running.communicate()[1]
    return running.returncode, said


def tries(submitted: Submitted) -> Counter[str]:
    return Counter(one["node"] for one in submitted.provenance())


@pytest.fixture(scope="module")
def runs(pool: Commands, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """Every shape in the three configurations, all at once."""
    kept: Kept = {}
    try:
        for configuration in CONFIGURATIONS:
            for shape in SHAPES:
                world = make(shape, tmp_path_factory.mktemp(f"{shape}-{configuration}"), configuration, 3)
                kept[shape, configuration] = (world, started(plan(world)))
        yield kept
    finally:
        for _, running in kept.values():
            if running.poll() is None:
                running.kill()
                running.communicate()


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_ends_with_its_digests(runs: Kept, shape: str, configuration: str) -> None:
    world, running = runs[shape, configuration]
    said = running.communicate()[1]
    assert running.returncode == 0, said
    assert dict(found(world.outputs)) == world.expected


def test_a_wrong_checksum_fails_once_and_goes_on_when_mended(tmp_path: Path) -> None:
    world = make("pipeline", tmp_path, "condorio", 2)
    (tmp_path / "data" / "in.txt").write_bytes(b"not what the catalog says")
    submitted = plan(world)
    code, said = ran(submitted)
    assert code == 1, said
    (wrong,) = (one for one in submitted.provenance() if one["node"] == "stage_in_0_local")
    assert wrong["return"] == wrong["verdict"] == 2 and "expected" in wrong["why"]
    assert rescue.newest(submitted.file) is not None
    (tmp_path / "data" / "in.txt").write_bytes(world.contents["in.txt"])
    assert ran(submitted)[0] == 0
    assert dict(found(world.outputs)) == world.expected
    assert {name: n for name, n in tries(submitted).items() if n > 1} == {"stage_in_0_local": 2, "receipt": 2}


def test_a_damaged_file_is_made_again_where_nobody_waits(pool: Commands, tmp_path: Path) -> None:
    world = make("damaged", tmp_path, "condorio", 2)
    submitted = plan(world)
    subprocess.run([RUN, "--engine", "htcondor", "-q", submitted.path], check=True)
    root = json.loads((submitted.path / "plan.json").read_text())["run"]
    while pool.jobs(f"pegasus_root_wf_uuid == {text(root)}"):  # at each moment there is one at least
        time.sleep(1)
    assert dict(found(world.outputs)) == world.expected
    assert tries(submitted)["keg_make00002"] == 2 and tries(submitted)["keg_aside00003"] == 1


def test_a_held_job_has_failed(tmp_path: Path) -> None:
    world = make("fanout", tmp_path, "condorio", 2, dagman_retry="0")
    submitted = plan(world)
    lines = submitted.file.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("VARS keg_one00001 "))
    lines[at] = lines[at].replace('files="', 'files="/nonexistent/file,')
    submitted.file.write_text("\n".join((*lines, "")))
    code, said = ran(submitted)
    assert code == 1, said
    (held,) = (one for one in submitted.provenance() if one["node"] == "keg_one00001")
    assert held["return"] == -1002 and "held" in held["why"]
    assert tries(submitted)["keg_one00002"] == 1 and submitted.record("keg_one00002")["exit"] == 0


def waiting(root: Path, shape: Callable[[World, int], None]) -> World:
    """A workflow whose program waits for the file ``go``, for ten minutes."""
    world = World(root, "condorio")
    world.keg.write_text(f'#!/bin/sh\n[ -e {root}/go ] || sleep 600\nexec python3 {KEG} "$@"\n')
    shape(world, 2)
    return world.write()


def until_it_runs(pool: Commands, submitted: Submitted, name: str) -> str:
    """The constraint that selects the job of the node."""
    run = json.loads((submitted.path / "plan.json").read_text())["run"]
    job = f"pegasus_wf_uuid == {text(run)} && pegasus_wf_dag_job_id == {text(name)}"
    while not pool.jobs(f"{job} && JobStatus == 2"):
        pass
    return job


def test_a_run_is_removed_and_goes_on(pool: Commands, tmp_path: Path) -> None:
    world = waiting(tmp_path, pipeline)
    submitted = plan(world)
    running = started(submitted)
    until_it_runs(pool, submitted, "keg_step00001")
    again = subprocess.run([RUN, submitted.path], capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "is being run already, by DAGMan, job" in again.stderr
    done = subprocess.run([REMOVE, submitted.path], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{submitted.file}.rescue001" in done.stdout, done.stderr
    assert running.communicate()[1] and running.returncode == 2
    run = json.loads((submitted.path / "plan.json").read_text())["run"]
    assert not pool.jobs(f"pegasus_root_wf_uuid == {text(run)}")
    assert (submitted.path / "records" / "receipt.json").exists()
    (tmp_path / "go").touch()
    assert ran(submitted)[0] == 0
    assert dict(found(world.outputs)) == world.expected
    assert tries(submitted)["stage_in_0_local"] == 1
    idle = subprocess.run([REMOVE, submitted.path], capture_output=True, text=True, check=False)
    assert idle.returncode == 1 and "nothing of it is in HTCondor's queue" in idle.stderr


def test_a_dagman_that_was_killed_comes_back(pool: Commands, tmp_path: Path) -> None:
    world = waiting(tmp_path, pipeline)
    submitted = plan(world)
    running = started(submitted)
    job = until_it_runs(pool, submitted, "keg_step00001")
    pids = re.findall(r"\*\* PID = (\d+)", Path(f"{submitted.file}.dagman.out").read_text())
    os.kill(int(pids[-1]), 9)
    (tmp_path / "go").touch()
    subprocess.run(["condor_rm", "-constraint", job], check=True, stdout=subprocess.DEVNULL)
    said = running.communicate()[1]
    assert running.returncode == 0, said
    assert dict(found(world.outputs)) == world.expected
    assert {name: n for name, n in tries(submitted).items() if n > 1} == {"keg_step00001": 2}


def staged(root: Path, dav: Dav) -> World:
    """Its files pass through a server that wants a password."""
    from Pegasus.api import Directory, FileServer, Operation, Site

    url = f"webdav://{dav.authority}/private/{root.name}"
    server = Directory(Directory.SHARED_SCRATCH, "/x").add_file_servers(FileServer(url, Operation.ALL))
    world = World(root, "nonsharedfs")
    diamond(world, 4)
    world.write()
    sites = world._sites().add_sites(Site("stash-1").add_directories(server))
    sites.write(str(root / "sites.yml"))
    secrets = f"[{dav.authority}]\nusername = {USER}\npassword = {PASSWORD}\nallow_plain_password = yes\n"
    (root / "secrets.conf").touch(mode=0o600)
    (root / "secrets.conf").write_text(secrets)
    return world


def test_a_credential_arrives_closed_to_others(
    tmp_path: Path, wsgidav: Dav, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = staged(tmp_path, wsgidav)
    monkeypatch.setenv("PEGASUS_CREDENTIALS", str(tmp_path / "secrets.conf"))
    # What a job finds where it starts, and what HTCondor was told of it.
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nexec >&2\nstat -c "%a %n" *; env; cat .job.ad\nexec {WORKER} "$@"\n')
    wrapper.chmod(0o755)
    submitted = plan(world, "--staging-site", "stash-1", "--worker", str(wrapper))
    code, said = ran(submitted)
    assert code == 0, said
    assert dict(found(world.outputs)) == world.expected
    told = submitted.told("keg_preprocess00001").splitlines()
    assert "600 secrets.conf" in told
    assert "PEGASUS_CREDENTIALS_stash_1=secrets.conf" in told
    assert f'EncryptInputFiles = "{tmp_path}/secrets.conf"' in told
    assert not any(line.startswith("PATH=") for line in told)  # nothing of the submit host's environment
    for path in submitted.path.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path


def test_the_bindings_do_what_the_commands_do(pool: Commands, tmp_path: Path) -> None:
    schedd = Bindings()
    (tmp_path / "x.dag").write_text("JOB A none.sub NOOP\n")
    dag = str(tmp_path / "x.dag")
    cluster = schedd.submit(Submission(dag, {"pegasus_wf_name": 'a "name"'}))
    name = f"ClusterId == {cluster} && pegasus_wf_name == {_QUOTED}"
    assert [one.cluster for one in pool.jobs(name)] == [cluster] == [one.cluster for one in schedd.jobs(name)]
    assert dagman.running(schedd, dag)[0].cluster == cluster
    assert dagman.dag_of(schedd, cluster) == dag
    assert dagman.wait(schedd, dag, Given(cluster, 0, ""), lambda: "") == Ended(0)


@pytest.fixture
def gahp(pool: Commands) -> None:
    """Skips, visibly, unless the pool's batch gahp submits to a Slurm, which ``SLURM_CONF`` is of."""
    sinfo = shutil.which("sinfo")
    if sinfo is None or "SLURM_CONF" not in os.environ:
        pytest.skip("no Slurm behind this pool: SLURM_CONF is not set, or there is no sinfo")
    if subprocess.run([sinfo], capture_output=True, check=False).returncode:
        pytest.skip("the Slurm behind this pool does not answer")


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_slurm_through_the_gahp(gahp: None, tmp_path: Path, configuration: str) -> None:
    made = slurm_world(tmp_path, configuration, 3, runtime="600", memory="200", cores="2")
    submitted = plan(made, sites="cluster")
    code, said = ran(submitted)
    assert code == 0, said
    assert dict(found(made.outputs)) == made.expected
    assert tries(submitted)["keg_one00001"] == 1


API = """
import json, sys
from pathlib import Path
from tests.workflows.shapes import make
workflow = make("diamond", Path.cwd(), "condorio", 4).workflow
workflow.plan(submit=True, sites=["condorpool"], dir="submit", cleanup="inplace")
told = {"name": workflow.braindump.pegasus_wf_name, "directory": workflow._submit_dir}
told["begun"] = workflow.get_status()
workflow.wait(delay=1)
told["ended"] = workflow.get_status()
workflow.analyze()
workflow.statistics()
Path("told").write_text(json.dumps(told))
"""


def test_pegasus_own_api(tmp_path: Path) -> None:
    path = f"{PLAN.parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", API], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told").read_text())
    run = json.loads(Path(told["directory"], "plan.json").read_text())["run"]
    assert told["begun"]["condor_jobs"].keys() == {run}
    first, *_ = told["begun"]["condor_jobs"][run]["DAG_CONDOR_JOBS"]
    assert first["pegasus_wf_name"] == told["name"] == "diamond-0"
    assert told["ended"]["dags"]["root"]["state"] == "Success"
    assert [name for name, _ in found(tmp_path / "outputs")] == ["f.d"]


def test_a_job_that_is_evicted_goes_on_from_its_checkpoint(pool: Commands, tmp_path: Path) -> None:
    submit = prepared(tmp_path, "condorio", LASTING.format(root=tmp_path))
    running = subprocess.Popen([RUN, "--engine", "htcondor", "--wait", "-q", submit])
    run = json.loads((submit / "plan.json").read_text())["run"]
    await_file(tmp_path / "begun", running)
    mine = f"pegasus_wf_uuid == {text(run)} && pegasus_wf_xformation == {text('count')}"
    (job,) = pool.jobs(mine)
    subprocess.run(["condor_vacate_job", str(job.cluster)], check=True, capture_output=True)
    assert running.wait() == 0
    assert (tmp_path / "outputs" / "result").read_text() == "far\n"


def test_a_halted_run_ends_what_runs_and_goes_on_later(tmp_path: Path) -> None:
    submit = prepared(tmp_path, "condorio", LASTING.format(root=tmp_path).replace("sleep 60", "sleep 15"))
    running = subprocess.Popen(
        [RUN, "--engine", "htcondor", "--wait", "-q", submit], stderr=subprocess.DEVNULL
    )
    await_file(tmp_path / "begun", running)
    done = subprocess.run(
        [RUN.with_name("pegasus-halt"), submit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert running.wait() == 1
    assert not (tmp_path / "outputs" / "result").exists()


def await_file(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Until a job has made it."""
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.2)
