"""``.meta`` files: what Pegasus writes is read, and what cannot be right is said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.integrity import meta

A, B = "aa" * 32, "bb" * 32


def entry(lfn: object = "f.a", **attributes: Any) -> dict[str, Any]:
    return {
        "_id": lfn,
        "_type": "file",
        "_attributes": {k.replace("_", "."): v for k, v in attributes.items()},
    }


def checked(lfn: str = "f.a", value: object = A, **more: Any) -> dict[str, Any]:
    return entry(lfn, checksum_type="sha256", checksum_value=value, **more)


def metadata(tmp_path: Path, **files: object) -> meta.Metadata:
    for name, content in files.items():
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / f"{name}.meta").write_bytes(text)
    return meta.read_directory(tmp_path)


def test_a_file_as_pegasus_writes_it(tmp_path: Path) -> None:
    attributes = {
        "ctime": "2026-11-22T10:00:00+00:00",
        "checksum.type": "sha256",
        "checksum.timing": "0.067",
        "checksum.value": A.upper(),
        "size": "56",
        "user": "joe",
    }
    found = metadata(tmp_path, job=[{"_id": "f.a", "_type": "file", "_attributes": attributes}])
    assert found["f.a"] == found.find("f.a") == meta.Expected("sha256", A, 56)
    assert found.broken == []


def test_type_is_sha256_where_it_is_not_told(tmp_path: Path) -> None:
    assert metadata(tmp_path, a=[entry(checksum_value=A)])["f.a"].algorithm == "sha256"


def test_a_digest_of_another_type_is_checked_as_that_type(tmp_path: Path) -> None:
    found = metadata(tmp_path, a=[entry(checksum_type="MD5", checksum_value="cc" * 16)])
    assert found["f.a"] == meta.Expected("md5", "cc" * 16)


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        (entry(checksum_type="sha256", checksum_value="cc" * 16), "checksum.value"),  # an md5
        (entry(checksum_value="cc" * 16), "checksum.value"),
        (entry(checksum_type="sha999", checksum_value=A), "checksum.type"),
        (entry(checksum_type=7, checksum_value=A), "checksum.type"),
        (entry(checksum_value=7), "checksum.value"),
        (checked(size="-1"), "size"),
        (checked(size=True), "size"),
        (checked(size="9" * 5000), "size"),
        ({"_id": "f.a", "_attributes": []}, "_attributes"),
    ],
)
def test_a_wrong_entry_is_named_by_file_lfn_and_key(tmp_path: Path, bad: object, key: str) -> None:
    found = metadata(tmp_path, one=[bad, checked("good")])
    for ask in (found.find, found.get):
        with pytest.raises(meta.MetaError, match=rf"one\.meta: 'f\.a': .*'{key}'"):
            ask("f.a")
    assert found.find("good").digest == A


@pytest.mark.parametrize("content", [b"[", b"{}", b"7", b"\xff\xfe", b"[" * 100_000, b"[7]", b'[{"_id": 7}]'])
def test_a_broken_file_is_named_and_takes_nothing_else_down(tmp_path: Path, content: bytes) -> None:
    found = metadata(tmp_path, good=[checked()], bad=content)
    assert found.find("f.a").digest == A
    assert len(found.broken) == 1
    assert "bad.meta" in found.broken[0]
    with pytest.raises(meta.MetaError, match=r"bad\.meta.*good\.meta; broken: .*bad\.meta"):
        found.find("f.b")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.meta")
    (tmp_path / "dir.meta").mkdir()
    (tmp_path / "dangling.meta").symlink_to("nowhere")
    assert [text.split("/")[-1] for text in metadata(tmp_path).broken] == [
        "dangling.meta cannot be read: No such file or directory",
        "dir.meta cannot be read: Is a directory",
        "fifo.meta cannot be read: Not a regular file",
    ]


@pytest.mark.parametrize("second", [checked(value=B), entry(checksum_type="md5", checksum_value="c" * 32)])
def test_two_files_that_disagree_are_both_named(tmp_path: Path, second: object) -> None:
    found = metadata(tmp_path, one=[checked(size=1)], two=[second])
    for ask in (found.find, found.get):
        with pytest.raises(meta.MetaError, match=r"'f\.a'.*one\.meta.*two\.meta"):
            ask("f.a")


def test_where_digests_agree_sizes_do_not_count(tmp_path: Path) -> None:
    found = metadata(tmp_path, one=[checked(size=1)], two=[checked(size=2)])
    assert found.find("f.a") == meta.Expected("sha256", A, 1)


def test_two_files_that_agree_are_one(tmp_path: Path) -> None:
    found = metadata(
        tmp_path, one=[checked()], two=[checked(value=A.upper(), size="7")], three=[entry(size="7")]
    )
    assert found.find("f.a") == meta.Expected("sha256", A, 7)


def test_an_lfn_without_a_checksum_says_where_it_stands(tmp_path: Path) -> None:
    found = metadata(
        tmp_path, one=[entry(size="3")], empty=b"", other=[{"_id": "x", "_type": "transformation"}]
    )
    assert found.get("f.a") is None
    assert found.get("x") is None
    with pytest.raises(
        meta.MetaError, match=r"no checksum in the meta data for 'f\.a': .*one\.meta names it"
    ):
        found.find("f.a")
    with pytest.raises(meta.MetaError, match=r"for 'x'; read: .*empty\.meta, .*one\.meta, .*other\.meta"):
        found.find("x")


names = st.text(min_size=1)
expectations = st.builds(
    meta.Expected,
    st.just("sha256"),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.none() | st.integers(0, 10**18),
    st.none(),
)


@given(st.dictionaries(names, expectations))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, known: dict[str, meta.Expected]
) -> None:
    directory = tmp_path_factory.mktemp("meta")
    meta.write(directory / "a.meta", known)
    found = meta.read_directory(directory)
    assert {lfn: found[lfn] for lfn in found} == known
    assert os.listdir(directory) == ["a.meta"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.meta"
    path.mkdir()  # what cannot be replaced by a file
    with pytest.raises(OSError, match="directory"):
        meta.write(path, {"f": meta.Expected("sha256", A)})
    assert os.listdir(tmp_path) == ["a.meta"]
