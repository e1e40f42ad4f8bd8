"""What is read of Pegasus' files, and what is said of those that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pegasus_toolkit.planner.catalogs import Checksum, Pfn
from pegasus_toolkit.planner.compile import compile
from pegasus_toolkit.planner.model import PlanError
from pegasus_toolkit.planner.reading import document, properties
from pegasus_toolkit.planner.reading.load import Given, Loaded, load
from tests.planner_world import job, loaded, settings, site, use, world

EVERYTHING = Path(__file__).parent / "golden" / "everything"
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def problems(found: Loaded, **more: object) -> list[str]:
    with pytest.raises(PlanError) as caught:
        compile(found, settings(**more))
    return [str(one) for one in caught.value.problems]


# --- what Pegasus' own API writes -------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything() -> Loaded:
    found = load("workflow.yml", {}, {}, str(EVERYTHING))
    assert found.problems == () and found.warnings == ()
    return found


def test_api_jobs(everything: Loaded) -> None:
    first, *ready, inner, planned = everything.workflow.jobs
    assert first.transformation == "ns::process:1.0"
    # Numbers as they stand, quotes as a shell takes them, and a dollar is a dollar.
    words = ("-i", "f.a", "--text", "two words", "1.0e-05", "1e3", "-n", "3", "$HOME")
    assert first.arguments == words
    assert [one.lfn for one in first.inputs] == ["f.a", "raw_7.dat"]
    assert [one.lfn for one in first.outputs] == ["deep/er/mid2", "first.log", "mid 1$x"]
    assert first.inputs[0].bypass and not first.inputs[1].bypass
    assert first.outputs[2].size == 10 and not first.outputs[2].stage_out
    assert first.profiles["dagman"] == {"retry": "5", "category": "heavy"}
    assert [one.id for one in ready] == ["R0", "R1", "R2", "R3"]
    assert (inner.kind, inner.file) == ("pegasusWorkflow", "inner.yml")
    assert (planned.kind, planned.file) == ("condorWorkflow", "planned.dag")
    assert everything.workflow.parents["DAG"] == ("SUB",)


def test_api_catalogs(everything: Loaded) -> None:
    catalogs = everything.catalogs
    found = catalogs.replicas.find("f.a")
    assert found is not None and found.checksum == Checksum("sha256", HELLO) and found.size == 5
    assert {pfn.url for pfn in found.pfns} == {"file:///data/f.a", "https://dav.example.org/f.a"}
    pattern = catalogs.replicas.find("raw_42.dat")
    assert pattern is not None and pattern.pfns == (Pfn("local", "file:///data/raw/42/raw_42.dat"),)
    assert catalogs.replicas.find("raw_x.dat") is None
    pool = catalogs.sites["pool"].directories[0]
    assert pool.url("all", "put") == "https://dav.example.org/lustre"
    assert pool.url("all", "get") == "http://cache.example.org/lustre"
    process = catalogs.transformations["ns::process:1.0"]
    assert process.requires == ("helper",) and process.sites[0].container == "box"
    assert process.profiles["pegasus"]["memory"] == "4096"
    assert catalogs.containers["box"].mounts == ("/scratch:/scratch:ro",)


def test_inline_catalogs_go_before_files(tmp_path: Path) -> None:
    world(
        tmp_path,
        [job("a", ["x"], ["y!"])],
        replicaCatalog={"replicas": [{"lfn": "x", "pfns": [{"site": "pool", "pfn": "http://h/x"}]}]},
        siteCatalog={"sites": [site("pool", "http://h/scratch")]},
    )
    found = loaded(tmp_path)
    replica = found.catalogs.replicas.find("x")
    assert replica is not None
    assert [pfn.url for pfn in replica.pfns] == ["http://h/x", "file:///d/x"]
    assert found.catalogs.sites["pool"].directories[0].url("all") == "http://h/scratch"


def test_files_named_by_properties_and_directories_of_inputs(tmp_path: Path) -> None:
    world(tmp_path, [job("a", ["in/x"], ["y!"])])
    (tmp_path / "replicas.yml").rename(tmp_path / "elsewhere.yml")
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "data" / "in" / "x").touch()
    named = {"pegasus.catalog.replica.file": "elsewhere.yml"}
    found = load("workflow.yml", named, {}, str(tmp_path), Given(inputs=["data"]))
    replica = found.catalogs.replicas.find("in/x")
    assert replica is not None
    assert [pfn.url for pfn in replica.pfns] == ["file:///d/in/x", f"file://{tmp_path}/data/in/x"]


# --- YAML -------------------------------------------------------------------------------------------


def test_scalars_stay_as_they_are_written() -> None:
    text = "a: [1e3, 0o17, 1.10, 0010, on, 1:30, 2001-01-01, ~, '~', \"\", null, .5]\n"
    expected = ["1e3", "0o17", "1.10", "0010", "on", "1:30", "2001-01-01", None, "~", "", None, ".5"]
    assert document.parse("f", text).tree == {"a": expected}


def test_aliases_and_nesting() -> None:
    text = "a: &x {k: [1, &y two]}\nb: *x\nc:\n- *y\n- []\n- {}\nd: &z\ne: *z\n"
    shared = {"k": ["1", "two"]}
    assert document.parse("f", text).tree == {
        "a": shared,
        "b": shared,
        "c": ["two", [], {}],
        "d": None,
        "e": None,
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [1\nc: 2\n", 3, "not YAML: "),
        ("a: 1\na: 2\n", 2, "the key 'a' is there twice"),
        ("a: 1\n---\nb: 2\n", 2, "expected one document"),
        ("a: *b\n", 1, "no use can be made of the alias *b"),
        ("? [a]\n: 1\n", 1, "expected a plain text as key"),
        ("a: " + "[" * 70 + "]" * 70, 1, "nested more than 64 deep"),
        ("a: \x01\n", 0, "not YAML: "),
    ],
)
def test_what_is_no_yaml(text: str, line: int, message: str) -> None:
    with pytest.raises(document.Broken) as caught:
        document.parse("f", text)
    assert message in caught.value.message
    assert caught.value.line == line


# --- what is wrong ----------------------------------------------------------------------------------


def test_everything_wrong_in_four_files_is_told_at_once_with_lines(tmp_path: Path) -> None:
    (tmp_path / "workflow.yml").write_text(
        "pegasus: '5.0'\nname: w\njobs:\n- type: job\n  id: a\n  name: keg\n  argumens: [x]\n  uses:\n"
        "  - lfn: x\n    type: inptu\n  - lfn: ../y\n    type: output\n    stageOut: maybe\n"
        "jobDependencies:\n- id: zz\n  children: [a, b]\n"
    )
    (tmp_path / "sites.yml").write_text("pegasus: '5.0'\nsites:\n- name: local\n  arch: [1]\n")
    (tmp_path / "replicas.yml").write_text(
        "pegasus: '5.0'\nreplicas:\n- lfn: x\n  pfns: []\n  checksum: {sha256: beef}\n"
    )
    (tmp_path / "transformations.yml").write_text(
        "pegasus: '5.0'\ntransformations:\n- name: keg\n  sites: 3\n"
    )
    found = problems(loaded(tmp_path))
    expected = [
        r"workflow\.yml:7: jobs\[0\]\.argumens: unknown key; did you mean 'arguments'\?",
        r"workflow\.yml:10: jobs\[0\]\.uses\[0\]\.type: expected input, output or checkpoint, found 'inptu'",
        r"workflow\.yml:11: jobs\[0\]\.uses\[1\]\.lfn: expected a name below the job's directory, .*'\.\./y'",
        r"workflow\.yml:15: jobDependencies\[0\]\.id: no job has the id 'zz'",
        r"workflow\.yml:16: jobDependencies\[0\]\.children\[1\]: no job has the id 'b'",
        r"sites\.yml:4: sites\[0\]\.arch: expected text, found a list",
        r"replicas\.yml:4: replicas\[0\]\.pfns: expected at least one place",
        r"replicas\.yml:5: replicas\[0\]\.checksum\.sha256: expected 64 hexadecimal digits, found 'beef'",
        r"transformations\.yml:4: transformations\[0\]\.sites: expected a list, found text '3'",
    ]
    for pattern in expected:
        assert any(re.fullmatch(pattern, line) for line in found), (pattern, found)
    assert len(found) == len(expected)


def test_an_unknown_key_does_not_hide_what_is_wrong_beside_it(tmp_path: Path) -> None:
    (tmp_path / "workflow.yml").write_text(
        "pegasus: '5.0'\nname: w\njobs:\n- {type: job, id: a, name: nokeg, argumens: [x], uses: []}\n"
        "- {type: job, id: b, name: keg, uses: [{lfn: nofile, type: input}]}\n"
    )
    found = problems(loaded(tmp_path))
    assert "jobs[0].argumens: unknown key" in found[0]
    assert any("the transformation 'nokeg' is in no catalog" in line for line in found)
    assert any("no catalog has a replica of it" in line for line in found)


def test_an_unknown_key_at_the_top_hides_what_follows_from_it(tmp_path: Path) -> None:
    world(tmp_path, [job("a", ["x"], [])])
    (tmp_path / "replicas.yml").write_text("pegasus: '5.0'\nreplica:\n- {lfn: x, pfns: []}\n")
    assert not any("has a replica" in line for line in problems(loaded(tmp_path)))


def test_files_that_cannot_be_read_are_told_beside_what_can_be_judged(tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], ["x!"]), job("b", ["x"], ["x!"])])
    (tmp_path / "replicas.yml").write_bytes(b"lfn: \xff\n")
    (tmp_path / "sites.yml").unlink()
    (tmp_path / "sites.yml").symlink_to("nowhere")
    found = problems(loaded(tmp_path))
    assert found[:2] == [
        "sites.yml: cannot be read: No such file or directory",
        "replicas.yml: expected UTF-8, found the byte 0xff",
    ]
    assert any("'b' reads and writes 'x'" in line for line in found)
    assert any("'b' writes 'x', as 'a' does" in line for line in found)
    assert not any("replica of" in line or "unknown site" in line for line in found)


def test_a_workflow_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    assert problems(loaded(tmp_path)) == ["workflow.yml: cannot be read: No such file or directory"]


@pytest.mark.parametrize("lfn", ["/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "..", "a\nb", "a\x7fb"])
def test_names_that_are_no_names(lfn: str, tmp_path: Path) -> None:
    world(tmp_path, [job("a", [], [])])
    text = (tmp_path / "workflow.yml").read_text()
    import json

    flow = json.loads(text)
    flow["jobs"][0]["uses"] = [use(lfn, "output")]
    (tmp_path / "workflow.yml").write_text(json.dumps(flow))
    (line,) = problems(loaded(tmp_path))
    assert "jobs[0].uses[0].lfn: expected" in line


def test_hooks_and_checkpoints(tmp_path: Path) -> None:
    one = job("a", [], ["x!"])
    world(
        tmp_path,
        [{**one, "hooks": {"shell": []}, "uses": [*one["uses"], use("c", "checkpoint")]}],
        hooks={"shell": [{"_on": "endd", "cmd": "x"}, {"_on": "end"}]},
    )
    found = loaded(tmp_path)
    assert [use.lfn for use in found.workflow.jobs[0].checkpoints] == ["c"]
    assert [str(p) for p in found.problems] == [
        "workflow.yml: hooks.shell[0]._on: expected one of start, success, error, end, all, never,"
        " found 'endd'",
        "workflow.yml: hooks.shell[1].cmd: expected, but there is no such key",
    ]


def test_arguments_that_no_shell_would_take(tmp_path: Path) -> None:
    world(tmp_path, [{**job("a", ["a b"], ["x!"]), "arguments": ["a b", "c d", "it's"]}])
    (line,) = problems(loaded(tmp_path))
    assert "jobs[0].arguments[2]: no closing quotation" in line


def test_an_argument_that_names_a_file_is_one_word(tmp_path: Path) -> None:
    world(tmp_path, [{**job("a", ["a b"], ["x!"]), "arguments": ["a b", "c d", "", r"\$x"]}])
    assert loaded(tmp_path).workflow.jobs[0].arguments == ("a b", "c", "d", "", "$x")


def test_variables_in_catalogs(tmp_path: Path) -> None:
    world(
        tmp_path,
        [job("a", ["x"], ["y!"])],
        replicas=[{"lfn": "x", "pfns": [{"site": "local", "pfn": "${D}/$x ${E}"}]}],
    )
    found = load("workflow.yml", {}, {"D": "/data"}, str(tmp_path))
    assert [p.message for p in found.problems] == ["the variable ${E} is not set or empty"]
    found = load("workflow.yml", {}, {"D": "/data", "E": "e"}, str(tmp_path))
    assert found.catalogs.replicas.entries["x"].pfns[0].url == "file:///data/$x e"


# --- properties -------------------------------------------------------------------------------------


def test_properties() -> None:
    text = (
        "# comment\n! comment\n a.b = 1 \nc:2\nd 3\ne.f=x\\\n   y\ng\\ h = \\u0041\\t\nempty=\n"
        "home = ${HOME}/x\nsame = ${a.b}\ndagman.RETRY=4\ncondor.request_memory=1\nenv.PATH_X=/p\n"
    )
    values, wrong = properties.read("p", text, {"HOME": "/h"})
    assert values == {
        "a.b": "1",
        "c": "2",
        "d": "3",
        "e.f": "xy",
        "g h": "A",
        "empty": "",
        "home": "/h/x",
        "same": "1",
        "dagman.RETRY": "4",
        "condor.request_memory": "1",
        "env.PATH_X": "/p",
    }
    assert wrong == []
    assert properties.profiles(values) == {
        "dagman": {"retry": "4"},
        "condor": {"request_memory": "1"},
        "env": {"PATH_X": "/p"},
    }


def test_properties_that_are_wrong() -> None:
    _, wrong = properties.read("p", "a=1\n\na=2\nb=${NO}\n=x\n", {})
    assert [(p.line, p.key, p.message) for p in wrong] == [
        (3, "a", "there is another value for this key before"),
        (4, "b", "the variable ${NO} is not set or empty"),
        (5, "", "expected key = value"),
    ]
