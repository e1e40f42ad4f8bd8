"""Names in Pegasus' own namespaces: what means nothing is told, always."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_toolkit.planner.model import PlanError
from pegasus_toolkit.planner.passes import known
from pegasus_toolkit.planner.passes.programs import KINDS
from tests.planner_world import KEG, job, named, planned, world, wrong
from tests.test_planner_command import plan


@pytest.mark.parametrize(
    ("space", "key", "hint"),
    [
        ("pegasus", "coers", "did you mean 'cores'?"),
        ("pegasus", "maxwaltime", "did you mean 'maxwalltime'?"),
        ("dagman", "retrys", "did you mean 'retry'?"),
        ("selector", "execution.sit", "did you mean 'execution.site'?"),
        ("pegasus", "qqq", ""),
    ],
)
def test_unknown_profiles(space: str, key: str, hint: str, tmp_path: Path) -> None:
    jobs = [job(one, [], [f"{one}!"], profiles={space: {key: "1"}}) for one in "ab"]
    (warning,) = planned(world(tmp_path, jobs)).warnings
    assert warning == f"workflow.yml: jobs[0].profiles.{space}.{key}: unknown profile {space}.{key}" + (
        f"; {hint}" if hint else ""
    )


def test_unknown_properties(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    (tmp_path / "keg").touch()
    given = {
        "pegasus.data.reuse.scoop": "none",
        "pegasus.catalog.replica.fille": "x",
        "pegasus.corse": "1",
        "pegasus.selector.replica.x.prefer.stagein.sites": "a",
        "pegasus.monitord.events": "true",
        "pegasus.cores": "1",
        "other.thing": "1",
    }
    dag = planned(tmp_path, properties=given, profiles={"pegasus": {"cores": "1", "corse": "1"}})
    shown = [one for one in dag.warnings if "left alone" not in one]
    assert sorted(shown) == [
        "properties: pegasus.catalog.replica.fille: unknown property pegasus.catalog.replica.fille;"
        " did you mean 'catalog.replica.file'?",
        "properties: pegasus.corse: unknown profile pegasus.corse; did you mean 'cores'?",
        "properties: pegasus.data.reuse.scoop: unknown property pegasus.data.reuse.scoop;"
        " did you mean 'data.reuse.scope'?",
    ]
    assert "the property pegasus.monitord.events is left alone" in dag.warnings


@pytest.mark.parametrize(
    "name",
    [
        "dir.exec",
        "selector.site",
        "selector.site.path",
        "transfer.stagein.remote.sites",
        "clusterer.job.aggregator",
    ],
)
def test_what_serves_in_place_of_a_property_is_always_told(name: str, tmp_path: Path) -> None:
    dag = planned(world(tmp_path, [job("a", [], ["x!"])]), properties={f"pegasus.{name}": "x"})
    (told,) = dag.warnings
    assert told.startswith(f"the property pegasus.{name} has no effect: ")


@pytest.mark.parametrize(
    ("name", "fine", "wrong"),
    [("register.deep", "True", "false"), ("catalog.replica.output", "YAML", "File")],
)
def test_what_would_change_results_and_is_not_done_is_an_error(
    name: str, fine: str, wrong: str, tmp_path: Path
) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    assert planned(tmp_path, properties={f"pegasus.{name}": fine}).warnings == ()
    with pytest.raises(PlanError, match=f"pegasus.{name}: expected .*{wrong!r} is not supported"):
        planned(tmp_path, properties={f"pegasus.{name}": wrong})


def test_they_are_shown_without_being_asked_for(tmp_path: Path) -> None:
    keg = {"name": "keg", "sites": [{"name": "local", "pfn": str(tmp_path / "keg"), "type": "stageable"}]}
    (tmp_path / "keg").touch()
    world(tmp_path, [job("a", [], ["x!"])], transformations=[keg])
    done = plan("-D", "pegasus.file.cleanup.impl=x", "-D", "pegasus.gridstrt=none", cwd=tmp_path)
    assert done.returncode == 0
    assert "unknown profile pegasus.gridstrt" in done.stderr and "left alone" not in done.stderr
    assert "left alone" in plan("-v", "-D", "pegasus.file.cleanup.impl=x", cwd=tmp_path).stderr


@pytest.mark.parametrize("space", ["pegasus", "dagman", "selector"])
def test_what_counts_as_done_is_read_somewhere(space: str) -> None:
    source = Path(known.__file__).parents[2]
    text = "".join(path.read_text() for path in source.rglob("*.py") if path.name != "known.py")
    names = {one for one in known._PROFILES[space].split() if "*" not in one}
    missing = {one for one in names if f'"{one}"' not in text and f"'{one}'" not in text}
    assert missing <= {"label", "maxidle", "maxpre", "maxpost", "maxjobs", "project", "queue", "runtime"}


@pytest.mark.parametrize(("kind", "where"), [("Installed", "/opt/keg"), ("Staged", "keg"), ("", "/opt/keg")])
def test_which_entries_of_the_catalog_serve(kind: str, where: str, tmp_path: Path) -> None:
    here = {"name": "pool", "pfn": "/opt/keg", "type": "installed"}
    world(tmp_path, [job("a", [], ["x!"])], transformations=[{"name": "keg", "sites": [here, *KEG["sites"]]}])
    for key in ("pegasus.selector.transformation", "pegasus.catalog.transformation.mapper"):
        (node,) = named(planned(tmp_path, properties={key: kind}), "keg_a")
        assert node.tasks[0].program == where
    world(tmp_path, [job("a", [], ["x!"])], transformations=[{"name": "keg", "sites": [here]}])
    for other in KINDS.keys() - {"Installed"}:
        line = wrong(tmp_path, properties={"pegasus.selector.transformation": other})[0]
        assert "can run at none of: pool" in line
