"""``condor_q`` where there is no HTCondor: what it understands, and when it stands back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pegasus_toolkit.cli import condor_q
from pegasus_toolkit.dag import constraint

AD = {"clusterid": 12, "jobstatus": 2, "uuid": "a-b", "name": 'x"y'}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ('UUID == "a-b"', True),
        ('"A-B" == uuid', True),
        ('uuid =?= "A-B"', False),
        ('uuid != "c"', True),
        ('name == "x\\"y"', True),
        ("ClusterId == 12 || ClusterId == 13", True),
        ("ClusterId > 12 || (JobStatus >= 2 && !false)", True),
        ("ClusterId <= 12 && JobStatus < 2", False),
        ("missing == 1", None),
        ("!(missing == 1)", None),
        ("missing == 1 && false", False),
        ("missing == 1 || true", True),
        ("missing =?= undefined", True),
        ("missing =!= undefined", False),
        ("uuid == 12", None),
    ],
)
def test_what_a_constraint_means(text: str, value: object) -> None:
    assert constraint.parse(text)(AD) is value


@pytest.mark.parametrize(
    "text", ["", "a ==", "(a == 1", "a == 1)", "a = 1", "&& true", "regexp(1)", 'a == "b']
)
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is missing|not closed|not expected|not understood"):
        constraint.parse(text)


def environ(monkeypatch: pytest.MonkeyPatch, root: Path, **more: str) -> None:
    for name in ("CONDOR_CONFIG", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(root), "PATH": "/nonexistent", **more}.items():
        monkeypatch.setenv(name, value)


def test_without_runs_there_are_no_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ(monkeypatch, tmp_path)
    assert condor_q.main(["-constraint", 'a == "b"', "-json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert condor_q.main(["-constraint", "a ="]) == 1
    assert "condor_q: -constraint: '=' is not understood" in capsys.readouterr().err


def test_where_htcondor_is_configured_ours_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ(monkeypatch, tmp_path, CONDOR_CONFIG=str(tmp_path / "condor_config"))
    assert condor_q.main(["-json"]) == 1
    assert "HTCondor is installed here, but its condor_q is not on PATH" in capsys.readouterr().err


def test_a_link_is_made_only_where_no_condor_q_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ(monkeypatch, tmp_path)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory, name in ((ours, "pegasus-condor-q"), (theirs, "condor_q")):
        directory.mkdir()
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    monkeypatch.setattr("sys.executable", str(ours / "python"))
    assert condor_q.provide({"PATH": f"{ours}:{theirs}"}) == ""
    assert condor_q.provide({"PATH": str(ours), "CONDOR_CONFIG": "/x"}) == ""
    assert not (ours / "condor_q").exists()
    assert condor_q.provide({"PATH": str(ours)}) == ""
    assert (ours / "condor_q").readlink() == Path("pegasus-condor-q")
