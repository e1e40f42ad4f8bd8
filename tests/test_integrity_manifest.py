"""Manifests: the same as coreutils', whatever the files are called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegasus_toolkit.integrity import digests, manifest

ODD = [
    "plain",
    "two words",
    "-",
    "-n",
    "a\nb",
    "back\\slash",
    "cr\r",
    "\\n",
    "*star",
    " lead",
    "#hash",
    "ünï",
    "d/-",
    "d/x",
]
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def tree(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return root


def made(root: Path) -> bytes:
    lines = [
        manifest.line(name, digests.of_file(root / name, "sha256").digest) for name in manifest.names(root)
    ]
    return b"".join(lines)


def differences(root: Path, content: bytes) -> list[tuple[str, str]]:
    return [(d.name, d.kind) for d in manifest.verify(root, manifest.parse(content, "m"))]


def test_sha256sum_takes_ours_and_we_take_its(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", ODD)
    (root / os.fsdecode(b"not utf-8 \xff")).touch()
    content = made(root)
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "-"], cwd=root, input=content, check=True)
    names = [f"./{name}" for name in manifest.names(root)]
    for options in ([], ["--binary"], ["--tag"]):
        theirs = subprocess.run(
            ["sha256sum", *options, *names], cwd=root, capture_output=True, check=True
        ).stdout
        assert manifest.parse(theirs, "m") == manifest.parse(content, "m")
        assert differences(root, theirs) == []


@settings(max_examples=30)
@given(
    st.sets(
        st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60), max_size=8
    )
)
def test_any_name_is_verified_by_both(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    root = tree(tmp_path_factory.mktemp("t"), sorted(names - {".", ".."}))
    content = made(root)
    assert sorted(manifest.parse(content, "m")) == sorted(names - {".", ".."})
    assert differences(root, content) == []
    if content:
        subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "-"], cwd=root, input=content, check=True)


def test_all_that_differs_is_reported(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", [*ODD, "unreadable"])
    content = made(root)
    (root / "plain").unlink()
    (root / "d/x").write_bytes(b"d/y")
    (root / "new").touch()
    (root / "unreadable").unlink()
    os.mkfifo(root / "unreadable")
    assert differences(root, content) == [
        ("d/x", "differs"),
        ("new", "extra"),
        ("plain", "missing"),
        ("unreadable", "unreadable"),
    ]


def test_links_are_followed_where_they_stay_in_the_directory(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", ["d/x", "z"])
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    (root / "file").symlink_to("d/x")
    (root / "linked").symlink_to("d")
    (root / "loop").symlink_to(".")
    (root / "dangling").symlink_to("nowhere")
    (root / "out").symlink_to("../outside")
    (root / "out-file").symlink_to("../outside/secret")
    os.mkfifo(root / "fifo")
    assert list(manifest.names(root)) == ["d/x", "file", "linked/x", "z"]
    assert dict(manifest.skipped(root)) == {
        "dangling": "a link that leads nowhere",
        "fifo": "a FIFO",
        "loop": "a link to a directory that it stands in",
        "out": "a link that leads out of the directory",
        "out-file": "a link that leads out of the directory",
    }


def test_a_directory_that_is_missing_or_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for path in (tmp_path / "none", tmp_path / "f"):
        with pytest.raises(OSError, match=r"No such file|Not a directory"):
            list(manifest.verify(path, {"x": EMPTY}))


def test_names_are_made_simple() -> None:
    assert manifest.parse(f"{EMPTY}  ./a//b/./c\n# comment\n\n".encode(), "m") == {"a/b/c": EMPTY}
    assert manifest.parse(f"{EMPTY.upper()} *a".encode(), "m") == {"a": EMPTY}
    assert manifest.parse(f"{EMPTY}  a\n{EMPTY}  ./a\n".encode(), "m") == {"a": EMPTY}


def test_the_tag_must_be_the_algorithm_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text(f"BLAKE3 (a (b) = c) = {EMPTY}\n")
    assert manifest.read(path, "blake3") == {"a (b) = c": EMPTY}
    with pytest.raises(manifest.ManifestError, match=r"/m, line 1: a BLAKE3 where sha256 is expected"):
        manifest.read(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{EMPTY}  /etc/passwd", "not the name of a file below"),
        (f"{EMPTY}  ../x", "not the name of a file below"),
        (f"{EMPTY}  a/../../x", "not the name of a file below"),
        (f"{EMPTY}  .", "not the name of a file below"),
        (f"{EMPTY}  a\0b", "not the name of a file below"),
        (f"{EMPTY[:32]}  a", "a sha256 has 64 hex digits"),
        (f"{EMPTY}", "neither"),
        (f"{EMPTY}  ", "neither"),
        ("<html>", "neither"),
        (f"\\{EMPTY}  a\\q", "no escape"),
        (f"\\{EMPTY}  a\\", "no escape"),
        (f"SHA999 (a) = {EMPTY}", "no digest algorithm"),
        (f"{EMPTY}  a\n{'0' * 64}  ./a", "'a' for the second time"),
    ],
)
def test_a_wrong_line_is_named(text: str, expected: str) -> None:
    good = f"{EMPTY}  good\n"
    with pytest.raises(manifest.ManifestError, match=r"^m, line [23]: ") as caught:
        manifest.parse((good + text + "\n").encode(), "m")
    assert expected in str(caught.value)


@given(st.binary())
def test_no_content_crashes_it(content: bytes) -> None:
    try:
        found = manifest.parse(content, "m")
    except manifest.ManifestError:
        return
    assert all(len(digest) == 64 for digest in found.values())
