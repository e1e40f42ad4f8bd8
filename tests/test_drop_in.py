"""Commands that Pegasus has and people call by name: config, halt, exitcode, rc-client, submitdir."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.local_world import World
from tests.monitor_world import counted
from tests.test_workflows import BIN, command, plan, run
from tests.workflows.shapes import make

# What pegasus-lite-common.sh does to find out whether a node has Pegasus, in its own words.
LITE = """
detected=`which pegasus-config 2>/dev/null || true`
detected=`dirname $detected`
$detected/pegasus-config --version 2>/dev/null | grep -E "5\\.1\\.7$" >/dev/null && echo "using $detected"
"""


def called(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """One of ours, with nothing on PATH but what a shell needs."""
    path = environ.pop("PATH", f"{BIN}:/usr/bin:/bin")
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        env={"PATH": path, "HOME": "/nowhere", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path.parent


# --- pegasus-config ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pegasus-kickstart", "pegasus-config"])
def test_pegasus_lite_takes_the_commands_of_a_node_that_has_its_version(tmp_path: Path, name: str) -> None:
    theirs = program(tmp_path / "theirs" / name, "echo 5.1.7")
    path = f"{BIN}:{theirs}:/usr/bin:/bin"
    done = subprocess.run(
        ["/bin/sh", "-c", LITE], env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"using {BIN}\n"


def test_without_kickstart_a_node_is_not_taken_for_one_that_has_pegasus() -> None:
    assert "5.1" not in called("pegasus-config", "--version").stdout


def test_places(tmp_path: Path) -> None:
    assert called("pegasus-config", "--noeoln", "--bin").stdout == str(BIN)
    script = 'eval `pegasus-config --sh-dump`; exec "$PEGASUS_BIN_DIR/pegasus-version"'
    path = {"PATH": f"{BIN}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", script], env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip()
    python = called("pegasus-config", "--python").stdout.strip()
    assert (Path(python) / "Pegasus" / "api").is_dir()
    java = called("pegasus-config", "--java")
    assert java.returncode == 1 and "there is no java here" in java.stderr


# --- pegasus-halt -----------------------------------------------------------------------------------


def test_a_halted_run_ends_what_runs_and_goes_on_later(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.script("slow.sh", ": > begun; while [ ! -e go ]; do sleep 0.05; done; echo $1 >> order")
    world.script("pre.sh", "echo pre >> order")
    world.jobs("JOB A job.sub\nJOB B job.sub\nJOB C job.sub\nSCRIPT PRE B pre.sh\nPARENT A CHILD B C\n")
    world.write("x.dag", world.read("x.dag") + 'VARS A script="slow.sh"\n')
    process = world.start("--jobs", "1")
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.02)
    done = called("pegasus-halt", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    (tmp_path / "go").touch()
    assert process.wait() == 1
    process.communicate()
    assert [word for word in world.order if word != "pre"] == ["A"] and "DAG_STATUS_HALTED" in world.read(
        "x.dag.dagman.out"
    )
    assert counted(tmp_path).done == 1
    assert called("pegasus-halt", str(tmp_path)).returncode == 1  # it does not run
    assert world.run() == 0 and {"A", "B", "C"} <= set(world.order)


# --- pegasus-exitcode -------------------------------------------------------------------------------


def test_exitcode_on_our_records(tmp_path: Path) -> None:
    for name in ("logs", "records"):
        (tmp_path / name).mkdir()
    out, record = tmp_path / "logs" / "job.out", tmp_path / "records" / "job.json"
    for number, (told, words, code, said) in enumerate(
        (
            ({"exit": 0}, [], 0, ""),
            ({"exit": 1, "error": "disk full"}, [], 1, "disk full"),
            ({"exit": 0}, ["-r", "3"], 1, "the job returned 3"),
            ({"exit": 0}, ["-f", "ERROR"], 1, "it said 'ERROR'"),
            ({"exit": 0}, ["-s", "DONE"], 1, "it did not say 'DONE'"),
            ({"exit": 0}, ["-s", "some"], 0, ""),
            ({}, [], 1, "is no record"),
            (None, [], 1, "there is no record"),
            (None, ["-I"], 0, ""),
        )
    ):
        out.write_text("some ERROR in the text")
        record.write_text(json.dumps(told)) if told is not None else record.unlink(missing_ok=True)
        done = called("pegasus-exitcode", *words, str(out))
        assert (done.returncode, said in done.stderr) == (code, True), (number, done.stderr)
        assert not out.exists() and out.with_name(f"job.out.{number:03d}").exists()
    out.write_text("")
    assert called("pegasus-exitcode", "-n", "-I", str(out)).returncode == 0 and out.exists()


# --- pegasus-rc-client ------------------------------------------------------------------------------


def test_a_catalog_is_looked_into_and_changed(tmp_path: Path) -> None:
    def client(*words: str) -> tuple[int, str, str]:
        done = command(tmp_path, "pegasus-rc-client", *words)
        return done.returncode, done.stdout, done.stderr

    assert client("insert", "a", "file:///d/a", "site=far", "night=3", f"checksum.value={'a' * 64}")[0] == 0
    (tmp_path / "more").write_text("b /d/b\nb /e/b site=far # a second\n")
    assert client("-i", "more")[0] == 0
    code, said, _ = client("lookup", "a", "none")
    assert code == 1 and said.startswith('a file:///d/a site="far" night="3" checksum.type="sha256"')
    assert client("list", "lfn", "b*", "site", "far")[1] == 'b /e/b site="far"\n'
    assert client("delete", "b", "/d/b", "site=far")[0] == 1  # it is local
    assert client("delete", "b", "/d/b")[0] == 0
    assert client("list")[1].count("\n") == 2
    entries = yaml.safe_load((tmp_path / "replicas.yml").read_text())["replicas"]
    assert entries[0]["metadata"] == {"night": "3"} and entries[1]["pfns"] == [{"site": "far", "pfn": "/e/b"}]
    assert client("remove", "a", "b") == (0, "", "") and client("list")[1] == ""
    (tmp_path / "p").write_text("pegasus.catalog.replica.file = other.yml\n")
    assert client("-c", "p", "insert", "x", "/x")[0] == 0 and (tmp_path / "other.yml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected a command"),
        (("inzert", "a", "b"), "no command 'inzert'"),
        (("insert", "a"), "insert takes LFN PFN"),
        (("clear", "x"), "clear takes nothing"),
        (("lookup", "a"), "replicas.yml: cannot be read"),
        (("-Dpegasus.catalog.replica=File", "clear"), "only the YAML catalog"),
    ],
)
def test_what_the_client_refuses(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = command(tmp_path, "pegasus-rc-client", *words)
    assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / "replicas.yml").exists()


# --- pegasus-submitdir ------------------------------------------------------------------------------


def test_a_submit_directory_is_packed_unpacked_moved_and_deleted(tmp_path: Path) -> None:
    world = make("stuck", tmp_path, "condorio", 3)
    submit = plan(world)
    assert run(world, submit).returncode == 1
    before = {
        path: path.read_bytes() for path in submit.rglob("*") if path.is_file() and path.name != "run.db"
    }
    told = command(tmp_path, "pegasus-analyzer", "--json", str(submit)).stdout
    size = sum(map(len, before.values()))

    def manage(*words: str) -> subprocess.CompletedProcess[str]:
        return command(tmp_path, "pegasus-submitdir", *words)

    assert manage("archive", str(submit)).returncode == 0
    assert sum(path.stat().st_size for path in submit.rglob("*") if path.name != "run.db") < size
    assert manage("archive", str(submit)).returncode == 1
    failures = json.loads(told)["workflows"][0]["failures"]
    packed = json.loads(command(tmp_path, "pegasus-analyzer", "--json", str(submit)).stdout)
    assert packed["workflows"][0]["failures"][0]["error"] == failures[0]["error"]
    refused = command(tmp_path, "pegasus-run", str(submit))
    assert refused.returncode == 2 and "pegasus-submitdir extract" in refused.stderr
    assert manage("extract", str(submit)).returncode == 0
    assert {path: path.read_bytes() for path in before} == before
    assert manage("extract", str(submit)).returncode == 1
    (tmp_path / "kept").mkdir()
    assert manage("move", str(submit), "kept").returncode == 0
    moved = tmp_path / "kept" / submit.name
    assert json.loads((moved / "braindump.yml").read_text())["submit_dir"] == str(moved)
    assert "Failure" in command(tmp_path, "pegasus-status", str(moved)).stdout
    assert "was moved from" in command(tmp_path, "pegasus-run", str(moved)).stderr
    assert manage("delete", str(moved)).returncode == 0 and not moved.exists()


def test_only_submit_directories_of_runs_that_are_over_are_touched(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file").touch()
    assert command(tmp_path, "pegasus-submitdir", "delete", "some").returncode == 2
    (tmp_path / "some" / "x.dag").write_text("JOB A a.sub\n")
    done = command(tmp_path, "pegasus-submitdir", "delete", "some")
    assert done.returncode == 1 and "no submit directory of pegasus-plan" in done.stderr
    assert (tmp_path / "some" / "file").exists()
    world = make("diamond", tmp_path / "w", "condorio")
    submit = plan(world)
    (submit / "plan.json").write_text((submit / "plan.json").read_text())
    lock = next(submit.glob("*.dag")).with_suffix(".dag.lock")
    from pegasus_toolkit.dag.process import started

    lock.write_text(f"{os.getpid()}\nhost {os.uname().nodename}\nstarted {started(os.getpid())}\n")
    running = command(tmp_path, "pegasus-submitdir", "delete", str(submit))
    assert running.returncode == 1 and "the run goes on" in running.stderr and submit.exists()
