"""Metadata: said of workflow, jobs and files, catalogued with outputs, asked for, and selected by."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from Pegasus.api import (
    File,
    Job,
    ReplicaCatalog,
    Transformation,
    TransformationCatalog,
    TransformationSite,
    Workflow,
)

from pegasus_toolkit.cli import where
from tests.test_workflows import command

PROGRAM = "#!/bin/sh\nwhile [ $# -gt 0 ]; do printf '%s' $1 > $1; shift; done\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow whose two jobs ran as one cluster; its root directory."""
    root = tmp_path_factory.mktemp("metadata")
    (root / "program").write_text(PROGRAM)
    (root / "program").chmod(0o755)
    (root / "in").write_text("given")
    there = TransformationSite("local", str(root / "program"), is_stageable=True).add_metadata(built="2026")
    program = Transformation("make").add_sites(there).add_metadata(step="first", kind="tool")
    given = File("in").add_metadata(creator="joe", instrument="A 1")
    first = (
        Job(program, _id="one").add_args("x", "y").add_inputs(given).add_metadata(purpose="cut", kind="job")
    )
    first.add_outputs(File("x").add_metadata(quality="7", creator="ann"), File("y"))
    second = Job(program, _id="two").add_args("z").add_inputs(File("x")).add_outputs(File("z"))
    workflow = Workflow("said").add_jobs(first, second).add_metadata(campaign="spring")
    workflow.add_transformation_catalog(TransformationCatalog().add_transformations(program))
    replicas = ReplicaCatalog().add_replica(
        "local", given, str(root / "in"), metadata={"size": "5", "run": "3"}
    )
    workflow.add_replica_catalog(replicas)
    for job in (first, second):
        job.add_pegasus_profile(label="both")
    workflow.write(str(root / "workflow.yml"))
    words = ("--relative-dir", "submit", "-s", "local", "-C", "label", "-O", "outputs", "workflow.yml")
    for argv in (("pegasus-plan", "-q", *words), ("pegasus-run", "-q", "submit")):
        done = command(root, *argv)
        assert done.returncode == 0, done.stderr
    return root


def told(root: Path, *words: str) -> Any:
    """What the command says as JSON."""
    done = command(root, "pegasus-metadata", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def names(root: Path, *words: str) -> list[str]:
    """The files that it selects."""
    return command(root, "pegasus-metadata", "file", *words, "--names").stdout.split()


def test_outputs_are_catalogued_with_what_was_said_and_what_was_found(run: Path) -> None:
    (catalog,) = [path for path in run.rglob("*.yml") if '"lfn":"x"' in path.read_text()]
    entries = {one["lfn"]: one for one in yaml.safe_load(catalog.read_text())["replicas"]}
    metadata = entries["x"]["metadata"]
    assert (metadata["quality"], metadata["creator"], metadata["size"], metadata["exit"]) == (
        "7",
        "ann",
        "1",
        "0",
    )
    assert metadata["host"] and float(metadata["seconds"]) > 0 and metadata["ctime"].startswith("20")
    assert entries["x"]["checksum"]["sha256"] and "quality" not in entries["y"]["metadata"]


def test_of_the_workflow(run: Path) -> None:
    (workflow,) = told(run, "workflow", "submit")["workflows"]
    assert workflow["metadata"]["campaign"] == "spring" and workflow["metadata"]["exit"] == "0"
    assert (
        f"Workflow {workflow['id']}\n    campaign"
        in command(run, "pegasus-metadata", "workflow", "submit").stdout
    )


def test_of_a_job(run: Path) -> None:
    metadata = told(run, "task", "-i", "one", "submit")["task"]["metadata"]
    said = {"step": "first", "built": "2026", "purpose": "cut", "kind": "job"}
    assert metadata.items() >= said.items()
    assert (metadata["exit"], metadata["site"], metadata["transformation"]) == ("0", "local", "make")
    assert float(metadata["seconds"]) >= 0 and metadata["host"] and int(metadata["max_rss"]) > 0
    done = command(run, "pegasus-metadata", "task", "-i", "three", "submit")
    assert done.returncode == 1 and "nothing is known of a job 'three'" in done.stderr


def test_of_files(run: Path) -> None:
    found = {one["lfn"]: one["metadata"] for one in told(run, "file", "-l", "submit")["files"]}
    assert found["in"].items() >= {"creator": "joe", "instrument": "A 1", "run": "3", "size": "5"}.items()
    assert (
        found["x"].items()
        >= {"quality": "7", "creator": "ann", "size": "1", "checksum.type": "sha256"}.items()
    )
    assert found["z"]["pfn"] == f"file://{run}/outputs/z" and found["z"]["made_by"].startswith("merge_")


def test_a_file_is_traced_to_job_and_workflow(run: Path) -> None:
    done = command(run, "pegasus-metadata", "file", "-n", "z", "-t", "submit")
    titles = [line.split() for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert [title[0] for title in titles] == ["Workflow", "Task", "File"]
    assert titles[1][1] == "two" and titles[2][1] == "z"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-w", "creator=ann"], ["x"]),
        (["-w", "creator"], ["in", "x"]),
        (["-w", "creator", "-w", "quality!=7"], ["in"]),
        (["-w", "quality>=7"], ["x"]),
        (["-w", "quality<6.5"], []),
        (["-w", "instrument=~^A \\d"], ["in"]),
    ],
)
def test_files_are_selected_by_it(run: Path, words: list[str], expected: list[str]) -> None:
    assert names(run, *words, "submit") == expected


def test_inputs_are_chosen_in_a_replica_catalog(tmp_path: Path) -> None:
    replicas = ReplicaCatalog()
    for n in range(4):
        metadata = {"night": str(n), "band": "r" if n % 2 else "g"}
        replicas.add_replica(
            "local", f"n{n}", f"/data/n{n}", metadata=metadata, checksum={"sha256": f"{n}" * 64}
        )
    replicas.write(str(tmp_path / "all.yml"))
    words = ("-c", "all.yml", "-w", "band=r", "-w", "night>1")
    assert names(tmp_path, *words, "--write", "chosen.yml") == ["n3"]
    (entry,) = yaml.safe_load((tmp_path / "chosen.yml").read_text())["replicas"]
    assert entry["pfns"] == [{"site": "local", "pfn": "/data/n3"}] and entry["metadata"]["night"] == "3"
    assert names(tmp_path, "-c", "chosen.yml", "-w", f"checksum.value={'3' * 64}") == ["n3"]
    none = command(tmp_path, "pegasus-metadata", "file", "-c", "all.yml", "-w", "band=z")
    assert none.returncode == 1 and "there is no such file" in none.stderr


def test_a_wrong_catalog_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "r.yml").write_text("pegasus: '5.0'\nreplicas:\n- lfn: a\n  pfn: x\n")
    done = command(tmp_path, "pegasus-metadata", "file", "-c", "r.yml")
    assert done.returncode == 2 and "r.yml:4: replicas[0].pfn: unknown key" in done.stderr
    gone = command(tmp_path, "pegasus-metadata", "file", "-c", "none.yml")
    assert gone.returncode == 2 and "none.yml: cannot be read" in gone.stderr


@pytest.mark.parametrize("text", ["", "=x", "a=~(", "<3"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        where.condition(text)
