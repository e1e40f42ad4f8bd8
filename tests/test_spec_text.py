"""The older text form, ``# src``."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.transfer import spec
from pegasus_toolkit.transfer.model import Transfer
from tests import strategies


def load(text: str) -> list[tuple[str, str, str, str]]:
    found = []
    for one in spec.load(text.encode(), {"PWD": "/w"}):
        assert isinstance(one, Transfer)
        source, destination = one.sources[0], one.destinations[0]
        found.append((source.endpoint.site, source.url, destination.endpoint.site, destination.url))
    return found


def test_pairs() -> None:
    text = "# src 1 my-site\nfile:///a b\n# dst 1 web\nhttps://h/a\n# src 2 x prio 0\n/c\n# dst 2 y\n/d\n"
    assert load(text) == [("my-site", "file:///a b", "web", "https://h/a"), ("x", "/c", "y", "/d")]


def test_sites_hold_until_the_next_comment_and_empty_lines_do_not_count() -> None:
    text = "# src 1 x\r\n/a\r\n\r\n# dst 1 y\r\n/b\r\n \n/c\n/d\n# src 3 z\n/e\n/f"
    assert load(text) == [("x", "/a", "y", "/b"), ("x", "/c", "y", "/d"), ("z", "/e", "y", "/f")]


def test_raw_is_an_entry() -> None:
    raw = spec.load(b"# src 1 x\n/a\n# dst 1 y\n/b\n", {}).raw(0)
    assert json.loads(raw) == {
        "type": "transfer",
        "src_urls": [{"site_label": "x", "url": "/a"}],
        "dest_urls": [{"site_label": "y", "url": "/b"}],
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# src 1 x\n/a\n", "entry 0 (line 2): a source without a destination"),
        ("# src\n/a\n# dst 1 y\n/b\n", "line 1): expected '# src NUMBER SITE', found '# src'"),
        ("# src 1 x\n/a\n# src 1 y\n/b\n", "line 3): expected '# dst NUMBER SITE', found '# src 1 y'"),
        ("# src 1 x\n/a\n/b\n", "line 3): expected '# dst NUMBER SITE' before"),
        ("# src 1 x\n/a\n# dst 1 y\n$NONE/b\n", "entry 0 (line 2): dest_urls[0].url: the variable $NONE"),
        ("# src 1 x\n/a\n# dst 1 y\n/b\n/c\n/b\n", "entry 1: dest_urls: the same destination as entry 0"),
        ("# src 1 x\n/a\x07\n# dst 1 y\n/b", "control character"),
    ],
)
def test_wrong(text: str, says: str) -> None:
    with pytest.raises(spec.SpecificationError) as error:
        load(text)
    assert says in str(error.value)


def test_not_utf_8() -> None:
    with pytest.raises(spec.SpecificationError, match=r"line 2.*0xff"):
        spec.load(b"# src 1 x\n/\xff\n", {})


@given(
    st.lists(
        st.tuples(strategies.urls(), strategies.urls()), min_size=1, max_size=3, unique_by=lambda p: p[1]
    )
)
def test_both_forms_agree(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"# src {n} x\n{a}\n# dst {n} y\n{b}\n" for n, (a, b) in enumerate(pairs))
    made = [
        {
            "type": "transfer",
            "src_urls": [{"site_label": "x", "url": a}],
            "dest_urls": [{"site_label": "y", "url": b}],
        }
        for a, b in pairs
    ]
    assert outcome(text.encode()) == outcome(json.dumps(made).encode())


def outcome(data: bytes) -> object:
    try:
        return list(spec.load(data, {}))
    except spec.SpecificationError as error:
        return [(problem.index, problem.key, problem.message) for problem in error.problems]
