"""A job finds what HTCondor would give it: directory, files, environment; its output comes home as there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pegasus_toolkit.dag import events
from pegasus_toolkit.dag.problems import DagError
from pegasus_toolkit.engines.local import commands
from tests.local_world import World

VANILLA = """\
universe = vanilla
executable = job.sh
output = out.txt
error = err.txt
should_transfer_files = YES
when_to_transfer_output = ON_EXIT
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path)
    found.write("x.dag", "JOB A a.sub\nSCRIPT POST A post.sh $RETURN\n")
    found.script("post.sh", "echo $1 > returned; exit $(test $1 = 0 || echo 1)")
    return found


def vanilla(world: World, script: str, more: str = "") -> int:
    """Runs one vanilla job; its exit code as the POST script was told."""
    world.write("a.sub", f"{VANILLA}{more}\nqueue\n")
    world.script("job.sh", script)
    world.write("x.dag.metrics", "")
    world.run()
    return int(world.read("returned"))


def test_input_goes_into_a_fresh_directory(world: World) -> None:
    (world.directory / "d" / "deep").mkdir(parents=True)
    world.write("d/deep/f", "f\n"), world.write("d/g", "g\n"), world.write("a b", "space\n")
    elsewhere = world.write("d/other", "other\n")
    script = "find . -type f | sort | tr '\\n' ','; echo; cat 'a b'; pwd; stat -c %a .; echo $0"
    assert vanilla(world, script, f"transfer_input_files = a b, d, {elsewhere}, d/\n") == 0
    lines = world.read("out.txt").splitlines()
    found = {one for one in lines[0].split(",") if one}
    assert found == {
        "./a b", "./condor_exec.exe", "./d/deep/f", "./d/g", "./d/other", "./deep/f", "./g", "./other",
    }  # fmt: skip
    assert lines[1] == "space" and not lines[2].startswith(str(world.directory))
    assert lines[3] == "700" and lines[4] == f"{lines[2]}/condor_exec.exe"
    assert not Path(lines[2]).exists() and not Path(lines[2]).parent.exists()


def test_new_and_changed_files_come_back(world: World) -> None:
    world.write("old", "old"), world.write("kept", "kept")
    script = "echo new > new; echo more >> old; mkdir dir; echo x > dir/x; rm kept"
    assert vanilla(world, script, "transfer_input_files = old,kept\n") == 0
    assert world.read("new") == "new\n" and world.read("old") == "oldmore\n" and world.read("kept") == "kept"
    assert not (world.directory / "dir").exists() and not (world.directory / "condor_exec.exe").exists()


def test_output_that_is_named(world: World) -> None:
    (world.directory / "home").mkdir()
    (world.directory / "records").mkdir()
    script = """
        mkdir -p out/deep dir sub; echo 1 > out/one; echo 2 > out/deep/two; echo 3 > dir/three
        echo 4 > sub/four; echo 5 > five; echo 6 > unnamed; ln -s five link; echo text; echo fault >&2
    """
    more = f"""
initialdir = home
transfer_output_files = out/, dir, sub/four, five, link
transfer_output_remaps = "five={world.directory}/records/5;sub/four=renamed"
"""
    assert vanilla(world, script, more) == 0
    home = world.directory / "home"
    found = {str(path.relative_to(home)): path.read_text() for path in home.rglob("*") if path.is_file()}
    assert found == {
        "one": "1\n", "deep/two": "2\n", "dir/three": "3\n", "renamed": "4\n", "link": "5\n",
        "out.txt": "text\n", "err.txt": "fault\n",
    }  # fmt: skip
    assert world.read("records/5") == "5\n" and not (home / "link").is_symlink()


def test_output_of_a_job_that_failed_comes_too(world: World) -> None:
    assert vanilla(world, "echo x > x; exit 7", "transfer_output_files = x\n") == 7
    assert world.read("x") == "x\n"
    (world.directory / "x").unlink()
    more = "transfer_output_files = x\nwhen_to_transfer_output = ON_SUCCESS\n"
    assert vanilla(world, "echo x > x; exit 7", more) == 7
    assert not (world.directory / "x").exists()


def test_files_that_are_not_there_hold_the_job_which_ends_it(world: World) -> None:
    assert vanilla(world, "exit 0", "transfer_output_files = x, y\n") == -1002
    held = [one for one in world.events if one.kind == events.HELD]
    assert held[0].code == 12 and "Transfer output files failure: No such file or directory" in held[0].reason
    assert "x;" in held[0].reason and held[0].reason.endswith("y")
    assert vanilla(world, "exit 0", "transfer_input_files = nowhere\n") == -1002
    held = [one for one in world.events if one.kind == events.HELD]
    assert held[1].code == 13 and held[1].reason.endswith("nowhere")
    kinds = [one.kind for one in world.events if one.cluster == 2]
    assert kinds == [events.SUBMIT, events.HELD, events.ABORTED, events.POST_SCRIPT]


def test_a_job_that_is_killed(world: World) -> None:
    assert vanilla(world, "echo x > x; kill -9 $$") == -9
    assert world.ended() == [("A", -9)] and not (world.directory / "x").exists()
    assert world.told.lines[-1].startswith("error: A failed: job died on signal 9, POST script failed")


def test_the_environment_is_a_pools_not_ours(world: World) -> None:
    environ = {**os.environ, "SECRET": "x", "LD_PRELOAD_NOT": "y", "WANTED_1": "1", "WANTED_2": "2"}
    more = "environment = \"ONE=1 TWO='a b'\"\nrequest_cpus = 1\n"
    world.write("a.sub", f"{VANILLA}{more}queue\n")
    world.script("job.sh", "env")
    assert world.run(environ=environ) == 0
    found = dict(line.split("=", 1) for line in world.read("out.txt").splitlines())
    assert (found["ONE"], found["TWO"], found["PATH"]) == ("1", "a b", commands.PATH)
    assert found["TMPDIR"] == found["_CONDOR_SCRATCH_DIR"] == found["PWD"]
    assert found["OMP_NUM_THREADS"] == "1" and found["HOME"]
    assert not found.keys() & {"SECRET", "USER", "LANG", "PYTHONPATH", "VIRTUAL_ENV"}
    world.write("a.sub", f"{VANILLA}{more}getenv = WANTED_*, !WANTED_2\nqueue\n")
    world.write("x.dag.metrics", "")
    assert world.run(environ=environ) == 0
    found = dict(line.split("=", 1) for line in world.read("out.txt").splitlines())
    assert found["WANTED_1"] == "1" and not found.keys() & {"SECRET", "WANTED_2"}
    world.write("a.sub", f"{VANILLA}{more}getenv = True\nqueue\n")
    assert world.run(environ=environ) == 0
    assert "SECRET=x" in world.read("out.txt")


def test_without_transfer_a_job_runs_where_it_is_submitted(world: World) -> None:
    text = VANILLA.replace("YES", "NO")
    world.write("a.sub", f"{text}input = in.txt\nqueue\n")
    world.write("in.txt", "given\n")
    world.script("job.sh", "pwd; cat; echo $0; umask")
    assert world.run() == 0
    here = str(world.directory)
    assert world.read("out.txt").splitlines()[:3] == [here, "given", f"{here}/job.sh"]


def test_an_executable_that_is_not_carried(world: World) -> None:
    world.write("job.txt", "echo $0 > name\n")
    world.write(
        "a.sub",
        VANILLA.replace("job.sh", "/bin/sh")
        + "transfer_executable = false\narguments = job.txt\ntransfer_input_files = job.txt\nqueue\n",
    )
    assert world.run() == 0
    assert world.read("name") == "job.txt\n"


def test_a_proxy_goes_along(world: World) -> None:
    world.write("proxy.pem", "secret\n")
    assert vanilla(world, 'cat "$X509_USER_PROXY"', "x509userproxy = proxy.pem\n") == 0
    assert world.read("out.txt") == "secret\n"


def test_what_a_job_leaves_running_goes_with_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fifo("ready")
    world.script("leave.sh", "(trap '' TERM; exec 3> ready; exec sleep 1000) & echo $! > pid; : < ready")
    world.script("look.sh", "kill -0 $(cat pid) 2>/dev/null && echo alive >> order; echo $1 >> order")
    world.jobs('JOB A job.sub\nJOB B job.sub\nPARENT A CHILD B\nVARS B script="look.sh"\n', "leave.sh")
    assert world.run() == 0
    assert world.order == ["B"]


def job(text: dict[str, str]) -> commands.Job:
    place = commands.Place("/here", "/sandbox", {}, {"/bin/true": "", "/opt/ours": "module:main"}.__getitem__)
    return commands.job("x.sub", {"executable": "/bin/true", **text}, place)


@pytest.mark.parametrize(
    ("asked", "memory"),
    [("100", 100), ("2 GB", 2048), ("1.5g", 1536), ("2048K", 2), ("MY.RequestMemory * 2", 0), ("", 0)],
)
def test_memory_that_is_asked_for(asked: str, memory: int) -> None:
    assert job({"request_memory": asked}).memory == memory


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("universe", "grid"),
        ("universe", "parallel"),
        ("container_image", "x.sif"),
        ("hold", "true"),
        ("output_destination", "s3://x"),
        ("transfer_input_files", "a, https://x/y"),
        ("transfer_output_remaps", '"a=s3://b/c"'),
        ("transfer_output_remaps", '"a"'),
        ("executable", ""),
        ("environment", '"x'),
    ],
)
def test_what_would_make_it_another_job_is_an_error(key: str, value: str) -> None:
    with pytest.raises(DagError):
        job({"should_transfer_files": "YES", key: value})


def test_what_is_left_out_is_told() -> None:
    assert job({"requirements": "Memory > 1", "notification": "never"}).warnings == ("requirements",)


def test_our_own_program_is_not_carried() -> None:
    found = job({"executable": "/opt/ours", "should_transfer_files": "YES"})
    assert found.program.entry == "module:main" and found.program.argv[0] == "/opt/ours"
    assert found.carried is not None and found.carried.executable == ""
    assert found.program.cwd == "/sandbox"


def test_another_file_system_is_no_hindrance(world: World) -> None:
    """Output is copied where it cannot be renamed."""
    target = Path("/dev/shm")
    if not target.is_dir() or target.stat().st_dev == world.directory.stat().st_dev:
        pytest.skip("there is no other file system here")
    home = target / f"engine-test-{os.getpid()}"
    home.mkdir()
    try:
        assert (
            vanilla(
                world,
                "echo x > x; mkdir d; echo y > d/y",
                f"initialdir = {home}\ntransfer_output_files = x, d\n",
            )
            == 0
        )
        assert (home / "x").read_text() == "x\n" and (home / "d/y").read_text() == "y\n"
        assert sorted(os.listdir(home)) == ["d", "err.txt", "out.txt", "x"]
    finally:
        shutil.rmtree(home)
