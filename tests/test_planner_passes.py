"""What the passes that choose promise (sites, replicas, clusters, credentials), asked of whole plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.credentials import proxies
from pegasus_toolkit.planner.catalogs import Checksum, Pfn
from pegasus_toolkit.planner.compile import compile
from pegasus_toolkit.planner.model import Credential, PlanError
from tests.planner_world import (
    KEG,
    LOCAL,
    POOL,
    ancestors,
    job,
    loaded,
    moves,
    named,
    planned,
    replica,
    settings,
    shape,
    site,
    world,
    wrong,
)

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


# --- structure: bad input, all at once --------------------------------------------------------------


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    jobs = [
        job("a", ["c.out"], ["a.out"]),
        job("b", ["a.out"], ["b.out"]),
        job("c", ["b.out"], ["c.out"]),
        job("d", ["nowhere"], ["twice"]),
        job("e", [], ["twice", "twice/below"]),
        {**job("f", [], ["f.out"]), "name": "kegg"},
        job("g", [], ["g.out"], profiles={"selector": {"execution.site": "moon"}}),
    ]
    world(tmp_path, jobs, replicas=[{"lfn": "x", "pfns": [{"site": "local", "pfn": "/x"}]}])
    text = (tmp_path / "replicas.yml").read_text().replace('"nowhere"', '"somewhere"')
    (tmp_path / "replicas.yml").write_text(text)
    found = wrong(tmp_path)
    expected = [
        "jobs wait for each other: a -> b -> c -> a",
        "'e' writes 'twice', as 'd' does",
        "'twice/below' would be below the file 'twice'",
        "no job makes 'nowhere', and no catalog has a replica of it",
        "the transformation 'kegg' is in no catalog; did you mean 'keg'?",
        "unknown site 'moon'",
    ]
    for message in expected:
        assert any(message in line for line in found), (message, found)
    assert len(found) == len(expected)
    assert all(line.startswith("workflow.yml:") for line in found)
    lines = (tmp_path / "workflow.yml").read_text().splitlines()
    (twice,) = (line.split(":")[1] for line in found if "'d' does" in line)
    assert lines[int(twice) - 1].strip() == '"lfn": "twice",'


def test_unknown_sites_in_options(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    found = wrong(tmp_path, sites=("mars",), output_sites=("venus",), staging={"": "pluto"})
    assert [line.partition(";")[0] for line in found] == [
        "--sites: unknown site 'mars'",
        "--output-sites: unknown site 'venus'",
        "--staging-site: unknown site 'pluto'",
    ]


def test_a_program_that_is_gone(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    (line,) = wrong(tmp_path, exists=lambda pfn: pfn.url != "file:///bin/keg")
    assert line == "transformations: the program or image 'keg' is not there: file:///bin/keg"


def test_a_configuration_that_is_none(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"], profiles={"pegasus": {"data.configuration": "sharedffs"}})])
    (line,) = wrong(tmp_path)
    assert "expected one of condorio, nonsharedfs, sharedfs, found 'sharedffs'" in line


def test_features_that_are_not_there_are_named(tmp_path: Path) -> None:
    world(
        tmp_path,
        [
            job(
                "a",
                [],
                ["x!"],
                profiles={"pegasus": {"checkpoint.time": "3"}},
            )
        ],
        sites=[
            LOCAL,
            {**site("pool", style="globus"), "grids": [{"type": "gt5", "contact": "c", "scheduler": "pbs"}]},
        ],
    )
    found = "\n".join(wrong(tmp_path, properties={"pegasus.selector.replica": "Nearest"}))
    for part in ("style 'globus'", "type 'gt5'", "'Nearest' is not supported"):
        assert part in found


# --- data reuse -------------------------------------------------------------------------------------


def test_jobs_whose_files_are_there_do_not_run_nor_those_that_worked_for_them(tmp_path: Path) -> None:
    world(tmp_path, shape("pipeline", 4), replicas=[replica("f3", "http://h/f3")])
    dag = planned(tmp_path, exists=lambda pfn: True)
    assert [job for node in named(dag, "keg_") for job in node.jobs] == ["s3"]
    assert set(dag.reused) == {"s0", "s1", "s2"}
    assert [(m.lfn, m.sources[0].url) for m in moves(dag, "stage_in") if m.lfn != "keg"] == [
        ("f3", "http://h/f3")
    ]


def test_a_catalogued_file_that_is_gone_is_made_again(tmp_path: Path) -> None:
    world(tmp_path, shape("pipeline", 2), replicas=[replica("f2", "/gone"), replica("f0", "/here")])
    dag = planned(tmp_path, exists=lambda pfn: pfn.url != "file:///gone")
    assert len(named(dag, "keg_")) == 2
    assert dag.warnings == ("'f2' is catalogued, but not seen to be there: it is made again",)


def test_reused_outputs_still_get_to_the_output_site(tmp_path: Path) -> None:
    world(tmp_path, shape("diamond"), replicas=[replica("f.d", "http://h/f.d", checksum={"sha256": HELLO})])
    dag = planned(tmp_path)
    assert not named(dag, "keg_") and not named(dag, "create_dir")
    (move,) = moves(dag, "stage_out")
    assert move.sources[0].url == "http://h/f.d" and move.destinations == (Pfn("local", "file:///s/out/f.d"),)
    assert move.checksum == Checksum("sha256", HELLO)


def test_forced_jobs_run_whatever_is_there(tmp_path: Path) -> None:
    world(tmp_path, shape("diamond"), replicas=[replica("f.d")])
    assert len(named(planned(tmp_path, reuse="none"), "keg_")) == 4


def test_a_job_with_an_output_of_its_own_still_runs(tmp_path: Path) -> None:
    world(tmp_path, [job("a", ["x"], ["y!"]), job("b", ["y"], ["z!"])], replicas=[replica("z")])
    assert [node.jobs[0] for node in named(planned(tmp_path), "keg_")] == ["a"]


def test_a_reused_file_that_is_where_it_belongs_is_left_there(tmp_path: Path) -> None:
    world(tmp_path, shape("diamond"), replicas=[replica("f.d", "/s/out/f.d")])
    dag = planned(tmp_path)
    assert dag.nodes == () and dag.outputs == {"f.d": (Pfn("local", "file:///s/out/f.d"),)}


def test_a_job_with_another_child_still_runs(tmp_path: Path) -> None:
    jobs = [job("a", ["x"], ["y"]), job("b", ["y"], ["z!"]), job("c", ["y"], ["w!"])]
    world(tmp_path, jobs, replicas=[replica("z")])
    assert [node.jobs[0] for node in named(planned(tmp_path), "keg_")] == ["a", "c"]


# --- sites and replicas -----------------------------------------------------------------------------


def test_jobs_follow_their_parents_and_beginnings_are_dealt_out(tmp_path: Path) -> None:
    jobs = [
        *(job(f"a{i}", [], [f"x{i}"]) for i in range(4)),
        *(job(f"b{i}", [f"x{i}"], [f"y{i}!"]) for i in (3, 0, 2, 1)),
    ]
    world(tmp_path, jobs, sites=[LOCAL, POOL, site("two", "http://two/s")])
    dag = planned(tmp_path, sites=("pool", "two"))
    where = {node.jobs[0]: node.site for node in named(dag, "keg_")}
    assert [where[f"a{i}"] for i in range(4)] == ["pool", "two", "pool", "two"]
    assert [where[f"b{i}"] for i in range(4)] == ["pool", "two", "pool", "two"]
    assert not named(dag, "inter_site")


def test_a_program_runs_where_it_is_installed_or_fits(tmp_path: Path) -> None:
    keg = {"name": "keg", "sites": [{"name": "two", "pfn": "/opt/keg", "type": "installed"}]}
    world(
        tmp_path,
        [job("a", [], ["x!"])],
        sites=[LOCAL, POOL, site("two", "http://two/s")],
        transformations=[keg],
    )
    (node,) = named(planned(tmp_path, sites=("pool", "two")), "keg_")
    assert node.site == "two" and node.tasks[0].program == "/opt/keg" and not node.tasks[0].staged
    odd = {"name": "keg", "sites": [{"name": "local", "pfn": "/k", "type": "stageable", "arch": "aarch64"}]}
    world(tmp_path, [job("a", [], ["x!"])], sites=[LOCAL, {**POOL, "arch": "x86_64"}], transformations=[odd])
    (line,) = wrong(tmp_path)
    assert "transformations[0]: 'keg' can run at none of: pool" in line


def test_in_a_tutorial_an_input_may_be_missing_until_it_is_staged_in(tmp_path: Path) -> None:
    world(tmp_path, [job("a", ["x"], ["y!"])], replicas=[replica("x", "/gone/x")])
    gone = {"exists": lambda pfn: "gone" not in pfn.url}
    with pytest.raises(PlanError, match="no replica of 'x' is there"):
        planned(tmp_path, **gone)
    dag = planned(tmp_path, **gone, properties={"pegasus.mode": "tutorial"})
    assert "file:///gone/x" in [pfn.url for move in moves(dag, "stage_in") for pfn in move.sources]
    assert any("no replica of 'x' is there: file:///gone/x" in warning for warning in dag.warnings)


def test_replicas_are_ranked_and_those_that_are_gone_left_out(tmp_path: Path) -> None:
    pfns = [("far", "http://far/x"), ("pool", "http://pool/x"), ("pool", "file:///p/x"), ("local", "/gone/x")]
    entry = {
        "lfn": "x",
        "pfns": [{"site": s, "pfn": p} for s, p in pfns],
        "checksum": {"sha256": HELLO.upper()},
    }
    world(tmp_path, [job("a", ["x"], ["y!"])], replicas=[entry])
    dag = planned(tmp_path, exists=lambda pfn: False if "gone" in pfn.url else None)
    (move,) = (m for m in moves(dag, "stage_in") if m.lfn == "x")
    assert [(p.url, p.priority) for p in move.sources] == [
        ("file:///p/x", 100),
        ("http://pool/x", 50),
        ("http://far/x", 10),
    ]
    # What the catalog knows is checked at stage-in, and again by the job.
    assert move.checksum == Checksum("sha256", HELLO)
    (node,) = named(dag, "keg_")
    assert next(one for one in node.inputs if one.lfn == "x").checksum == Checksum("sha256", HELLO)


def test_an_optional_input_without_replica_is_left_out(tmp_path: Path) -> None:
    one = job("a", ["x"], ["y!"])
    one["uses"].append({"lfn": "maybe", "type": "input", "optional": True})
    world(tmp_path, [one])
    (tmp_path / "replicas.yml").write_text(
        (tmp_path / "replicas.yml").read_text().replace('"maybe"', '"other"')
    )
    dag = planned(tmp_path)
    assert [i.lfn for i in named(dag, "keg_")[0].inputs] == ["keg", "x"]
    assert dag.warnings == ("the optional input 'maybe' has no replica: jobs run without it",)


def test_a_file_that_nobody_can_bring_is_a_problem(tmp_path: Path) -> None:
    world(tmp_path, [job("a", ["x"], ["y!"])], sites=[LOCAL, site("pool", "file:///s/pool")])
    found = wrong(tmp_path)
    assert any(
        "no site can read 'x' (file:///d/x at local) and write file:///s/pool" in line for line in found
    )


# --- clustering -------------------------------------------------------------------------------------


def keg(**pegasus: str) -> dict[str, Any]:
    return {**KEG, "profiles": {"pegasus": pegasus}}


@pytest.mark.parametrize(
    ("profile", "sizes"), [({"clusters.size": "4"}, [2, 4, 4]), ({"clusters.num": "3"}, [2, 4, 4])]
)
def test_horizontal_clusters(profile: dict[str, str], sizes: list[int], tmp_path: Path) -> None:
    dag = planned(
        world(tmp_path, shape("fan", 10), transformations=[keg(**profile)]), clusterers=("horizontal",)
    )
    nodes = [node for node in dag.nodes if node.kind == "compute"]
    assert sorted(len(node.tasks) for node in nodes) == sizes
    assert all(len({i.lfn for i in node.inputs}) == len(node.tasks) + 1 for node in nodes)


def test_labelled_clusters_keep_inner_files_to_themselves(tmp_path: Path) -> None:
    jobs = [{**one, "profiles": {"pegasus": {"label": "all"}}} for one in shape("pipeline", 3)]
    dag = planned(world(tmp_path, jobs), clusterers=("label",))
    (node,) = (node for node in dag.nodes if node.kind == "compute")
    assert [task.id for task in node.tasks] == ["s0", "s1", "s2"]
    assert [one.lfn for one in node.inputs] == ["keg", "f0"]
    assert [(one.lfn, bool(one.destinations)) for one in node.outputs] == [
        ("f1", False),
        ("f2", False),
        ("f3", True),
    ]


def test_clusters_that_would_wait_for_each_other(tmp_path: Path) -> None:
    jobs = shape("pipeline", 3)
    for n, label in ((0, "x"), (2, "x")):
        jobs[n]["profiles"] = {"pegasus": {"label": label}}
    (line,) = wrong(world(tmp_path, jobs), clusterers=("label",))
    assert "clusters wait for each other" in line


def test_names_of_nodes_are_safe_and_unique(tmp_path: Path) -> None:
    jobs = [
        job("a b", [], ["1!"]),
        job("a/b", [], ["2!"]),
        job("a_b", [], ["3!"]),
        {**job("0_pool", [], ["4!"]), "name": "stage_in"},
    ]
    programs = [KEG, {**KEG, "name": "stage_in"}]
    dag = planned(world(tmp_path, jobs, transformations=programs))
    names = [node.name for node in dag.nodes]
    assert len(set(names)) == len(names)
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for name in names
    )


# --- integrity and credentials ----------------------------------------------------------------------


@pytest.mark.parametrize("configuration", ["condorio", "nonsharedfs", "sharedfs"])
def test_every_input_has_somebody_who_tells_its_digest(configuration: str, tmp_path: Path) -> None:
    dag = planned(
        world(tmp_path, shape("diamond"), replicas=[replica("f.a", checksum={"sha256": HELLO})]),
        configuration,
    )
    node = {one.name: one for one in dag.nodes}
    assert node["keg_a"].metas == (named(dag, "stage_in")[0].name,)  # for the program alone
    assert node["keg_d"].metas[1:] == ("keg_b", "keg_c")
    assert node["stage_out_0"].metas == ("keg_d",)
    assert all(meta in ancestors(dag, one.name) for one in dag.nodes for meta in one.metas)
    off = planned(tmp_path, configuration, integrity=False)
    assert not any(one.metas for one in off.nodes if one.kind != "register")


def test_nodes_get_the_credentials_of_their_own_urls(tmp_path: Path) -> None:
    s3 = {
        **site("pool", "s3://joe@pool/bucket"),
        "profiles": {"env": {"PEGASUS_CREDENTIALS": "/c/pool.conf", "OTHER": "x"}},
    }
    jobs = [job("a", ["x"], ["y!"]), job("b", ["z"], ["w!"])]
    found = [replica("x", "scp://h/x", site="ssh-1"), replica("z", "https://open/z", site="web")]
    world(tmp_path, jobs, sites=[LOCAL, s3], replicas=found)
    environ = {"SSH_PRIVATE_KEY_ssh_1": "/c/key", "PEGASUS_CREDENTIALS": "/c/all.conf"}
    dag = planned(tmp_path, environ=environ)
    pool, key = (
        Credential("PEGASUS_CREDENTIALS_pool", "/c/pool.conf"),
        Credential("SSH_PRIVATE_KEY_ssh_1", "/c/key"),
    )
    node = {one.name: one for one in dag.nodes}
    assert node["stage_in_0_pool"].credentials == (pool, key)
    assert node["keg_a"].credentials == (pool,)
    assert node["keg_a"].tasks[0].environment == {"OTHER": "x"}  # the program is not told
    assert node["register_0"].credentials == ()
    dag = planned(tmp_path, environ=environ, section=lambda pfn: pfn.url == "https://open/")
    assert not any(c.variable.endswith("web") for n in dag.nodes for c in n.credentials)
    dag = planned(tmp_path, environ=environ, section=lambda pfn: pfn.url == "https://open")
    assert Credential("PEGASUS_CREDENTIALS_web", "/c/all.conf") in {
        c for n in dag.nodes for c in n.credentials
    }


def test_servers_that_take_tokens_get_the_one_that_is_there(tmp_path: Path) -> None:
    found = [replica("x", "davs://h/x", site="dav"), replica("z", "https://open/z", site="web")]
    world(tmp_path, [job("a", ["x"], ["y!"]), job("b", ["z"], ["w!"])], replicas=found)
    dag = planned(tmp_path, "nonsharedfs", environ={"BEARER_TOKEN_FILE": "/c/token"})
    given = {c for n in dag.nodes for c in n.credentials}
    assert given == {Credential("BEARER_TOKEN_FILE_dav", "/c/token")}


def test_google_storage_gets_what_upstream_gives_and_key_files(tmp_path: Path) -> None:
    found = [replica("x", "gs://bucket/x", site="my-cloud"), replica("z", "gs://open/z", site="my-cloud")]
    world(tmp_path, [job("a", ["x"], ["y!"]), job("b", ["z"], ["w!"])], replicas=found)
    environ = {"BOTO_CONFIG_my_cloud": "/c/boto", "GOOGLE_PKCS12": "/c/key.p12"}
    environ |= {"GOOGLE_APPLICATION_CREDENTIALS": "/c/robot.json", "PEGASUS_CREDENTIALS": "/c/all.conf"}
    dag = planned(
        tmp_path, "nonsharedfs", environ=environ, section=lambda pfn: pfn.url.startswith("gs://bucket")
    )
    given = {c for n in dag.nodes for c in n.credentials}
    assert given == {
        Credential("BOTO_CONFIG_my_cloud", "/c/boto"),
        Credential("GOOGLE_PKCS12_my_cloud", "/c/key.p12"),
        Credential("GOOGLE_APPLICATION_CREDENTIALS_my_cloud", "/c/robot.json"),
        Credential("PEGASUS_CREDENTIALS_my_cloud", "/c/all.conf"),
    }
    bare = planned(tmp_path, "nonsharedfs", environ={}, section=lambda pfn: False)
    assert {c for n in bare.nodes for c in n.credentials} == set(), "public data need none"


def test_globus_gets_the_login_of_its_site(tmp_path: Path) -> None:
    found = [replica("x", "go://1-2-3/x", site="my-lab"), replica("z", "go://4-5-6/z", site="other")]
    world(tmp_path, [job("a", ["x", "z"], ["y!"])], replicas=found)
    environ = {"GLOBUS_CONF_my_lab": "/c/lab.conf", "GLOBUS_CONF": "/c/globus.conf"}
    dag = planned(tmp_path, "nonsharedfs", environ=environ)
    given = {c for n in dag.nodes for c in n.credentials}
    assert given == {
        Credential("GLOBUS_CONF_my_lab", "/c/lab.conf"),
        Credential("GLOBUS_CONF_other", "/c/globus.conf"),
    }


def test_irods_gets_the_environment_file_of_its_site_or_a_section(tmp_path: Path) -> None:
    zone = site("pool", "irods://data.example.org/zone/home/joe")
    found = [replica("x", "irods://other:1247/zone/x", site="far-1")]
    world(tmp_path, [job("a", ["x"], ["y!"])], sites=[LOCAL, zone], replicas=found)
    environ = {"IRODS_ENVIRONMENT_FILE_far_1": "/c/far.json", "IRODS_ENVIRONMENT_FILE": "/c/all.json"}
    environ["PEGASUS_CREDENTIALS"] = "/c/credentials.conf"
    dag = planned(tmp_path, "nonsharedfs", environ=environ, section=lambda pfn: False)
    assert {c for n in dag.nodes for c in n.credentials} == {
        Credential("IRODS_ENVIRONMENT_FILE_far_1", "/c/far.json"),
        Credential("IRODS_ENVIRONMENT_FILE_pool", "/c/all.json"),
    }
    del environ["IRODS_ENVIRONMENT_FILE"]
    (line,) = wrong(tmp_path, environ=environ, section=lambda pfn: False)
    assert "irods:// at 'pool': there is none" in line and "IRODS_ENVIRONMENT_FILE_pool" in line
    dag = planned(tmp_path, "nonsharedfs", environ=environ, section=lambda pfn: pfn.site == "pool")
    assert {c for n in dag.nodes for c in n.credentials} == {
        Credential("IRODS_ENVIRONMENT_FILE_far_1", "/c/far.json"),
        Credential("PEGASUS_CREDENTIALS_pool", "/c/credentials.conf"),
    }


def test_fdt_gets_the_file_that_names_its_jar(tmp_path: Path) -> None:
    dtn = site("pool", "fdt://dtn.example.org:54321/data")
    world(tmp_path, [job("a", ["x"], ["y!"])], sites=[LOCAL, dtn], replicas=[replica("x", "/x")])
    dag = planned(tmp_path, environ={"PEGASUS_CREDENTIALS": "/c/credentials.conf"})
    node = {one.name: one for one in dag.nodes}
    jar = (Credential("PEGASUS_CREDENTIALS_pool", "/c/credentials.conf"),)
    assert node["stage_in_0_pool"].credentials == node["keg_a"].credentials == jar
    (line,) = wrong(tmp_path, environ={})
    assert "fdt:// at 'pool': there is none" in line


def test_rucio_gets_its_configuration_and_what_storage_behind_it_asks_for(tmp_path: Path) -> None:
    found = [
        replica("x", "rucio://user.joe:x", site="grid"),
        replica("z", "rucio://DISK/joe:d/z", site="grid"),
    ]
    world(tmp_path, [job("a", ["x", "z"], ["y!"])], replicas=found)
    environ = {"RUCIO_CONFIG_grid": "/c/rucio.cfg", "X509_USER_PROXY": "/c/proxy"}
    environ |= {"PEGASUS_CREDENTIALS": "/c/all.conf", "BEARER_TOKEN_FILE": "/c/token"}
    dag = planned(tmp_path, "nonsharedfs", environ=environ, section=lambda pfn: pfn.url == "rucio://rucio")
    assert {c for n in dag.nodes for c in n.credentials} == {
        Credential("RUCIO_CONFIG_grid", "/c/rucio.cfg"),
        Credential("X509_USER_PROXY_grid", "/c/proxy"),
        Credential("BEARER_TOKEN_FILE_grid", "/c/token"),
        Credential("PEGASUS_CREDENTIALS_grid", "/c/all.conf"),
    }
    bare = planned(tmp_path, "nonsharedfs", environ={}, section=lambda pfn: False)
    usual = Credential("RUCIO_CONFIG_grid", "/opt/rucio/etc/rucio.cfg")
    assert {c for n in bare.nodes for c in n.credentials} == {usual}, "where it is there"


def test_a_proxy_with_a_password_is_told_and_left_out(tmp_path: Path) -> None:
    world(tmp_path, [job("a", ["x"], ["y!"])], replicas=[replica("x", "/x")])
    environ = {"http_proxy": "http://me:secret@proxy:3128", "https_proxy": "http://proxy:3128"}
    dag = planned(tmp_path, environ=environ)
    assert any("http_proxy holds a password" in one for one in dag.warnings)
    assert proxies.without_passwords(environ) == {"https_proxy": "http://proxy:3128"}


def test_credentials_that_are_missing_or_open_are_problems(tmp_path: Path) -> None:
    world(
        tmp_path,
        [job("a", ["x"], ["y!"])],
        sites=[LOCAL, site("pool", "s3://joe@pool/b")],
        replicas=[replica("x", "gsiftp://h/x", site="grid")],
    )
    found = wrong(tmp_path, environ={"PEGASUS_CREDENTIALS": "/c"}, secret=lambda path: "is open to others")
    assert [line.partition(";")[0] for line in sorted(found)] == [
        "credentials: credential for gsiftp:// at 'grid': there is none",
        "credentials: credential for s3:// at 'pool': is open to others",
    ]


def test_two_credentials_with_one_name_cannot_travel_together(tmp_path: Path) -> None:
    one = job("a", ["x"], ["y!"])
    one["uses"][0]["bypass"] = True
    pool = site("pool", "s3://joe@pool/b")
    world(tmp_path, [one], sites=[LOCAL, pool], replicas=[replica("x", "s3://joe@far/b/x", site="far")])
    environ = {"PEGASUS_CREDENTIALS_far": "/far/c.conf", "PEGASUS_CREDENTIALS_pool": "/pool/c.conf"}
    (line,) = wrong(tmp_path, environ=environ)
    assert "/far/c.conf" in line and "/pool/c.conf" in line and "would have one name" in line
    assert planned(tmp_path, environ={**environ, "PEGASUS_CREDENTIALS_far": "/far/d.conf"})


def test_profiles_the_program_before_the_site_before_the_job(tmp_path: Path) -> None:
    env = {
        f"{n}": {"env": {k: n for k in keys}}
        for n, keys in (("flow", "ABCD"), ("job", "BCD"), ("site", "CD"), ("tc", "D"))
    }
    pool = {**POOL, "profiles": {**POOL["profiles"], **env["site"]}}
    world(
        tmp_path,
        [job("a", [], ["y!"], profiles=env["job"])],
        sites=[LOCAL, pool],
        transformations=[{**KEG, "profiles": env["tc"]}],
        profiles=env["flow"],
    )
    dag = compile(loaded(tmp_path), settings(profiles={"env": {"A": "properties", "E": "properties"}}))
    environment = named(dag, "keg_")[0].tasks[0].environment
    assert environment == {"A": "flow", "B": "job", "C": "site", "D": "tc", "E": "properties"}
