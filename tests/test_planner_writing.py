"""The files of a plan, read by those that will read them: HTCondor's own parser and pegasus-transfer's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.planner.compile import compile
from pegasus_toolkit.planner.model import CONFIGURATIONS
from pegasus_toolkit.planner.reading.load import load
from pegasus_toolkit.planner.writing import quoting
from pegasus_toolkit.transfer import spec
from tests.planner_files import (
    AWKWARD,
    EVERYTHING,
    awkward,
    contents,
    everything,
    expanded,
    node_files,
    read_variables,
)
from tests.planner_world import (
    LOCAL,
    job,
    planned,
    settings,
    shape,
    site,
    world,
)

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
            if name.startswith("jobs/") and name.endswith(".spec.json"):
                loaded = spec.load(text.encode(), {})
                node = nodes[name[5:-10]]
                assert len(loaded) == len(node.operations) and loaded.warnings == ()
                seen.add(node.name)
        assert seen == {node.name for node in dag.nodes if node.operations}


def test_names_come_through_to_specification_and_worker(tmp_path: Path) -> None:
    files = contents(awkward(tmp_path, "nonsharedfs"))
    lines = "".join(text for name, text in files.items() if name.startswith("jobs/stage_in"))
    found = {path for path in re.findall(r'"url":"((?:[^"\\]|\\.)*)"', lines)}
    for name in AWKWARD:
        url = f"file:///d/in {name}".replace("%", "%25").replace("$", "$$")
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
    assert 'VARS keg_cat bundle="compute' in files["x.dag"]


def test_in_a_tutorial_each_job_has_a_submit_file_of_its_own(tmp_path: Path) -> None:
    world(tmp_path, shape("diamond"))
    shared = contents(planned(tmp_path))
    files = contents(planned(tmp_path, properties={"pegasus.mode": "tutorial"}))
    nodes = [line.split()[1:] for line in files["x.dag"].splitlines() if line.startswith("JOB")]
    assert len(nodes) > 4 and all(file.endswith(f"/submit/{node}.sub") for node, file in nodes)
    assert {"submit/keg_a.sub"} <= files.keys() and "submit/compute-pool.sub" not in files
    assert expanded(files, "keg_a") == expanded(shared, "keg_a")


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
    assert text["universe"] == "grid" and text["grid_resource"] == "batch slurm"
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
    htcondor2 = pytest.importorskip("htcondor2", reason="HTCondor's Python bindings are not installed")
    submit = htcondor2.Submit("executable = x\nqueue\n")
    submit["environment"] = quoting.environment(variables)
    found = dict(one.split("=", 1) for one in split(submit.expand("environment")))
    assert found == variables


@given(st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), words, min_size=1, max_size=3))
def test_variables_come_back(variables: dict[str, str]) -> None:
    line = " ".join(f"{key}={quoting.vars_value(value)}" for key, value in variables.items())
    assert dict(read_variables(line)) == variables
