"""Container images by programs of others, loaded by Podman, and pulled by the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Denied,
    ServerFault,
    Throttled,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Job, Sink
from tests.command import entry, lines, run, write
from tests.image_world import Known, opened, pulled, unpacked
from tests.material import fetch_job
from tests.servers.common import program
from tests.servers.registry import Image, Registries, blob, image, layer


def stand_in(directory: Path, name: str, script: str) -> str:
    """A program of that name, first on the PATH that is returned."""
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def test_a_sif_file_is_made_by_apptainer(
    registries: Registries, hello: Image, known: Known, tmp_path: Path
) -> None:
    """A stand-in: Debian has no apptainer. It is told as the real one is, and keeps the archive."""
    script = '[ "$1 $2" = "build --force" ] && cp "${4#docker-archive:}" "$3"'
    path = stand_in(tmp_path / "bin", "apptainer", script)
    url = f"docker://{registries.open}/tests/hello:1"
    archive = pulled(url, known())
    assert pulled(url, known(PATH=path), "/d/keg.sif") == archive
    assert pulled(url, known(PATH=path), "/d/keg", "singularity") == archive
    with pytest.raises(Unsupported, match=r"apptainer or singularity, not on PATH.*NAME\.tar"):
        pulled(url, known(PATH="/nowhere"), "/d/keg.sif")
    failing = stand_in(tmp_path / "bin", "apptainer", "echo FATAL: no room >&2; exit 255")
    with pytest.raises(ServerFault, match="FATAL: no room"):
        pulled(url, known(PATH=failing), "/d/keg.sif")


@pytest.mark.parametrize(
    ("said", "kind"), [("toomanyrequests: x", Throttled), ("unauthorized: x", Denied), ("x", ServerFault)]
)
def test_what_a_tool_says_is_told(said: str, kind: type[TransferError], known: Known, tmp_path: Path) -> None:
    path = stand_in(tmp_path / "bin", "skopeo", f"echo '{said}' >&2; exit 1")
    with pytest.raises(kind, match=f"skopeo: {said}"):
        pulled("docker://quay.io/a/b:1", known("[quay.io]\ntool = skopeo\n", PATH=path))


def test_a_tool_ends_when_its_backend_is_closed(known: Known, tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    path = stand_in(tmp_path / "bin", "skopeo", f"echo $$ > {started}; sleep 1000")
    backend, at = opened("docker://quay.io/a/b:1", known("[quay.io]\ntool = skopeo\n", PATH=path))
    found: list[Job[Sink]] = []
    thread = threading.Thread(target=lambda: found.extend(backend.get(iter([fetch_job(at)]))))
    thread.start()
    pid = int(started.read_text())
    backend.close()
    thread.join(20)
    assert isinstance(found[0].error, Cancelled)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("tool", ["skopeo", "podman"])
def test_a_tool_that_a_section_names(
    tool: str, known: Known, tmp_path: Path, podman: dict[str, str], request: pytest.FixtureRequest
) -> None:
    program(tool)
    registries, hello = request.getfixturevalue("registries"), request.getfixturevalue("hello")
    environ = {**podman, "HOME": str(tmp_path / "home")}
    made = known(f"[{registries.open}]\ntool = {tool}\nplain_http = yes\n", **environ)
    found = unpacked(pulled(f"docker://{registries.open}/tests/hello:1", made), tmp_path)
    name = blob(hello.config)[7:]
    assert json.loads(found["manifest.json"])[0]["Config"] == f"{name}.json"


# --- with the engine, and loaded ------------------------------------------------------------------------


def test_podman_runs_what_was_pulled(registries: Registries, podman: dict[str, str], tmp_path: Path) -> None:
    busybox = shutil.which("busybox")
    assert busybox
    registries.push("tests/busy", "1", image(layer(busybox=Path(busybox).read_bytes())))
    target = tmp_path / "d/busy.tar"
    spec = write(tmp_path / "spec.json", [entry(f"docker://{registries.open}/tests/busy:1", target)])
    done = run("-f", spec, "--report", tmp_path / "report", cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    path = stand_in(tmp_path / "bin", "apptainer", 'echo SIF > "$3"')
    words = (f"docker://{registries.open}/tests/busy:1", tmp_path / "busy.sif")
    assert run(*words, cwd=tmp_path, env={"HOME": str(tmp_path), "PATH": path}).returncode == 0
    told = lines(tmp_path / "report")[0]
    assert told["bytes"] == target.stat().st_size and told["route"] == "direct"

    def ask(*words: str) -> str:
        return subprocess.run(
            ["podman", *words], env=podman, capture_output=True, text=True, check=True
        ).stdout

    assert "tests/busy:1" in ask("load", "--quiet", "--input", str(target))
    name = f"{registries.open}/tests/busy:1"
    assert ask("run", "--rm", "--ulimit", "host", name, "/busybox", "echo", "hello") == "hello\n"
