"""Images of containers: staged once as any input, or pulled at the node where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.planner.catalogs import Pfn
from pegasus_toolkit.planner.model import Dag, Move
from tests.planner_world import ancestors, job, named, planned, world

KEG = {"name": "keg", "sites": [{"name": "pool", "pfn": "/opt/keg", "type": "installed", "container": "box"}]}
JOBS = [job(f"j{n}", [f"f{n}"], [f"o{n}!"]) for n in range(20)]


def plan(directory: Path, configuration: str = "nonsharedfs", settings: Any = None, **box: Any) -> Dag:
    path = world(directory, JOBS, transformations=[KEG]) / "transformations.yml"
    known = {"name": "box", "type": "docker", "image": "docker://joe/keg:1", **box}
    path.write_text(
        path.read_text().replace(
            '"transformations"', f'"containers": [{json.dumps(known)}], "transformations"'
        )
    )
    return planned(directory, configuration, **(settings or {}))


def pulls(dag: Dag) -> list[Move]:
    return [
        move
        for node in dag.nodes
        for move in node.operations
        if isinstance(move, Move) and any("docker:" in one.url or "shub:" in one.url for one in move.sources)
    ]


@pytest.mark.parametrize("configuration", ["condorio", "nonsharedfs", "sharedfs"])
def test_an_image_of_a_registry_is_staged_once(configuration: str, tmp_path: Path) -> None:
    dag = plan(tmp_path, configuration, {"bypass": True})
    (move,) = pulls(dag)
    assert move.lfn == "box.tar" and move.destinations[0].url.endswith("/box.tar")
    for node in named(dag, "keg"):
        (task,) = node.tasks
        assert task.container is not None and task.container.file == "box.tar"
        assert "box.tar" in task.inputs and not any(
            "docker:" in pfn.url for one in node.inputs for pfn in one.sources
        )
        assert any(name.startswith("stage_in") for name in ancestors(dag, node.name))


def test_who_asks_for_it_has_each_node_pull(tmp_path: Path) -> None:
    dag = plan(tmp_path, bypass=True)
    assert pulls(dag) == []
    task = named(dag, "keg")[0].tasks[0]
    assert task.container is not None and (task.container.file, task.container.image) == (
        "",
        "docker://joe/keg:1",
    )


def test_an_image_file_may_bypass_staging(tmp_path: Path) -> None:
    dag = plan(tmp_path, bypass=True, image="http://h/keg.tar")
    found = [pfn.url for one in named(dag, "keg")[0].inputs if one.lfn == "box.tar" for pfn in one.sources]
    assert found == ["http://h/keg.tar"]


@pytest.mark.parametrize(
    ("image", "makes_sif", "lfn"),
    [
        ("docker://joe/keg:1", True, "box.sif"),
        ("docker://joe/keg:1", False, "box.tar"),
        ("library://joe/default/keg", False, "box.sif"),
        ("shub://joe/keg", False, "box.sif"),
        ("oras://hub.org/keg:1", False, "box.sif"),
    ],
)
def test_images_for_singularity(image: str, makes_sif: bool, lfn: str, tmp_path: Path) -> None:
    dag = plan(tmp_path, settings={"makes_sif": makes_sif}, type="singularity", image=image)
    task = named(dag, "keg")[0].tasks[0]
    assert task.container is not None and task.container.file == lfn


def test_shifter_knows_its_images_by_name(tmp_path: Path) -> None:
    dag = plan(tmp_path, type="shifter")
    assert pulls(dag) == []


def test_the_login_goes_to_the_node_that_pulls_and_to_no_other(tmp_path: Path) -> None:
    settings = {"environ": {"REGISTRY_AUTH_FILE": "/h/auth.json"}}
    dag = plan(tmp_path, settings=settings)
    given = {node.name for node in dag.nodes if any("REGISTRY" in one.variable for one in node.credentials)}
    (puller,) = (node.name for node in dag.nodes if any(move in node.operations for move in pulls(dag)))
    assert given == {puller}


def test_a_section_for_the_hub_counts_for_names_without_a_host(tmp_path: Path) -> None:
    asked: list[str] = []
    environ = {"PEGASUS_CREDENTIALS": "/h/c"}

    def section(pfn: Pfn) -> bool:
        asked.append(pfn.url)
        return "docker.io" in pfn.url

    dag = plan(
        tmp_path,
        settings={"environ": environ, "section": lambda pfn: asked.append(pfn.url) or "docker.io" in pfn.url},
    )
    assert "docker://docker.io" in asked
    assert any("PEGASUS_CREDENTIALS" in one.variable for node in dag.nodes for one in node.credentials)
