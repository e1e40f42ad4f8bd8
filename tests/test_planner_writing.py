"""The files of a plan, read by those that will read them: HTCondor's own parser and pegasus-transfer's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.planner.compile import compile
from pegasus_toolkit.planner.model import CONFIGURATIONS, Dag, NodeFile
from pegasus_toolkit.planner.passes.structure import sort
from pegasus_toolkit.planner.reading.load import load
from pegasus_toolkit.planner.writing import directory, quoting
from pegasus_toolkit.transfer import spec
from tests.planner_world import KEG, LOCAL, job, named, planned, replica, settings, shape, site, use, world

htcondor2 = pytest.importorskip("htcondor2", reason="HTCondor's Python bindings are not installed")

AWKWARD = ["a b", "qu\"o'te", "dollar$HOME", "$(macro)", "100%", "back\\slash", "ünï", "-x", "#h;i", "{[*?]}"]
EVERYTHING = Path(__file__).parent / "golden" / "everything"


class Read(NamedTuple):
    """A DAG file: node to submit file, its variables, its parents; all lines by their first word."""

    jobs: dict[str, str]
    variables: dict[str, dict[str, str]]
    parents: dict[str, tuple[str, ...]]
    lines: dict[str, list[list[str]]]


def read_dag(text: str) -> Read:
    """As DAGMan's manual says a DAG is read; anything else in it fails."""
    found = Read({}, {}, {}, {})
    for line in text.splitlines():
        word, *rest = line.split()
        found.lines.setdefault(word, []).append(rest)
        if word in ("JOB", "FINAL", "SUBDAG"):
            name, file = rest[-2:] if word != "SUBDAG" else rest[1:3]
            assert re.fullmatch(r"[A-Za-z0-9_-]+", name) and name not in found.jobs
            found.jobs[name] = file if word != "SUBDAG" else ""
        elif word == "VARS":
            found.variables[rest[0]] = dict(_variables(line.split(None, 2)[2]))
        elif word == "PARENT":
            at = rest.index("CHILD")
            for child in rest[at + 1 :]:
                found.parents[child] = (*found.parents.get(child, ()), *rest[:at])
        else:
            known = ("#", "CONFIG", "SCRIPT", "RETRY", "CATEGORY", "PRIORITY", "MAXJOBS", "ABORT-DAG-ON")
            assert word in known, line
    return found


def _variables(text: str) -> Iterator[tuple[str, str]]:
    pattern = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?: |$)')
    at = 0
    while at < len(text):
        match = pattern.match(text, at)
        assert match, text[at:]
        yield match[1], re.sub(r"\\(.)", r"\1", match[2])
        at = match.end()


def contents(dag: Dag) -> dict[str, str]:
    return {name: content.decode() for name, content in directory.files(dag, "x")}


def expanded(files: Mapping[str, str], node: str) -> dict[str, str]:
    """A node's submit description as HTCondor reads it, with its variables in."""
    dag = read_dag(files["x.dag"])
    submit = htcondor2.Submit(files[dag.jobs[node].removeprefix("/submit/")])
    for key, value in dag.variables.get(node, {}).items():
        submit[key] = value
    return {key: submit.expand(key) for key in submit.keys()}  # noqa: SIM118  no mapping of its own


def node_files(files: Mapping[str, str]) -> dict[str, NodeFile]:
    decode = msgspec.json.Decoder(NodeFile).decode
    lines = [line for name, text in files.items() if name.endswith(".jsonl") for line in text.splitlines()]
    found = [decode(line) for line in lines]
    assert len({one.node for one in found}) == len(found)
    return {one.node: one for one in found}


def everything(configuration: str = "nonsharedfs") -> Dag:
    found = load("workflow.yml", {}, {}, str(EVERYTHING))
    return compile(found, settings(configuration, sites=("pool", "slurm-1"), clusterers=("horizontal",)))


def awkward(tmp_path: Path, configuration: str) -> Dag:
    jobs = [
        job(f"j{n}", [f"in {name}"], [f"out {name}!"], arguments=[f"in {name}"])
        for n, name in enumerate(AWKWARD)
    ]
    return planned(world(tmp_path, jobs), configuration)


# --- specifications ---------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_specifications_are_what_pegasus_transfer_reads(configuration: str, tmp_path: Path) -> None:
    plans = [awkward(tmp_path, configuration), everything()]
    plans += [
        planned(world(tmp_path, shape(name, 30)), configuration) for name in ("merge", "fan", "diamond")
    ]
    for dag in plans:
        files, nodes = contents(dag), {node.name: node for node in dag.nodes}
        seen = set()
        for name, text in files.items():
            if name.startswith("jobs/") and name.endswith(".json"):
                loaded = spec.load(text.encode(), {})
                node = nodes[name[5:-5]]
                assert len(loaded) == len(node.operations) and loaded.warnings == ()
                seen.add(node.name)
        assert seen == {node.name for node in dag.nodes if node.operations}


def test_names_come_through_to_specification_and_worker(tmp_path: Path) -> None:
    files = contents(awkward(tmp_path, "nonsharedfs"))
    lines = "".join(text for name, text in files.items() if name.startswith("jobs/stage_in"))
    found = {path for path in re.findall(r'"url":"((?:[^"\\]|\\.)*)"', lines)}
    for name in AWKWARD:
        url = f"file:///d/in {name}".replace("$", "$$")
        assert json.dumps(url, ensure_ascii=False)[1:-1] in found
    tasks = [task for one in node_files(files).values() for task in one.tasks]
    assert [task.arguments for task in tasks] == [(f"in {name}",) for name in AWKWARD]


# --- submit files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("name", ["diamond", "merge", "fan"])
def test_htcondor_reads_what_every_node_is_submitted_by(
    name: str, configuration: str, tmp_path: Path
) -> None:
    dag = planned(world(tmp_path, shape(name, 5)), configuration)
    files = contents(dag)
    known = node_files(files)
    for node in [*dag.nodes, None]:
        label = node.name if node else "receipt"
        found = expanded(files, label)
        assert not any("$(" in value for value in found.values()), found
        remote = node is not None and node.kind == "compute"
        assert found["universe"] == ("vanilla" if remote else "local")
        bundle = re.fullmatch(r'"--bundle (\S+) --node (\S+)"', found["arguments"])
        assert bundle and bundle[2] == label
        path = f"/submit/jobs/{bundle[1]}" if remote else bundle[1]
        assert f'"node":"{label}"' in files[path.removeprefix("/submit/")]
        if remote:
            brought = found["transfer_input_files"].split(",")
            metas = [f"/submit/records/{meta}.meta" for meta in known[label].metas]
            assert brought[: 1 + len(metas)] == [path, *metas]


def test_under_condorio_htcondor_carries_the_files(tmp_path: Path) -> None:
    dag = planned(world(tmp_path, [job("a", ["d/x", "$(y)"], ["e/z!", "$w"])]), "condorio")
    files = contents(dag)
    found, told = expanded(files, "keg_a"), node_files(files)["keg_a"]
    scratch = "/s/local/joe/pegasus/w/R1"
    assert found["transfer_input_files"].split(",")[2:] == [
        f"{scratch}/{lfn}" for lfn in ("keg", "$(y)", "d/x")
    ]
    assert found["initialdir"] == scratch
    assert found["transfer_output_files"] == "out/,keg_a.json,keg_a.meta"
    assert found["transfer_output_remaps"] == (
        '"keg_a.json=/submit/records/keg_a.json;keg_a.meta=/submit/records/keg_a.meta"'
    )
    assert {one.lfn: one.delivered for one in told.inputs} == {"keg": "keg", "d/x": "x", "$(y)": "$(y)"}
    assert told.outbox == "out" and not any(one.sources for one in told.inputs)


def test_on_the_submit_host_nothing_is_carried(tmp_path: Path) -> None:
    dag = planned(world(tmp_path, shape("diamond")), "condorio", sites=("local",))
    told = node_files(contents(dag))["keg_a"]
    assert told.outbox == "" and all(one.sources and not one.delivered for one in told.inputs)


def test_what_differs_between_jobs_is_in_variables(tmp_path: Path) -> None:
    requirement = '(Machine == "x\\y") && $(z)'
    jobs = [
        {
            **one,
            "profiles": {
                "pegasus": {"memory": f"{n} GB"},
                "condor": {"requirements": f"{requirement} || {n}"},
            },
        }
        for n, one in enumerate(shape("fan", 50))
    ]
    files = contents(planned(world(tmp_path, jobs)))
    assert len([name for name in files if name.startswith("submit/")]) == 3
    found = expanded(files, "keg_j00007")
    assert found["request_memory"] == "7 GB"
    assert found["requirements"] == '(Machine == "x\\y") &&  || 7'  # the macro is the user's own, and empty


def test_variables_that_are_too_long_for_a_line_get_a_file(tmp_path: Path) -> None:
    dag = planned(world(tmp_path, shape("merge", 400)))
    files = contents(dag)
    assert max(len(line) for line in files["x.dag"].splitlines() if not line.startswith("PARENT")) < 6000
    assert expanded(files, "keg_cat")["transfer_input_files"].count(".meta") == 401


def test_a_held_job_is_removed_but_not_one_that_its_user_holds(tmp_path: Path) -> None:
    classad2 = pytest.importorskip("classad2")
    jobs = [{**one, "profiles": {"condor": {"periodic_remove": "Late"}}} for one in shape("fan", 1)]
    files = contents(planned(world(tmp_path, jobs)))
    expression = expanded(files, "keg_j00000")["periodic_remove"]
    for reason, late, removed in ((13, False, True), (1, False, False), (16, False, False), (1, True, True)):
        ad = classad2.ClassAd({"JobStatus": 5, "HoldReasonCode": reason, "Late": late})
        ad["Remove"] = classad2.ExprTree(expression)
        assert ad.eval("Remove") is removed
    running = classad2.ClassAd({"JobStatus": 2, "Late": False})
    running["Remove"] = classad2.ExprTree(expression)
    assert running.eval("Remove") is False


def test_credentials_travel_encrypted_by_their_base_name(tmp_path: Path) -> None:
    pool = site("pool", "s3://j@pool/b")
    world(tmp_path, shape("diamond"), sites=[LOCAL, pool])
    files = contents(planned(tmp_path, environ={"PEGASUS_CREDENTIALS": "/home/j o/c.conf", "PATH": "/bin"}))
    remote, local = expanded(files, "keg_a"), expanded(files, "stage_in_0_pool")
    assert remote["transfer_input_files"].endswith(",/home/j o/c.conf")
    assert remote["encrypt_input_files"] == "/home/j o/c.conf"
    assert remote["environment"] == '"PEGASUS_CREDENTIALS_pool=c.conf"'
    assert local["environment"] == "\"PATH=/bin 'PEGASUS_CREDENTIALS_pool=/home/j o/c.conf'\""


def test_a_batch_system_behind_htcondor() -> None:
    found = load("workflow.yml", {}, {}, str(EVERYTHING))
    jobs = tuple(one for one in found.workflow.jobs if one.id == "ID1")
    flow = msgspec.structs.replace(found.workflow, jobs=jobs, parents={})
    dag = compile(found._replace(workflow=flow), settings("sharedfs", sites=("slurm-1",)))
    text = expanded(contents(dag), "process_ID1")
    assert text["universe"] == "grid" and text["grid_resource"] == "batch slurm localhost"
    assert text["batch_queue"] == "normal" and text["request_cpus"] == "2"


# --- quoting ----------------------------------------------------------------------------------------

words = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)


def split(value: str) -> list[str]:
    """HTCondor's new syntax for arguments, by its manual."""
    assert value[0] == value[-1] == '"'
    text = value[1:-1].replace('""', "\0")
    assert '"' not in text
    found: list[str] = []
    at, word, quoted, begun = 0, "", False, False
    while at < len(text):
        c = text[at]
        if c == "'" and quoted and text[at + 1 : at + 2] == "'":
            word, at = word + "'", at + 1
        elif c == "'":
            quoted, begun = not quoted, True
        elif c.isspace() and not quoted:
            found += [word] if begun else []
            word, begun = "", False
        else:
            word, begun = word + c, True
        at += 1
    assert not quoted
    return [one.replace("\0", '"') for one in (*found, *([word] if begun else []))]


@given(st.lists(words, max_size=4))
def test_arguments_come_back(given_words: list[str]) -> None:
    assert split(quoting.arguments(given_words)) == given_words


@given(st.dictionaries(st.from_regex(r"[A-Z_]+", fullmatch=True), words, max_size=3))
def test_environments_come_back_from_htcondor(variables: dict[str, str]) -> None:
    submit = htcondor2.Submit("executable = x\nqueue\n")
    submit["environment"] = quoting.environment(variables)
    found = dict(one.split("=", 1) for one in split(submit.expand("environment")))
    assert found == variables


@given(st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), words, min_size=1, max_size=3))
def test_variables_come_back(variables: dict[str, str]) -> None:
    line = " ".join(f"{key}={quoting.vars_value(value)}" for key, value in variables.items())
    assert dict(_variables(line)) == variables


# --- the DAG ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_dag_is_whole(configuration: str, tmp_path: Path) -> None:
    dags = [
        awkward(tmp_path, configuration),
        everything(),
        planned(world(tmp_path, shape("merge", 30)), configuration),
    ]
    for dag in dags:
        files = contents(dag)
        read = read_dag(files["x.dag"])
        assert set(read.jobs) == {*(node.name for node in dag.nodes), "receipt"}
        assert all(not file or file.removeprefix("/submit/") in files for file in read.jobs.values())
        assert {*read.parents, *(p for ps in read.parents.values() for p in ps)} <= set(read.jobs)
        order, cycle = sort(list(read.jobs), read.parents)
        assert not cycle and len(order) == len(read.jobs)
        retries = {line[0]: line[1:] for line in read.lines["RETRY"]}
        assert all(retries[node.name][1:] == ["UNLESS-EXIT", "2"] for node in dag.nodes)
        posts = {line[1] for line in read.lines["SCRIPT"] if line[0] == "POST"}
        assert posts == {name for name, file in read.jobs.items() if file}


def test_sub_workflows() -> None:
    dag = everything()
    files = contents(dag)
    read = read_dag(files["x.dag"])
    inner, planned_one = read.lines["SUBDAG"]
    scratch = "/s/local/joe/pegasus/w/R1"
    assert inner == ["EXTERNAL", "subworkflow_SUB", "/submit/subworkflow_SUB/plan/workflow.dag"]
    assert planned_one == ["EXTERNAL", "subworkflow_DAG", f"{scratch}/planned.dag", "DIR", scratch]
    assert [
        "PRE",
        "subworkflow_SUB",
        "/bin/pegasus-plan",
        "@/submit/jobs/subworkflow_SUB.args",
    ] in read.lines["SCRIPT"]
    words = files["jobs/subworkflow_SUB.args"].splitlines()
    assert "--if-missing" in words  # or a second try would find its own directory in the way
    assert words[-1] == f"{scratch}/inner.yml" and words[words.index("--output-dir") + 1] == scratch
    node = {one.name: one for one in dag.nodes}
    assert "subworkflow_SUB" not in {meta for one in dag.nodes for meta in one.metas}
    (out,) = (
        move
        for one in named(dag, "stage_out")
        for move in one.operations
        if getattr(move, "lfn", "") == "inner.out"
    )
    assert getattr(out, "sources")[0].url == f"file://{scratch}/inner.out"  # noqa: B009
    assert node["subworkflow_DAG"].inputs[0].lfn == "planned.dag"


def test_nobody_waits_for_a_digest_that_a_sub_workflow_does_not_tell(tmp_path: Path) -> None:
    inner = {"type": "pegasusWorkflow", "file": "in.yml", "id": "S", "uses": [use("x", "output")]}
    dag = planned(world(tmp_path, [inner, job("a", ["x", "in.yml"], ["y!"])]))
    (node,) = named(dag, "keg_")
    assert {one.lfn: one.produced for one in node.inputs} == {"keg": False, "x": False, "in.yml": False}
    assert node.metas == ("stage_in_1_pool",)
    assert "inter_site_0" in dag.parents["keg_a"]


@pytest.mark.parametrize("n", [100, 1000])
def test_at_most_a_fifth_of_upstreams_jobs_and_files(n: int, tmp_path: Path) -> None:
    dag = planned(world(tmp_path, shape("fan", n)))
    auxiliary = [node for node in dag.nodes if node.kind != "compute"]
    assert len(auxiliary) <= max(0.522 * n / 5, 15)
    assert len(list(directory.files(dag, "x"))) <= 0.5 * n


# --- on disk ----------------------------------------------------------------------------------------


def test_a_plan_with_nothing_to_do_is_a_dag_all_the_same(tmp_path: Path) -> None:
    world(tmp_path, shape("diamond"), replicas=[replica("f.d", "/s/out/f.d")])
    lines = contents(planned(tmp_path))["x.dag"].splitlines()
    assert "JOB nothing_to_do /submit/submit/final.sub NOOP" in lines
    assert "FINAL receipt /submit/submit/final.sub" in lines


def test_profiles_of_dagman(tmp_path: Path) -> None:
    dagman = {
        "retry": "7",
        "priority": "3",
        "category": "big",
        "pre": "/my/pre",
        "pre.arguments": "a b",
        "abort-dag-on": "4 RETURN 5",
    }
    jobs: list[dict[str, Any]] = [{**shape("fan", 1)[0], "profiles": {"dagman": dagman}}]
    world(tmp_path, jobs, transformations=[KEG])
    more = {"profiles": {"dagman": {"big.maxjobs": "2", "maxidle": "9"}}}
    files = contents(planned(tmp_path, **more))
    for line in (
        "RETRY keg_j00000 7 UNLESS-EXIT 2",
        "PRIORITY keg_j00000 3",
        "CATEGORY keg_j00000 big",
        "SCRIPT PRE keg_j00000 /my/pre a b",
        "ABORT-DAG-ON keg_j00000 4 RETURN 5",
        "MAXJOBS big 2",
    ):
        assert line in files["x.dag"].splitlines()
    assert "DAGMAN_MAX_JOBS_IDLE = 9" in files["dagman.config"].splitlines()
