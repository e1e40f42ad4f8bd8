"""Values that would break the DAG, a submit file or a job are found when it is planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.planner.writing import directory
from tests.planner_world import LOCAL, POOL, job, planned, replica, site, world, wrong

PROFILES = [
    ("dagman", "retry", "x", "3"),
    ("dagman", "priority", "high", "-3"),
    ("dagman", "category", "a b", "a"),
    ("dagman", "abort-dag-on", "1 RETURN", "1 RETURN 0"),
    ("pegasus", "clusters.size", "-3", "3"),
    ("pegasus", "cores", "many", "2"),
    ("pegasus", "maxwalltime", "1h", "60"),
    ("condor", "executable", "/bin/other", ""),
    ("condor", "x y", "1", ""),
    ("condor", "Queue", "2", ""),
    ("env", "A=B", "1", ""),
    ("env", "", "1", ""),
]


def one(space: str, key: str, value: str) -> dict[str, Any]:
    return job("a", [], ["x!"], profiles={space: {key: value}})


@pytest.mark.parametrize(("space", "key", "bad", "good"), PROFILES)
def test_profiles(space: str, key: str, bad: str, good: str, tmp_path: Path) -> None:
    world(tmp_path, [one(space, key, bad)])
    (line,) = wrong(tmp_path)
    assert f"jobs[0].profiles.{space}" in line
    if good:
        world(tmp_path, [one(space, key, good)])
        assert planned(tmp_path)


def test_commands_of_the_users_own(tmp_path: Path) -> None:
    own = {"+Project": '"x"', "My.a_1": "1", "requirements": "True", "should_transfer_files": "YES"}
    world(tmp_path, [job("a", [], ["x!"], profiles={"condor": own})])
    assert planned(tmp_path)


def test_a_password_in_a_url_is_told_without_it(tmp_path: Path) -> None:
    pool = site("pool", "http://joe:hunter2@host/x", style="condor", **{"auxillary.local": "true"})
    found = replica("f.a", "https://joe:hunter2@host/f.a", site="web")
    world(tmp_path, [job("a", ["f.a"], ["x!"])], replicas=[found], sites=[LOCAL, pool])
    told = wrong(tmp_path)
    assert len(told) == 2 and all("a password in a URL" in line for line in told)
    assert "hunter2" not in "".join(told)
    world(tmp_path, [job("a", [], ["x!"])], sites=[LOCAL, POOL])
    assert planned(tmp_path)


def test_what_jobs_are_told_is_for_no_other_user(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    dag = planned(tmp_path, submit=str(tmp_path / "made"))
    directory.write(dag, "w-0")
    assert (tmp_path / "made/jobs").stat().st_mode & 0o077 == 0


def test_a_program_that_nobody_knows_is_told_with_a_site_that_nobody_knows(tmp_path: Path) -> None:
    world(
        tmp_path, [job("a", [], ["x!"], name="kegg"), job("b", [], ["y!"], name="kegg"), job("c", [], ["z!"])]
    )
    found = wrong(tmp_path, sites=("mars",))
    assert ["mars" in line for line in found] == [True, False]
    assert "jobs[0].name: the transformation 'kegg' is in no catalog; did you mean 'keg'?" in found[1]
