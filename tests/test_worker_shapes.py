"""Planned workflows, run by the worker node by node: the digests that must come out do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_toolkit.planner.model import CONFIGURATIONS
from tests.worker_world import plan
from tests.workflows import shapes


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("shape", ["diamond", "awkward", "shared", "split"])
def test_every_file_comes_out_as_it_must(shape: str, configuration: str, tmp_path: Path) -> None:
    world = shapes.make(shape, tmp_path, configuration, n=3)
    submitted = plan(world)
    verdicts = submitted.go()
    assert not any(verdicts.values()), [submitted.told(name) for name, code in verdicts.items() if code]
    assert dict(shapes.found(world.outputs)) == world.expected
    assert not list((world.root / "scratch").rglob("*.*"))
