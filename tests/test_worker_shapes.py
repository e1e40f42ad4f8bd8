"""Planned workflows, run by the worker node by node: the digests that must come out do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pegasus_toolkit.planner.model import CONFIGURATIONS
from tests.s3_world import Service
from tests.test_worker_compute import sh
from tests.worker_world import bundle, ended, node, place, plan, started
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


def test_through_an_object_store(service: Service, tmp_path: Path) -> None:
    """Staging at a site that has S3: the packed worker brings its library and is given the credential."""
    world = shapes.make("shared", tmp_path, "nonsharedfs")
    path = world.root / "sites.yml"
    tree = yaml.safe_load(path.read_text())
    server = {"url": "s3://admin@weed/test/scratch", "operation": "all"}
    directory = {"type": "sharedScratch", "path": "/test/scratch", "fileServers": [server]}
    tree["sites"].append({"name": "weed", "directories": [directory]})
    path.write_text(yaml.safe_dump(tree))
    secrets = {"PEGASUS_CREDENTIALS": str(service.server.credentials(tmp_path))}
    submitted = plan(world, "--staging-site", "weed", **secrets)
    verdicts = submitted.go()
    assert not any(verdicts.values()), [submitted.told(name) for name, code in verdicts.items() if code]
    assert dict(shapes.found(world.outputs)) == world.expected
    moved = [one for name in verdicts for one in submitted.record(name).get("transfers", ())]
    assert sum(one.get("source", "").startswith("s3://") for one in moved) > 5
    told = b"".join(one.read_bytes() for one in submitted.path.rglob("*") if one.is_file())
    assert b"testsecret123" not in told.replace(Path(secrets["PEGASUS_CREDENTIALS"]).read_bytes(), b"")


def test_an_output_in_a_directory_that_is_elsewhere_is_not_taken_from_there(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "f").write_bytes(b"abc")
    line = {"outbox": "out", "outputs": [{"lfn": "sub/f", "destinations": [place("file:///s/x")]}]}
    path = bundle(tmp_path, {**node(tmp_path, tasks=[sh(f"rmdir sub; ln -s {mine} sub")]), **line})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 0 and (done.start / "out/sub/f").read_bytes() == b"abc"
    assert (mine / "f").read_bytes() == b"abc"
