"""Plugin and shards on a real HTCondor pool, where there is one: its daemons must answer on this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.worker.shard_progress import MARK
from tests.command import entry, environment, write
from tests.material import content
from tests.servers.nginx import Nginx
from tests.servers.webdav import Dav

if sys.platform != "linux":
    pytest.skip("HTCondor's library is there for Linux alone", allow_module_level=True)

import htcondor2

SCRIPTS = Path(sysconfig.get_path("scripts"))
SUBMIT = """
executable = /bin/cat
arguments = {input}
output = made
log = log
should_transfer_files = YES
transfer_plugins = dav,http=pegasus_plugin
transfer_input_files = {url}
transfer_output_files = {input}
transfer_output_remaps = "{input} = {destination}"
request_disk = 50MB
request_memory = 64MB
queue
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def pool() -> None:
    """Skips unless jobs can be submitted."""
    if shutil.which("condor_submit_dag") is None:
        pytest.skip("HTCondor's condor_submit_dag is not on PATH")
    asked = ["condor_status", "-schedd", "-af", "Name"]
    found = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    if found.returncode or not found.stdout.strip():
        pytest.skip(f"HTCondor is installed, but no pool answers: {found.stderr.strip()}")


@pytest.fixture(scope="module")
def plugin(pool: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, as it goes with a job."""
    path = tmp_path_factory.mktemp("packed") / "pegasus_plugin"
    subprocess.run([SCRIPTS / "pegasus-worker", "--pack", path, "--extra", "http"], check=True)
    return path


def job(directory: Path, plugin: Path, url: str, destination: str) -> Any:
    """Submits a job and waits until it ends or is held; that event."""
    shutil.copy(plugin, directory)
    text = SUBMIT.format(url=url, input=url.rpartition("/")[2], destination=destination)
    (directory / "job.sub").write_text(text)
    done = subprocess.run(
        ["condor_submit", "-terse", "job.sub"], cwd=directory, capture_output=True, text=True, check=True
    )
    cluster = done.stdout.split(".")[0]
    ends = (htcondor2.JobEventType.JOB_TERMINATED, htcondor2.JobEventType.JOB_HELD)
    try:
        with htcondor2.JobEventLog(str(directory / "log")) as log:
            return next(event for event in log.events(stop_after=120) if event.type in ends)
    finally:
        subprocess.run(["condor_rm", cluster], capture_output=True, check=False)


def test_a_jobs_urls_in_and_out(plugin: Path, tmp_path: Path, nginx: Nginx, nginx_dav: Dav) -> None:
    data = content(100_000)
    (nginx.data / "pool-in").write_bytes(data)
    event = job(
        tmp_path,
        plugin,
        f"http://{nginx.authority}/files/pool-in",
        f"dav://{nginx_dav.authority}/dav/pool/result",
    )
    assert event.type == htcondor2.JobEventType.JOB_TERMINATED and event["ReturnValue"] == 0
    assert (tmp_path / "made").read_bytes() == data
    assert (nginx_dav.data / "pool/result").read_bytes() == data


def test_a_missing_input_holds_the_job_for_our_reason(plugin: Path, tmp_path: Path, nginx: Nginx) -> None:
    url = f"http://{nginx.authority}/files/pool-missing"
    event = job(tmp_path, plugin, url, "x")
    assert event.type == htcondor2.JobEventType.JOB_HELD
    assert "not found: HTTP 404" in event["HoldReason"] and url in event["HoldReason"]


def test_an_output_that_cannot_be_put_holds_the_job(
    plugin: Path, tmp_path: Path, nginx: Nginx, nginx_dav: Dav
) -> None:
    (nginx.data / "pool-in").write_bytes(b"in")
    url = f"http://{nginx.authority}/files/pool-in"
    event = job(tmp_path, plugin, url, f"dav://{nginx_dav.authority}/forbidden/result")
    assert event.type == htcondor2.JobEventType.JOB_HELD
    assert "/forbidden/result" in event["HoldReason"] and event["HoldReasonCode"] == 12


def test_shards_run_on_the_pool(pool: None, tmp_path: Path, nginx: Nginx, nginx_dav: Dav) -> None:
    files = {f"pool-{n}": content(3000 + n, n) for n in range(12)}
    for name, data in files.items():
        (nginx.data / name).write_bytes(data)
    base = f"dav://{nginx_dav.authority}/dav/shards"
    spec = [entry(f"http://{nginx.authority}/files/{name}", f"{base}/{name}", lfn=name) for name in files]
    write(tmp_path / "spec.json", spec)
    words = ("spec.json", "--submit", "--engine", "htcondor", "--shards", "2", "--dir", "sub")
    done = subprocess.run(
        [SCRIPTS / "pegasus-transfer", *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {path.name: path.read_bytes() for path in (nginx_dav.data / "shards").iterdir()}
    assert found == files
    told = json.loads((tmp_path / "sub/records/receipt.json").read_bytes())["receipt"]
    assert (told["shards"], told["transfers"], told["left"]) == ({"done": 2}, 12, 0)
    events = (tmp_path / "sub/workflow.log").read_text()
    assert {f"transfer-000{n}" for n in (1, 2)} <= set(re.findall(rf"{MARK} (\S+) [\d,-]+\n", events))
