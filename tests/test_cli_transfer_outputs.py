"""What the command writes beside the files it moves, and what it writes without moving any."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.command import PROGRAM, entry, environment, lines, run, write
from tests.command_spec import copied
from tests.material import sha256
from tests.servers.ftp import FtpServer

# -- outputs that are no regular files ---------------------------------------------------------------


def odd_places(tmp_path: Path) -> list[Path]:
    """A FIFO that somebody reads, a link to a file, and a device where one can be made."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    found = [tmp_path / "fifo", tmp_path / "link"]
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        return found
    return [*found, tmp_path / "null"]


@pytest.mark.parametrize("option", ["--failed", "--report", "--manifest"])
def test_an_output_never_replaces_what_is_no_regular_file(tmp_path: Path, spec: Path, option: str) -> None:
    for place in odd_places(tmp_path):
        before = stat.S_IFMT(place.lstat().st_mode)
        reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        done = run("-f", spec, option, place, cwd=tmp_path)
        read = os.read(reader, 1 << 16)
        os.close(reader)
        assert done.returncode == 0, done.stderr
        assert stat.S_IFMT(place.lstat().st_mode) == before
        if stat.S_ISFIFO(before):
            assert read
    assert (tmp_path / "target").read_text() not in ("old", "")


def test_records_for_kickstart_go_into_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "k")
    reader = os.open(tmp_path / "k", os.O_RDONLY | os.O_NONBLOCK)
    done = run("-f", asking(tmp_path), cwd=tmp_path, env={"KICKSTART_INTEGRITY_DATA": str(tmp_path / "k")})
    assert done.returncode == 0, done.stderr
    assert b"f.a" in os.read(reader, 1 << 16)
    os.close(reader)


@pytest.mark.parametrize("option", ["--failed", "--report", "--manifest", "--journal"])
def test_an_output_that_cannot_be_is_refused_before_anything_moves(
    tmp_path: Path, spec: Path, option: str
) -> None:
    """A directory, a socket, a FIFO that nobody reads (not waited for)."""
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for name in ("d", "socket", *(["fifo"] if option != "--failed" else [])):
        done = run("-f", spec, option, tmp_path / name, cwd=tmp_path)
        assert done.returncode == 2, (name, done.stderr)
        assert name in done.stderr
    assert not (tmp_path / "out").exists()


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
    (tmp_path / "a").write_bytes(b"four")
    (tmp_path / "in the way").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/x").write_bytes(b"five.")
    asks = [
        entry("gopher://h/a", tmp_path / "b"),
        entry(tmp_path / "a", tmp_path / "c"),
        entry(tmp_path / "missing", tmp_path / "d"),
        entry(tmp_path / "a", tmp_path / "in the way"),
        entry(tmp_path / "tree", tmp_path / "a"),
        entry(tmp_path / "tree", tmp_path / "e"),
        entry(tmp_path / "c", tmp_path / "f"),
    ]
    write(tmp_path / "s", asks)
    done = run("-f", "s", "--dry-run", "--report", "r", cwd=tmp_path)
    assert done.returncode == 2
    told = lines(tmp_path / "r")
    assert [line.get("status") for line in told[:-1]] == [
        "failed", "planned", "failed", "failed", "failed", "planned", "planned"
    ]  # fmt: skip
    assert [line["size"] for line in told[:-1]] == [None, 4, None, None, None, 5, None]
    assert told[-1]["bytes"] == 9
    for text in (
        "cannot be done: no protocol 'gopher' here",
        "cannot be done: No such file",
        "cannot be done: a directory stands where the file is to be",
        "cannot be done: a file stands where the directory is to be",
    ):
        assert text in done.stdout
    assert "3 of 7 operations, 9 B and 1 of unknown size" in done.stderr
    check = run("-f", "s", "--check", cwd=tmp_path)
    assert check.returncode == 2
    assert check.stdout.count("FAILED") == 4, "the gopher endpoint, and three that have no way"
    assert "1 endpoint not ready, 3 operations cannot be done" in check.stderr


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
    assert "pegasus_toolkit.transfer.engine.engine" in loaded
    unwanted = {"logging", "http.client", "ssl", "asyncio", "pycurl", "obstore", "s3fs", "rich",
                "configparser", "subprocess", "tempfile", "shutil", "blake3", "tenacity", "fsspec",
                "pegasus_toolkit.transfer.records.journal",
                "pegasus_toolkit.transfer.records.report"}  # fmt: skip
    assert loaded & unwanted == set()
    assert copied(tmp_path, 0, 1, 2)


# -- the end -----------------------------------------------------------------------------------------


def test_failures_are_counted_by_kind_and_host(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    missing = [entry(tmp_path / f"missing{n}", tmp_path / f"o{n}") for n in range(30)]
    wrong = entry(tmp_path / "a", tmp_path / "o", checksum={"type": "sha256", "value": "0" * 64})
    spec = write(tmp_path / "s", [*missing, wrong])
    done = run("-f", spec, "-m", "1", "--failed", "left file", cwd=tmp_path)
    assert done.returncode == 2
    lines = [line.partition("ERROR:  ")[2] for line in done.stderr.splitlines() if "ERROR" in line]
    assert sum("missing" in line and line.startswith("failed") for line in lines) == 10
    assert "more failures like these (not found at localhost) are only counted" in lines
    assert any(line.startswith("30 failed: not found at localhost, such as file://") for line in lines)
    assert any(line.startswith("1 failed: corrupted at localhost, such as") for line in lines)
    assert "To do what is left: pegasus-transfer -f 'left file'" in done.stderr
    again = run("-f", spec, "-m", "1", "-d", cwd=tmp_path)
    assert again.stderr.count("failed  direct") == 31


def test_what_is_left_of_a_directory_are_its_files(tmp_path: Path) -> None:
    """Also of names that mean something in a URL; and the whole directory where there are other ways."""
    (tmp_path / "t").mkdir()
    for name in ("good", "a%20b", "$x", "c d"):
        (tmp_path / "t" / name).write_text(name)
    for name in ("a%20b", "$x", "c d"):
        (tmp_path / "out" / name).mkdir(parents=True)
    spec = write(tmp_path / "s", [entry(tmp_path / "t", tmp_path / "out")])
    assert run("-f", spec, "-m", "1", "--failed", "left", cwd=tmp_path).returncode == 2
    left = json.loads((tmp_path / "left").read_text())
    assert len(left) == 3
    for name in ("a%20b", "$x", "c d"):
        (tmp_path / "out" / name).rmdir()
    done = run("-f", "left", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        name: name for name in ("good", "a%20b", "$x", "c d")
    }


def test_a_name_that_a_file_has_until_it_is_whole_is_not_told(tmp_path: Path) -> None:
    from pegasus_toolkit.credentials import Credentials
    from pegasus_toolkit.transfer.engine import telling
    from pegasus_toolkit.transfer.errors import ServerFault
    from tests.outcomes import failed, local, transfer, web

    operation = transfer(local("/a"), web("http://h/d/a b"))
    for name in (".a b.0123456789abcdef.part", "a b.0123456789abcdef.tmp", ".pegasus-0123456789abcdef.part"):
        error = ServerFault("the server said: no", url=f"http://h/d/{name}")
        outcome = failed(operation, error)
        telling.finish(outcome, Credentials.none())
        assert outcome.error is not None
        assert outcome.error.url == "http://h/d/a b"


def test_the_log_file_gets_every_line(tmp_path: Path, spec: Path) -> None:
    for _ in range(2):
        done = run("-f", spec, "-q", "--log-file", "log", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    log = (tmp_path / "log").read_text()
    assert log.count("All transfers completed successfully.") == 2
    assert log.count("done  direct") == 6
    loud = run("-f", spec, "--log-file", "/dev/full", cwd=tmp_path)
    assert loud.returncode == 1
    assert "done  direct" in loud.stderr
    assert "the log '/dev/full' is incomplete" in loud.stderr
    refused = run("-f", spec, "--log-file", tmp_path, cwd=tmp_path)
    assert refused.returncode == 2


def test_the_manifest_of_an_upload(tmp_path: Path, ftp_plain: FtpServer) -> None:
    """By the names that the files have here, made from the stream."""
    (tmp_path / "t" / "d").mkdir(parents=True)
    for name in ("a", "d/b c", "d/%20"):
        (tmp_path / "t" / name).write_text(name)
    to = f"ftp://{ftp_plain.authority}/manifest-{tmp_path.name}"
    spec = write(tmp_path / "s", [entry(tmp_path / "t", to)])
    done = run("-f", spec, "--manifest", "SUMS", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check = subprocess.run(
        ["sha256sum", "--strict", "-c", "SUMS"], cwd=tmp_path, capture_output=True, check=False
    )
    assert check.returncode == 0
    assert check.stdout.count(b": OK\n") == 3


def test_lines_for_the_monitoring_daemon_are_for_jobs_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    checked = entry(tmp_path / "a", tmp_path / "b", checksum={"type": "sha256", "value": sha256(b"abc")})
    spec = write(tmp_path / "s", [checked])
    assert "MONITORING_PAYLOAD" not in run("-f", spec, cwd=tmp_path).stderr
    told = run("-f", spec, cwd=tmp_path, env={"PEGASUS_WF_UUID": "x"})
    assert "MONITORING_PAYLOAD" in told.stderr
