"""Tasks in containers: the command lines, and a real Podman where one works."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.planner.model import ContainerUse
from pegasus_toolkit.worker import containers
from pegasus_toolkit.worker.containers import Wanted
from pegasus_toolkit.worker.failure import Failed
from tests.worker_world import one_node

BASE = ["--security-opt", "label=disable"]
USER = f"{os.getuid()}:{os.getgid()}"


def use(**more: Any) -> ContainerUse:
    known = {"name": "c", "type": "docker", "image": "docker://joe/keg:1"}
    return ContainerUse(**{**known, **more})


def wanted(container: ContainerUse, environment: Mapping[str, str] = {}, **more: Any) -> Wanted:
    return Wanted(container, ["./keg", "-i", "a b"], "/d", environment, **more)


def test_docker() -> None:
    container = use(mounts=("/data:/data:ro",), environment={"B": "1"}, arguments=("--gpus", "all"))
    found = containers.docker(wanted(container, {"A": "s3cret"}, stdin=True), "/bin/docker", "joe/keg:1", "x")
    assert found.words == (
        *("/bin/docker", "run", "--rm", "--name", "pegasus-x", "--user", USER, *BASE, "--interactive"),
        *("--mount", "type=bind,source=/d,target=/scratch", "--workdir", "/scratch"),
        *("--volume", "/data:/data:ro", "--env", "B", "--env", "A", "--gpus", "all", "joe/keg:1"),
        *("./keg", "-i", "a b"),
    )
    assert found.environment == {"A": "s3cret", "B": "1"} and 125 in found.broken


def test_variables_that_docker_itself_would_obey_do_not_reach_it() -> None:
    found = containers.docker(wanted(use(), {"PATH": "/x", "DOCKER_HOST": "h", "N": ""}), "/d", "i", "x")
    assert found.environment == {"N": ""}
    assert [found.words[at + 1] for at, word in enumerate(found.words) if word == "--env"] == [
        "PATH=/x",
        "DOCKER_HOST=h",
        "N",
    ]


def test_a_directory_with_commas_is_one_field() -> None:
    found = containers.docker(wanted(use())._replace(directory='/a,b"c'), "/d", "i", "x")
    assert 'type=bind,"source=/a,b""c",target=/scratch' in found.words


def test_podman_without_root_keeps_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    found = containers.docker(wanted(use()), "/bin/podman", "i", "x")
    assert found.words[found.words.index("--userns") + 1] == "keep-id"
    assert "--userns" not in containers.docker(wanted(use()), "/bin/docker", "i", "x").words


@pytest.mark.parametrize(
    ("image", "file", "shown"),
    [
        ("docker://joe/keg:1", "", "docker://joe/keg:1"),
        ("http://h/keg.sif", "keg.sif", "/d/keg.sif"),
        ("file:///i/keg.tar.gz", "keg.tar.gz", "docker-archive:/d/keg.tar.gz"),
    ],
)
def test_singularity(image: str, file: str, shown: str) -> None:
    container = use(type="singularity", image=image, file=file, mounts=("/x:/y",), environment={"A": "1"})
    found = containers.singularity(wanted(container, {"A": "2"}), "/bin/singularity")
    words = ("/bin/singularity", "exec", "--no-home", "--bind", "/d:/srv", "--pwd", "/srv", "--bind", "/x:/y")
    assert found.words == (*words, shown, "./keg", "-i", "a b")
    assert found.environment == {"SINGULARITYENV_A": "2"}
    named = containers.singularity(wanted(container)._replace(directory="/a:b"), "/bin/apptainer")
    assert named.environment == {"APPTAINERENV_A": "1"}
    assert "type=bind,source=/a:b,target=/srv" in named.words


def test_shifter() -> None:
    found = containers.shifter(wanted(use(type="shifter"), {"A": "2"}), "/bin/shifter")
    mounts = ("--volume=/d:/scratch", "--workdir=/scratch")
    assert found.words == ("/bin/shifter", "--image=docker:joe/keg:1", *mounts, "./keg", "-i", "a b")
    local = containers.shifter(wanted(use(type="shifter", image="shifter:///joe/keg:1")), "/bin/shifter")
    assert local.words[1] == "--image=joe/keg:1"


@pytest.mark.parametrize("kind", ["docker", "singularity", "shifter"])
def test_without_the_program_another_machine_may_do(kind: str) -> None:
    with pytest.raises(Failed) as failure:
        containers.contain(wanted(use(type=kind)), {"PATH": "/nowhere"})
    assert failure.value.exit == 1 and "is not on PATH of this machine" in str(failure.value)


def test_podman_where_docker_has_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_SOCKETS", (str(tmp_path / "none"),))
    for name in ("docker", "podman"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": str(tmp_path)}
    assert containers.contain(wanted(use()), environ).words[0] == str(tmp_path / "podman")
    reached = {**environ, "DOCKER_HOST": "tcp://h"}
    assert containers.contain(wanted(use()), reached).words[0] == str(tmp_path / "docker")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("docker://joe/keg:1", "docker.io/joe/keg:1"),
        ("docker://nothing-of-that-name", "docker.io/nothing-of-that-name"),
        ("docker://keg:1", "keg:1"),
        ("localhost/keg:1", "localhost/keg:1"),
        ("docker://quay.io/joe/keg", "quay.io/joe/keg"),
        ("docker://hub:5000/keg", "hub:5000/keg"),
    ],
)
def test_podman_gets_whole_names_of_images_that_are_not_here(
    quiet: dict[str, str], image: str, name: str
) -> None:
    assert containers.contain(wanted(use(image=image)), quiet).words[-4] == name


# --- a real one -------------------------------------------------------------------------------------

SHELL = {"id": "t", "transformation": "t", "program": "/bin/sh", "staged": False}
PULLED = {"name": "c", "type": "docker", "image": "localhost/keg:1", "arguments": ["--ulimit", "host"]}


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {**SHELL, "arguments": ["-c", script], "container": PULLED, **more}


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, podman: dict[str, str]) -> dict[str, str]:
    """Without a Docker that would go before Podman."""
    return {**podman, "DOCKER_HOST": ""}


def test_a_task_in_podman(quiet: dict[str, str], tmp_path: Path) -> None:
    script = 'pwd; id -u; echo "$A $B"; cat in > sub/out; cat >> sub/out; echo trouble >&2'
    task = shell(script, environment={"A": "one two"}, stdin="in")
    task["container"] = {**PULLED, "environment": {"A": "x", "B": "three"}}
    done = one_node(tmp_path, tasks=[task], inputs={"in": b"content"}, outputs=["sub/out"], environ=quiet)
    assert done.code == 0, done.record
    told = done.record["tasks"][0]
    assert told["stdout"].split("\n") == ["/scratch", str(os.getuid()), "one two three", ""]
    assert told["container"] == "c" and "trouble" in told["stderr"]
    assert done.file("sub/out") == b"contentcontent"


def test_an_image_from_a_file_and_a_staged_program(quiet: dict[str, str], tmp_path: Path) -> None:
    image = Path(quiet["IMAGE"]).read_bytes()
    container = {**PULLED, "image": "file:///i/keg.tar", "file": "keg.tar"}
    task = {**SHELL, "program": "keg", "staged": True, "container": container, "arguments": ["a b"]}
    inputs = {"keg": b'#!/bin/sh\necho "$1" > out\n', "keg.tar": image}
    done = one_node(tmp_path, tasks=[task], inputs=inputs, executable=["keg"], outputs=["out"], environ=quiet)
    assert done.code == 0, done.record
    assert done.file("out") == b"a b\n"


def test_a_container_does_not_outlive_its_walltime(quiet: dict[str, str], tmp_path: Path) -> None:
    done = one_node(tmp_path, tasks=[shell("sleep 1000", walltime=3)], environ=quiet)
    assert done.code == 1 and "walltime" in done.record["error"]
    left = subprocess.run(["podman", "ps", "-q"], env=quiet, capture_output=True, text=True, check=False)
    assert left.stdout == ""


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"program": "/bin/none"}, 2, "/bin/none cannot be run in the container"),
        ({"container": {**PULLED, "arguments": ["--no-such-option"]}}, 1, "could not be started"),
        ({"arguments": ["-c", "exit 3"]}, 1, "ended with exit code 3"),
    ],
)
def test_what_goes_wrong_is_told_apart(
    change: dict[str, Any], code: int, text: str, quiet: dict[str, str], tmp_path: Path
) -> None:
    done = one_node(tmp_path, tasks=[{**shell(":"), **change}], environ=quiet)
    assert done.code == code and text in done.record["error"]
