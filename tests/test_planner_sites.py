"""Sites and programs as upstream takes them: public catalogs are written so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.planner.compile import compile
from pegasus_toolkit.planner.model import Dag
from pegasus_toolkit.planner.reading.load import load
from pegasus_toolkit.planner.writing.jobs import node_file
from tests.planner_world import (
    KEG,
    LOCAL,
    POOL,
    ancestors,
    job,
    named,
    planned,
    replica,
    settings,
    site,
    sources,
    world,
    wrong,
)

HERE = site("local", storage="/s/out")


def keg(*sites: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "keg", "sites": list(sites), **more}


def where(dag: Dag) -> dict[str, str]:
    """The site of each compute node."""
    return {node.name: node.site for node in dag.nodes if node.kind == "compute"}


def planned_anywhere(directory: Path, configuration: str = "condorio", **more: Any) -> Dag:
    """Without ``--sites``."""
    return planned(directory, configuration, sites=(), **more)


# --- programs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["program", "input"])
def test_what_is_catalogued_elsewhere_is_read_here_where_its_path_is_here(tmp_path: Path, kind: str) -> None:
    far = site("far", "https://far/s")
    program = keg({"name": "far", "pfn": "/home/joe/keg", "type": "stageable"})
    replicas = [replica("in", "/home/joe/in", site="far" if kind == "input" else "local")]
    programs = [program if kind == "program" else KEG]
    world(
        tmp_path, [job("a", ["in"], ["x!"])], replicas=replicas, sites=[LOCAL, far], transformations=programs
    )
    path = "/home/joe/keg" if kind == "program" else "/home/joe/in"
    dag = planned(tmp_path, "condorio", sites=("far",), here=lambda one: one == path)
    (stage_in,) = named(dag, "stage_in")
    assert stage_in.site == "local" and f"file://{path}" in sources(stage_in)
    (warning,) = dag.warnings
    assert "catalogued at 'far'" in warning and path.rpartition("/")[2] in warning
    (line,) = wrong(tmp_path, "condorio", sites=("far",))  # and where it is not here, nobody can
    assert "no site can read" in line


def test_a_program_in_a_container_is_at_every_site(tmp_path: Path) -> None:
    box = {"name": "box", "type": "docker", "image": "docker://box"}
    program = keg({"name": "web", "pfn": "/opt/keg", "type": "installed", "container": "box"})
    world(tmp_path, [job("a", [], ["x!"])], transformations=[program])
    path = tmp_path / "transformations.yml"
    path.write_text(
        path.read_text().replace('"transformations"', f'"containers": [{json.dumps(box)}],"transformations"')
    )
    (node,) = named(planned(tmp_path), "keg_a")
    assert node.site == "pool" and node.tasks[0].program == "/opt/keg" and node.tasks[0].container
    bare = keg({"name": "web", "pfn": "/opt/keg", "type": "installed"})
    world(tmp_path, [job("a", [], ["x!"])], transformations=[bare])
    assert "can run at none of: pool" in wrong(tmp_path)[0]


@pytest.mark.parametrize(
    ("catalog", "pool"),
    [([HERE], "condorpool"), ([HERE, POOL], "condorpool"), ([HERE, POOL, site("condorpool")], "condorpool")],
)
def test_condorpool_is_there_always(tmp_path: Path, catalog: list[dict[str, Any]], pool: str) -> None:
    program = keg({"name": pool, "pfn": "/bin/keg", "type": "installed"})
    world(tmp_path, [job("a", [], ["x!"])], sites=catalog, transformations=[program])
    assert where(planned_anywhere(tmp_path)) == {"keg_a": pool}
    assert where(planned(tmp_path, "condorio", sites=(pool,))) == {"keg_a": pool}


def test_condorpool_takes_nothing_from_sites_of_the_catalog(tmp_path: Path) -> None:
    world(tmp_path, [job(one, [], [f"{one}!"]) for one in "abc"])
    assert set(where(planned_anywhere(tmp_path)).values()) == {"pool"}
    program = keg({"name": "local", "pfn": "/bin/keg", "type": "installed"})
    world(tmp_path, [job("a", [], ["x!"])], transformations=[program])
    assert where(planned_anywhere(tmp_path)) == {"keg_a": "local"}


def test_a_script_is_read_before_the_program(tmp_path: Path) -> None:
    both = [
        site("pool", pegasus_lite_env_source="/a/setup.sh", **{"auxillary.local": "true"}),
        site("other", pegasus_lite_env_source="/b/setup.sh", **{"auxillary.local": "true"}),
    ]
    jobs = [
        job(one, [], [f"{one}!"], profiles={"selector": {"execution.site": one}}) for one in ("pool", "other")
    ]
    world(tmp_path, jobs, sites=[LOCAL, *both])
    dag = planned(tmp_path, "condorio", sites=("pool", "other"))
    setups = {node.site: node.tasks[0].setup for node in dag.nodes if node.kind == "compute"}
    assert len(set(setups.values())) == 2 and all(setups.values())
    brought = {url for node in named(dag, "stage_in") for url in sources(node)}
    assert {"file:///a/setup.sh", "file:///b/setup.sh"} <= brought
    gone = wrong(tmp_path, "condorio", exists=lambda pfn: pfn.url != "file:///a/setup.sh")
    assert len(gone) == 1 and "file:///a/setup.sh" in gone[0]


# --- sites ------------------------------------------------------------------------------------------


def test_each_site_has_its_own_configuration(tmp_path: Path) -> None:
    sites = [
        LOCAL,
        site("share", **{"data.configuration": "sharedfs", "auxillary.local": "true"}),
        site("ship", "https://ship/s", **{"data.configuration": "nonsharedfs"}),
        site("pool", **{"auxillary.local": "true"}),
    ]

    def at(name: str) -> dict[str, Any]:
        return {"selector": {"execution.site": name}}

    jobs = [
        job("a", ["in"], ["m1"], profiles=at("share")),
        job("b", ["m1"], ["m2"], profiles=at("ship")),
        job("c", ["m2"], ["x!"], profiles=at("pool")),
    ]
    world(tmp_path, jobs, sites=sites)
    dag = planned(tmp_path, "condorio", sites=("share", "ship", "pool"))
    told = {node.site: node_file(dag, node) for node in dag.nodes if node.kind == "compute"}
    assert {name: one.configuration for name, one in told.items()} == {
        "share": "sharedfs",
        "ship": "nonsharedfs",
        "pool": "condorio",
    }
    assert told["share"].directory and not told["ship"].directory and not told["ship"].outbox
    assert told["pool"].outbox == "out"
    assert len(named(dag, "inter_site")) == 2  # from each staging site to the next
    for node in named(dag, "cleanup_directory"):
        assert {"keg_a", "keg_b", "keg_c"} <= ancestors(dag, node.name)


def test_sites_that_are_not_used_are_not_looked_at(tmp_path: Path) -> None:
    bad = {
        "name": "bad",
        "directories": [
            {
                "type": "sharedScratch",
                "path": "${NOWHERE}/s",
                "fileServers": [{"url": "file://${NOWHERE}/s", "operation": "all"}],
            }
        ],
        "profiles": {
            "pegasus": {"data.configuration": "nonsense", "cores": "many"},
            "env": {"X": "${NOWHERE}"},
        },
    }
    world(tmp_path, [job("a", [], ["x!"])], sites=[LOCAL, POOL, bad])
    assert where(planned(tmp_path)) == {"keg_a": "pool"}
    for more in ({"sites": ("bad",)}, {"output_sites": ("bad",)}, {"staging": {"": "bad"}}):
        lines = "\n".join(wrong(tmp_path, **more))
        assert "the variable ${NOWHERE} is not set or empty" in lines, more
        assert "expected a whole number, found 'many'" in lines, more


def test_jobs_of_a_site_fetch_their_inputs_by_themselves(tmp_path: Path) -> None:
    direct = site("direct", **{"transfer.bypass.input.staging": "True", "auxillary.local": "true"})
    world(
        tmp_path,
        [job("a", ["in"], ["x!"])],
        replicas=[replica("in", "http://h/in")],
        sites=[LOCAL, POOL, direct],
    )
    for name, staged in (("direct", False), ("pool", True)):
        dag = planned(tmp_path, sites=(name,))
        assert any("http://h/in" in sources(node) for node in named(dag, "stage_in")) == staged
        assert dag.warnings == ()


def test_profiles_of_sites_in_the_properties(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    start = "pegasus.catalog.site.sites"
    given = {f"{start}.pool.profiles.pegasus.queue": "long", f"{start}.pool.profiles.env.A": "b"}
    dag = compile(load("workflow.yml", given, {}, str(tmp_path)), settings())
    (node,) = named(dag, "keg_a")
    assert node.profiles["pegasus"]["queue"] == "long" and node.tasks[0].environment["A"] == "b"
    assert node.profiles["pegasus"]["style"] == "condor"  # the catalog's stay
    bad = {f"{start}.nope.profiles.pegasus.queue": "q", f"{start}.pool.profiles.pegsus.queue": "q"}
    told = [str(one) for one in load("workflow.yml", bad, {}, str(tmp_path)).problems]
    assert len(told) == 2 and "unknown site 'nope'" in told[0] and "unknown namespace 'pegsus'" in told[1]


@pytest.mark.parametrize("space", ["env", "pegasus"])
@pytest.mark.parametrize("by", ["site", "local", "properties", "environment"])
def test_credentials_are_named_by_the_site_then_local_then_all(tmp_path: Path, space: str, by: str) -> None:
    """``by``: the strongest that names one; all weaker ones do, too."""
    order = ["site", "local", "properties", "environment"]
    left = order[order.index(by) :]
    cloud, here = site("cloud"), site("local", storage="/s/out")
    for one, name in ((cloud, "site"), (here, "local")):
        if name in left:
            one["profiles"] = {space: {"GOOGLE_PKCS12": f"/k/{name}"}}
    world(
        tmp_path,
        [job("a", ["in"], ["x!"])],
        replicas=[replica("in", "gs://b/in", site="cloud")],
        sites=[here, POOL, cloud],
    )
    profiles = {space: {"GOOGLE_PKCS12": "/k/properties"}} if "properties" in left else {}
    environ = {"GOOGLE_PKCS12": "/k/environment"}
    dag = planned(tmp_path, "condorio", profiles=profiles, environ=environ)
    found = {one for node in named(dag, "stage_in") for one in node.credentials}
    assert {(one.variable, one.path) for one in found} == {("GOOGLE_PKCS12_cloud", f"/k/{by}")}


# --- reuse ------------------------------------------------------------------------------------------


def test_a_reused_output_is_registered_where_it_is_staged_to(tmp_path: Path) -> None:
    replicas = [replica("x", "/old/x"), replica("y", "/s/out/y")]
    world(tmp_path, [job("a", ["in"], ["x!"]), job("b", ["in"], ["y!"])], replicas=replicas)
    dag = planned(tmp_path, exists=lambda pfn: True)
    assert dag.reused == ("a", "b")
    (register,) = named(dag, "register")
    entries = [(one.lfn, one.pfn.url) for one in register.registrations]
    assert entries == [("x", "file:///s/out/x")]  # the other one is there already
    assert ancestors(dag, register.name) == {"stage_out_0"}
