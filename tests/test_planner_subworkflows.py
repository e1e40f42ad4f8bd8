"""Sub-workflows as they are written: their arguments mean what they mean where the outer one is planned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.planner_world import replica, site, use, world

BIN = Path(sys.executable).parent
CACHE = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")}


def command(cwd: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / argv[0]), *map(str, argv[1:])],
        cwd=cwd,
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(cwd), "USER": "joe", **CACHE},
        capture_output=True,
        text=True,
        check=False,
    )


def counting(lfn: str, name: str = "count", out: str = "count.txt") -> dict[str, Any]:
    """A job that counts the lines of a file."""
    uses = [use(lfn), use(out, "output", stageOut=True, registerReplica=False)]
    return {"type": "job", "name": name, "id": "in", "arguments": ["-l", lfn], "stdout": out, "uses": uses}


def program(name: str = "count") -> dict[str, Any]:
    return {"name": name, "sites": [{"name": "pool", "pfn": "/usr/bin/wc", "type": "installed"}]}


def outer(
    root: Path, arguments: list[str], inner: Mapping[str, Any] | None = None, uses: Any = (), **more: Any
) -> Path:
    """One job: the workflow inner.yml, whose count.txt is wanted."""
    scratch = site("local", storage=str(root / "outputs"))
    scratch["directories"][0] |= {
        "path": str(root / "scratch"),
        "fileServers": [{"url": f"file://{root}/scratch", "operation": "all"}],
    }
    known = {"name": "inner", "jobs": [counting("extra.txt")], **(inner or {})}
    (root / "inner.yml").write_text(json.dumps({"pegasus": "5.0", **known}))
    keep = {"stageOut": True, "registerReplica": False, **more.pop("keep", {})}
    sub = {"type": "pegasusWorkflow", "file": "inner.yml", "id": "sub", "arguments": arguments}
    found = [use("inner.yml"), use("count.txt", "output", **keep), *uses]
    replicas = [replica("inner.yml", str(root / "inner.yml")), *more.pop("replicas", ())]
    pool = {"name": "pool", "profiles": {"pegasus": {"style": "condor"}}}
    known = {"sites": [scratch, pool], "transformations": [program()], **more}
    return world(root, [{**sub, "uses": found}], replicas=replicas, **known)


def extra(root: Path, directory: str = "input") -> Path:
    path = root / directory / "extra.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("x\ny\n")
    return path


def run(root: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    done = command(root, "pegasus-plan", "-q", "--relative-dir", "submit", *options, "--submit")
    return done, root / "submit"


def counted(root: Path, where: str = "outputs") -> str:
    return (root / where / "count.txt").read_text().split()[0]


def test_relative_directories_begin_where_the_outer_one_is_planned(tmp_path: Path) -> None:
    extra(tmp_path)
    arguments = ["--input-dir", "input", "--output-dir", "results", "--relative-submit-dir", "below/it"]
    outer(tmp_path, [*arguments, "--basename", "mine", "-s", "pool"])
    done, submit = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert counted(tmp_path) == counted(tmp_path, "results") == "2"  # of both workflows
    assert (submit / "subworkflow_sub" / "below" / "it" / "mine.dag").exists()


def test_a_submit_directory_elsewhere(tmp_path: Path) -> None:
    extra(tmp_path)
    outer(tmp_path, ["--input-dir", "input", "--dir", "elsewhere", "-s", "pool"])
    assert run(tmp_path)[0].returncode == 0 and counted(tmp_path) == "2"
    assert (tmp_path / "elsewhere" / "subworkflow_sub" / "workflow.dag").exists()


@pytest.mark.parametrize("inline", [False, True], ids=["files", "inline"])
def test_its_own_properties_are_above_the_catalogs_of_the_outer_one(tmp_path: Path, inline: bool) -> None:
    path = extra(tmp_path)
    (tmp_path / "mine.conf").write_text("env.X = y\n")
    outer(tmp_path, ["--conf", "mine.conf", "--sites", "pool"], replicas=[replica("extra.txt", str(path))])
    if inline:
        flow = json.loads((tmp_path / "workflow.yml").read_text())
        for kind in ("site", "replica", "transformation"):
            catalog = tmp_path / f"{kind}s.yml"
            flow[f"{kind}Catalog"] = json.loads(catalog.read_text())
            catalog.unlink()
        (tmp_path / "workflow.yml").write_text(json.dumps(flow))
    done, submit = run(tmp_path)
    assert done.returncode == 0, done.stderr + (submit / "logs/subworkflow_sub.pre.log").read_text()
    assert counted(tmp_path) == "2"
    assert "env.X = y" in (submit / "subworkflow_sub/plan/pegasus.properties").read_text()


def test_files_that_are_for_planning(tmp_path: Path) -> None:
    """Properties and a catalog that only the outer workflow's replica catalog knows."""
    (tmp_path / "kept").mkdir()
    names = ("inner.conf", "programs.yml")
    (tmp_path / "kept" / names[0]).write_text("pegasus.catalog.transformation.file = programs.yml\n")
    (tmp_path / "kept" / names[1]).write_text(
        json.dumps({"pegasus": "5.0", "transformations": [program("tally")]})
    )
    files = [replica(name, str(tmp_path / "kept" / name)) for name in names]
    uses = [*(use(name, forPlanning=True) for name in names), use("extra.txt")]
    outer(
        tmp_path,
        ["--conf", "inner.conf", "--sites", "pool"],
        {"jobs": [counting("extra.txt", "tally")]},
        uses,
        replicas=[*files, replica("extra.txt", str(extra(tmp_path)))],
    )
    done, submit = run(tmp_path)
    assert done.returncode == 0, done.stderr + (submit / "logs/subworkflow_sub.pre.log").read_text()
    assert counted(tmp_path) == "2"


def test_an_output_map_that_only_the_replica_catalog_knows(tmp_path: Path) -> None:
    """As PyCBC writes hierarchies: the map is an input, its name stands in a property."""
    (tmp_path / "kept").mkdir()
    other = {**counting("extra.txt", out="more.txt"), "id": "two"}
    (tmp_path / "kept" / "it.map").write_text(f'more.txt {tmp_path}/mine/more.txt pool="local"\n')
    (tmp_path / "cache.txt").write_text(f'extra.txt {extra(tmp_path)} pool="local"\n')
    start = "pegasus.dir.storage.mapper"
    arguments = [f"-D{start}=Replica", f"-D{start}.replica=File", f"-D{start}.replica.file=it.map"]
    arguments += ["--cache", "cache.txt", "--basename", "it", "--relative-submit-dir", "it", "-s", "pool"]
    outer(
        tmp_path,
        [*arguments, "--cluster", "label,horizontal", "--output-site", "local", "-v"],
        {"jobs": [counting("extra.txt"), other]},
        [use("it.map")],
        replicas=[replica("it.map", str(tmp_path / "kept" / "it.map"))],
    )
    done, submit = run(tmp_path)
    assert done.returncode == 0, done.stderr + (submit / "logs/subworkflow_sub.pre.log").read_text()
    assert counted(tmp_path) == "2" and (tmp_path / "mine" / "more.txt").exists()
    assert (submit / "subworkflow_sub" / "it" / "it.dag").exists()


def test_what_the_outer_one_waits_for_is_handed_over_whatever_the_inner_one_says(tmp_path: Path) -> None:
    extra(tmp_path)
    one = counting("extra.txt")
    one["uses"][1]["stageOut"] = False
    other = {**counting("extra.txt", out="more.txt"), "id": "two"}
    outer(tmp_path, ["--input-dir", "input", "-s", "pool"], {"jobs": [one, other]})
    done, submit = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["count.txt", "more.txt"]
    assert not list((tmp_path / "scratch").rglob("*.txt"))
    text = "".join(path.read_text() for path in submit.rglob("stage_out*.spec.json"))
    assert text.count(f'"file://{tmp_path}/outputs/count.txt"') == 1  # by the outer one alone


def test_arguments_that_cannot_work_are_told_before_anything_runs(tmp_path: Path) -> None:
    for arguments, text in (
        (["--conf", "nope.conf"], "--conf: there is no 'nope.conf'"),
        (["--input-dir", "nope"], "--input-dir: there is no 'nope'"),
        (["--clenup", "none"], "unknown option --clenup; did you mean --cleanup?"),
        (["--cleanup", "never"], "argument --cleanup: invalid choice: 'never'"),
        (["--submit"], "--submit: the workflow above runs it"),
        (["--basename", "a,b"], "a path in a DAG cannot hold spaces"),
        (["other.yml"], "the workflow's file is named by the job, not by 'other.yml'"),
    ):
        outer(tmp_path, arguments)
        done = command(tmp_path, "pegasus-plan", "--relative-dir", "submit")
        assert done.returncode == 2 and f"jobs[0].arguments: {text}" in done.stderr, arguments
        assert not (tmp_path / "submit").exists()


def test_what_its_planning_said_is_kept_and_told(tmp_path: Path) -> None:
    outer(tmp_path, ["--sites", "pool"])
    done, submit = run(tmp_path)
    assert done.returncode == 1
    message = "no job makes 'extra.txt', and no catalog has a replica of it"
    assert message in (submit / "logs" / "subworkflow_sub.pre.log").read_text()
    told = command(tmp_path, "pegasus-analyzer", submit).stdout
    assert "subworkflow_sub" in told and "its PRE script ended with exit code 2" in told and message in told
    status = json.loads(command(tmp_path, "pegasus-status", "--json", submit).stdout)
    assert status["dags"]["root"]["failed"] == 2  # with the last node, which tells of the whole run
    path = extra(tmp_path)
    catalog = json.loads((tmp_path / "replicas.yml").read_text())
    catalog["replicas"].append(replica("extra.txt", str(path)))
    (tmp_path / "replicas.yml").write_text(json.dumps(catalog))
    assert command(tmp_path, "pegasus-run", submit).returncode == 0 and counted(tmp_path) == "2"


def test_workflows_below_workflows(tmp_path: Path) -> None:
    """The innermost one knows the outermost's catalogs, and its output comes all the way up."""
    path = extra(tmp_path)
    (tmp_path / "deep.yml").write_text(
        json.dumps({"pegasus": "5.0", "name": "deep", "jobs": [counting("extra.txt")]})
    )
    (tmp_path / "mine.conf").write_text("env.X = y\n")
    uses = [use("deep.yml"), use("count.txt", "output", stageOut=True, registerReplica=False)]
    arguments = ["--conf", "mine.conf", "-s", "pool"]
    middle = {
        "type": "pegasusWorkflow",
        "file": "deep.yml",
        "id": "mid",
        "arguments": arguments,
        "uses": uses,
    }
    replicas = [replica("extra.txt", str(path)), replica("deep.yml", str(tmp_path / "deep.yml"))]
    outer(tmp_path, arguments, {"jobs": [middle]}, replicas=replicas)
    done, submit = run(tmp_path)
    logs = "".join(one.read_text() for one in submit.rglob("*.pre.log"))
    assert done.returncode == 0, done.stderr + logs
    assert counted(tmp_path) == "2"
    assert (submit / "subworkflow_sub/plan/subworkflow_mid/plan/workflow.dag").exists()
