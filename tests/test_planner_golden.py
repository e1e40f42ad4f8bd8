"""The plans of small shapes, letter by letter. ``UPDATE_GOLDEN=1`` writes them anew: read the difference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pegasus_toolkit.planner.model import CONFIGURATIONS
from pegasus_toolkit.planner.writing import directory
from tests.planner_world import planned, shape, world

GOLDEN = Path(__file__).parent / "golden"


def compare(path: Path, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("name", ["diamond", "split", "merge", "pipeline"])
def test_dag(name: str, configuration: str, tmp_path: Path) -> None:
    dag = planned(world(tmp_path, shape(name)), configuration)
    files = dict(directory.files(dag, name))
    compare(GOLDEN / f"{name}-{configuration}.dag", files[f"{name}.dag"].decode())


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_whole_directory(configuration: str, tmp_path: Path) -> None:
    dag = planned(
        world(tmp_path, shape("diamond")), configuration, environ={"HOME": "/home/joe", "PATH": "/bin"}
    )
    parts = [
        f"===== {name}\n{content.decode()}"
        for name, content in sorted(directory.files(dag, "diamond"))
        if name not in ("diamond.dag", "braindump.yml", "plan.json")
    ]
    compare(GOLDEN / f"diamond-{configuration}.files", "".join(parts))
