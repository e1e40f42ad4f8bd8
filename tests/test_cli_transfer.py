"""The installed command: what it does with options, input and environment, and what it says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pegasus_toolkit import __version__
from tests.command import PROGRAM, entry, environment, lines, run, write
from tests.material import content, sha256


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Three files to copy."""
    entries = []
    for n in range(3):
        (tmp_path / f"a{n}").write_bytes(content(5000, n))
        entries.append(entry(tmp_path / f"a{n}", tmp_path / "out" / f"b{n}", lfn=f"f{n}"))
    return write(tmp_path / "spec.json", entries)


def copied(directory: Path, *numbers: int) -> bool:
    found = {path.name: path.read_bytes() for path in (directory / "out").glob("*")}
    return found == {f"b{n}": content(5000, n) for n in numbers}


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
        (["--max", "3"], "unrecognized arguments: --max 3"),
        (["spec.json"], "unrecognized arguments: spec.json"),
        (["--dry-run", "--failed", "x"], "--failed and --manifest make no sense"),
        (["--manifest", "x", "--digest", "none"], "--manifest needs digests"),
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
    assert run("--version", cwd=tmp_path).stdout == f"pegasus-transfer {__version__}\n"
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
    assert (tmp_path / "demo" / "hello.txt").read_text() == "hello\n"
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


# -- what else is written --------------------------------------------------------------------------


def test_statistics_for_pegasus(tmp_path: Path, spec: Path) -> None:
    (tmp_path / "m").mkdir()
    assert run("-f", spec, cwd=tmp_path, env={"PEGASUS_MULTIPART_DIR": str(tmp_path / "m")}).returncode == 0
    (path,) = (tmp_path / "m").iterdir()
    assert re.fullmatch(r"[0-9]+-transfer", path.name)
    (told,) = yaml.safe_load(path.read_text())
    assert sorted(a["lfn"] for a in told["transfer_attempts"]) == ["f0", "f1", "f2"]
    assert all(a["success"] and a["bytes"] == 5000 for a in told["transfer_attempts"])


def test_statistics_that_cannot_be_written_stop_nothing(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, cwd=tmp_path, env={"PEGASUS_MULTIPART_DIR": str(tmp_path / "none")})
    assert done.returncode == 0
    assert "cannot write statistics" in done.stderr


def asking(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(b"abc")
    asks = entry(tmp_path / "a", tmp_path / "b", lfn="f.a", generate_checksum=True)
    again = entry(tmp_path / "a", tmp_path / "c", lfn="f.a", generate_checksum=True)
    return write(tmp_path / "s", [asks, again])


def test_digests_for_kickstart(tmp_path: Path) -> None:
    done = run("-f", asking(tmp_path), cwd=tmp_path, env={"KICKSTART_INTEGRITY_DATA": str(tmp_path / "k")})
    assert done.returncode == 0, done.stderr
    told = yaml.safe_load((tmp_path / "k").read_text())
    assert list(told) == ["f.a"]
    assert told["f.a"]["sha256"] == sha256(b"abc")
    assert told["f.a"]["file_name"] in (str(tmp_path / "b"), str(tmp_path / "c"))
    assert told["f.a"]["size"] == 3
    assert (tmp_path / "k").read_text().count("f.a") == 1


def test_a_digest_that_cannot_be_recorded_is_no_success(tmp_path: Path) -> None:
    done = run(
        "-f", asking(tmp_path), cwd=tmp_path, env={"KICKSTART_INTEGRITY_DATA": str(tmp_path / "no" / "k")}
    )
    assert done.returncode == 1
    assert "digests cannot be recorded" in done.stderr
    assert "successfully" not in done.stderr
    assert (tmp_path / "b").read_bytes() == b"abc"


def test_a_manifest_that_sha256sum_takes(tmp_path: Path) -> None:
    names = ["two words", "back\\slash", "%20", "-", "ü", "$cost"]
    for name in names:
        (tmp_path / f"a{name}").write_bytes(name.encode())
    write(tmp_path / "s", [entry(tmp_path / f"a{name}", tmp_path / name) for name in names])
    assert run("-f", "s", "--manifest", "SUMS", cwd=tmp_path).returncode == 0
    check = subprocess.run(
        ["sha256sum", "--strict", "-c", "SUMS"], cwd=tmp_path, capture_output=True, check=False
    )
    assert check.returncode == 0
    assert check.stdout.count(b": OK\n") == len(names)


def test_a_report_on_a_full_disk_is_no_success(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, "--report", "/dev/full", cwd=tmp_path)
    assert done.returncode == 1
    assert "the report '/dev/full' is incomplete: No space left on device" in done.stderr
    assert copied(tmp_path, 0, 1, 2)


@pytest.mark.parametrize("option", ["--report", "--failed", "--manifest", "--journal"])
def test_what_cannot_be_written_is_told_before_anything_moves(
    tmp_path: Path, spec: Path, option: str
) -> None:
    for path in ("none/x", "."):
        done = run("-f", spec, option, path, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert path in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"spec.json", "a0", "a1", "a2"}


def test_a_dry_run_moves_nothing(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, "--dry-run", "--report", "r", cwd=tmp_path)
    assert done.returncode == 0
    assert not (tmp_path / "out").exists()
    assert f"file://{tmp_path}/a1 -> file://{tmp_path}/out/b1" in done.stdout
    assert [line.get("status") for line in lines(tmp_path / "r")] == ["planned"] * 3 + [None]
    assert all(line["route"] and line["why"] for line in lines(tmp_path / "r")[:-1])


def test_a_check_moves_nothing(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, "--check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing was moved" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_what_cannot_be_done(tmp_path: Path) -> None:
    write(tmp_path / "s", [entry("gopher://h/a", tmp_path / "b"), entry(tmp_path / "a", tmp_path / "c")])
    done = run("-f", "s", "--dry-run", "--report", "r", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be done: no protocol 'gopher' here" in done.stdout
    assert [line.get("status") for line in lines(tmp_path / "r")] == ["failed", "planned", None]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, spec: Path) -> None:
    read, write_end = os.pipe()
    os.close(read)
    arguments = [PROGRAM, "-f", str(spec), "-d"]
    done = subprocess.run(
        arguments,
        cwd=tmp_path,
        stdout=write_end,
        stderr=write_end,
        env=environment(),
        timeout=60,
        check=False,
    )
    dry = subprocess.run(
        [*arguments, "--dry-run"], cwd=tmp_path, stdout=write_end, stderr=subprocess.PIPE, env=environment(),
        timeout=60, check=False,
    )  # fmt: skip
    os.close(write_end)
    assert done.returncode == 0
    assert copied(tmp_path, 0, 1, 2)
    assert dry.returncode == 0
    assert b"Exception" not in dry.stderr and b"Error" not in dry.stderr


def test_many_operations_make_a_short_log(tmp_path: Path) -> None:
    entries = []
    for n in range(1001):
        (tmp_path / f"a{n}").touch()
        entries.append(entry(tmp_path / f"a{n}", tmp_path / "out" / f"b{n}"))
    (tmp_path / "a7").unlink()
    write(tmp_path / "s", entries)
    done = run("-f", "s", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) < 12
    assert "a7" in done.stderr and "1000 done, 1 failed" in done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 1000


def test_every_option_is_documented(tmp_path: Path) -> None:
    documented = (Path(__file__).parent.parent / "docs" / "options.md").read_text()
    told = run("--help", cwd=tmp_path).stdout
    options = set(
        re.findall(r"^ +(?:-\w \w*,? ?)?.*?(--[a-z-]+)", told.partition("a specification that")[0], re.M)
    )
    assert len(options) > 15
    assert [option for option in sorted(options) if f"{option}" not in documented] == []


def test_a_local_copy_loads_no_protocol_and_nothing_large(tmp_path: Path, spec: Path) -> None:
    command = [sys.executable, "-X", "importtime", PROGRAM, "-f", str(spec), "-q"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment(), check=True
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pegasus_toolkit.transfer.engine" in loaded
    unwanted = {"logging", "http.client", "ssl", "asyncio", "pycurl", "obstore", "s3fs", "rich",
                "configparser", "subprocess", "tempfile", "shutil", "blake3", "tenacity", "fsspec",
                "pegasus_toolkit.transfer.journal", "pegasus_toolkit.transfer.report"}  # fmt: skip
    assert loaded & unwanted == set()
    assert copied(tmp_path, 0, 1, 2)
