"""The installed command: what it does with options, input and environment, and what it says."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

from pegasus_toolkit import __version__
from tests.command import PROGRAM, entry, environment, lines, run, write
from tests.command_spec import copied
from tests.material import content, sha256

# -- input ---------------------------------------------------------------------------------------


def test_copies_files(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert copied(tmp_path, 0, 1, 2)
    assert done.stdout == ""
    assert "All transfers completed successfully." in done.stderr
    assert "Stats: Total 3 transfers, 14.6 KiB transferred" in done.stderr
    assert all(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} {4}INFO:  ", line)
        for line in done.stderr.splitlines()
    )


@pytest.mark.parametrize("arguments", [(), ("-f", "-"), ("--file=-",)])
def test_reads_standard_input(tmp_path: Path, spec: Path, arguments: tuple[str, ...]) -> None:
    assert run(*arguments, cwd=tmp_path, input=spec.read_bytes()).returncode == 0
    assert copied(tmp_path, 0, 1, 2)


def test_reads_the_old_text_form(tmp_path: Path, spec: Path) -> None:
    text = f"# src 1 local\nfile://{tmp_path}/a0\n# dst 1 local\nfile://{tmp_path}/out/b0\n"
    done = run(cwd=tmp_path, input=text)
    assert done.returncode == 0, done.stderr
    assert copied(tmp_path, 0)


def test_closed_standard_input(tmp_path: Path) -> None:
    shell = ["/bin/sh", "-c", '"$1" <&-', "sh", PROGRAM]
    done = subprocess.run(
        shell, cwd=tmp_path, capture_output=True, timeout=60, env=environment(), check=False
    )
    assert done.returncode == 2
    assert b"standard input is closed; name the specification with -f FILE" in done.stderr


def test_nothing_to_do(tmp_path: Path) -> None:
    done = run(cwd=tmp_path, input="[]")
    assert done.returncode == 0
    assert "All transfers completed successfully." in done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "standard input: "),
        ("{", "standard input: "),
        ('[{"type": "transfr"}]', "entry 0: type: expected 'transfer', 'mkdir' or 'remove'"),
        ('[{"type": "mkdir", "target": {"site_label": "x", "url": 7}}]', "entry 0: target.url: "),
        (
            '[{"type": "remove", "target": {"site_label": "x", "url": "/x", "recursive": "flase"}}]',
            "recursive",
        ),
        ('[{"type": "mkdir", "target": {"site_label": "x", "url": "file:///$NO_SUCH/x"}}]', "NO_SUCH"),
        (b"\xff\xfe[]", "standard input: "),
    ],
)
def test_a_bad_specification_moves_nothing(tmp_path: Path, given: str | bytes, expected: str) -> None:
    before = set(tmp_path.iterdir())
    done = run("--report", "r", "--journal", "j", "--failed", "f", cwd=tmp_path, input=given)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert set(tmp_path.iterdir()) == before


def test_all_problems_are_told_a_line_each(tmp_path: Path, spec: Path) -> None:
    bad = '[{"type": "mkdir"}, {"type": "remove"}, 7]'
    done = run(cwd=tmp_path, input=bad)
    told = [line for line in done.stderr.splitlines() if "CRITICAL" in line]
    assert done.returncode == 2
    assert [line.split("standard input: ")[1].split(":")[0] for line in told] == [
        "entry 0",
        "entry 1",
        "entry 2",
    ]


@pytest.mark.parametrize("name", ["missing", "directory", "/proc/self/mem"])
def test_a_specification_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    done = run("-f", name, cwd=tmp_path)
    assert done.returncode == 2
    (told,) = [line for line in done.stderr.splitlines() if "CRITICAL" in line]
    assert name in told


# -- options and environment -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-n", "-1"], "argument -n/--threads: '-1' is not a whole number from 0"),
        (["-n", "many"], "'many' is not a whole number"),
        (["-m", "0"], "argument -m/--max-attempts: '0' is not a whole number from 1"),
        (["--bandwidth", "fast"], "'fast' is not a number of bytes"),
        (["--stall-timeout", "nan"], "'nan' is not a number of seconds above 0"),
        (["--connect-timeout", "0"], "'0' is not a number of seconds above 0"),
        (["--digest", "md5"], "invalid choice: 'md5'"),
        (["--report", ""], "argument --report: needs the name of a file"),
        (["--debug", "--quiet"], "not allowed with argument"),
        (["--max", "3"], "unrecognized arguments: --max"),
        (["spec.json"], "A specification is named by -f"),
        (["--dry-run", "--failed", "x"], "--failed and --manifest make no sense"),
        (["--manifest", "x", "--digest", "none"], "--manifest and --sums need digests"),
        (["--report", "x", "--journal", "x"], "a name of its own"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, spec: Path, arguments: list[str], expected: str) -> None:
    done = run(*arguments, cwd=tmp_path, input=spec.read_bytes())
    assert done.returncode == 2
    assert expected in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("threads", ["0", "-3", "eight", "8.5", " 4"])
def test_malformed_threads_in_the_environment(tmp_path: Path, spec: Path, threads: str) -> None:
    done = run("-f", spec, cwd=tmp_path, env={"PEGASUS_TRANSFER_THREADS": threads})
    assert done.returncode == 2
    assert "PEGASUS_TRANSFER_THREADS" in done.stderr
    assert run("-f", spec, "-n", "2", cwd=tmp_path, env={"PEGASUS_TRANSFER_THREADS": threads}).returncode == 0


@pytest.mark.parametrize("threads", ["", "3"])
def test_threads_from_the_environment(tmp_path: Path, spec: Path, threads: str) -> None:
    done = run("-f", spec, "-n", "0", cwd=tmp_path, env={"PEGASUS_TRANSFER_THREADS": threads})
    assert done.returncode == 0


def test_version_and_help(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"pegasus-toolkit {__version__}\n"
    told = run("--help", cwd=tmp_path)
    assert told.returncode == 0
    for word in (
        "PEGASUS_TRANSFER_THREADS",
        "KICKSTART_INTEGRITY_DATA",
        "--journal",
        "exit codes",
        "UNLESS-EXIT 2",
    ):
        assert word in told.stdout


def test_the_example_in_the_help_runs_as_it_stands(tmp_path: Path) -> None:
    told = run("--help", cwd=tmp_path).stdout
    script = (
        told.split("runs as it stands:\n")[1]
        .split("All mkdirs come first")[0]
        .replace("/tmp/", f"{tmp_path}/")
    )
    script = re.sub(r"(?m)^ {2}", "", script).replace("pegasus-transfer", PROGRAM)
    done = subprocess.run(
        ["/bin/sh", "-ec", script], cwd=tmp_path, capture_output=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "hello").read_text() == "hello\n"
    assert not (tmp_path / "hello.txt").exists()


def test_quiet_says_nothing_of_success(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_debug_tells_every_attempt(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, "-d", cwd=tmp_path)
    assert done.stderr.count("attempt 1: ") == 3
    assert f"sha256 {sha256(content(5000, 1))}" in done.stderr


def test_symlink_within_a_site(tmp_path: Path, spec: Path) -> None:
    assert run("-f", spec, "-s", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out" / "b0").readlink() == tmp_path / "a0"


@pytest.mark.parametrize("digest", ["sha256", "blake3", "none"])
def test_the_digest_that_is_taken(tmp_path: Path, spec: Path, digest: str) -> None:
    assert run("-f", spec, "--digest", digest, "--report", "r", cwd=tmp_path).returncode == 0
    told = lines(tmp_path / "r")[0]["digest"]
    if digest == "none":
        assert told is None
    else:
        assert told["type"] == digest
        assert len(told["value"]) == 64


# -- failures --------------------------------------------------------------------------------------


def test_a_missing_source_fails_alone(tmp_path: Path, spec: Path) -> None:
    (tmp_path / "a1").unlink()
    done = run("-f", spec, "--report", "r", "--failed", "left.json", cwd=tmp_path)
    assert done.returncode == 2
    assert copied(tmp_path, 0, 2)
    (told,) = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert "f1" in told and "not found" in told and str(tmp_path / "a1") in told
    assert "Some transfers failed!" in done.stderr
    outcomes = {line["id"]: line for line in lines(tmp_path / "r") if line["type"] == "transfer"}
    assert {id: outcome["status"] for id, outcome in outcomes.items()} == {0: "done", 1: "failed", 2: "done"}
    assert outcomes[1]["error"]["kind"] == "not found"
    assert lines(tmp_path / "r")[-1]["exit_code"] == 2


def test_what_is_left_can_be_run_again(tmp_path: Path, spec: Path) -> None:
    (tmp_path / "a1").unlink()
    run("-f", spec, "--failed", "left.json", cwd=tmp_path)
    assert (tmp_path / "left.json").stat().st_mode & 0o777 == 0o600
    for path in (tmp_path / "out").glob("*"):
        path.unlink()
    (tmp_path / "a1").write_bytes(content(5000, 1))
    done = run("-f", "left.json", "--failed", "left.json.2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert copied(tmp_path, 1)
    assert (tmp_path / "left.json.2").read_text().split() == ["[", "]"]
    assert run("-f", "left.json.2", cwd=tmp_path).returncode == 0


def test_a_host_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/f"
        write(tmp_path / "s", [entry(url, tmp_path / "f")])
        done = run("-f", "s", "-m", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert "unreachable" in done.stderr
    assert not (tmp_path / "f").exists()


def test_an_unknown_scheme(tmp_path: Path) -> None:
    write(tmp_path / "s", [entry("gopher://host/f", tmp_path / "f")])
    done = run("-f", "s", cwd=tmp_path)
    assert done.returncode == 2
    assert "gopher" in done.stderr and "known are" in done.stderr


def test_no_line_can_be_forged(tmp_path: Path) -> None:
    lfn = "x\n2026-01-01 00:00:00,000    INFO:  All transfers completed successfully.\x1b[31m\u202e"
    write(tmp_path / "s", [entry(tmp_path / "none", tmp_path / "f", lfn=lfn)])
    done = run("-f", "s", "-d", cwd=tmp_path)
    assert done.returncode == 2
    assert not any(line.endswith("successfully.") for line in done.stderr.splitlines())
    assert "\x1b" not in done.stderr and "\u202e" not in done.stderr


def test_no_secret_is_shown(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/f?X-Amz-Signature=hunter2"
        write(tmp_path / "s", [entry(url, tmp_path / "f")])
        (tmp_path / "multipart").mkdir()
        env = {"PEGASUS_MULTIPART_DIR": str(tmp_path / "multipart")}
        done = run("-f", "s", "-d", "-m", "1", "--report", "r", cwd=tmp_path, env=env)
    (statistics,) = (tmp_path / "multipart").iterdir()
    assert done.returncode == 1
    assert "***" in done.stderr
    for text in (done.stderr, (tmp_path / "r").read_text(), statistics.read_text()):
        assert "hunter2" not in text
    planned = run("-f", "s", "--dry-run", cwd=tmp_path)
    assert "hunter2" not in planned.stdout + planned.stderr
