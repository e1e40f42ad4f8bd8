"""One compute node: what it does with its files and programs, and how it says what went wrong."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.worker_world import WORKER, bundle, ended, node, one_node, place, started

ABC = hashlib.sha256(b"abc").hexdigest()


def sh(script: str, *words: str, **more: Any) -> dict[str, Any]:
    """A task of the shell."""
    known = {"id": "t", "transformation": "sh", "program": "/bin/sh", "staged": False}
    return {**known, "arguments": ["-c", script, "sh", *words], **more}


def given(path: Path, content: bytes, **more: Any) -> dict[str, Any]:
    """An input that stands somewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"lfn": path.name, "sources": [place(path)], **more}


def told(digest: str, size: int | None = None) -> dict[str, Any]:
    return {"checksum": {"type": "sha256", "value": digest}, **({} if size is None else {"size": size})}


def meta(directory: Path, name: str, **digests: str) -> None:
    directory.mkdir(exist_ok=True)
    entries = [
        {"_id": lfn, "_type": "file", "_attributes": {"checksum.type": "sha256", "checksum.value": value}}
        for lfn, value in digests.items()
    ]
    (directory / f"{name}.meta").write_text(json.dumps(entries))


# --- all is well ------------------------------------------------------------------------------------


def test_what_a_program_gets_and_what_is_told_of_it(tmp_path: Path) -> None:
    script = 'printf "%s|" "$@" "$A" "$PEGASUS_CREDENTIALS_pool"; cat; echo no >&2; cat in > d/out'
    task = sh(script, "a b", "$HOME", "'\"\\", environment={"A": "x y"}, stdin="in", stderr="d/log")
    environ = {"PEGASUS_CREDENTIALS_pool": "secret.conf"}
    done = one_node(
        tmp_path, tasks=[task], inputs={"in": b"abc"}, outputs=["d/out", "d/log"], environ=environ
    )
    assert done.code == 0 and done.output == b"a b|$HOME|'\"\\|x y||abc"
    assert done.file("d/out") == b"abc" and done.file("d/log") == b"no\n"
    record = done.record
    assert record["exit"] == 0 and "error" not in record and record["version"] == 1
    assert (record["bytes_in"], record["bytes_out"]) == (3, 6)
    (ran,) = record["tasks"]
    assert ran["exit"] == 0 and ran["stdout"] == done.output.decode() and "stderr" not in ran
    assert ran["max_rss"] > 0 and ran["seconds"] > 0
    assert [one["kind"] for one in record["transfers"]] == ["in", "out", "out"]
    assert {one["lfn"]: one["digest"] for one in record["outputs"]}["d/out"] == ABC
    assert done.meta["d/out"] == {"size": "3", "checksum.type": "sha256", "checksum.value": ABC}
    assert sorted(path.name for path in done.start.iterdir()) == ["n.json", "n.meta"]


def test_tasks_run_one_after_the_other_until_one_fails(tmp_path: Path) -> None:
    tasks = [sh("echo 1 > a", id="one"), sh("test -s a && exit 7", id="two"), sh("touch b", id="three")]
    done = one_node(tmp_path, tasks=tasks, outputs=["a"])
    assert done.code == 1 and done.record["error"] == "two ended with exit code 7"
    assert [(one["id"], one["exit"]) for one in done.record["tasks"]] == [("one", 0), ("two", 7)]
    assert not (tmp_path / "scratch/a").exists() and done.meta == {}


def test_a_staged_program_is_made_executable(tmp_path: Path) -> None:
    program = {**sh(""), "program": "bin/keg", "staged": True, "arguments": ["x"]}
    script = b'#!/bin/sh\necho "$0 $1" > out\n'
    done = one_node(
        tmp_path, tasks=[program], inputs={"bin/keg": script}, executable=["bin/keg"], outputs=["out"]
    )
    assert done.code == 0 and done.file("out") == b"./bin/keg x\n"


def test_the_same_file_for_output_and_error(tmp_path: Path) -> None:
    done = one_node(tmp_path, tasks=[sh("echo 1; echo 2 >&2; echo 3", stdout="o", stderr="o")], outputs=["o"])
    assert done.file("o") == b"1\n2\n3\n"


def test_long_output_is_forwarded_whole_and_its_end_is_kept(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done; printf '\\377'"
    done = one_node(tmp_path, tasks=[sh(script)])
    assert done.output.count(b"\n") == 40000
    kept = done.record["tasks"][0]["stdout"]
    assert kept.endswith("line 39999\n\ufffd") and len(kept.encode()) <= 64 * 1024 + 2


def test_a_shared_directory_is_used_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "in").write_bytes(b"abc")
    line = {"inputs": [{"lfn": "in", **told(ABC)}], "outputs": [{"lfn": "out"}], "directory": str(shared)}
    path = bundle(tmp_path, {**node(tmp_path, tasks=[sh("cp in out; touch extra")]), **line})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 0 and (shared / "out").read_bytes() == b"abc"
    assert sorted(one.name for one in shared.iterdir()) == ["extra", "in", "out"]
    assert done.meta["out"]["checksum.value"] == ABC and done.record["checks"] == {"made": 1}


def test_condorio_files_come_from_the_start_and_go_to_the_outbox(tmp_path: Path) -> None:
    start = tmp_path / "start"
    (start / "out").mkdir(parents=True)
    (start / "out" / "stale").touch()  # of an attempt before
    (start / "in").write_bytes(b"abc")
    meta(start, "maker", **{"deep/in": ABC})
    line = {"inputs": [{"lfn": "deep/in", "delivered": "in", "produced": True}], "metas": ["maker"]}
    line |= {"outbox": "out", "outputs": [{"lfn": "d/kept", "destinations": [place("file:///s/x")]}]}
    line["outputs"].append({"lfn": "dropped"})
    path = bundle(tmp_path, {**node(tmp_path, tasks=[sh("cp deep/in d/kept; touch dropped")]), **line})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 0
    assert [str(one.relative_to(start)) for one in sorted((start / "out").rglob("*"))] == [
        "out/d",
        "out/d/kept",
    ]
    assert done.meta.keys() == {"d/kept", "dropped"}
    assert (start / "in").read_bytes() == b"abc"
    assert (done.record["bytes_in"], done.record["bytes_out"]) == (3, 3)


def test_condorio_across_file_systems(tmp_path: Path) -> None:
    """Where names cannot be given, files are copied, and verified on the way."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    start = tmp_path / "start"
    start.mkdir()
    (start / "in").write_bytes(b"abc")
    line = {"inputs": [{"lfn": "in", "delivered": "in", **told(ABC)}], "outbox": "out"}
    line["outputs"] = [{"lfn": "d/a", "destinations": [place("file:///s/x")]}]
    path = bundle(tmp_path, {**node(tmp_path, tasks=[sh("cp in d/a")]), **line})
    done = ended(tmp_path, started(tmp_path, path, {"PEGASUS_WN_TMP": str(other)}))
    assert done.code == 0 and (start / "out/d/a").read_bytes() == b"abc"
    assert done.meta["d/a"]["checksum.value"] == ABC and "destinations" not in done.record["outputs"][0]
    (start / "in").write_bytes(b"abd")
    again = ended(tmp_path, started(tmp_path, path, {"PEGASUS_WN_TMP": str(other)}))
    assert again.code == 2 and again.record["checks"] == {"made": 1, "failed": 1}


def test_a_link_among_the_outputs_is_carried_as_the_file_it_means(tmp_path: Path) -> None:
    line = {"outbox": "out", "outputs": [{"lfn": "link", "destinations": [place("file:///s/x")]}]}
    path = bundle(tmp_path, {**node(tmp_path, tasks=[sh("printf abc > file; ln -s file link")]), **line})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 0 and (done.start / "out/link").read_bytes() == b"abc"
    assert not (done.start / "out/link").is_symlink() and done.meta["link"]["checksum.value"] == ABC


def test_without_integrity_nothing_is_compared(tmp_path: Path) -> None:
    line = {"verify": False, "inputs": [given(tmp_path / "s/in", b"abc", produced=True)]}
    path = bundle(tmp_path, {**node(tmp_path, tasks=[sh("cp in out")], outputs=["out"]), **line})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 0 and done.file("out") == b"abc"
    assert done.meta == {"out": {"size": "3"}} and done.record["checks"] == {}


# --- files that are not what they should be ---------------------------------------------------------


@pytest.mark.parametrize("how", ["fetched", "delivered", "shared"])
@pytest.mark.parametrize(("catalogued", "code"), [(True, 2), (False, 1)], ids=["catalogued", "intermediate"])
def test_a_wrong_input_never_reaches_the_program(
    catalogued: bool, code: int, how: str, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    (start / "in").write_bytes(b"abd")
    one: dict[str, Any] = {"lfn": "in", "produced": not catalogued, **(told(ABC) if catalogued else {})}
    one |= {"fetched": {"sources": [place(start / "in")]}, "delivered": {"delivered": "in"}, "shared": {}}[
        how
    ]
    meta(start, "maker", **{"in": ABC})
    line = {"inputs": [one], "metas": ["maker"], "directory": str(start) if how == "shared" else ""}
    path = bundle(tmp_path, {**node(tmp_path, tasks=[sh("touch ../ran")]), **line})
    done = ended(tmp_path, started(tmp_path, path, {"PEGASUS_WN_TMP": str(tmp_path)}))
    assert done.code == code and not (tmp_path / "ran").exists()
    assert "'in'" in done.record["error"] and ABC in done.record["error"]
    assert done.record["checks"] == {"made": 1, "failed": 1} and "tasks" not in done.record


def test_a_file_of_another_size_is_wrong_whatever_its_digest(tmp_path: Path) -> None:
    one = given(tmp_path / "s/in", b"abc", **told(ABC, 4))
    path = bundle(tmp_path, {**node(tmp_path), "inputs": [one]})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 2 and "4 expected" in done.record["error"]


def test_the_next_source_mends_a_wrong_one(tmp_path: Path) -> None:
    bad, good = given(tmp_path / "s/in", b"abd"), given(tmp_path / "t/in", b"abc")
    sources = [{**bad["sources"][0], "priority": 10}, good["sources"][0]]
    line = {"inputs": [{"lfn": "in", "sources": sources, **told(ABC)}]}
    path = bundle(tmp_path, {**node(tmp_path, tasks=[sh("cp in out")], outputs=["out"]), **line})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 0 and done.file("out") == b"abc"
    assert done.record["transfers"][0]["attempts"] == 2


def test_a_produced_file_without_a_digest_is_an_error(tmp_path: Path) -> None:
    line = {"inputs": [given(tmp_path / "s/in", b"abc", produced=True)], "metas": ["maker"]}
    path = bundle(tmp_path, {**node(tmp_path), **line})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 2 and done.record["checks"] == {"missing": 1}
    assert "no digest of 'in'" in done.record["error"] and "maker.meta" in done.record["error"]


def on(site: str) -> str:
    """Of the machine: told where another one may do better."""
    return f" at site '{site}' on {os.uname().nodename} ("


@pytest.mark.parametrize(("site", "code"), [("local", 2), ("pool", 1)])
def test_a_file_that_is_missing_on_a_node_may_be_there_on_another(
    site: str, code: int, tmp_path: Path
) -> None:
    one = {**node(tmp_path), "site": site, "inputs": [{"lfn": "in", "sources": [place("file:///none/in")]}]}
    done = ended(tmp_path, started(tmp_path, bundle(tmp_path, one), {}))
    assert done.code == code and "'in'" in done.record["error"] and done.record["phase"] == "fetch"
    assert f"{on(site)}/ is there, on the file system / of the type " in done.record["error"]


@pytest.mark.parametrize(("site", "code"), [("local", 2), ("pool", 1)])
def test_a_place_for_outputs_that_is_missing_on_a_node(site: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = [{"lfn": "out", "destinations": [place(tmp_path / "file/below/out")]}]
    one = {**node(tmp_path), "site": site, "outputs": out, "tasks": [sh("echo 1 > out")]}
    done = ended(tmp_path, started(tmp_path, bundle(tmp_path, one), {}))
    assert done.code == code and on(site) in done.record["error"] and done.record["phase"] == "push"


@pytest.mark.parametrize("lfn", ["../x", "/etc/x", "a/../../x", ""])
def test_names_that_lead_elsewhere(lfn: str, tmp_path: Path) -> None:
    path = bundle(tmp_path, {**node(tmp_path), "outputs": [{"lfn": lfn}]})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 2 and "leads out of the directory" in done.record["error"]


@pytest.mark.parametrize(
    ("script", "text"), [("true", "did not make 'out'"), ("mkdir out", "not a regular file")]
)
def test_outputs_must_be_there(script: str, text: str, tmp_path: Path) -> None:
    done = one_node(tmp_path, tasks=[sh(script), sh("echo 1 > other")], outputs=["other", "out"])
    assert done.code == 1 and text in done.record["error"]
    assert not (tmp_path / "scratch/other").exists()


# --- programs that go wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file or directory"),
        (b"no program", "Exec format error"),
        (b"#!/none/sh\n", "the interpreter that its first line names is not there"),
    ],
)
@pytest.mark.parametrize(("site", "code"), [("local", 2), ("pool", 1)])
def test_a_program_that_cannot_be_run(
    content: bytes | None, text: str, site: str, code: int, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    if content is not None:
        program.write_bytes(content)
        program.chmod(0o755)
    done = one_node(tmp_path, site=site, tasks=[{**sh(""), "program": str(program)}])
    assert done.code == code and text + on(site) in done.record["error"]
    assert "exit" not in done.record["tasks"][0] and "signal" not in done.record["tasks"][0]


def test_a_program_that_other_jobs_have_too_is_not_changed(tmp_path: Path) -> None:
    """HTCondor's common files are links to one copy, whose mode has to stay as it is."""
    (tmp_path / "start").mkdir()
    (tmp_path / "shared").write_text("#!/bin/sh\necho 1 > out\n")
    (tmp_path / "shared").chmod(0o444)
    (tmp_path / "start/program").hardlink_to(tmp_path / "shared")
    given = [{"lfn": "program", "delivered": "program", "executable": True}]
    task = {**sh(""), "program": "program", "staged": True, "arguments": []}
    done = one_node(tmp_path, inputs=given, tasks=[task], outputs=["out"])
    assert done.code == 0 and done.file("out") == b"1\n"
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize(("content", "code"), [(b"no program", 2), (b"#!/none/sh\n", 1)])
def test_a_program_that_came_with_the_job(content: bytes, code: int, tmp_path: Path) -> None:
    given = {"inputs": {"program": content}, "executable": ("program",)}
    done = one_node(tmp_path, tasks=[{**sh(""), "program": "program", "staged": True}], **given)
    assert done.code == code and "cannot be run" in done.record["error"]


def test_an_input_that_is_not_there_to_be_read(tmp_path: Path) -> None:
    done = one_node(tmp_path, tasks=[sh("true", stdin="none")])
    assert done.code == 2 and "none: No such file" in done.record["error"]


def test_a_signal_is_told(tmp_path: Path) -> None:
    done = one_node(tmp_path, tasks=[sh("kill -SEGV $$")])
    assert done.code == 1 and done.record["tasks"][0]["signal"] == signal.SIGSEGV
    assert done.record["error"] == "t was ended by SIGSEGV"


def alive(pid: int) -> bool:
    """Zombies are not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_walltime_ends_a_program_and_its_children(tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 1000 & echo $! > {tmp_path}/pid; echo begun; wait; sleep 1000"
    done = one_node(tmp_path, tasks=[sh(script, walltime=1)], environ={"PEGASUS_WN_TMP": str(tmp_path)})
    assert done.code == 1 and "walltime of 1 s" in done.record["error"]
    assert done.record["tasks"][0]["stdout"] == "begun\n"
    while alive(int((tmp_path / "pid").read_text())):
        time.sleep(0.01)


def test_what_a_program_leaves_running_is_ended_and_not_waited_for(tmp_path: Path) -> None:
    done = one_node(tmp_path, tasks=[sh(f"sleep 1000 & echo $! > {tmp_path}/pid")])
    assert done.code == 0
    while alive(int((tmp_path / "pid").read_text())):  # it was killed, and is not ours to wait for
        time.sleep(0.01)


# --- the worker itself ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_and_leaves_a_record(number: int, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 1000"
    path = bundle(tmp_path, node(tmp_path, tasks=[sh(script)], outputs=["out"]))
    process = started(tmp_path, path, {})
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    done = ended(tmp_path, process)
    assert done.code == 1 and done.record["error"] == f"{signal.Signals(number).name} received"
    assert not alive(int((tmp_path / "pid").read_text())) and done.meta == {}
    assert sorted(one.name for one in done.start.iterdir()) == ["n.json", "n.meta"]


def test_killed_outright_its_record_says_that_it_did_not_end(tmp_path: Path) -> None:
    path = bundle(tmp_path, node(tmp_path, tasks=[sh(f"kill -9 $PPID; touch {tmp_path}/ran")]))
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == -9 and done.record["exit"] == 1 and "before it could tell" in done.record["error"]
    assert done.meta == {}


def test_a_full_disk_may_have_room_another_time(tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = one_node(tmp_path, inputs={"in": bytes(30_000)}, tasks=[sh("true")], limits=limit)
    assert done.code == 1 and done.record["exit"] == 1 and "File too large" in done.record["error"]
    assert not list(done.start.glob("pegasus-*"))


def test_what_a_program_locked_is_removed_all_the_same(tmp_path: Path) -> None:
    done = one_node(tmp_path, tasks=[sh("mkdir -p a/b; touch a/b/c; chmod 0 a/b a")])
    assert done.code == 0 and not list(done.start.glob("pegasus-*"))


def test_links_out_of_the_directory_are_not_followed_when_it_is_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    done = one_node(tmp_path, tasks=[sh(f"ln -s {tmp_path}/precious link; ln -s {tmp_path}/precious/file f")])
    assert done.code == 0 and (tmp_path / "precious/file").exists()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"version": 2}, "version 2 is not known here"),
        ({"kind": "dance"}, "no nodes of the kind 'dance'"),
        ({"inputs": "x"}, "Expected `array`"),
        ({"node": "m"}, "says nothing of the node 'n'"),
    ],
)
def test_a_bundle_that_cannot_be_followed(line: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = bundle(tmp_path, {**node(tmp_path), **line})
    done = ended(tmp_path, started(tmp_path, path, {}))
    assert done.code == 2 and done.record["exit"] == 2 and text in done.record["error"]
    assert done.meta == {}


def test_no_bundle_at_all(tmp_path: Path) -> None:
    done = ended(tmp_path, started(tmp_path, tmp_path / "none", {}))
    assert done.code == 2 and "cannot be read: No such file" in done.record["error"]


def test_a_start_directory_that_cannot_be_written(tmp_path: Path) -> None:
    path = bundle(tmp_path, node(tmp_path))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = ended(tmp_path, started(tmp_path, path, {}, preexec_fn=limit))
    assert done.code == 1 and "the record cannot be written" in done.error


def test_an_attempt_does_not_see_the_one_before(tmp_path: Path) -> None:
    for _ in range(2):
        done = one_node(tmp_path, tasks=[sh("test ! -e mark && touch mark && echo 1 > out")], outputs=["out"])
        assert done.code == 0, done.record


def test_where_programs_run(tmp_path: Path) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    done = one_node(tmp_path, tasks=[sh("pwd")], environ={"_CONDOR_SCRATCH_DIR": str(place)})
    assert done.output.startswith(bytes(place)) and not list(place.iterdir())
    other = one_node(tmp_path, tasks=[sh("pwd")], site="local", environ={"TMPDIR": str(place)})
    assert other.output.startswith(bytes(place))
    assert one_node(tmp_path, tasks=[sh("pwd")]).output.startswith(bytes(done.start))


def test_usage() -> None:
    for words in ([], ["--bundle", "x"], ["--check", "x"], ["--check", "x", "y"], ["--node", "--bundle"]):
        done = subprocess.run([WORKER, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.startswith("usage: ")
    assert subprocess.run([WORKER, "--help"], capture_output=True, check=False).returncode == 0
