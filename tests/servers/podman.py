"""A real Podman with a store of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.common import missing

CONFIGURATION = """
[containers]
netns = "host"
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "{runtime}"
"""
STORAGE = """
[storage]
driver = "vfs"
runroot = "{place}/run"
graphroot = "{place}/graph"
"""


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which Podman has the image ``keg:1``, with a shell in it."""
    busybox = shutil.which("busybox")
    if not shutil.which("podman") or not busybox or b"ld-linux" in Path(busybox).read_bytes()[:1000]:
        missing("podman or a static busybox is not installed")
    place = tmp_path_factory.mktemp("podman")
    runtime = next(one for one in ("runc", "crun") if shutil.which(one))
    (place / "containers.conf").write_text(CONFIGURATION.format(runtime=runtime))
    (place / "storage.conf").write_text(STORAGE.format(place=place))
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "CONTAINERS_CONF": str(place / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
    }
    with tarfile.open(place / "root.tar", "w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "cat", "id", "sleep", "pwd", "env"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["podman", *words], env=environ, capture_output=True, text=True, check=False)

    for words in (
        ("import", str(place / "root.tar"), "keg:1"),
        ("save", "--quiet", "--output", str(place / "keg.tar"), "localhost/keg:1"),
        ("run", "--rm", "--ulimit", "host", "keg:1", "/bin/sh", "-c", ":"),
    ):
        done = run(*words)
        if done.returncode:
            pytest.skip(f"podman does not work here: {done.stderr.strip()[-200:]}")
    yield {**environ, "IMAGE": str(place / "keg.tar")}
    run("rm", "--all", "--force")
    run("rmi", "--all", "--force")
