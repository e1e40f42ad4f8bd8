"""Replica catalogs of all kinds, replica selectors, and where outputs go."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.planner.compile import compile
from pegasus_toolkit.planner.model import Dag, PlanError
from pegasus_toolkit.planner.reading.load import Given, Loaded, load
from tests.planner_world import (
    LOCAL,
    POOL,
    job,
    moves,
    named,
    planned,
    replica,
    settings,
    site,
    sources,
    world,
    wrong,
)

START = "pegasus.catalog.replica"
MAPPER = "pegasus.dir.storage.mapper"


def read(directory: Path, given: Given | None = None, **properties: str) -> Loaded:
    named = {key.replace("__", "."): value for key, value in properties.items()}
    return load("workflow.yml", named, {}, str(directory), given)


def places(found: Loaded, lfn: str) -> list[tuple[str, str]]:
    replica = found.catalogs.replicas.find(lfn)
    return [(pfn.site, pfn.url) for pfn in replica.pfns] if replica else []


# --- catalogs ---------------------------------------------------------------------------------------

LINES = r"""
# a comment
f.a file:///d/f.a site="local"
f.a gsiftp://h/f.a pool="far"
f.b  http://h/x?y=z
"a b \"c\"" "/d/a b" site=local size=3
alpha\.(csv|txt) file:///d/[1]/[0] site="local" regex="true"
"""


@pytest.mark.parametrize("kind", ["File", "Regex", "file"])
def test_a_line_for_each_replica(kind: str, tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    (tmp_path / "rc.txt").write_text(LINES)
    found = load("workflow.yml", {START: kind}, {}, str(tmp_path))
    assert found.problems == ()
    assert places(found, "f.a") == [("local", "file:///d/f.a"), ("far", "gsiftp://h/f.a")]
    assert places(found, "f.b") == [("local", "http://h/x?y=z")]
    assert places(found, 'a b "c"') == [("local", "file:///d/a b")]
    assert places(found, "alpha.csv") == [("local", "file:///d/csv/alpha.csv")]
    (tmp_path / "rc.txt").write_text("f.a /d/f.a\nalone\n[ /x regex=true\n")
    lines = [str(one) for one in load("workflow.yml", {START: kind}, {}, str(tmp_path)).problems]
    assert lines[0] == "rc.txt:2: expected LFN PFN [KEY=VALUE ...]"
    assert lines[1].startswith("rc.txt:3: lfn: not a regular expression")


def test_a_directory(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("f.a", "deep/f.b"):
        (tmp_path / "in" / name).touch()
    given = {START: "Directory", f"{START}.directory": "in"}
    found = load("workflow.yml", given, {}, str(tmp_path))
    assert places(found, "deep/f.b") == [("local", f"file://{tmp_path}/in/deep/f.b")]
    more = {f"{START}.directory.site": "far", f"{START}.directory.url.prefix": "gsiftp://h"}
    found = load("workflow.yml", {**given, **more, f"{START}.directory.flat.lfn": "true"}, {}, str(tmp_path))
    assert places(found, "f.b") == [("far", f"gsiftp://h{tmp_path}/in/deep/f.b")]
    found = load("workflow.yml", more, {}, str(tmp_path), Given(inputs=["in"]))  # of --input-dir, too
    assert places(found, "f.a") == [("far", f"gsiftp://h{tmp_path}/in/f.a")]
    for directory in ("nowhere", "workflow.yml", "a\0b"):
        (line,) = load("workflow.yml", {**given, f"{START}.directory": directory}, {}, str(tmp_path)).problems
        assert "no such directory" in str(line)


def database(path: Path) -> None:
    """As Pegasus' own tools make it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            CREATE TABLE rc_lfn (lfn_id INTEGER PRIMARY KEY, lfn VARCHAR(245) NOT NULL);
            CREATE TABLE rc_pfn (pfn_id INTEGER PRIMARY KEY, lfn_id INTEGER, pfn VARCHAR, site VARCHAR);
            CREATE TABLE rc_meta (lfn_id INTEGER, key VARCHAR, value VARCHAR);
            INSERT INTO rc_lfn VALUES (1, 'f.a'), (2, 'f.b');
            INSERT INTO rc_pfn VALUES (1, 1, '/d/f.a', 'local'), (2, 1, 'http://h/f.a', 'far');
            INSERT INTO rc_pfn VALUES (3, 2, '/d/b', NULL);
            INSERT INTO rc_meta VALUES (1, 'size', '7');
        """)


def test_a_database(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"])])
    database(tmp_path / "rc.db")
    given = {
        START: "JDBCRC",
        f"{START}.db.driver": "sqlite",
        f"{START}.db.url": f"jdbc:sqlite:{tmp_path}/rc.db",
    }
    found = load("workflow.yml", given, {}, str(tmp_path))
    assert found.problems == ()
    assert places(found, "f.a") == [("local", "file:///d/f.a"), ("far", "http://h/f.a")]
    assert places(found, "f.b") == [("local", "file:///d/b")]
    known = found.catalogs.replicas.find("f.a")
    assert known is not None and known.size == 7
    before = (tmp_path / "rc.db").read_bytes()
    for url, text in (
        ("jdbc:mysql://h/x", "no other database is asked"),
        (f"jdbc:sqlite:{tmp_path}/none.db", "unable to open"),
        (f"jdbc:sqlite:{tmp_path}/sites.yml", "is no replica catalog"),
        ("", "expected jdbc:sqlite:/PATH"),
    ):
        (line,) = load("workflow.yml", {**given, f"{START}.db.url": url}, {}, str(tmp_path)).problems
        assert text in str(line)
    assert (tmp_path / "rc.db").read_bytes() == before and not (tmp_path / "none.db").exists()


def test_catalogs_of_the_command_line(tmp_path: Path) -> None:
    """A cache replaces what others say; inherited ones are below them."""
    world(tmp_path, [job("a", ["f.a"], ["x!"])], replicas=[replica("f.a", "/own/f.a")])
    (tmp_path / "cache").write_text("f.a /cache/f.a site=local\n")
    (tmp_path / "more.yml").write_text('{"replicas": [{"lfn": "f.a", "pfns": [{"site": "b", "pfn": "/b"}]}]}')
    given = Given(caches=["cache"], inherited=["more.yml"])
    assert places(read(tmp_path, given), "f.a") == [("local", "file:///cache/f.a")]
    found = read(tmp_path, given, pegasus__catalog__replica__cache__asrc="true")
    assert [url for _, url in places(found, "f.a")] == ["file:///own/f.a", "file:///cache/f.a", "file:///b"]
    given = Given(caches=["none.txt"], inherited=["none.yml"], programs=["none"])
    lines = sorted(map(str, read(tmp_path, given).problems))
    assert [line.partition(":")[0] for line in lines] == [
        "--cache none.txt",
        "--inherited-rc-files none.yml",
        "--transformations-dir",
    ]


def test_a_directory_of_programs(tmp_path: Path) -> None:
    world(tmp_path, [job("a", ["in"], ["x!"])], transformations=[])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "keg").touch()
    dag = compile(read(tmp_path, Given(programs=["bin"])), settings())
    assert f"file://{tmp_path}/bin/keg" in {url for node in named(dag, "stage_in") for url in sources(node)}


# --- selectors --------------------------------------------------------------------------------------


def first(directory: Path, **properties: str) -> list[str]:
    """The places of the input, in the order in which they are tried."""
    chosen = {f"pegasus.selector.replica{key.replace('__', '.')}": value for key, value in properties.items()}
    (move,) = (
        one for one in moves(planned(directory, "condorio", properties=chosen), "stage_in") if one.lfn == "in"
    )
    priorities = [pfn.priority for pfn in move.sources]
    assert priorities == sorted(priorities, reverse=True)
    return [pfn.url for pfn in move.sources]


def test_replica_selectors(tmp_path: Path) -> None:
    pfns = [("a", "https://a/in"), ("b", "http://b/in"), ("local", "http://l/in"), ("local", "/d/in")]
    known = {"lfn": "in", "pfns": [{"site": label, "pfn": pfn} for label, pfn in pfns]}
    world(tmp_path, [job("j", ["in"], ["x!"])], replicas=[known])
    assert first(tmp_path)[:2] == ["file:///d/in", "http://l/in"]
    assert first(tmp_path, **{"": "Local"})[0] == "file:///d/in"
    ranks = {"__regex__rank__1": "http://b/.*", "__regex__rank__10": ".*/in", "__regex__rank__2": "https:.*"}
    assert first(tmp_path, **{"": "Regex", **ranks})[:2] == ["http://b/in", "https://a/in"]
    only = {"": "Restricted", "__local__ignore__stagein__sites": "a", "__*__prefer__stagein__sites": "b"}
    assert first(tmp_path, **only) == ["http://b/in", "file:///d/in", "http://l/in"]
    both = {"": "Restricted", "__*__ignore__stagein__sites": "a,b", "__local__prefer__stagein__sites": "b"}
    assert first(tmp_path, **both) == ["http://b/in", "file:///d/in", "http://l/in"]
    nothing = {
        "pegasus.selector.replica": "Restricted",
        "pegasus.selector.replica.*.ignore.stagein.sites": "a,b,local",
    }
    assert any("no site can read 'in'" in line for line in wrong(tmp_path, "condorio", properties=nothing))
    broken = {"pegasus.selector.replica": "Regex", "pegasus.selector.replica.regex.rank.1": "("}
    assert "rank.1: not a regular expression" in wrong(tmp_path, "condorio", properties=broken)[0]


def test_links_in_place_of_copies(tmp_path: Path) -> None:
    """Of what is at the site, but for programs, whose rights are changed."""
    replicas = [replica("here", "/d/here"), replica("web", "http://h/web")]
    world(tmp_path, [job("j", ["here", "web"], ["x!"])], replicas=replicas)
    dag = planned(tmp_path, "condorio", properties={"pegasus.transfer.links": "true"})
    to = {one.lfn: one.destinations[0].url.partition(":")[0] for one in moves(dag, "stage_in")}
    assert to == {"here": "symlink", "web": "file", "keg": "file"}
    dag = planned(tmp_path, "condorio")
    assert {one.destinations[0].url.partition(":")[0] for one in moves(dag, "stage_in")} == {"file"}


# --- where outputs go -------------------------------------------------------------------------------


def outputs(directory: Path, found: Loaded | None = None, **properties: str) -> dict[str, str]:
    known = {key.replace("__", "."): value for key, value in properties.items()}
    loaded = found or load("workflow.yml", known, {}, str(directory))
    dag = compile(loaded, settings(properties=known, relative="joe/w/run0001"))
    places = {lfn: pfns[0].url for lfn, pfns in dag.outputs.items()}
    assert registered(dag) == places
    return places


def registered(dag: Dag) -> dict[str, str]:
    return {one.lfn: one.pfn.url for node in dag.nodes for one in node.registrations}


def test_output_mappers(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!", "d/y!"])])
    assert outputs(tmp_path) == {"x": "file:///s/out/x", "d/y": "file:///s/out/d/y"}
    deep = outputs(tmp_path, pegasus__dir__storage__deep="true")
    assert deep["x"] == "file:///s/out/joe/w/run0001/00/00/x"
    flat = {"pegasus__dir__storage__deep": "true", "pegasus__dir__storage__mapper": "Flat"}
    assert outputs(tmp_path, **flat)["x"] == "file:///s/out/joe/w/run0001/x"
    assert outputs(tmp_path, pegasus__dir__storage__mapper="Named")["d/y"] == "file:///s/out/keg/d/y"
    fixed = {
        "pegasus__dir__storage__mapper": "Fixed",
        "pegasus__dir__storage__mapper__fixed__url": "http://h/o/",
    }
    assert outputs(tmp_path, **fixed)["d/y"] == "http://h/o/d/y"
    del fixed["pegasus__dir__storage__mapper__fixed__url"]
    (line,) = wrong(tmp_path, properties={MAPPER: "Fixed"})
    assert line == f"properties: {MAPPER}.fixed.url: the mapper Fixed needs the URL of a directory"
    assert f"{MAPPER}: expected one of Flat, " in wrong(tmp_path, properties={MAPPER: "Round"})[0]


def test_at_most_256_files_in_a_hashed_directory(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], [f"f{n}!" for n in range(600)])])
    found = outputs(tmp_path, pegasus__dir__storage__mapper="Hashed")
    directories = [url.rpartition("/")[0].removeprefix("file:///s/out/") for url in found.values()]
    assert {one: directories.count(one) for one in directories} == {"00/00": 256, "00/01": 256, "00/02": 88}


@pytest.mark.parametrize("form", ["lines", "yaml"])
def test_a_catalog_says_where_each_output_goes(form: str, tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!", "y1!"])], sites=[LOCAL, POOL, site("far", "http://far/s")])
    entries: list[dict[str, Any]] = [
        {"lfn": "x", "pfns": [{"site": "local", "pfn": "/keep/x"}]},
        {"lfn": "y(.)", "regex": True, "pfns": [{"site": "far", "pfn": "http://far/[1]/[0]"}]},
    ]
    lines = 'x /keep/x site="local"\ny(.) http://far/[1]/[0] site="far" regex="true"\n'
    (tmp_path / "map").write_text(lines if form == "lines" else json.dumps({"replicas": entries}))
    given = {
        "pegasus__dir__storage__mapper": "Replica",
        "pegasus__dir__storage__mapper__replica__file": "map",
    }
    assert outputs(tmp_path, **given) == {"x": "file:///keep/x", "y1": "http://far/1/y1"}
    (tmp_path / "map").write_text('x /keep/x site="local"\n')
    known = {key.replace("__", "."): value for key, value in given.items()}
    found = load("workflow.yml", known, {}, str(tmp_path))
    with pytest.raises(PlanError, match="does not say where 'y1' goes"):
        compile(found, settings(properties=known))
    (tmp_path / "map").unlink()
    with pytest.raises(PlanError) as caught:
        compile(load("workflow.yml", known, {}, str(tmp_path)), settings(properties=known))
    (line,) = map(str, caught.value.problems)
    assert line.startswith("--output-map (pegasus.dir.storage.mapper.replica.file) map: cannot be read")
