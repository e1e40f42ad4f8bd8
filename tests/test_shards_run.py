"""``pegasus-transfer --submit``: planned and run on this machine, with real servers and faults."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.dag.read import read
from tests.command import entry, environment, run, write
from tests.material import content, sha256
from tests.servers.nginx import Nginx
from tests.servers.odd_http import Answer, Odd, Reply, Request

SCRIPTS = Path(sysconfig.get_path("scripts"))
WORKER = SCRIPTS / "pegasus-worker"
LOCALLY = ("--submit", "--engine", "local")


def fetched(base: str, names: list[str], out: Path) -> list[dict[str, Any]]:
    """A specification that makes a directory, fetches files into it, and removes another file."""
    gone = out.parent / "gone"
    gone.write_bytes(b"x")
    moved = [entry(f"{base}/{name}", out / "deep" / name, lfn=name) for name in names]
    directory = {"type": "mkdir", "target": {"site_label": "local", "url": f"file://{out}/deep"}}
    removed = {"type": "remove", "target": {"site_label": "local", "url": f"file://{gone}"}}
    return [removed, *moved, directory]


def receipt(submit: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((submit / "records/receipt.json").read_bytes())
    return found


def served(nginx: Nginx, count: int) -> dict[str, bytes]:
    files = {f"shard-{n}": content(5000 + n, n) for n in range(count)}
    for name, data in files.items():
        (nginx.data / name).write_bytes(data)
    return files


def test_all_is_moved_and_added_up(tmp_path: Path, nginx: Nginx) -> None:
    files, out = served(nginx, 20), tmp_path / "out"
    spec = fetched(f"http://{nginx.authority}/files", list(files), out)
    spec[1]["checksum"] = {"value": sha256(files["shard-0"])}
    write(tmp_path / "spec.json", spec)
    done = run("spec.json", *LOCALLY, "--shards", "3", "--dir", "sub", "--failed", "left", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (out / "deep").iterdir()} == files
    assert not (tmp_path / "gone").exists()
    submit = tmp_path / "sub"
    assert done.stdout.splitlines()[0] == str(submit)
    assert (submit / "jobs").stat().st_mode & 0o077 == 0
    total = sum(map(len, files.values()))
    told = receipt(submit)["receipt"]
    assert told["shards"] == {"done": 5}
    assert (told["transfers"], told["mkdirs"], told["removes"], told["left"]) == (20, 1, 1, 0)
    assert (told["files"], told["bytes"], told["digests"], told["verified"]) == (20, total, 20, 1)
    assert json.loads((tmp_path / "left").read_bytes()) == []
    dag = read(submit / "transfer.dag")
    assert {node.unless_exit for node in dag.nodes.values() if node.kind == "JOB"} == {2}
    again = run("spec.json", *LOCALLY, "--dir", "sub", cwd=tmp_path)
    assert again.returncode == 0 and "done already" in again.stderr


@pytest.mark.parametrize("sandbox", [False, True])
def test_a_retried_shard_moves_nothing_again(
    tmp_path: Path, odd: Callable[[Answer], Odd], sandbox: bool
) -> None:
    """Also where its journal comes and goes with the job, as HTCondor carries it."""
    asked: Counter[str] = Counter()

    def answer(request: Request) -> Reply:
        asked[request.target] += request.method == "GET"
        if request.target == "/f3" and asked["/f3"] <= 3:  # the whole of the first attempt at the shard
            return Reply(b"half of it", cut=5)  # which is tried again soon
        return Reply(request.target.encode() * 1000)

    server, out = odd(answer), tmp_path / "out"
    names = [f"f{n}" for n in range(6)]
    write(tmp_path / "spec.json", fetched(f"http://{server.authority}", names, out))
    if sandbox:  # as for a pool whose machines have this one's file system
        words = ("--shards", "1", "--shared-filesystem", "--worker", WORKER)
        assert run("spec.json", *words, "--dir", "sub", cwd=tmp_path).returncode == 0
        command = [SCRIPTS / "pegasus-run", "--engine", "local", tmp_path / "sub"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    else:
        done = run("spec.json", *LOCALLY, "--shards", "1", "--dir", "sub", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert asked == {f"/{name}": 4 if name == "f3" else 1 for name in names}
    lines = [json.loads(line) for line in (tmp_path / "sub/provenance.jsonl").read_bytes().splitlines()]
    tries = [one for one in lines if one["node"].startswith("transfer")]
    assert [(one["return"], one["attempt"]) for one in tries] == [(1, 1), (0, 2)]
    assert {one["record"]["site"] for one in tries} == {"pool" if sandbox else "local"}
    assert tries[0]["record"]["receipt"]["left"] == [3]
    assert len(tries[0]["record"]["transfers"]) == 1 and tries[1]["record"]["bytes_out"] == 3000
    told = receipt(tmp_path / "sub")["receipt"]
    assert (told["transfers"], told["bytes"], told["digests"]) == (6, 18_000, 6)


def test_what_fails_is_left_and_the_same_command_goes_on(tmp_path: Path, nginx: Nginx) -> None:
    files, out = served(nginx, 6), tmp_path / "out"
    (nginx.data / "shard-late").unlink(missing_ok=True)
    spec = fetched(f"http://{nginx.authority}/files", [*files, "shard-late"], out)
    write(tmp_path / "spec.json", spec)
    command = ("spec.json", *LOCALLY, "--shards", "2", "--dir", "sub", "--failed", "left")
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert {path.name for path in (out / "deep").iterdir()} == set(files)
    assert (tmp_path / "gone").exists(), "nothing is removed before all is moved"
    left = json.loads((tmp_path / "left").read_bytes())
    assert left == json.loads((tmp_path / "sub/left.json").read_bytes())
    assert (tmp_path / "left").stat().st_mode & 0o077 == 0
    assert Counter(one["type"] for one in left) == {"transfer": 1, "remove": 1}
    assert "shard-late" in json.dumps(left)
    lines = [json.loads(line) for line in (tmp_path / "sub/provenance.jsonl").read_bytes().splitlines()]
    assert max(one["attempt"] for one in lines) == 1, "no repetition mends it, so there is none"
    (nginx.data / "shard-late").write_bytes(b"there now")
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (out / "deep/shard-late").read_bytes() == b"there now" and not (tmp_path / "gone").exists()
    assert json.loads((tmp_path / "left").read_bytes()) == []
    told = receipt(tmp_path / "sub")["receipt"]
    assert (told["transfers"], told["removes"], told["left"]) == (7, 1, 0)


def test_a_shard_without_record_is_told_by_its_journal(tmp_path: Path, nginx: Nginx) -> None:
    files, out = served(nginx, 4), tmp_path / "out"
    (nginx.data / "none").unlink(missing_ok=True)
    write(tmp_path / "spec.json", fetched(f"http://{nginx.authority}/files", [*files, "none"], out))
    run("spec.json", *LOCALLY, "--shards", "1", "--dir", "sub", cwd=tmp_path)
    (record,) = (tmp_path / "sub/records").glob("transfer-*.json")
    record.unlink()
    done = subprocess.run(  # the last node again, as after a restart
        [WORKER, "--bundle", tmp_path / "sub/jobs/final.jsonl", "--node", "receipt"],
        cwd=tmp_path / "sub/records",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    left = json.loads((tmp_path / "sub/left.json").read_bytes())
    assert [one.get("lfn") for one in left] == [None, "none"]


def test_a_large_specification_stays_small_in_memory(tmp_path: Path) -> None:
    """A million entries take 350 MB, a tenth of them 55."""
    line = (
        '{"type":"transfer","lfn":"f.%07d","size":%d,'
        '"src_urls":[{"site_label":"near","url":"https://near.example.org/bucket/dir/file-%07d.dat"}],'
        '"dest_urls":[{"site_label":"far","url":"https://store.example.org/run/dir/f.%07d"}]}'
    )
    lines = (line % (n, n * 7919 % 10_000_019, n, n) for n in range(100_000))
    (tmp_path / "spec.json").write_text("[" + ",\n".join(lines) + "]")
    (tmp_path / "worker").touch()
    code = (
        "import sys\nfrom pegasus_toolkit.cli.transfer import main\ncode = main(sys.argv[1:])\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print([line.split()[1] for line in lines if line.startswith('VmHWM')][0], code)"
    )
    words = ["spec.json", "--shards", "7", "--dir", "sub", "--worker", "worker"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path, capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    kibibytes, exit = map(int, done.stdout.split()[-2:])
    assert exit == 0 and kibibytes < 90 << 10, done.stderr
    counts = [path.read_bytes().count(b"\n") - 2 for path in (tmp_path / "sub/jobs").glob("*.spec.json")]
    assert len(counts) == 7 and sum(counts) == 100_000


def test_only_planned_it_is_a_dag_that_htcondor_takes(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("HTCondor's library is there for Linux alone")
    import htcondor2

    (tmp_path / "c.conf").write_text("[https://h]\ntoken = x\n")
    (tmp_path / "c.conf").chmod(0o600)
    spec = []
    for n in range(8):
        one = entry("/", "/", size=n)
        one["src_urls"][0] = {"site_label": "far-off", "url": f"https://h/{n}"}
        one["dest_urls"][0] = {"site_label": "b", "url": f"https://other/{n}"}
        spec.append(one)
    spec.append(entry(tmp_path / "here", "https://h/here"))
    write(tmp_path / "spec.json", spec)
    env = {"PEGASUS_CREDENTIALS": str(tmp_path / "c.conf")}
    worker = tmp_path / "worker"
    worker.write_text("")
    done = run("spec.json", "--shards", "3", "--worker", "worker", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    submit = tmp_path / "spec-run0001"
    assert done.stdout.strip() == str(submit) and "1 entries name files of this machine" in done.stderr
    assert not (submit / "records/receipt.json").exists()
    dag = read(submit / "transfer.dag")
    assert sorted(dag.nodes) == ["receipt", "transfer-0001", "transfer-0002", "transfer-here-0001"]
    there = htcondor2.Submit(Path(dag.nodes["transfer-0001"].submit).read_text())
    assert there["universe"] == "vanilla" and there["executable"] == str(worker)
    assert there["transfer_output_files"].endswith("$(nodename).journal")
    assert there["encrypt_input_files"] == str(tmp_path / "c.conf")
    assert "PEGASUS_CREDENTIALS_far_off=c.conf" in there["environment"]
    files = {one.key: one.value for one in dag.nodes["transfer-0001"].variables}["files"]
    assert "transfer-0001.journal" in files and str(tmp_path / "c.conf") in files
    here = htcondor2.Submit(Path(dag.nodes["transfer-here-0001"].submit).read_text())
    assert here["universe"] == "local"
    again = run("spec.json", "--shards", "3", "--worker", "worker", cwd=tmp_path, env=env)
    assert again.stdout.strip() == str(tmp_path / "spec-run0002")


def test_a_credential_that_is_missing_is_named_before_anything_begins(tmp_path: Path) -> None:
    write(tmp_path / "spec.json", [entry("s3://joe@cloud/b/k", tmp_path / "out")])
    done = run("spec.json", *LOCALLY, "--dir", "sub", cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert done.returncode == 2 and "PEGASUS_CREDENTIALS_" in done.stderr
    assert not (tmp_path / "sub").exists()


def test_a_directory_of_another_specification_is_left_alone(tmp_path: Path, spec: Path) -> None:
    assert run(spec, "--shards", "1", "--dir", "sub", "--engine", "local", cwd=tmp_path).returncode == 0
    plan = (tmp_path / "sub/plan.json").read_bytes()
    spec.write_text(json.dumps(json.loads(spec.read_text())[1:]))
    done = run(spec, *LOCALLY, "--dir", "sub", cwd=tmp_path)
    assert done.returncode == 2 and "not of this specification" in done.stderr
    assert (tmp_path / "sub/plan.json").read_bytes() == plan


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--dir", "x"), "--dir goes with --submit"),
        (("--shared-filesystem",), "--shared-filesystem goes with"),
        (("--submit", "--journal", "j"), "--journal cannot be had with"),
        (("--submit", "--bandwidth", "1M"), "--bandwidth cannot be had with"),
        (("--submit", "--digest", "blake3"), "sha256"),
        (("--shards", "0"), "whole number from 1"),
        (("--submit", "-f", "other.json"), "not both"),
    ],
)
def test_options_that_make_no_sense_together(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    named = ["spec.json"] if "--submit" in words else ["-f", "spec.json"]
    done = run(*named, *words, cwd=tmp_path)
    assert done.returncode == 2 and text in done.stderr


@pytest.mark.parametrize("text", ["[]", "{", '[{"type": "remove"}]'])
def test_what_is_wrong_with_the_specification_is_told_and_nothing_planned(tmp_path: Path, text: str) -> None:
    (tmp_path / "spec.json").write_text(text)
    done = run("spec.json", *LOCALLY, "--dir", "sub", cwd=tmp_path)
    assert done.returncode == 2 and "spec.json" in done.stderr
    assert not (tmp_path / "sub").exists()


def test_what_may_hold_a_signature_is_closed_to_others(tmp_path: Path) -> None:
    signed = [
        entry(f"https://h.example/f{n}?X-Amz-Signature=CANARY{n}", tmp_path / f"o{n}") for n in range(4)
    ]
    done = run("-f", write(tmp_path / "s", signed), "--shards", "2", "--dir", "sub", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    holding = [
        path for path in (tmp_path / "sub").rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()
    ]
    assert holding
    assert [path for path in holding if path.stat().st_mode & 0o077] == []
