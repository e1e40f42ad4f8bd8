"""The packed worker: one file that brings its libraries, and says what it needs where it cannot run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.worker.pack import archive, cache, sources
from pegasus_toolkit.worker.pack.sources import CannotPack
from pegasus_toolkit.worker.pack.start import is_python
from tests.servers.nginx import Nginx
from tests.test_worker_compute import sh
from tests.worker_world import WORKER, bundle, node, plan
from tests.workflows import shapes

BARE = getattr(sys, "_base_executable", sys.executable)  # has neither our package nor its libraries
MINE = sys.version_info[:2]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "pegasus-worker"
    done = subprocess.run([WORKER, "--pack", path, "--extra", "http"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return path


def other_pythons() -> Iterator[tuple[str, tuple[int, int]]]:
    """Other versions of Python on this machine."""
    for minor in (13, 12, 14, 10, 9, 8, 7, 6):
        for place in (*os.environ["PATH"].split(os.pathsep), *_managed(minor)):
            path = os.path.join(place, f"python3.{minor}")  # noqa: PTH118
            if (3, minor) != MINE and os.access(path, os.X_OK) and is_python(path, (3, minor)):
                yield path, (3, minor)
                break


def _managed(minor: int) -> list[str]:
    return [str(one) for one in Path.home().glob(f".pyenv/versions/3.{minor}.*/bin")]


def run(
    python: str, path: Path, start: Path, *words: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Without our package in reach, but by the packed worker itself."""
    known = {"PATH": f"{os.path.dirname(python)}:/bin", "USER": "joe", **environ}  # noqa: PTH120
    start.mkdir(exist_ok=True)
    return subprocess.run(
        [python, path, *words], cwd=start, env=known, capture_output=True, text=True, check=False
    )


def line(root: Path, **more: Any) -> tuple[str, ...]:
    return ("--bundle", str(bundle(root, node(root, **more))), "--node", "n")


def record(start: Path) -> Any:
    return json.loads((start / "n.json").read_bytes())


def test_it_runs_where_nothing_is_installed(packed: Path, tmp_path: Path) -> None:
    assert subprocess.run([BARE, "-c", "import msgspec"], capture_output=True, check=False).returncode == 1
    words = line(tmp_path, inputs={"in": b"abc"}, tasks=[sh("cp in out; pwd")], outputs=["out"])
    done = run(BARE, packed, tmp_path / "start", *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scratch/out").read_bytes() == b"abc"
    assert sorted(one.name for one in (tmp_path / "start").iterdir()) == ["n.json", "n.meta"]


def test_many_at_once_in_one_directory(packed: Path, tmp_path: Path) -> None:
    nodes = [node(tmp_path, node=f"n{n}", tasks=[sh("echo ran")]) for n in range(6)]
    path = bundle(tmp_path, *nodes)
    (tmp_path / "start").mkdir()
    environ = {"PATH": "/usr/bin:/bin", "_CONDOR_SCRATCH_DIR": str(tmp_path / "start")}
    jobs = [
        subprocess.Popen(
            [BARE, packed, "--bundle", path, "--node", f"n{n}"], cwd=tmp_path / "start", env=environ
        )
        for n in range(6)
    ]
    assert [job.wait(100) for job in jobs] == [0] * 6
    assert len(list((tmp_path / "start").iterdir())) == 12


def test_a_protocols_library_comes_with_it(packed: Path, nginx: Nginx, tmp_path: Path) -> None:
    (nginx.data / "in").write_bytes(b"abc")
    source = {"site": "pool", "url": f"http://127.0.0.1:{nginx.port}/files/in"}
    checksum = {"type": "sha256", "value": hashlib.sha256(b"abc").hexdigest()}
    inputs = [{"lfn": "in", "sources": [source], "checksum": checksum}]
    done = run(BARE, packed, tmp_path / "start", *line(tmp_path, inputs=inputs, tasks=[sh("cat in")]))
    assert done.returncode == 0 and done.stdout == "abc", done.stderr
    wrong = [{**inputs[0], "checksum": {**checksum, "value": "0" * 64}}]
    done = run(BARE, packed, tmp_path / "start", *line(tmp_path, inputs=wrong, tasks=[sh("cat in")]))
    assert done.returncode == 2 and done.stdout == ""
    other = [{"lfn": "in", "sources": [{"site": "pool", "url": "root://127.0.0.1:1//in"}]}]
    done = run(BARE, packed, tmp_path / "start", *line(tmp_path, inputs=other))
    assert done.returncode == 2 and "pegasus-toolkit[xrootd]" in record(tmp_path / "start")["error"]


def test_the_same_bytes_whenever_it_is_made(packed: Path, tmp_path: Path) -> None:
    for n, seed in enumerate(("1", "2")):
        words = [WORKER, "--pack", tmp_path / str(n), "--extra", "http"]
        subprocess.run(words, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        assert (tmp_path / str(n)).read_bytes() == packed.read_bytes()
    assert os.access(packed, os.X_OK) and packed.read_bytes().startswith(b"#!/usr/bin/env python3\n")


def test_another_python_hands_over_to_one_that_fits(packed: Path, tmp_path: Path) -> None:
    other = next(other_pythons(), None)
    if other is None:
        pytest.skip("no other version of Python is on this machine")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python{}.{}".format(*MINE)).symlink_to(BARE)
    words = line(tmp_path, tasks=[sh("echo $PEGASUS_WORKER_EXECUTED.")])
    done = run(other[0], packed, tmp_path / "start", *words, PATH=f"{tmp_path}/bin:/bin")
    assert done.returncode == 0 and done.stdout == ".\n", done.stderr


def test_the_oldest_python_says_what_is_needed(tmp_path: Path, packed: Path) -> None:
    *_, (python, version) = [(BARE, (0, 0)), *other_pythons()]
    if version == (0, 0):
        pytest.skip("no other version of Python is on this machine")
    if any(is_python(f"{place}/python{MINE[0]}.{MINE[1]}", MINE) for place in ("/usr/bin", "/usr/local/bin")):
        packed = _for_another(packed, tmp_path)
    done = run(python, packed, tmp_path / "start", *line(tmp_path, outbox="out"), PATH="/none")
    assert done.returncode == 2, done
    told = record(tmp_path / "start")
    assert (
        told["exit"] == 2 and told["node"] == "n" and "needed on PATH is one of: python 3." in told["error"]
    )
    assert told["error"] in done.stderr and (tmp_path / "start/out").is_dir()
    assert (tmp_path / "start/n.meta").read_text() == "[]"


def _for_another(packed: Path, directory: Path) -> Path:
    """The same, as if it were made for a Python that is nowhere."""
    import zipfile

    path = directory / "other"
    with zipfile.ZipFile(packed) as old, path.open("wb") as file, zipfile.ZipFile(file, "w") as new:
        text = old.read("__main__.py").decode()
        new.writestr("__main__.py", re.sub(r"'python': \(3, \d+\)", "'python': (3, 99)", text))
    return path


def test_libraries_for_an_older_machine_only(packed: Path, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "newer"
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(path, "w") as new:
        text = old.read("__main__.py").decode()
        new.writestr("__main__.py", re.sub(r"'glibc': \(2, \d+\)", "'glibc': (2, 98)", text))
    done = run(BARE, path, tmp_path / "start", *line(tmp_path))
    assert done.returncode == 2 and "its libraries need glibc 2.98" in done.stderr


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, tuple[int, int]]]]:
    found = [(path, version) for path, version in other_pythons() if version >= (3, 10)]
    if not found:
        pytest.skip("no other version of Python that it runs on is on this machine")
    path = tmp_path_factory.mktemp("others") / "worker"
    try:
        archive.pack(str(path), (), [f"{a}.{b}" for _, (a, b) in found])
    except CannotPack as error:
        pytest.skip(f"no registry: {error}")
    return path, found


def test_other_versions_with_libraries_of_their_own(
    others: tuple[Path, list[tuple[str, tuple[int, int]]]], tmp_path: Path
) -> None:
    path, pythons = others
    for python, _ in pythons:
        words = line(tmp_path, inputs={"in": b"abc"}, tasks=[sh("cp in out")], outputs=["out"])
        done = run(python, path, tmp_path / "start", *words)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "scratch/out").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--extra", "none"), 2, "no extra 'none' is known; known are"),
        (("--python", "2.7"), 2, "is not a version of Python that it runs on"),
        (("--python", "3.9"), 2, "is not a version of Python that it runs on"),
    ],
)
def test_what_cannot_be_packed(words: tuple[str, ...], code: int, text: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [WORKER, "--pack", tmp_path / "w", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == code and text in done.stderr and not (tmp_path / "w").exists()


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    words = [WORKER, "--pack", tmp_path / "none/w"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot be written: No such file" in done.stderr


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sources.metadata, "requires", lambda name: ["msgspec", "no-such-thing>=2; extra == 'x'"]
    )
    for make in (archive.build, archive.key):
        with pytest.raises(
            CannotPack, match=r"no-such-thing is not installed here; pip install 'no-such-thing>=2'"
        ):
            make(["x"])


def test_the_cache_keeps_what_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(archive, "build", lambda extras: made.append(extras) or b"packed")
    monkeypatch.setattr(archive, "key", lambda extras: "".join(extras).ljust(64, "0"))
    assert cache.packed(["a"], tmp_path / "c") == cache.packed(["a"], tmp_path / "c") == b"packed"
    assert made == [["a"]]
    for n in range(12):
        cache.packed([f"b{n}"], tmp_path / "c")
    assert len(list((tmp_path / "c").iterdir())) == 8
    (tmp_path / "file").touch()
    assert cache.packed(["a"], tmp_path / "file" / "c") == b"packed"


# --- in a plan --------------------------------------------------------------------------------------


def test_a_plan_brings_it_along(tmp_path: Path) -> None:
    submitted = plan(shapes.make("pipeline", tmp_path, "nonsharedfs", n=1))
    (job,) = [name for name in submitted.order() if "step" in name]
    told = submitted.described(job)
    assert told["executable"] == f"{submitted.path}/pegasus-worker" and told["transfer_executable"] == "true"
    facts = json.loads((submitted.path / "plan.json").read_bytes())
    assert facts["workers"] == [str(WORKER), told["executable"]]
    assert submitted.described("receipt")["executable"] == str(WORKER)


def test_a_worker_that_is_at_the_site_stays_there(tmp_path: Path) -> None:
    import yaml

    for n, where in enumerate(("sites", "transformations")):
        world = shapes.make("pipeline", tmp_path / str(n), "nonsharedfs", n=1)
        path = world.root / f"{where}.yml"
        tree = yaml.safe_load(path.read_text())
        if where == "sites":
            (pool,) = [one for one in tree["sites"] if one["name"] == "condorpool"]
            pool["profiles"]["pegasus"]["worker"] = "/opt/worker"
        else:
            entry = {"name": "condorpool", "pfn": "/opt/worker", "type": "installed"}
            tree["transformations"].append({"namespace": "pegasus", "name": "worker", "sites": [entry]})
        path.write_text(yaml.safe_dump(tree))
        submitted = plan(world)
        (job,) = [name for name in submitted.order() if "step" in name]
        told = submitted.described(job)
        assert (told["executable"], told["transfer_executable"]) == ("/opt/worker", "false")
        assert not (submitted.path / "pegasus-worker").exists()


def test_one_of_the_users_own_goes_along(tmp_path: Path) -> None:
    world = shapes.make("pipeline", tmp_path, "nonsharedfs", n=1)
    shutil.copy(WORKER, world.root / "mine")
    submitted = plan(world, "--worker", "mine")
    (job,) = [name for name in submitted.order() if "step" in name]
    told = submitted.described(job)
    assert (told["executable"], told["transfer_executable"]) == (f"{world.root}/mine", "true")
    assert not (submitted.path / "pegasus-worker").exists()


def test_where_all_runs_on_the_submit_host_none_is_packed(tmp_path: Path) -> None:
    world = shapes.make("pipeline", tmp_path, "nonsharedfs", n=1)
    submitted = plan(world, sites="local")
    assert not (submitted.path / "pegasus-worker").exists()
