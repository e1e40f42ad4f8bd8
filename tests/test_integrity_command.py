"""The installed command, run as a program."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integrity_command import COMMAND, Run, sha, write


def expect(place: Path, meta: str = "job", /, **contents: str) -> None:
    """A ``.meta`` file that expects these contents of these LFNs."""
    expect_all(place, meta, contents)


def expect_all(place: Path, meta: str, contents: dict[str, str]) -> None:
    attributes = {lfn: {"checksum.type": "sha256", "checksum.value": sha(c)} for lfn, c in contents.items()}
    entries = [{"_id": lfn, "_type": "file", "_attributes": a} for lfn, a in attributes.items()]
    (place / f"{meta}.meta").write_text(json.dumps(entries))


# -- generate ----------------------------------------------------------------------------------------


def test_generate_prints_what_sha256sum_does(tmp_path: Path) -> None:
    names = ["a", "b c", "x=y", "back\\slash", "new\nline"]
    for name in names:
        (tmp_path / name).write_text(name)
    run = Run(tmp_path, "--generate", ";;;".join(names))
    assert (run.status, run.err) == (0, "")
    assert (
        run.out == subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, text=True).stdout
    )


def test_generate_reports_each_file_that_fails_and_does_the_others(tmp_path: Path) -> None:
    write(tmp_path, a="a", z="z")
    os.mkfifo(tmp_path / "fifo")
    run = Run(tmp_path, "--generate", "a;;;none;;;fifo;;;.;;;z")
    assert run.status == 1
    assert run.out == f"{sha('a')}  a\n{sha('z')}  z\n"
    assert run.err.splitlines() == [
        "Integrity check: none: No such file or directory",
        "Integrity check: fifo: Not a regular file",
        "Integrity check: .: Is a directory",
    ]


def test_generate_takes_another_algorithm(tmp_path: Path) -> None:
    write(tmp_path, a="abc")
    run = Run(tmp_path, "--generate", "a", "--algorithm", "BLAKE3")
    assert run.out == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85  a\n"


def test_names_come_from_standard_input_ended_by_nul(tmp_path: Path) -> None:
    names = [b"a;;;b", b"line\nend", b"\xff", b"stdin", b"-", b" "]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    for end in (b"", b"\0"):
        run = Run(tmp_path, "--generate", "-", "--null", stdin=b"\0".join(names) + end)
        assert (run.status, run.err) == (0, "")
        assert re.findall("[0-9a-f]{64}", run.out) == [sha(name) for name in names]


def test_generate_yaml_prints_upstreams_two_lines(tmp_path: Path) -> None:
    write(tmp_path, a="a")
    run = Run(tmp_path, "--generate-yaml", "lfn=a;;;a")
    one = rf"      sha256: {sha('a')}\n      checksum_timing: \d\.\d\d\d\n\n"
    assert run.status == 0
    assert re.fullmatch(one * 2, run.out)


def records(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load("files:\n" + text)["files"]
    return found


def test_fullstat_yaml_is_printed_or_added_to_kickstarts_file(tmp_path: Path) -> None:
    write(tmp_path, a="a", b="bb")
    printed = Run(tmp_path, "--generate-fullstat-yaml", "x/a=a;;;b")
    assert printed.status == 0
    assert {lfn: (f["file_name"], f["size"]) for lfn, f in records(printed.out).items()} == {
        "x/a": ("a", 1),
        "b": ("b", 2),
    }
    target = tmp_path / "kickstart"
    for entry in ("x/a=a", "b"):
        run = Run(tmp_path, "--generate-fullstat-yaml", entry, KICKSTART_INTEGRITY_DATA=str(target))
        assert (run.status, run.out) == (0, "")
    assert {lfn: f["sha256"] for lfn, f in records(target.read_text()).items()} == {
        "x/a": sha("a"),
        "b": sha("bb"),
    }


def test_a_record_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    write(tmp_path, a="a")
    run = Run(tmp_path, "--generate-fullstat-yaml", "a", KICKSTART_INTEGRITY_DATA=str(tmp_path / "no/dir"))
    assert run.status == 1
    assert run.err == f"Integrity check: cannot record a in {tmp_path}/no/dir: No such file or directory\n"


def test_a_name_forges_no_record(tmp_path: Path) -> None:
    write(tmp_path, a="a")
    lfn = f'x":\n      sha256: {"0" * 64}\n    "victim'
    run = Run(tmp_path, "--generate-fullstat-yaml", f"{lfn}=a")
    assert list(records(run.out)) == [lfn]


@pytest.mark.parametrize(
    ("entry", "lfn"), [("p=1/q=2=d=1", "p=1/q=2"), ("d=1=d=1", "d=1"), ("d=1", "d=1"), ("=d=1", "d=1")]
)
def test_an_equals_sign_in_a_name_is_fine(tmp_path: Path, entry: str, lfn: str) -> None:
    (tmp_path / "d=1").write_text("d")
    run = Run(tmp_path, "--generate-fullstat-yaml", entry)
    assert {lfn: f["file_name"] for lfn, f in records(run.out).items()} == {lfn: "d=1"}


def test_an_entry_that_can_be_read_in_two_ways_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, **{"b=c": "1", "c": "2"})
    run = Run(tmp_path, "--generate-fullstat-yaml", "a=b=c")
    assert run.status == 1
    assert "'a' at 'b=c' or 'a=b' at 'c'; an absolute path tells them apart" in run.err
    assert list(records(Run(tmp_path, "--generate-fullstat-yaml", f"a=b={tmp_path}/c").out)) == ["a=b"]


# -- verify ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "stdin", "-", "null"])
def test_verify_says_yes_only_to_what_is_right(tmp_path: Path, how: str) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, a="good", **{"sub/b": "good", "c": "bad"})
    expect(tmp_path, "one", a="good", c="good")
    expect(tmp_path, "two", b="good")

    def verify(*entries: str) -> Run:
        if how == "argument":
            return Run(tmp_path, "--verify", ";;;".join(entries))
        if how == "null":
            return Run(tmp_path, "--verify", "-", "-0", stdin="\0".join(entries).encode())
        return Run(tmp_path, "--verify", how, stdin=(";;;".join(entries) + "\n").encode())

    good = verify("a", "b=sub/b")
    assert (good.status, good.out, good.err) == (0, "", "Integrity check: 2 files verified, 0 failed\n")
    bad = verify("c", "a", "b=c", "b=none")
    assert bad.status == 1
    line = rf"Integrity check: c: Expected checksum \({sha('good')}\) does not match the calculated checksum"
    line += rf" \({sha('bad')}\) \(timing: \d\.\d\d\d\)\n"
    assert re.fullmatch(
        line * 2
        + "Integrity check: none: No such file or directory\nIntegrity check: 1 files verified, 3 failed\n",
        bad.err,
    )


@pytest.mark.parametrize("value", ["", ";;;", "a;;;", ";;;a", "a;;;;;;b"])
def test_nothing_to_verify_is_not_a_success(tmp_path: Path, value: str) -> None:
    write(tmp_path, a="a", b="b")
    expect(tmp_path, a="a", b="b")
    for run in (Run(tmp_path, "--verify", value), Run(tmp_path, "--verify", "stdin", stdin=value.encode())):
        assert run.status == 2
        assert "no file is named" in run.err or "an entry of the list is empty" in run.err


def test_a_file_that_no_meta_file_knows_is_a_failure_that_says_what_was_read(tmp_path: Path) -> None:
    write(tmp_path, a="a")
    none = Run(tmp_path, "--verify", "a")
    assert none.status == 1
    assert "no checksum in the meta data for 'a'; read: no .meta file is there" in none.err
    expect(tmp_path, "one", b="b")
    (tmp_path / "two.meta").write_text('[{"_id": "c"')
    run = Run(tmp_path, "--verify", "lfn=a")
    assert run.status == 1
    assert "for 'lfn'; read: one.meta, two.meta; broken: two.meta is not JSON" in run.err


def test_files_that_disagree_or_lie_are_failures(tmp_path: Path) -> None:
    write(tmp_path, a="a", b="b")
    expect(tmp_path, "one", a="a")
    expect(tmp_path, "two", a="other")
    md5 = hashlib.md5(b"b").hexdigest()
    attributes = {"checksum.type": "sha256", "checksum.value": md5}
    (tmp_path / "three.meta").write_text(json.dumps([{"_id": "b", "_attributes": attributes}]))
    run = Run(tmp_path, "--verify", "a;;;b")
    assert run.status == 1
    assert "'a' has one checksum in one.meta and another in two.meta" in run.err
    assert "three.meta: 'b': 'checksum.value': a sha256 has 64 hex digits" in run.err


def test_the_digest_decides_and_a_wrong_size_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, a="abc")
    attributes = {"checksum.value": sha("abc"), "size": "4"}
    (tmp_path / "a.meta").write_text(json.dumps([{"_id": "a", "_attributes": attributes}]))
    run = Run(tmp_path, "--verify", "a")
    assert run.status == 0
    assert "warning: a: has the expected checksum, and 3 bytes where 4 are told" in run.err
    assert "1 files verified, 0 failed" in run.err


def test_an_equals_sign_is_read_as_the_meta_data_knows_it(tmp_path: Path) -> None:
    (tmp_path / "y=2").mkdir()
    write(tmp_path, **{"y=2/f": "f", "d=1": "d"})
    expect_all(tmp_path, "m", {"x=1/y=2/f": "f", "d=1": "d"})
    assert Run(tmp_path, "--verify", "x=1/y=2/f=y=2/f;;;d=1;;;d=1=d=1").status == 0
    run = Run(tmp_path, "--verify", "x=1/y=2/f=none")
    assert run.err.startswith("Integrity check: none: No such file or directory\n")


def test_statistics_are_what_monitoring_reads_and_two_runs_do_not_overwrite_each_other(
    tmp_path: Path,
) -> None:
    stats = tmp_path / "multipart"
    stats.mkdir()
    lfn = 'evil"\n  - lfn: "forged'
    write(tmp_path, a="a", b="b")
    expect_all(tmp_path, "m", {"a": "a", lfn: "other"})
    for _ in range(5):  # surely some of them in the same second
        run = Run(
            tmp_path, "--verify", f"a;;;{lfn}=b;;;c", "--print-timings", PEGASUS_MULTIPART_DIR=str(stats)
        )
        assert (run.status, run.out) == (1, "")
    files = sorted(stats.iterdir())
    assert len(files) == 5
    for file in files:
        assert re.fullmatch(r"\d+-integrity(-\d+)?", file.name)
        attempts, summary = yaml.safe_load(file.read_text())
        good, bad, unknown = attempts["integrity_verification_attempts"]
        assert good == {"lfn": "a", "pfn": "a", "sha256": sha("a"), "success": True}
        assert bad == {
            "lfn": lfn,
            "pfn": "b",
            "sha256": sha("b"),
            "success": False,
            "sha256_expected": sha("other"),
        }
        assert unknown == {"lfn": "c", "pfn": "c", "sha256": None, "success": False}
        assert (summary["integrity_summary"]["succeeded"], summary["integrity_summary"]["failed"]) == (1, 2)


def test_statistics_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    write(tmp_path, a="a")
    expect(tmp_path, a="a")
    run = Run(tmp_path, "--verify", "a", "--print-timings", PEGASUS_MULTIPART_DIR="/nowhere")
    assert run.status == 0
    assert "cannot write statistics to $PEGASUS_MULTIPART_DIR: No such file or directory" in run.err
    assert yaml.safe_load(Run(tmp_path, "--verify", "a", "--print-timings").out)[1]["integrity_summary"]


def test_debug_tells_what_is_read(tmp_path: Path) -> None:
    write(tmp_path, a="a")
    expect(tmp_path, a="a")
    run = Run(tmp_path, "--verify", "a", "--debug")
    assert "read job.meta" in run.err
    assert sha("a") in run.err


# -- usage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "one of the arguments --generate"),
        (["--generate", "a", "--verify", "a"], "not allowed with argument"),
        (["--generate-xmls", "a"], "use --generate-yaml or --generate-fullstat-yaml"),
        (["--generate-fullstat-xmls", "a"], "use --generate-yaml or --generate-fullstat-yaml"),
        (["--generate", ""], "no file is named"),
        (["--generate", "a", "--null"], "--null is for entries on standard input"),
        (["--generate", "a", "--algorithm", "sha999"], "known are: sha256"),
        (["--generate", "a", "--directory", "."], "go with --verify-manifest"),
        (["--generate", "a", "--print-timings"], "--print-timings goes with --verify"),
        (["--verify", "a", "--algorithm", "md5"], "--algorithm"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_meant(tmp_path: Path, arguments: list[str], expected: str) -> None:
    run = Run(tmp_path, *arguments)
    assert (run.status, run.out) == (2, "")
    assert expected in run.err
    assert len(run.err.splitlines()) == 2


def test_help_teaches(tmp_path: Path) -> None:
    run = Run(tmp_path, "--help")
    assert run.status == 0
    for word in ("examples:", "--verify-manifest", "KICKSTART_INTEGRITY_DATA", "exit status", "LFN=PATH"):
        assert word in run.out
    assert "xmls" not in run.out


def test_a_full_disk_and_a_closed_pipe_are_failures_without_noise(tmp_path: Path) -> None:
    write(tmp_path, a="a")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [COMMAND, "--generate", "a"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (
        1,
        b"Integrity check: standard output: No space left on device\n",
    )
    read, wrote = os.pipe()
    os.close(read)
    done = subprocess.run(
        [COMMAND, "--generate", "a"], cwd=tmp_path, stdout=wrote, stderr=subprocess.PIPE, check=False
    )
    os.close(wrote)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_interrupt_ends_it_without_noise(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "--generate", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdin is not None
    process.stdin.write(b"x" * (1 << 20))  # more than a pipe holds: it is reading when this returns
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    write(tmp_path, a="a")
    module = [sys.executable, "-m", "pegasus_toolkit.cli.integrity", "--generate", "a"]
    assert (
        subprocess.run(module, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        == f"{sha('a')}  a\n"
    )


def test_one_lfn_with_two_contents_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, x="one", y="two", z="one")
    run = Run(tmp_path, "--generate-fullstat-yaml", "f=x;;;f=y;;;f=z")
    assert run.status == 1
    assert "f=y: the LFN 'f' was recorded with other content already" in run.err
    assert list(records(run.out)) == ["f"]
    assert run.out.count("sha256") == 1
    assert sha("one") in run.out


def test_version(tmp_path: Path) -> None:
    run = Run(tmp_path, "--version")
    assert run.status == 0
    assert run.out.startswith("pegasus-toolkit ")
