"""Specifications that are wrong: every problem is told, by entry and key, and nothing else is raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.transfer import spec
from pegasus_toolkit.transfer.errors import BadSpecification
from pegasus_toolkit.transfer.spec import problems as spec_problems
from tests import strategies
from tests.test_spec import SHA, entry, place


def problems(*entries: Any) -> list[tuple[int, str, str]]:
    with pytest.raises(spec.SpecificationError) as error:
        spec.load(json.dumps(entries).encode(), {"PWD": "/w"})
    return [(problem.index, problem.key, problem.message) for problem in error.value.problems]


def remove(path: str = "/r", **more: Any) -> dict[str, Any]:
    return {"type": "remove", "target": place(path, **more)}


@pytest.mark.parametrize(
    ("wrong", "key", "says"),
    [
        ({}, "type", "expected 'transfer', 'mkdir' or 'remove', found no such key"),
        (3, "", "expected an object with the key 'type', found number 3"),
        (None, "", "found null"),
        ([], "", "found a list"),
        ({"type": "move"}, "type", "found text 'move'"),
        ({"type": ["transfer"]}, "type", "found a list"),
        (entry(lfm="x"), "lfm", "unknown key; did you mean 'lfn'?"),
        (entry(zzzzzz="x"), "zzzzzz", "unknown key; known are attributes, checksum, "),
        (entry() | {"src_urls": [place("/a", prio=1)]}, "src_urls[0].prio", "did you mean 'priority'?"),
        (entry(checksum={"value": SHA, "kind": "md5"}), "checksum.kind", "unknown key"),
        (remove(recursiv="true"), "target.recursiv", "did you mean 'recursive'?"),
        (remove() | {"recursive": True}, "recursive", "unknown key"),
        ({"type": "mkdir", "target": place("/m", recursive=True)}, "target.recursive", "unknown key"),
        ({"type": "mkdir"}, "target", "no such key"),
        ({"type": "mkdir", "target": "/m"}, "target", "expected an object, found text '/m'"),
        ({"type": "mkdir", "target": {"url": "/m"}}, "target.site_label", "no such key"),
        ({"type": "mkdir", "target": place("moveto:/m")}, "target.url", "moveto:"),
        ({"type": "remove", "target": place("moveto:/m")}, "target.url", "moveto:"),
        (remove(recursive="flase"), "target.recursive", "expected true or false, found text 'flase'"),
        (remove(recursive=2), "target.recursive", "found number 2"),
        (remove(recursive=None), "target.recursive", "found null"),
        (entry(generate_checksum="flase"), "generate_checksum", "expected true or false"),
        (entry(verify_checksum_remote=""), "verify_checksum_remote", "expected true or false"),
        (entry(verify_symlink_source=[]), "verify_symlink_source", "expected true or false"),
        (entry() | {"src_urls": []}, "src_urls", "at least one URL"),
        (entry() | {"dest_urls": {}}, "dest_urls", "expected a list of objects, found an object"),
        (entry() | {"dest_urls": ["/a"]}, "dest_urls[0]", "expected an object, found text '/a'"),
        ({"type": "transfer", "dest_urls": [place("/b")]}, "src_urls", "no such key"),
        (entry() | {"src_urls": [{"url": "/a"}]}, "src_urls[0].site_label", "no such key"),
        (entry() | {"src_urls": [{"site_label": "a"}]}, "src_urls[0].url", "no such key"),
        (
            entry() | {"src_urls": [place("/a", site_label=None)]},
            "src_urls[0].site_label",
            "expected text, found null",
        ),
        (entry() | {"src_urls": [place("/a", site_label="a\nb")]}, "src_urls[0].url", "site label"),
        (
            entry() | {"src_urls": [place("/a", priority="high")]},
            "src_urls[0].priority",
            "expected a whole number",
        ),
        (entry() | {"src_urls": [place("/a", priority=1.5)]}, "src_urls[0].priority", "found number 1.5"),
        (entry() | {"src_urls": [place("/a", priority=True)]}, "src_urls[0].priority", "found true"),
        (entry() | {"src_urls": [place("/a", priority=10**18)]}, "src_urls[0].priority", "a whole number"),
        (entry() | {"src_urls": [place("/a", type=3)]}, "src_urls[0].type", "expected text"),
        (entry() | {"src_urls": [place("/a", type="a\tb")]}, "src_urls[0].type", "control characters"),
        (entry(id={}), "id", "expected a number or text"),
        (entry(lfn=3), "lfn", "expected text, found number 3"),
        (entry(lfn="a\n- lfn: b"), "lfn", "without control characters"),
        (entry(linkage="a\x00"), "linkage", "without control characters"),
        (entry("$UNDEFINED/a"), "src_urls[0].url", "$UNDEFINED is not set"),
        (entry("/a", "http://h/\t"), "dest_urls[0].url", "control character"),
        (entry(size=-1), "size", "expected bytes, found -1"),
        (entry(size="big"), "size", "expected a whole number"),
        (entry(size=None), "size", "found null"),
        (entry(attributes={"size": "2 GB"}), "attributes.size", "expected bytes, found text '2 GB'"),
        (entry(attributes={"size": "-1"}), "attributes.size", "expected bytes"),
        (entry(attributes={"size": "3"}, size=4), "size", "4, but attributes say 3"),
        (entry(attributes=[]), "attributes", "expected an object"),
        (entry(checksum=SHA), "checksum", 'expected an object {"type"'),
        (entry(checksum={}), "checksum.value", "no such key"),
        (entry(checksum={"value": 3}), "checksum.value", "expected text"),
        (entry(checksum={"value": ""}), "checksum", "64 hex digits"),
        (entry(checksum={"value": "0" * 32}), "checksum", "64 hex digits"),
        (entry(checksum={"value": "x" * 64}), "checksum", "64 hex digits"),
        (entry(checksum={"type": "md6", "value": SHA}), "checksum", "no digest algorithm 'md6'"),
        (entry(attributes={"checksum.type": "sha256"}), "attributes.checksum", "found null"),
        (entry(attributes={"checksum.value": "12"}), "attributes.checksum", "64 hex digits"),
        (
            entry(attributes={"checksum.value": "0" * 64}, checksum={"value": SHA}),
            "checksum",
            "but attributes say",
        ),
        (
            entry(attributes={"checksum.type": "md5", "checksum.value": "0" * 32}, checksum={"value": SHA}),
            "checksum",
            "but attributes say md5",
        ),
        (entry(manifest="http://h/m"), "manifest", "expected a local file"),
        (entry(manifest="$UNDEFINED"), "manifest.url", "$UNDEFINED is not set"),
        (entry("http://h/a", "moveto:/b"), "dest_urls", "moveto: takes a local file"),
        (entry("moveto:/a", "/b"), "src_urls", "moveto: is for a destination"),
        (entry("symlink:/a", "/b"), "src_urls", "a symlink: source goes to a symlink: destination"),
        (remove("/", recursive=True), "target.url", "expected a directory that may be removed"),
        (remove("file:..", recursive="yes"), "target.url", "expected a directory that may be removed"),
    ],
)
def test_one_problem(wrong: Any, key: str, says: str) -> None:
    ((index, found, message),) = problems(entry("/q", "/z"), wrong)
    assert (index, found) == (1, key)
    assert says in message


def test_all_problems_at_once() -> None:
    wrong = entry("/a\n", "$X", lfm=1, size=-3, checksum={"value": "12"}, generate_checksum="maybe")
    found = problems({}, wrong, entry(), entry("/x"), 3)
    assert [(index, key) for index, key, _ in found] == [
        (0, "type"),
        (1, "lfm"),
        (1, "generate_checksum"),
        (1, "src_urls[0].url"),
        (1, "dest_urls[0].url"),
        (1, "checksum"),
        (1, "size"),
        (3, "dest_urls"),
        (4, ""),
    ]


@pytest.mark.parametrize("other", ["/b", "file:///b", "/./b", "//b", "symlink:/b", "/b/"])
def test_two_sources_for_one_destination(other: str) -> None:
    ((index, key, message),) = problems(entry("/a", "/b"), entry("/m", "/n"), entry("/x", other))
    assert (index, key) == (2, "dest_urls")
    assert message.startswith("the same destination as entry 0, but another src_urls")


def test_one_of_several_destinations_is_the_same() -> None:
    several = {"dest_urls": [place("/1"), place("/2")]}
    assert [index for index, _, _ in problems(entry("/a") | several, entry("/b", "/2"))] == [1]
    assert [index for index, _, _ in problems(entry("/b", "/2"), entry("/a") | several)] == [1]
    assert (
        len(spec.load(json.dumps([entry() | {"dest_urls": [place("/1"), place("//1")]}]).encode(), {})) == 1
    )


def test_the_same_files_but_other_options() -> None:
    ((_, _, message),) = problems(entry(lfn="a"), entry(lfn="b", size=3))
    assert message == "the same destination as entry 0, but another lfn and size: /b"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the specification is empty"),
        (b" \n", "the specification is empty"),
        (b"{}", "expected a list of operations, found an object"),
        (b'"x"', "found a single value"),
        (b"null", "found a single value"),
        (b"0\x00", "found a single value"),
        (b"[", "line 1 column 2 (char 1) (the file ends too early)"),
        (b'[{"type": "mk', "Unterminated string starting at: line 1 column 11"),
        (b"[1,\n2,,3]", "line 2 column 3"),
        (b"[]\n[]", "Extra data: line 2 column 1"),
        (b"[NaN]", "NaN is no JSON number"),
        (b'[{"size": -Infinity}]', "-Infinity is no JSON number"),
        (b"[{'type': 'mkdir'}]", "line 1 column 3"),
        (b'["\xff", 3', "the byte 0xff, which is not UTF-8"),
        (b'[{"type": "\xff"}]', "expected UTF-8, found the byte 0xff"),
        (b"\xef\xbb\xbf[]", "byte order mark"),
        ("[]".encode("utf-16"), "found UTF-16"),
        ("[]".encode("utf-16-be"), "found UTF-16"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b'["a\nb"]', "Invalid control character"),
        (b"[" * 100_000, "nested too deep"),
        (
            b'[{"type": "mkdir", "type": "mkdir", "target": {"site_label": "a", "url": "/b"}}]',
            "'type' is there twice",
        ),
        (
            b'[{"type": "mkdir", "target": {"site_label": "a", "url": "/b", "url": "/b"}}]',
            "'url' is there twice",
        ),
        (
            b'[{"type": "mkdir", "target": {"site_label": "a", "url": "/", '
            b'"url": "/\\u0022\\u0022\\u0022\\u0022"}}]',
            "'url' is there twice",
        ),
    ],
)
def test_not_a_list_in_json(data: bytes, says: str) -> None:
    with pytest.raises(spec.SpecificationError) as error:
        spec.load(data, {})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_many_problems_are_capped_in_print_only() -> None:
    with pytest.raises(spec.SpecificationError) as error:
        spec.load(json.dumps([{}] * 200).encode(), {})
    assert len(error.value.problems) == 200
    lines = str(error.value).split("\n")
    assert len(lines) == spec_problems.SHOWN + 1
    assert lines[-1] == "... and 150 more"
    assert isinstance(error.value, BadSpecification)
    assert error.value.exit_code == 2


def test_problems_hold_no_secret_and_stay_on_one_line() -> None:
    secret = "https://me:hunter2@h/a?X-Amz-Signature=feedbeef\n"
    wrong = [entry(secret), entry() | {"src_urls": [secret]}, entry() | {"a\nb": 1}, entry(manifest=secret)]
    with pytest.raises(spec.SpecificationError) as error:
        spec.load(json.dumps(wrong).encode(), {})
    text = str(error.value) + error.value.message
    assert "hunter2" not in text
    assert "feedbeef" not in text
    assert len(str(error.value).split("\n")) == len(error.value.problems)


@given(st.lists(strategies.json_values() | strategies.transfers(), max_size=3) | strategies.json_values())
def test_any_json_is_read_or_refused(value: Any) -> None:
    read_or_refused(value)


def read_or_refused(value: Any) -> None:
    try:
        found = spec.load(json.dumps(value).encode(), {})
    except spec.SpecificationError as error:
        assert error.problems
        assert all(str(problem).isprintable() for problem in error.problems)
        return
    assert len(list(found)) == len(found) == sum(found.counts)


@given(strategies.entries(), st.data())
def test_any_change_of_an_entry_is_read_or_refused(entry: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(entry)) | st.text(max_size=5))
    read_or_refused([{**entry, key: data.draw(strategies.json_values())}])


@given(st.binary() | st.text().map(lambda text: ("# src" + text).encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        spec.load(data, {})
    except spec.SpecificationError as error:
        assert error.problems
