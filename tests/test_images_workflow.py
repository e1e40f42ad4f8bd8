"""A workflow whose jobs run in a container: its image is pulled once from a registry, by a stage-in node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planner_world import job, replica, site, world
from tests.servers.registry import Registries, image

BIN = Path(sys.executable).parent
PROGRAM = '#!/bin/sh\ncat "$1" > "$2"; id >> "$2"; test -e /bin/busybox && ! test -e /usr\n'
COUNT = 4


@pytest.fixture
def submit(registries: Registries, podman: dict[str, str], tmp_path: Path) -> Path:
    """Where four jobs in one container are planned."""
    name = f"e2e/{tmp_path.name.lower().replace('_', '-')}"
    registries.push(name, "1", image((Path(podman["HOME"]) / "root.tar").read_bytes()))
    for n in range(COUNT):
        (tmp_path / f"f{n}").write_text(f"content {n}\n")
    places = {label: tmp_path / label for label in ("local", "pool", "out")}
    for place in places.values():
        place.mkdir()
    sites = [
        site("local", f"file://{places['local']}", storage=str(places["out"])),
        site("pool", f"file://{places['pool']}", style="condor", **{"auxillary.local": "true"}),
    ]
    sites[1]["profiles"]["condor"] = {"getenv": "CONTAINERS_CONF,CONTAINERS_STORAGE_CONF"}
    keg = tmp_path / "keg"
    keg.write_text(PROGRAM)
    keg.chmod(0o755)
    program = {
        "name": "keg",
        "sites": [{"name": "local", "pfn": str(keg), "type": "stageable", "container": "box"}],
        "profiles": {"pegasus": {"container.arguments": "--ulimit host"}},
    }
    jobs = [job(f"j{n}", [f"f{n}"], [f"o{n}!"], arguments=[f"f{n}", f"o{n}"]) for n in range(COUNT)]
    found = [replica(f"f{n}", str(tmp_path / f"f{n}")) for n in range(COUNT)]
    path = (
        world(tmp_path, jobs, sites=sites, replicas=found, transformations=[program]) / "transformations.yml"
    )
    box = {"name": "box", "type": "docker", "image": f"docker://{registries.open}/{name}:1"}
    text = json.loads(path.read_text())
    path.write_text(json.dumps({**text, "containers": [box]}))
    files = {"replica": "replicas", "site": "sites", "transformation": "transformations"}
    known = [f"pegasus.catalog.{kind}.file = {tmp_path / file}.yml" for kind, file in files.items()]
    (tmp_path / "pegasus.properties").write_text(
        "\n".join([*known, "pegasus.data.configuration = nonsharedfs", f"# {name}"])
    )
    words = ("-q", "-s", "pool", "-o", "local", "--relative-dir", "submit", "workflow.yml")
    done = command(tmp_path, podman, "pegasus-plan", *words)
    assert done.returncode == 0, done.stderr
    return tmp_path / "submit"


def command(directory: Path, podman: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    """One of ours. ``podman``: by which that finds its store; there is no Docker."""
    environ = {**podman, "PATH": f"{BIN}:{os.environ['PATH']}", "LANG": "C.UTF-8", "DOCKER_HOST": ""}
    return subprocess.run(
        [str(BIN / argv[0]), *argv[1:]],
        cwd=directory,
        env=environ,
        text=True,
        capture_output=True,
        check=False,
    )


def asked(registries: Registries, what: str) -> list[str]:
    """Lines of the open registry's log of accesses."""
    log = registries.data.parent / f"{registries.open.rpartition(':')[2]}.log"
    return [
        line for line in log.read_text(errors="replace").splitlines() if "GET /v2/" in line and what in line
    ]


def test_jobs_run_in_an_image_that_is_pulled_once(
    registries: Registries, podman: dict[str, str], submit: Path
) -> None:
    done = command(submit.parent, podman, "pegasus-run", "--engine", "local", str(submit))
    assert done.returncode == 0, done.stdout + done.stderr
    for n in range(COUNT):
        assert (submit.parent / "out" / f"o{n}").read_text().startswith(f"content {n}\nuid=")
    name = (submit.parent / "pegasus.properties").read_text().rpartition("# ")[2]
    assert 0 < len(asked(registries, f"{name}/manifests/1 ")) < COUNT
