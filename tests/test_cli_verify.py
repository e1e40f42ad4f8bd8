"""``pegasus-files verify``: places against each other, manifests, receipts and reports."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.test_cli_files import FILES, Place, place

__all__ = ["place"]  # a fixture: FILES stand there, and in ``in``


def names(out: str) -> list[tuple[str, str]]:
    """Kind and name of each difference."""
    return [(line.split()[0], line.split()[1].rstrip(":")) for line in out.splitlines()]


def test_two_places(place: Place) -> None:
    same = place.run("verify", "in", place.url)
    assert (same.returncode, same.stdout) == (0, ""), same.stderr
    assert "4 files compared" in same.stderr and "no differences" in same.stderr
    assert place.run("verify", place.url, "in").returncode == 0
    (place.cwd / "in/a.txt").write_text("ALPHA")  # of the same size
    (place.cwd / "in/b.dat").write_text("longer")
    (place.cwd / "in/d/c.txt").unlink()
    (place.cwd / "in/new").touch()
    expected = [("differs", "a.txt"), ("differs", "b.dat"), ("extra", "d/c.txt"), ("missing", "new")]
    done = place.run("verify", "in", place.url)
    assert (done.returncode, names(done.stdout)) == (1, expected)
    one_way = place.run("verify", "--one-way", "in", place.url)
    assert names(one_way.stdout) == [one for one in expected if one[0] != "extra"]
    assert place.run("verify", "--include", "f.txt", "in", place.url).returncode == 0
    told = place.run("verify", "--json", "in", place.url).stdout.splitlines()
    assert [json.loads(line)["kind"] for line in told] == [kind for kind, _ in expected]
    assert place.run("verify", "in/d/e/f.txt", f"{place.url}/d/e/f.txt").returncode == 0
    assert place.run("verify", "in/a.txt", f"{place.url}/a.txt").returncode == 1
    assert place.run("verify", "in/a.txt", place.url).returncode == 2


def test_the_sums_of_an_upload(place: Place) -> None:
    """Made of the stream, by names below the destination: for us, and for ``sha256sum`` there."""
    place.good("cp", "--sums", "SHA256SUMS", "in/", f"{place.url}/again/")
    expected = {f"{hashlib.sha256(content.encode()).hexdigest()}  {name}" for name, content in FILES.items()}
    assert set((place.cwd / "SHA256SUMS").read_text().splitlines()) == expected
    subprocess.run(["sha256sum", "--quiet", "-c", "../SHA256SUMS"], cwd=place.cwd / "in", check=True)
    again = f"{place.url}/again"
    assert place.run("verify", "--against", "SHA256SUMS", again).returncode == 0
    place.good("rm", f"{again}/a.txt")
    (place.cwd / "other").write_text("beta!"[:4].upper())
    place.good("cp", "other", f"{again}/b.dat")
    place.good("cp", "other", f"{again}/extra")
    done = place.run("verify", "--against", "SHA256SUMS", again)
    assert sorted(names(done.stdout)) == [("differs", "b.dat"), ("extra", "extra"), ("missing", "a.txt")]
    assert done.returncode == 1


def test_a_report(place: Place) -> None:
    place.good("cp", "--report", "report.jsonl", "in/", f"{place.url}/again/")
    assert place.run("verify", "--against", "report.jsonl").returncode == 0
    (place.cwd / "other").write_text("ALPHA")
    place.good("cp", "other", f"{place.url}/again/a.txt")
    place.good("rm", f"{place.url}/again/b.dat")
    done = place.run("verify", "--against", "report.jsonl")
    assert done.returncode == 1
    assert sorted(kind for kind, _ in names(done.stdout)) == ["differs", "missing"], done.stdout


def test_a_receipt(tmp_path: Path) -> None:
    """As a workflow leaves it (docs/planner/records.md)."""
    (tmp_path / "out").write_text("made")
    digest = hashlib.sha256(b"made").hexdigest()
    output = {"lfn": "out", "size": 4, "algorithm": "sha256", "digest": digest, "missing": []}
    output["places"] = [{"url": f"file://{tmp_path}/out", "brought_by": "stage_out_0"}]
    (tmp_path / "receipt.json").write_text(json.dumps({"node": "receipt", "receipt": {"outputs": [output]}}))
    here = Place("", tmp_path, {})
    assert here.run("verify", "--against", "receipt.json").returncode == 0
    (tmp_path / "out").write_text("MADE")
    assert here.run("verify", "--against", "receipt.json").returncode == 1
    (tmp_path / "out").unlink()
    done = here.run("verify", "--against", "receipt.json")
    assert done.returncode == 1 and done.stdout.startswith("missing"), done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("in",), "two places"),
        (("--against", "none", "in"), "none"),
        (("--against", "empty", "in"), "no file is named"),
        (("--against", "bad", "in"), "bad, line 1"),
        (("--against", "other.json"), "no file with a digest"),
        (("--against", "broken.json"), "broken.json"),
        (("in", "none"), "none"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "bad").write_text("no digest\n")
    (tmp_path / "other.json").write_text('{"receipt": {"outputs": []}}')
    (tmp_path / "broken.json").write_text('{"receipt": ')
    done = Place("", tmp_path, {}).run("verify", *words)
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    for side in ("one", "two"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a").write_text("a")
    (tmp_path / "one/out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "two/fifo")
    done = Place("", tmp_path, {}).run("verify", "one", "two")
    assert done.returncode == 0
    assert "out: left out" in done.stderr and "fifo: left out" in done.stderr
