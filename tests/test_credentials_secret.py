"""A secret is seen by nobody who does not ask for it by name."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.credentials import Credentials, HttpCredential, S3Credential, Secret

TEXT = "hunter2-%(x)s-žluť"
SECRET = Secret(TEXT)


@dataclasses.dataclass(frozen=True)
class Holder:
    secret: Secret


def showings(value: Any) -> list[str]:
    """Every usual way in which a value gets into a text."""
    return [
        repr(value),
        str(value),
        f"{value}",
        f"{value!r}",
        "%s %r" % (value, value),  # noqa: UP031
        ascii(value),
        f"{[value]}",
    ]


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        Holder(SECRET),
        HttpCredential(headers=(("X-Token", SECRET),), password=SECRET, token=SECRET),
        S3Credential("https://h", "", SECRET, SECRET, SECRET),
        {"a": (SECRET,)},
        ValueError(SECRET),
    ],
)
def test_no_text_shows_it(value: Any) -> None:
    for text in showings(value):
        assert "hunter2" not in text
        assert "***" in text


@pytest.mark.parametrize("specification", ["", "s", ">30", "x", "{}"])
def test_no_format_shows_it(specification: str) -> None:
    assert format(SECRET, specification) == "***"


def test_no_log_or_traceback_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(TEXT)
    try:
        raise ValueError("no", secret)
    except ValueError as error:
        logging.getLogger("x").warning("with %s and %r", secret, [secret], exc_info=True)
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "secret = ***" in shown
    assert "hunter2" not in shown + caplog.text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [SECRET, Holder(SECRET), [SECRET], Credentials.none()])
def test_it_is_not_pickled(value: object, protocol: int) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(value, protocol)


def test_it_has_no_other_way_out() -> None:
    with pytest.raises(TypeError):
        vars(SECRET)
    with pytest.raises(TypeError):
        json.dumps(SECRET)
    with pytest.raises(TypeError, match="not pickled"):
        SECRET.__getstate__()
    assert "hunter2" not in str(dataclasses.asdict(Holder(SECRET)))


def test_copies_are_itself_and_it_does_not_change() -> None:
    assert copy.copy(SECRET) is SECRET
    assert copy.deepcopy([SECRET])[0] is SECRET
    with pytest.raises(AttributeError):
        SECRET._text = "other"
    with pytest.raises(AttributeError):
        del SECRET._text
    with pytest.raises(AttributeError):
        SECRET.other = 1  # type: ignore[attr-defined]
    assert SECRET.reveal() == TEXT


@given(st.text(), st.text())
def test_it_equals_what_holds_the_same(a: str, b: str) -> None:
    assert (Secret(a) == Secret(b)) == (a == b)
    assert hash(Secret(a)) == hash(Secret(a))
    assert bool(Secret(a)) == bool(a)
    assert Secret(a) != a
