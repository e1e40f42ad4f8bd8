"""Workflows as Pegasus' API writes them, planned and run to the end here by the installed commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.workflows.shapes import SHAPES, World, found, make, sha256

BIN = Path(sys.executable).parent
CONFIGURATIONS = ("condorio", "nonsharedfs", "sharedfs")


def environ(root: Path) -> dict[str, str]:
    """Commands of this environment first, nothing of the user's own."""
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(root), "USER": "scientist", "LANG": "C.UTF-8"}


def command(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Runs one of ours in ``root``."""
    return subprocess.run(
        [str(BIN / argv[0]), *argv[1:]],
        cwd=root,
        env=environ(root),
        text=True,
        capture_output=True,
        check=False,
    )


def plan(world: World, *more: str) -> Path:
    """The submit directory."""
    argv = (
        "pegasus-plan",
        "-q",
        "-s",
        world.pool,
        "-o",
        "local",
        "--relative-dir",
        "submit",
        *more,
        "workflow.yml",
    )
    planned = command(world.root, *argv)
    assert planned.returncode == 0, planned.stderr
    return Path(planned.stdout.strip())


def run(world: World, submit: Path) -> subprocess.CompletedProcess[str]:
    """To the end, on this machine."""
    return command(world.root, "pegasus-run", "--engine", "local", str(submit))


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_ends_with_the_expected_digests(tmp_path: Path, shape: str, configuration: str) -> None:
    world = make(shape, tmp_path, configuration, 4)
    done = run(world, plan(world))
    assert done.returncode == 0, done.stderr
    assert dict(found(world.outputs)) == world.expected
    left = [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    assert left == []  # cleanup took what the run had put there


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("kind", ["horizontal", "label"])
def test_clustered_jobs_end_with_the_same(tmp_path: Path, kind: str, configuration: str) -> None:
    world = make("split", tmp_path, configuration, 6, pegasus_clusters_size="3", pegasus_label="one")
    done = run(world, plan(world, "-C", kind))
    assert done.returncode == 0, done.stderr
    assert dict(found(world.outputs)) == world.expected


def test_what_is_there_already_is_not_made_again(tmp_path: Path) -> None:
    world = make("diamond", tmp_path, "condorio")
    submit = plan(world)
    assert run(world, submit).returncode == 0
    catalog = tmp_path / "replicas.yml"
    catalog.write_text(catalog.read_text() + "".join(_registered(submit)))
    again = command(tmp_path, "pegasus-plan", "-s", world.pool, "--relative-dir", "again", "workflow.yml")
    assert "4 skipped" in again.stdout, again.stdout + again.stderr
    nothing = run(world, tmp_path / "again")
    assert nothing.returncode == 0, nothing.stderr
    assert dict(found(world.outputs)) == world.expected


def _registered(submit: Path) -> list[str]:
    lines = (submit / "replicas-output.yml").read_text().splitlines(keepends=True)
    return lines[lines.index("replicas:\n") + 1 :]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_wrong_checksum_in_the_catalog_ends_it(tmp_path: Path, configuration: str) -> None:
    world = make("pipeline", tmp_path, configuration, 3)
    source = tmp_path / "data" / "in.txt"
    catalog = tmp_path / "replicas.yml"
    right = sha256(source.read_bytes())
    assert right in catalog.read_text()
    catalog.write_text(catalog.read_text().replace(right, "0" * 64))
    submit = plan(world)
    done = run(world, submit)
    assert done.returncode == 1
    assert dict(found(world.outputs)) == {}
    told = command(tmp_path, "pegasus-analyzer", "--exit-code", str(submit))
    assert told.returncode == 2
    assert "in.txt" in told.stdout and "0000" in told.stdout


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_file_spoilt_between_two_jobs_is_never_used(tmp_path: Path, configuration: str) -> None:
    world = make("spoilt", tmp_path, configuration)
    submit = plan(world)
    done = run(world, submit)
    assert done.returncode == 1
    assert dict(found(world.outputs)) == {}
    told = command(tmp_path, "pegasus-analyzer", str(submit))
    assert "spoilt.out" in told.stdout


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_damaged_file_is_made_again_with_what_depends_on_it(tmp_path: Path, configuration: str) -> None:
    world = make("damaged", tmp_path, configuration)
    submit = plan(world)
    done = run(world, submit)
    assert done.returncode == 0, done.stderr
    assert "'damaged.out': not as keg_make00002 left it" in done.stderr
    assert dict(found(world.outputs)) == world.expected
    tries = _attempts(submit)
    # What the maker needs was cleaned up, so that is made again, too; not what else was made of it.
    wanted = {"first": 2, "make": 2, "aside": 1, "spoil": 2, "use": 3, "last": 1}
    assert {name.split("_")[1][:-5]: n for name, n in tries.items() if name.startswith("keg_")} == wanted
    assert tries["stage_out_0_local"] + tries["stage_out_1_local"] <= 3, tries


def test_a_damaged_file_of_a_sub_workflow_is_made_again_when_that_is_tried_again(tmp_path: Path) -> None:
    world = make("within", tmp_path, "condorio")
    submit = plan(world)
    done = run(world, submit)
    assert done.returncode == 0, done.stderr
    assert dict(found(world.outputs)).items() >= world.expected.items()
    (told,) = submit.rglob("remade.jsonl")
    assert json.loads(told.read_text())["makers"] == ["keg_make00002"]


def test_a_damaged_file_of_a_dag_that_was_planned_before_is_made_again(tmp_path: Path) -> None:
    inner = make("damaged", tmp_path, "condorio")
    planned = plan(inner, "--relative-dir", "inner", "--basename", "inner")
    job = {
        "type": "condorWorkflow",
        "file": "inner.dag",
        "id": "S",
        "uses": [{"lfn": "inner.dag", "type": "input"}],
    }
    place = {"lfn": "inner.dag", "pfns": [{"site": "local", "pfn": str(planned / "inner.dag")}]}
    catalog = {"replicas": [place]}
    outer = {"pegasus": "5.0", "name": "o", "jobs": [job], "replicaCatalog": catalog}
    (tmp_path / "workflow.yml").write_text(json.dumps(outer))
    submit = plan(inner)
    done = run(inner, submit)
    assert done.returncode == 0, done.stderr
    assert dict(found(inner.outputs)) == inner.expected
    assert json.loads((planned / "remade.jsonl").read_text())["makers"] == ["keg_make00002"]


def test_what_is_damaged_again_is_left_to_the_user(tmp_path: Path) -> None:
    world = make("spoilt", tmp_path, "nonsharedfs")
    submit = plan(world)
    done = run(world, submit)
    assert done.returncode == 1 and done.stderr.count("not as keg_make00001 left it") == 1
    told = command(tmp_path, "pegasus-analyzer", str(submit))
    assert f"pegasus-run --remake {submit}" in told.stdout
    (tmp_path / "scratch/calm").touch()
    again = command(tmp_path, "pegasus-run", "--engine", "local", "--remake", str(submit))
    assert again.returncode == 0, again.stderr
    assert dict(found(world.outputs)) == world.expected
    lines = (submit / "remade.jsonl").read_text().splitlines()
    assert [json.loads(line)["why"] for line in lines] == ["itself", "remake"]


def test_a_file_that_was_removed_is_made_again_when_asked_for(tmp_path: Path) -> None:
    world = make("stuck", tmp_path, "nonsharedfs", 4)
    submit = plan(world, "--cleanup", "none")
    assert run(world, submit).returncode == 1
    (lost,) = (tmp_path / "scratch/pool").rglob("stage1.txt")
    lost.unlink()
    (tmp_path / "stuck").unlink()
    assert run(world, submit).returncode == 1
    again = command(tmp_path, "pegasus-run", "--engine", "local", "--remake", str(submit))
    assert again.returncode == 0, again.stderr
    assert dict(found(world.outputs)) == world.expected
    assert _attempts(submit)["keg_step00001"] == 1 and _attempts(submit)["keg_step00002"] == 2


@pytest.mark.parametrize(("option", "first"), [("--restage", 1), ("--remake", 2)])
def test_a_program_that_was_mended_is_staged_again_when_asked_for(
    tmp_path: Path, option: str, first: int
) -> None:
    world = make("stuck", tmp_path, "condorio", 3)
    submit = plan(world)
    assert run(world, submit).returncode == 1
    world.keg.write_text(world.keg.read_text().replace("failing for now", "still failing"))
    again = run(world, submit)
    assert again.returncode == 1 and "'keg': changed after it was staged in" in again.stderr
    assert f"pegasus-run --restage {submit}" in again.stderr
    world.keg.write_text(world.keg.read_text().replace("if arguments.fail_while", "if 0"))
    mended = command(tmp_path, "pegasus-run", "--engine", "local", option, str(submit))
    assert mended.returncode == 0 and "changed after" not in mended.stderr, mended.stderr
    assert dict(found(world.outputs)) == world.expected
    assert _attempts(submit)["keg_step00001"] == first


def test_where_nothing_is_damaged_nothing_is_made_again(tmp_path: Path) -> None:
    world = make("stuck", tmp_path, "condorio", 2)
    submit = plan(world)
    assert run(world, submit).returncode == 1
    for option in ("--remake", "--restage"):
        told = command(tmp_path, "pegasus-run", "--engine", "local", option, str(submit))
        assert told.returncode == 2 and "no file of this run is known to" in told.stderr
    assert not (submit / "remade.jsonl").exists()


def test_a_run_that_failed_goes_on_where_it_was(tmp_path: Path) -> None:
    world = make("stuck", tmp_path, "condorio", 4)
    submit = plan(world)
    assert run(world, submit).returncode == 1
    assert list(submit.glob("*.dag.rescue001"))
    assert "step00003" in command(tmp_path, "pegasus-analyzer", str(submit)).stdout
    began = _attempts(submit)
    (tmp_path / "stuck").unlink()
    done = run(world, submit)
    assert done.returncode == 0, done.stderr
    assert dict(found(world.outputs)) == world.expected
    assert {node for node, count in _attempts(submit).items() if count > began.get(node, 0)} >= {
        "keg_step00003"
    }
    assert _attempts(submit)["keg_step00001"] == began["keg_step00001"] == 1


def _attempts(submit: Path) -> Counter[str]:
    """How often each node was tried, by the run's own log."""
    lines = (submit / "provenance.jsonl").read_text().splitlines()
    return Counter(json.loads(line)["node"] for line in lines)
