"""``pegasus-analyzer`` as a program, on planned workflows that the local engine has run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pegasus_toolkit.monitor.hints import Cause, hints
from tests.local_world import World
from tests.monitor_world import asked, command, recorded, run, told
from tests.worker_world import plan
from tests.workflows.shapes import make

CAUSE = Cause(
    kind="program",
    said="",
    status=1,
    memory=0,
    job_file="",
    directory="/submit",
)


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second of three jobs has failed, again and again."""
    submitted = plan(make("stuck", tmp_path_factory.mktemp("stuck"), "nonsharedfs", 3))
    assert run(submitted) == 1
    return submitted.path


def test_a_program_that_fails(stuck: Path) -> None:
    done = command("analyzer", stuck)
    assert (done.returncode, done.stderr) == (0, "")
    assert command("analyzer", "--exit-code", stuck).returncode == 2
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "State             : Failure" in lines
    (at,) = (number for number, line in enumerate(lines) if line.startswith("====="))
    fact = {key: value for line in lines[at:] for key, _, value in [line.partition(": ")]}
    assert lines[at].strip("= ").startswith("keg_step")
    assert fact["what"] == "failed, compute, in phase run" and fact["attempts"] == "2"
    assert fact["why"].endswith("ended with exit code 1") and fact["site"] == "condorpool"
    assert "-n step" in fact["program"] and fact["program"].endswith("(exit code 1)")
    assert (stuck / fact["record"]).is_file() and (stuck / fact["submit file"]).is_file()
    assert f"pegasus-run {stuck}" in done.stdout


def test_what_the_program_said(stuck: Path) -> None:
    full, quiet = command("analyzer", stuck).stdout, command("analyzer", "-q", stuck).stdout
    assert " stderr -----" in full and " stderr -----" not in quiet
    assert "stuck" in full.partition(" stderr -----")[2]


def test_the_same_as_json(stuck: Path) -> None:
    found = told("analyzer", "-d", stuck)
    (workflow,) = found["workflows"]
    (failure,) = workflow["failures"]
    assert workflow["state"] == "Failure" and workflow["jobs"]["failed"] == 2  # the receipt fails, too
    assert failure["phase"] == "run" and failure["tasks"][0]["exit"] == 1 and failure["hints"]
    assert failure["failure"] == "program"


def test_every_attempt_has_its_record(stuck: Path) -> None:
    rows = asked(
        stuck,
        "SELECT count(*), count(attempt), count(DISTINCT attempt), (SELECT count(*) FROM attempts)"
        " FROM records",
        records=True,
    )
    assert len(set(rows[0])) == 1
    wrong = asked(stuck, "SELECT number FROM records WHERE verdict != 0 AND kind = 'compute' ORDER BY id")
    assert wrong == [(1,), (2,)]


def test_a_file_that_was_spoilt(tmp_path: Path) -> None:
    submitted = plan(make("spoilt", tmp_path, "nonsharedfs"))
    assert run(submitted) == 1
    (failure,) = told("analyzer", submitted.path)["workflows"][0]["failures"]
    assert failure["node"].startswith("keg_use") and failure["phase"] in ("fetch", "verify")
    assert failure["failure"] == "corrupted"
    assert any("differs from what is expected" in hint for hint in failure["hints"])


def test_an_input_that_is_gone(tmp_path: Path) -> None:
    world = make("diamond", tmp_path, "nonsharedfs")
    submitted = plan(world)
    shutil.rmtree(world.root / "data")
    assert run(submitted) == 1
    done = command("analyzer", submitted.path)
    assert done.returncode == 0 and "stage_in_0" in done.stdout
    assert "try: the file is not at that place: check the replica catalog" in done.stdout
    (failure,) = told("analyzer", submitted.path)["workflows"][0]["failures"]
    assert failure["transfers"] and all(one["error"] for one in failure["transfers"])
    assert failure["failure"] == failure["transfers"][0]["failure"] == "not found"
    assert f"pegasus-transfer -f {submitted.path}/jobs/{failure['node']}.spec.json" in failure["hints"][-1]


def test_sub_workflows_if_asked(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.script("bad.sh", "echo 'no luck' >&2; exit 3")
    (tmp_path / "below").mkdir()
    below = 'JOB inner ../job.sub DIR .\nVARS inner script="bad.sh"\n'
    (tmp_path / "below" / "y.dag").write_text(below)
    world.jobs(f"SUBDAG EXTERNAL sub {tmp_path}/below/y.dag\n")
    (tmp_path / "below" / "job.sub").write_text((tmp_path / "job.sub").read_text())
    assert world.run() == 1
    alone, deep = command("analyzer", tmp_path), command("analyzer", "-r", tmp_path)
    assert alone.returncode == deep.returncode == 0
    assert f"pegasus-analyzer {tmp_path}/below" in alone.stdout and " inner " not in alone.stdout
    assert " inner " in deep.stdout


def test_nothing_to_tell(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.jobs("JOB A job.sub\n")
    assert world.run() == 0
    done = command("analyzer", "--exit-code", tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "try:" not in done.stdout
    assert " # jobs succeeded  :       1 (100.00%)" in done.stdout


def test_what_a_job_said_cannot_disturb_the_terminal(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.script("rude.sh", "printf 'red \\033[31m\\ttab\\r\\n'; exit 1")
    (tmp_path / "logs").mkdir()
    world.write("job.sub", (tmp_path / "job.sub").read_text().replace("$(JOB).out", "logs/$(JOB).out"))
    world.jobs("JOB A job.sub\n", "rude.sh")
    assert world.run() == 1
    done = command("analyzer", tmp_path)
    assert "red \\x1b[31m" in done.stdout and "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ({"status": -9, "memory": 3 * 2**30}, "it had 3072 MiB"),
        ({"said": "std::bad_alloc"}, "out of memory"),
        ({"kind": "walltime"}, "pegasus.maxwalltime"),
        ({"said": "ModuleNotFoundError: No module named 'numpy'"}, "numpy is not installed"),
        ({"said": "libfoo.so.3: cannot open shared object file"}, "libfoo.so.3 is not on"),
        ({"kind": "not started"}, "transformation catalog"),
        ({"kind": "container"}, "can its image be had"),
        ({"kind": "checkpoint"}, "dagman.retry"),
        ({"status": 139}, "crashed"),
        ({"said": "write failed: No space left on device"}, "disk is full"),
        ({"kind": "no space"}, "disk is full"),
        ({"kind": "no output"}, "left not all outputs"),
        ({"kind": "denied"}, "credentials file"),
        ({"kind": "not found"}, "replica catalog"),
        ({"kind": "corrupted"}, "differs from what is expected"),
        ({"kind": "timed out"}, "could not be reached"),
        ({"kind": "server fault"}, "could not be reached"),
        ({"kind": "removed", "said": "Transfer input files failure (code 13)"}, "could not carry"),
        ({"kind": "removed"}, "was removed"),
        ({"kind": "no record", "status": 127}, "a Python of 3.10"),
        ({"kind": "no record"}, "without a record"),
        ({"kind": "never"}, "never submitted"),
        ({"kind": "not submitted"}, "refused the job"),
        ({"kind": "PRE script"}, "run the script by hand"),
        ({"kind": "killed"}, "before it could tell"),
        ({}, "run the program by hand"),
        ({"kind": "is a directory"}, "look at the file"),
    ],
)
def test_what_to_try(cause: dict[str, object], said: str) -> None:
    assert any(said in hint for hint in hints(CAUSE._replace(**cause))), hints(CAUSE._replace(**cause))  # type: ignore[arg-type]


def test_what_ran_too_long_was_not_short_of_memory() -> None:
    cause = CAUSE._replace(kind="walltime", status=-9, memory=2**20)
    assert [hint for hint in hints(cause) if "memory" in hint] == []


def test_options_as_pegasus_has_them(tmp_path: Path) -> None:
    recorded("held", tmp_path)
    whole = command("analyzer", tmp_path).stdout
    done = command("analyzer", "-f", "-s", "-m", "-t", "--top-dir", "x", "-q", tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines()[:8] == whole.splitlines()[:8]
    assert done.stderr.splitlines() == [
        f"pegasus-analyzer: {flag} changes nothing here" for flag in ("-f", "-s", "-m", "-t", "--top-dir")
    ]
    summary = command("analyzer", "-S", tmp_path).stdout
    assert "# jobs failed" in summary and "====" not in summary and "====" in whole
