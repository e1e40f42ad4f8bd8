"""Defaults of options, out of the user's file and the directory's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import pytest

from pegasus_toolkit.cli import files, options


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a file of defaults, and a working directory of its own."""
    (tmp_path / "home/.config/pegasus-toolkit").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def user(home: Path, text: str) -> None:
    (home / ".config/pegasus-toolkit" / options.DEFAULTS).write_text(text)


def test_the_stronger_wins(home: Path) -> None:
    user(home, "# mine\nthreads = 2\nper-host = 3   # for the old server\npatience=7\ndigest = none\n")
    Path(options.DEFAULTS).write_text("per-host = 4\nbandwidth = 08:00,1M 19:00,off\n")
    environ = {"HOME": str(home), "PEGASUS_TRANSFER_PATIENCE": "9"}
    got = options.parse(["a", "b", "--digest", "sha256"], environ)
    assert (got.threads, got.per_host, got.patience, got.digest) == (2, 4, 9.0, "sha256")
    assert got.bandwidth == "08:00,1M 19:00,off"
    assert options.parse(["a", "b"], {**environ, "PEGASUS_TRANSFER_THREADS": "5"}).threads == 5
    assert options.parse(["a", "b", "-n", "6"], environ).threads == 6
    assert options.parse(["a", "b"], {**environ, "PEGASUS_TRANSFER_DEFAULTS": ""}).threads == 8


def test_every_command_that_moves_files_takes_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["cp", "a", "out"], ["sync", "in", "out"], ["rm", "-f", "a"]):
        user(home, "threats = 2")
        with mock.patch.dict(os.environ, {"HOME": str(home)}):
            assert files.main(verb) == 2
        assert f"{options.DEFAULTS}:1: 'threats' cannot be set here" in capsys.readouterr().err
        user(home, "threads = 0.5")
        with mock.patch.dict(os.environ, {"HOME": str(home)}):
            assert files.main(verb) == 2
        told = capsys.readouterr().err
        assert f"{options.DEFAULTS}:1: argument -n/--threads" in told and "pegasus-files" in told


def test_files_heed_a_default(home: Path) -> None:
    user(home, "digest = none")
    Path("a").write_text("alpha")
    with mock.patch.dict(os.environ, {"HOME": str(home)}):
        assert files.main(["cp", "-q", "--report", "r", "a", "b"]) == 0
        assert files.main(["cp", "-q", "--report", "s", "--digest", "sha256", "a", "c"]) == 0
    digests = [json.loads(Path(name).read_text().splitlines()[0])["digest"] for name in ("r", "s")]
    assert digests[0] is None and digests[1]["type"] == "sha256"


def test_another_place_for_them(home: Path, tmp_path: Path) -> None:
    user(home, "threads = 2")
    (tmp_path / "other").write_text("streams = 3")
    got = options.parse(["a", "b"], {"HOME": str(home), "PEGASUS_TRANSFER_DEFAULTS": str(tmp_path / "other")})
    assert (got.threads, got.streams) == (8, 3)
    (home / "xdg/pegasus-toolkit").mkdir(parents=True)
    (home / "xdg/pegasus-toolkit" / options.DEFAULTS).write_text("threads = 4")
    assert options.parse(["a", "b"], {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/xdg"}).threads == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nthreats = 2", f"{options.DEFAULTS}:2: 'threats' cannot be set here; did you mean threads?"),
        ("failed = x", "'failed' cannot be set here"),
        ("journal = x", "'journal' cannot be set here"),
        ("threads", f"{options.DEFAULTS}:1: threads has no value"),
        ("= 3", "'' cannot be set here"),
        ("threads = many", f"{options.DEFAULTS}:1: argument -n/--threads: 'many' is not a whole number"),
        ("digest = md5", f"{options.DEFAULTS}:1: argument --digest: invalid choice: 'md5'"),
        (b"\xff\xfe", f"{options.DEFAULTS}: not UTF-8"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    home: Path, text: str | bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(options.DEFAULTS).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit) as end:
        options.parse(["a", "b"], {"HOME": str(home)})
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_shards_have_their_own(home: Path) -> None:
    user(home, "bandwidth = 1M")
    assert options.parse(["spec.json", "--submit"], {"HOME": str(home)}).bandwidth == ""
