"""URLs: every spelling that is read, every one that is refused, and properties of all."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer import url
from pegasus_toolkit.transfer.errors import BadSpecification
from tests import strategies

ENVIRON = {
    "PWD": "/w/d",
    "X": "x",
    "EMPTY": "",
    "NEWLINE": "a\nb",
    "DOLLAR": "a$X",
    "URL": "s3://b/k",
    "PERCENT": "/p%20q",
}


def parse(text: str, site: str = "local") -> Any:
    return url.parse(text, site, ENVIRON)


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("/a/b", "file", "/a/b"),
        ("a/b", "file", "a/b"),
        ("./a", "file", "./a"),
        ("a:b.txt", "file", "a:b.txt"),
        ("/data/a:b", "file", "/data/a:b"),
        ("C:/x", "file", "C:/x"),
        ("/a b%20c?d#e", "file", "/a b%20c?d#e"),
        ("--target-directory=x", "file", "--target-directory=x"),
        ("file:/a", "file", "/a"),
        ("file:a", "file", "a"),
        ("file:///a%20b", "file", "/a b"),
        ("file:a%20b", "file", "a b"),
        ("symlink:///a%2Fb", "symlink", "/a/b"),
        ("moveto:///a%C3%BC", "moveto", "/aü"),
        ("file:///100%", "file", "/100%"),
        ("file:///a%zz%2", "file", "/a%zz%2"),
        ("file:///a%2520", "file", "/a%20"),
        ("file:///%24PWD/$X", "file", "/$PWD/x"),
        ("file://$PERCENT/a%20b", "file", "/p%20q/a b"),
        ("/$X/a%20b", "file", "/x/a%20b"),
        ("file:////a", "file", "//a"),
        ("file://localhost/a", "file", "/a"),
        ("file://LOCALHOST/a", "file", "/a"),
        ("FILE:///a", "file", "/a"),
        ("file://./a", "file", "./a"),
        ("file://../a", "file", "../a"),
        ("file://$PWD/a", "file", "/w/d/a"),
        ("file://localhost$PWD/a", "file", "/w/d/a"),
        ("file://${PWD}/${X}y", "file", "/w/d/xy"),
        ("$PWD/a", "file", "/w/d/a"),
        ("/a/$X.txt", "file", "/a/x.txt"),
        ("/cost$$usd", "file", "/cost$usd"),
        ("/cost$", "file", "/cost$"),
        ("/cost$5", "file", "/cost$5"),
        ("$$PWD", "file", "$PWD"),
        ("/$DOLLAR", "file", "/a$X"),
        ("$URL", "file", "s3://b/k"),
        ("symlink://$PWD/a", "symlink", "/w/d/a"),
        ("symlink:a", "symlink", "a"),
        ("moveto:///a", "moveto", "/a"),
        ("moveto:a", "moveto", "a"),
    ],
)
def test_local(text: str, scheme: str, path: str) -> None:
    found = parse(text)
    assert (found.scheme, found.endpoint.authority, found.path) == (scheme, "", path)


@pytest.mark.parametrize(
    ("text", "scheme", "authority", "path"),
    [
        ("http://h", "http", "h", ""),
        ("HTTP://H/a", "http", "H", "/a"),
        ("https://u@h:8443/a%20b?c=d#e", "https", "u@h:8443", "/a%20b?c=d#e"),
        ("http://[::1]:80/a", "http", "[::1]:80", "/a"),
        ("http://h?q=/", "http", "h", "?q=/"),
        ("http://h//a///b?c=//d", "http", "h", "/a/b?c=//d"),
        ("https://h/$PWD/${X}", "https", "h", "/$PWD/${X}"),
        ("gsiftp://h//a//b", "gsiftp", "h", "/a/b"),
        ("s3://user@site/bucket//key//", "s3", "user@site", "/bucket//key//"),
        ("s3s://bucket/key", "s3s", "bucket", "/key"),
        ("gs://bucket//key", "gs", "bucket", "//key"),
        ("root://h//a", "root", "h", "//a"),
        ("srm://h//a", "srm", "h", "//a"),
        ("go://user#ep/a", "go", "user#ep", "/a"),
        ("docker://busybox:1.36", "docker", "docker.io", "/busybox:1.36"),
        ("memory:///a", "memory", "", "/a"),
        ("never-heard.of+it://h/a b", "never-heard.of+it", "h", "/a b"),
    ],
)
def test_remote(text: str, scheme: str, authority: str, path: str) -> None:
    found = parse(text, "my-site")
    assert found.endpoint == (scheme, authority, "my-site")
    assert (found.path, found.url) == (path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty path"),
        ("file:", "empty path"),
        ("file://", "empty path"),
        ("file://localhost", "empty path"),
        ("symlink://", "empty path"),
        ("file://other/a", "another host, 'other'"),
        ("file://localhostile/a", "another host"),
        ("http:/h/a", "neither a URL nor a path"),
        ("user@h:/a", "neither a URL nor a path"),
        ("cost$usd", "write $$usd for a literal $"),
        ("/a/$UNDEFINED/b", "$UNDEFINED is not set or empty"),
        ("/a/${UNDEFINED}", "$UNDEFINED is not set or empty"),
        ("$EMPTY/a", "$EMPTY is not set or empty"),
        ("/a/${X", "'${X' is not a variable"),
        ("/a/${}", "'${}' is not a variable"),
        ("/a/${X:-y}", "is not a variable"),
        ("/$NEWLINE", "control character"),
        ("/a\tb", "control character"),
        ("http://h/a\nb", "control character"),
        ("/a\x85b", "control character"),
        ("/a\x00", "control character"),
        ("/a\udc80", "control character"),
        ("file:///a%00", "control character"),
        ("file:///a%0Ab", "control character"),
        ("file:///a%ff", "not UTF-8"),
        ("http:///a", "expected host"),
        ("http://h:port/a", "expected host"),
        ("http://h#x/a", "expected host"),
        ("http://a\\b/c", "expected host"),
        ("scp://a b/c", "space in a host's name"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(BadSpecification) as error:
        parse(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["https://me:hunter2@h/a", "s3://me:hunter2@site/b", "x://:hunter2@h"])
def test_a_password_is_refused_and_not_told(text: str) -> None:
    with pytest.raises(BadSpecification, match=r"credentials\.conf") as error:
        parse(text)
    assert "hunter2" not in str(error.value) + repr(error.value.__dict__)


def test_what_was_meant_literally_is_told(tmp_path: Path) -> None:
    (tmp_path / "a%20b").touch()
    assert "%25" in url.meant_literally(parse(f"file://{tmp_path}/a%20b"))
    for other in (f"{tmp_path}/a%20b", f"file://{tmp_path}/c%20d", "http://h/a%20b"):
        assert url.meant_literally(parse(other)) == ""


def test_a_signature_is_not_told() -> None:
    with pytest.raises(BadSpecification) as error:
        parse("https://h/a\n?X-Amz-Signature=0123abcd")
    assert "0123abcd" not in str(error.value)


def test_sites() -> None:
    assert parse("/a", "").endpoint.site == ""
    assert parse("/a", "my-site").endpoint.site == "my-site"
    with pytest.raises(BadSpecification, match="site label"):
        parse("/a", "a\nb")


def test_endpoints_are_shared() -> None:
    assert parse("https://h/a").endpoint is parse("HTTPS://h/b").endpoint
    assert parse("/a").endpoint is parse("file:///b").endpoint
    assert parse("https://h/a").endpoint is not parse("https://h/a", "other").endpoint


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/a/b", "file:///a/b", True),
        ("/a/b", "symlink:/a/b", True),
        ("/a/b", "//a//./b/", True),
        ("/a/b", "/a/x/../b", False),
        ("/a/.b", "/a/b", False),
        ("b", "/here/b", True),
        ("./b", "b", True),
        ("/a/b", "/a/b%20", False),
        ("http://H/a", "http://h//a", True),
        ("http://h/a", "http://h/a?b", False),
        ("http://h/a", "https://h/a", False),
        ("s3://u@s/b/k", "s3://u@s/b//k", False),
        ("s3://U@s/b/k", "s3://u@s/b/k", False),
        ("s3://h/a", "/a", False),
    ],
)
def test_identity(one: str, other: str, same: bool) -> None:
    assert (url.identity(parse(one), "/here") == url.identity(parse(other, "x"), "/here")) is same


@given(
    st.text() | strategies.urls() | st.from_regex(r"(file|s3|http):(//)?[$a-z{}/@:.\\]*"), strategies.sites()
)
def test_total_and_idempotent(text: str, site: str) -> None:
    try:
        found = url.parse(text, site, ENVIRON, 3, "t")
    except BadSpecification as error:
        assert str(error).isprintable()
        return
    assert found.path or found.scheme not in LOCAL
    assert not any(
        unicodedata.category(c) in ("Cc", "Cs") for c in found.url + found.path + str(found.endpoint)
    )
    assert url.parse(found.url, site, {}, 3, "t") == found
    assert url.parse(url.text(found), site, {}, 3, "t") == found


@given(strategies.paths() | strategies.names())
def test_any_path_can_be_written(path: str) -> None:
    for scheme in LOCAL:
        found = url.parse(url.from_path(path, scheme), "local", ENVIRON)
        assert (found.scheme, found.path) == (scheme, path)


@given(strategies.urls())
def test_what_is_right_is_accepted(text: str) -> None:
    assert url.parse(text, "local", {}).url
