"""``pegasus-plan`` as a program: what it prints, what it leaves, and that it leaves nothing when it fails."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planner_world import LOCAL, POOL, job, replica, shape, site, world

# Of packed workers: making one takes a second.
CACHE = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")}


def plan(
    *arguments: str | Path, cwd: Path, file_size: int = 0, **environ: str
) -> subprocess.CompletedProcess[str]:
    """``file_size``: bytes that a file may have, so that a larger one fails as on a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    return subprocess.run(
        [sys.executable, "-m", "pegasus_toolkit.cli.plan", *map(str, arguments)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "USER": "joe", **CACHE, **environ},
        preexec_fn=limit if file_size else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A diamond whose input is there, to be planned for the pool."""
    (tmp_path / "f.a").write_text("hello")
    (tmp_path / "keg").touch()
    keg = {"name": "keg", "sites": [{"name": "local", "pfn": str(tmp_path / "keg"), "type": "stageable"}]}
    world(tmp_path, shape("diamond"), replicas=[replica("f.a", str(tmp_path / "f.a"))], transformations=[keg])
    return tmp_path


def test_plans_and_says_what_it_planned(here: Path) -> None:
    done = plan("--dir", "submit", "-s", "pool", "-o", "local", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    submit = here / "submit" / "joe" / "pegasus" / "w" / "run0001"
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["compute", "4"] in words and ["stage_out", "1"] in words and ["create_dir", "1"] in words
    nodes = re.findall(r"^(?:JOB|FINAL) ", (submit / "w-0.dag").read_text(), re.MULTILINE)
    assert ["receipt", "1"] in words and ["all", "nodes", str(len(nodes))] in words
    assert f"submit directory: {submit}" in done.stdout
    assert (submit / "w-0.dag").exists()
    known = json.loads((submit / "braindump.yml").read_text())
    assert known["dag"] == "w-0.dag" and known["submit_dir"] == str(submit)
    facts = json.loads((submit / "plan.json").read_text())
    assert facts["configuration"] == "condorio" and facts["nodes"]["compute"] == 4
    assert facts["outputs"] == {"f.d": [{"site": "local", "url": "file:///s/out/f.d"}]}
    assert {path.name for path in submit.iterdir() if path.is_dir()} == {"jobs", "submit", "records", "logs"}


def test_each_run_has_directories_of_its_own(here: Path) -> None:
    runs = [plan("-q", cwd=here).stdout.strip() for _ in range(2)]
    assert [run.rpartition("/")[2] for run in runs] == ["run0001", "run0002"]
    made = [Path(run, "jobs", "create_dir_0_local.spec.json").read_text() for run in runs]
    assert made[0] != made[1]


def test_a_worker_that_is_not_there(here: Path) -> None:
    done = plan("-s", "pool", "--worker", "nope", cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--worker: there is no such file: {here}/nope" in done.stderr and not (here / "joe").exists()


def test_a_directory_that_is_there_is_left_alone(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "thesis").write_text("irreplaceable")
    done = plan("--relative-dir", "mine", cwd=here)
    assert done.returncode == 2 and "is there already; choose another with --relative-dir" in done.stderr
    assert [path.name for path in (here / "mine").iterdir()] == ["thesis"]


def test_planned_once_where_asked_for(here: Path) -> None:
    first = plan("--relative-dir", "sub", "--basename", "workflow", "--if-missing", "-q", cwd=here)
    before = (here / "sub" / "workflow.dag").stat().st_mtime_ns
    again = plan("--relative-dir", "sub", "--basename", "workflow", "--if-missing", cwd=here)
    assert first.stdout == again.stdout == f"{here}/sub\n"
    assert (here / "sub" / "workflow.dag").stat().st_mtime_ns == before


def test_options_from_a_file(here: Path) -> None:
    (here / "plan.args").write_text("--relative-dir\nsub\n--cleanup\nnone\n-q\nworkflow.yml\n")
    done = plan("@plan.args", cwd=here)
    assert done.stdout == f"{here}/sub\n"
    assert "cleanup" not in (here / "sub" / "w-0.dag").read_text().replace("MAXJOBS cleanup", "")


def test_properties_decide_where_options_do_not(here: Path) -> None:
    (here / "pegasus.properties").write_text("pegasus.data.configuration = sharedfs\ndagman.retry = 6\n")
    (here / "other.properties").write_text("pegasus.data.configuration = nonsharedfs\n")
    first, second = plan("-q", cwd=here), plan("-q", "--conf", "other.properties", cwd=here)
    third = plan("-q", "-Dpegasus.data.configuration=condorio", "-Ddagman.retry=8", cwd=here)
    submits = [Path(done.stdout.strip()) for done in (first, second, third)]
    told = [json.loads((submit / "plan.json").read_text()) for submit in submits]
    assert [one["configuration"] for one in told] == ["sharedfs", "nonsharedfs", "condorio"]
    assert "RETRY keg_a 8 UNLESS-EXIT 2" in (Path(third.stdout.strip()) / "w-0.dag").read_text()
    assert "RETRY keg_a 6 UNLESS-EXIT 2" in (Path(first.stdout.strip()) / "w-0.dag").read_text()


def test_as_pegasus_own_api_calls_it(here: Path) -> None:
    words = ("--conf", "p", "--sites", "pool", "--output-sites", "local", "--staging-site", "pool=pool")
    (here / "p").write_text("pegasus.data.configuration=nonsharedfs\n")
    more = ("--dir", "sub", "--relative-submit-dir", "a/b", "--randomdir", "--cleanup", "leaf", "-vvv", "-q")
    done = plan(*words, *more, "--force", "workflow.yml", "--json", cwd=here)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["submit_dir"] == f"{here}/sub/a/b" and "compute" in told["message"]
    # Pegasus.braindump.Braindump takes these keys and no others.
    keys = json.loads((here / "sub/a/b/braindump.yml").read_text()).keys()
    assert keys <= {
        *("user", "root_wf_uuid", "wf_uuid", "dax", "dax_label", "pegasus_wf_name", "basedir"),
        *("submit_dir", "planner", "properties", "condor_log", "dag", "type"),
    }


def test_all_errors_at_once_and_nothing_left(here: Path) -> None:
    (here / "f.a").unlink()
    (here / "p").write_text("pegasus.data.configuration = sharedsf\n")
    before = sorted(here.rglob("*"))
    done = plan(
        "--conf", "p", "--cluster", "vertical", "-s", "moon", "--staging-site", "=x", "-D", "x", cwd=here
    )
    assert done.returncode == 2 and done.stdout == ""
    for part in (
        "p: pegasus.data.configuration: expected one of condorio, nonsharedfs, sharedfs, found 'sharedsf'",
        "--cluster: expected horizontal or label or whole, found 'vertical'",
        "--sites: unknown site 'moon'; known are local, pool",
        "--staging-site: expected SITE=STAGING, found '=x'",
        "-D: expected KEY=VALUE, found 'x'",
        f"no replica of 'f.a' is there: file://{here}/f.a",
    ):
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(here.rglob("*")) == before


def test_a_full_disk_leaves_nothing(here: Path) -> None:
    before = sorted(here.rglob("*"))
    done = plan("--dir", "submit", cwd=here, file_size=300)
    assert done.returncode == 2 and "cannot be written: File too large" in done.stderr
    assert [path for path in sorted(here.rglob("*")) if path.is_file()] == [p for p in before if p.is_file()]


@pytest.mark.parametrize("name", ["with space", "a,b", "a;b", "q'uote", "$x"])
def test_paths_that_dagman_cannot_read(name: str, here: Path) -> None:
    done = plan("--relative-dir", name, cwd=here)
    assert done.returncode == 2 and "a path in a DAG cannot hold" in done.stderr
    assert not (here / name).exists()


def test_wrong_usage(here: Path) -> None:
    assert plan("--cleanup", "some", cwd=here).returncode == 2
    assert plan("--help", cwd=here).returncode == 0
    done = plan("nowhere.yml", "--conf", "none", cwd=here)
    assert "nowhere.yml: cannot be read" in done.stderr and "none: cannot be read" in done.stderr


def test_forced_and_not(here: Path) -> None:
    (here / "f.d").touch()
    catalog = json.loads((here / "replicas.yml").read_text())
    catalog["replicas"].append(replica("f.d", str(here / "f.d")))
    (here / "replicas.yml").write_text(json.dumps(catalog))
    assert "4 skipped" in plan(cwd=here).stdout
    assert "none skipped" in plan("--force", cwd=here).stdout
    (here / "f.d").unlink()
    done = plan(cwd=here)
    assert "none skipped" in done.stdout and "it is made again" in done.stderr
    assert "4 skipped" in plan("--no-check-replicas", cwd=here).stdout


def test_credentials_are_looked_at(here: Path) -> None:
    world(here, [job("a", [], ["x!"])], sites=[LOCAL, site("pool", "s3://me@pool/b")])
    (here / "keg").touch()
    properties = here / "pegasus.properties"
    properties.write_text("pegasus.data.configuration = nonsharedfs\n")
    done = plan("-s", "pool", "--no-check-replicas", cwd=here)
    assert "credential for s3:// at 'pool'" in done.stderr and "PEGASUS_CREDENTIALS_pool" in done.stderr
    secret = here / ".pegasus" / "credentials.conf"
    secret.parent.mkdir()
    secret.write_text("[pool]\nendpoint = http://h\n[me@pool]\naccess_key = a\nsecret_key = hush\n")
    secret.chmod(0o644)
    done = plan("-s", "pool", "--no-check-replicas", cwd=here)
    assert done.returncode == 2 and "chmod" in done.stderr
    secret.chmod(0o600)
    done = plan("-s", "pool", "--no-check-replicas", "-q", cwd=here)
    assert done.returncode == 0
    texts = [path.read_bytes() for path in Path(done.stdout.strip()).rglob("*") if path.is_file()]
    assert any(bytes(secret) in text for text in texts) and not any(b"hush" in text for text in texts)


def test_what_upstream_assumes_without_a_site_catalog(here: Path) -> None:
    (here / "sites.yml").unlink()
    done = plan("-q", cwd=here)
    assert done.returncode == 0
    submit = Path(done.stdout.strip())
    assert f"file://{here}/wf-output/f.d" in (submit / "jobs" / "stage_out_0.spec.json").read_text()
    assert (submit / "submit" / "compute-condorpool.sub").exists()


def test_a_sub_workflow_is_planned_by_what_its_parent_says(here: Path) -> None:
    scratch = site("local", storage=str(here / "out"))
    scratch["directories"][0] |= {"path": str(here / "s"), "fileServers": [{"url": f"file://{here}/s"}]}
    inner = {"type": "pegasusWorkflow", "file": "inner.yml", "id": "S", "arguments": ["-f"]}
    uses = [{"lfn": "f.b", "type": "input"}, {"lfn": "f.c", "type": "output", "stageOut": False}]
    (here / "inner").mkdir()
    world(here / "inner", [job("i", ["f.b"], ["f.c!"])])
    keg = json.loads((here / "transformations.yml").read_text())["transformations"][0]
    found = [replica(lfn, str(here / lfn)) for lfn in ("f.a", "inner.yml")]
    jobs = [job("a", ["f.a"], ["f.b"]), {**inner, "uses": uses}, job("d", ["f.c"], ["f.d!"])]
    world(here, jobs, sites=[scratch, POOL], replicas=found, transformations=[keg])
    (here / "inner" / "workflow.yml").rename(here / "inner.yml")
    (here / "pegasus.properties").write_text("pegasus.data.configuration = nonsharedfs\n")
    done = plan("-q", "-s", "pool", cwd=here)
    submit = Path(done.stdout.strip())
    options = submit / "jobs" / "subworkflow_S.args"
    staged = Path(options.read_text().splitlines()[-1])
    staged.parent.mkdir(parents=True)  # what create-dir, stage-in and inter-site do
    staged.write_text((here / "inner.yml").read_text())
    (staged.parent / "f.b").touch()
    for _ in range(2):  # the second time as DAGMan tries again
        assert plan(f"@{options}", cwd=submit).returncode == 0
    below = submit / "subworkflow_S" / "plan"
    assert f"SUBDAG EXTERNAL subworkflow_S {below}/workflow.dag" in (submit / "w-0.dag").read_text()
    moved = [
        one for n in (0, 1) for one in json.loads((below / "jobs" / f"stage_out_{n}.spec.json").read_text())
    ]
    # To where it is to stay, as the inner workflow says, and to the workflow above.
    assert [one["dest_urls"][0]["url"] for one in moved] == [
        f"file://{here}/out/f.c",
        f"file://{staged.parent}/f.c",
    ]
    specifications = [path.read_text() for path in (submit / "jobs").glob("*.json")]
    assert sum(f'"file://{staged.parent}/f.c"' in text for text in specifications) == 2  # taken on, removed


def test_pool_without_scratch(here: Path) -> None:
    bare = {**POOL, "directories": []}
    (here / "sites.yml").write_text(json.dumps({"pegasus": "5.0", "sites": [LOCAL, bare]}))
    (here / "pegasus.properties").write_text("pegasus.data.configuration = nonsharedfs\n")
    done = plan("-s", "pool", cwd=here)
    assert "sites[1].directories: 'pool' needs a sharedScratch directory" in done.stderr
    (here / "pegasus.properties").write_text("pegasus.data.configuration = condorio\n")
    assert plan("-s", "pool", cwd=here).returncode == 0


def test_properties_of_home_are_below_all_others(here: Path) -> None:
    (here / ".pegasusrc").write_text("env.A = home\nenv.B = home\nenv.C = home\n")
    (here / "pegasus.properties").write_text("env.B = file\nenv.C = file\n")
    submit = Path(plan("-q", "-D", "env.C=option", cwd=here).stdout.strip())
    lines = (submit / "pegasus.properties").read_text().splitlines()
    assert {"env.A = home", "env.B = file", "env.C = option"} <= set(lines)
    (here / ".pegasusrc").write_text("env.A = b\n= x\n")
    done = plan(cwd=here)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert f"{here}/.pegasusrc:2: expected key = value" in done.stderr


@pytest.mark.parametrize(
    ("mode", "retries", "verify"),
    [
        ("", "1", True),
        ("production", "3", True),
        ("development", "0", False),
        ("debug", "0", False),
        ("tutorial", "0", True),
    ],
)
def test_modes(mode: str, retries: str, verify: bool, here: Path) -> None:
    define = ["-D", f"pegasus.mode={mode}"] if mode else []
    submit = Path(plan("-q", *define, cwd=here).stdout.strip())
    dag = (submit / "w-0.dag").read_text()
    assert f"RETRY keg_a {retries} " in dag and (f"RETRY stage_in_0_local {retries} " in dag or not mode)
    assert ('"verify":true' in (submit / "jobs" / "compute-0000.jsonl").read_text()) == verify
    own = Path(plan("-q", *define, "-D", "dagman.retry=5", cwd=here).stdout.strip())
    assert "RETRY keg_a 5 " in (own / "w-0.dag").read_text()
    assert "expected one of production" in plan("-D", "pegasus.mode=fast", cwd=here).stderr


def test_bad_input_is_told_in_sentences(here: Path) -> None:
    """Bytes that are no text, NUL, names that are too long, directories in place of files."""
    long = "x" * 300
    (here / "latin").write_bytes(b"env.A = b\nenv.X = \xff\n")
    (here / "nul").write_text("env.X = a\\u0000b\n")
    (here / "place").write_text("pegasus.catalog.replica.file = a\\u0000b\n")
    for options, text in (
        (["--conf", "latin"], "latin:2: expected UTF-8, found the byte 0xff"),
        (["--conf", "nul"], "nul:1: env.X: expected text without control characters"),
        (["--conf", "place"], "place:1: pegasus.catalog.replica.file: expected text without control"),
        (["--conf", "."], ".: cannot be read: Is a directory"),
        (["-D", "pegasus.catalog.site.file=."], ".: cannot be read: Is a directory"),
        (["-D", b"env.X=\xff"], "-D: expected UTF-8"),
        (["."], ".: cannot be read: Is a directory"),
        ([long], "cannot be read: File name too long"),
        (["--conf", long], "cannot be read: File name too long"),
        (["--cache", long], "cannot be read: File name too long"),
        (["--reuse", long], "--reuse: "),
        (["--input-dir", long], "--input-dir: no such directory"),
        (["--transformations-dir", long], "--transformations-dir: "),
        (["--relative-dir", long], "cannot be written: File name too long"),
        (["--above", "nope"], "--above: nope cannot be read"),
    ):
        done = plan(*(os.fsdecode(one) for one in options), cwd=here)
        assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr, options
        assert not (here / "joe").exists(), options
    text = (here / "workflow.yml").read_text()
    (here / "workflow.yml").write_text(text.replace("f.c1", long))
    assert "no file can have a name of more than 255 bytes" in plan(cwd=here).stderr


def test_without_a_library_for_yaml_a_line_says_what_to_install(here: Path) -> None:
    (here / "shadow/yaml").mkdir(parents=True)
    (here / "shadow/yaml/__init__.py").write_text("raise ImportError('no', name='yaml')")
    done = plan("--dir", "submit", cwd=here, PYTHONPATH=str(here / "shadow"))
    assert done.returncode == 2
    assert "workflow.yml: cannot be read without PyYAML: pip install 'pegasus-toolkit[plan]'" in done.stderr
    assert "Traceback" not in done.stderr
