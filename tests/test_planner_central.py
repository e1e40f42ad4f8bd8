"""Site catalogs that a computing centre keeps for its users."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.planner_world import LOCAL, job, site, world
from tests.test_planner_subworkflows import command

KEG = {"name": "keg", "sites": [{"name": "compute", "pfn": "/bin/keg", "type": "installed"}]}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The centre's catalog knows the site; a profile of it is the user's own."""
    conf = tmp_path / "repo" / "5.1" / "conf"
    conf.mkdir(parents=True)
    compute = site("compute", memory="5", gpus="1", **{"auxillary.local": "true"})
    (conf / "centre.yml").write_text(json.dumps({"pegasus": "5.0", "sites": [compute]}))
    mine = {"name": "compute", "profiles": {"pegasus": {"memory": "7", "gpus": ""}}}
    start = tmp_path / "start"
    start.mkdir()
    world(start, [job("a", [], ["x!"])], sites=[LOCAL, mine], transformations=[KEG])
    (start / "pegasus.properties").write_text(
        f"pegasus.catalog.site.repo = file://{tmp_path}/repo\npegasus.catalog.site.repo.file = centre.yml\n"
    )
    return start


def test_it_is_fetched_and_the_user_s_own_goes_before_it(here: Path) -> None:
    done = command(here, "pegasus-plan", "-q", "--relative-dir", "submit", "-s", "compute")
    assert done.returncode == 0, done.stderr
    assert (here / "centre.yml").exists()
    text = (here / "submit" / "submit" / "compute-compute.sub").read_text()
    assert "request_memory = 7" in text and "request_gpus" not in text


def test_a_copy_serves_for_a_day_and_where_no_newer_one_can_be_had(here: Path) -> None:
    repo = here.parent / "repo" / "5.1" / "conf" / "centre.yml"
    command(here, "pegasus-plan", "-q", "--relative-dir", "one", "-s", "compute")
    copy = here / "centre.yml"
    copy.write_text(repo.read_text() + "\n# mine\n")
    assert command(here, "pegasus-plan", "--relative-dir", "two", "-s", "compute").returncode == 0
    assert "# mine" in copy.read_text()
    os.utime(copy, (0, time.time() - 90000))
    assert command(here, "pegasus-plan", "--relative-dir", "three", "-s", "compute").returncode == 0
    assert "# mine" not in copy.read_text()
    os.utime(copy, (0, time.time() - 90000))
    repo.unlink()
    done = command(here, "pegasus-plan", "--relative-dir", "four", "-s", "compute")
    assert done.returncode == 0 and "cannot be had" in done.stderr and "the copy that is there" in done.stderr
    copy.unlink()
    done = command(here, "pegasus-plan", "--relative-dir", "five", "-s", "compute")
    assert done.returncode == 2 and not (here / "five").exists()
    assert f"put the file there by hand: {copy}" in done.stderr
