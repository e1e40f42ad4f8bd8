"""Manifests by the installed command, run as a program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integrity_command import COMMAND, Run, sha, write


def test_a_manifest_made_here_is_good_for_both(tmp_path: Path) -> None:
    (tmp_path / "t/d").mkdir(parents=True)
    write(tmp_path / "t", a="a", **{"d/b": "b", "line\nend": "c"})
    with (tmp_path / "t/MANIFEST").open("wb") as stream:
        subprocess.run([COMMAND, "--generate-manifest", "t"], cwd=tmp_path, stdout=stream, check=True)
    assert (tmp_path / "t/MANIFEST").read_text().count("\n") == 3  # not of itself
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "MANIFEST"], cwd=tmp_path / "t", check=True)
    good = Run(tmp_path, "--verify-manifest", "t/MANIFEST", "--directory", "t")
    assert (good.status, good.err) == (0, "Integrity check: 3 files in the manifest, 0 differences\n")
    (tmp_path / "t/a").write_text("x")
    (tmp_path / "t/new").touch()
    (tmp_path / "t/line\nend").unlink()
    bad = Run(tmp_path / "t", "--verify-manifest", "-", stdin=(tmp_path / "t/MANIFEST").read_bytes())
    assert bad.status == 1
    assert bad.err.splitlines() == [
        "Integrity check: MANIFEST: is not in the manifest",
        f"Integrity check: a: sha256 is {sha('x')}, expected {sha('a')}",
        "Integrity check: line\\nend: is in the manifest and not there",
        "Integrity check: new: is not in the manifest",
        "Integrity check: 3 files in the manifest, 4 differences",
    ]


def test_extra_files_are_fine_where_they_are_said_to_be(tmp_path: Path) -> None:
    write(tmp_path, a="a", extra="", m=f"{sha('a')}  a\n")
    assert Run(tmp_path, "--verify-manifest", "m").status == 1
    assert Run(tmp_path, "--verify-manifest", "m", "--allow-extra").status == 0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "no file is named in the manifest"),
        ("junk\n", "m, line 1: neither"),
        (f"{sha('')}  ../x\n", "line 1"),
    ],
)
def test_a_manifest_that_proves_nothing_is_a_failure(tmp_path: Path, content: str, expected: str) -> None:
    write(tmp_path, m=content)
    run = Run(tmp_path, "--verify-manifest", "m")
    assert run.status == 1
    assert expected in run.err
    assert len(run.err.splitlines()) == 1


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, m=f"{sha('a')}  a\n")
    for arguments in (
        ["--verify-manifest", "none"],
        ["--generate-manifest", "none"],
        ["--generate-manifest", "m"],
    ):
        run = Run(tmp_path, *arguments)
        assert (run.status, len(run.err.splitlines())) == (1, 1)
    run = Run(tmp_path, "--verify-manifest", "m", "--directory", "none")
    assert (run.status, run.err) == (1, "Integrity check: none: No such file or directory\n")
