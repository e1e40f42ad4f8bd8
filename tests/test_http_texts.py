"""URLs, headers and environment variables as HTTP reads and writes them; no server is needed."""

from __future__ import annotations

import base64
import string
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.transfer.backends.shared.trust import authorities
from pegasus_toolkit.transfer.clients.curl import urls as http_urls
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.proxies import Proxies

SENDABLE = frozenset(string.ascii_letters + string.digits + "%/:?@!$&'()*+,;=-._~")


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        ("/a/b?c=d&e=%20", "/a/b?c=d&e=%20"),
        ("/two words", "/two%20words"),
        ("/100%", "/100%25"),
        ("/%zz%4", "/%25zz%254"),
        ("/a#fragment", "/a"),
        ("/a?b#c", "/a?b"),
        ("/Grüße", "/Gr%C3%BC%C3%9Fe"),
        ('/"<>^`{}|\\', "/%22%3C%3E%5E%60%7B%7D%7C%5C"),
        ("//a//b/../c/.", "//a//b/../c/."),
        ("/a\r\nHost: x", "/a%0D%0AHost:%20x"),
        ("/\udcff", "/%FF"),
    ],
)
def test_path_is_made_sendable(raw: str, sent: str) -> None:
    assert http_urls.escaped(raw) == sent


@given(st.text())
def test_any_path_is_made_sendable_once(raw: str) -> None:
    raw = raw.encode("utf-8", "ignore").decode()
    sent = http_urls.escaped(raw)
    assert set(sent) <= SENDABLE
    assert http_urls.escaped(sent) == sent


@given(st.text().filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_quoted_names_arrive_as_they_are(name: str) -> None:
    assert unquote_to_bytes(http_urls.escaped(f"/{quote(name, safe='')}")) == f"/{name}".encode()


def head(*lines: str) -> Head:
    return Head([f"{line}\r\n".encode() for line in lines])


def test_last_answer_counts() -> None:
    found = head("HTTP/1.1 100 Continue", "X: old", "", "HTTP/1.1 404 Not Found", "Content-Length: 5", "")
    assert (found.status, found.reason, found.length, found.get("x")) == (404, "Not Found", 5, "")


@pytest.mark.parametrize("line", ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/2 200 OK", "HTTP/1.0 200 x:y"])
def test_status_lines(line: str) -> None:
    assert head(line, "a: b").status == 200


@pytest.mark.parametrize("line", ["", "nonsense", "HTTP/1.1", "HTTP/1.1 abc"])
def test_no_status(line: str) -> None:
    assert head(line).status == 0


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        (["Content-Length: 12"], 12),
        (["content-length:12"], 12),
        (["Content-Length: 12, 12"], 12),
        (["Content-Length: -1"], None),
        (["Content-Length: \u0662"], None),
        (["Content-Length: 12", "Transfer-Encoding: chunked"], None),
        ([], None),
    ],
)
def test_length(lines: list[str], length: int | None) -> None:
    assert head("HTTP/1.1 200 OK", *lines).length == length


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("lines", "validator"),
    [
        (['ETag: "a"'], '"a"'),
        (['ETag: "a"', f"Last-Modified: {DATE}"], '"a"'),
        (['ETag: W/"a"'], ""),
        (['ETag: ""', "Last-Modified: nonsense"], ""),
        (['ETag: W/"a"', f"Last-Modified: {DATE}", "Date: Sun, 06 Nov 1994 08:49:39 GMT"], DATE),
        ([f"Last-Modified: {DATE}", "Date: Sun, 06 Nov 1994 08:49:38 GMT"], ""),
        ([f"Last-Modified: {DATE}"], ""),
    ],
)
def test_validator_is_strong(lines: list[str], validator: str) -> None:
    assert head("HTTP/1.1 200 OK", *lines).validator == validator


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 5-9/20", (5, 10, 20)),
        ("bytes 5-9/*", (5, 10, None)),
        ("bytes */20", None),
        ("items 5-9/20", None),
        ("", None),
    ],
)
def test_content_range(text: str, found: tuple[int, int, int | None] | None) -> None:
    assert head("HTTP/1.1 206 OK", f"Content-Range: {text}").range == found


@pytest.mark.parametrize(("status", "algorithms"), [(200, {"md5", "sha256"}), (206, {"sha256"})])
def test_digests_of_a_part_are_told_apart(status: int, algorithms: set[str]) -> None:
    md5, sha256 = (base64.b64encode(bytes(n)).decode() for n in (16, 32))
    found = head(
        f"HTTP/1.1 {status} OK",
        f"Content-MD5: {md5}",
        f"Content-Digest: md5=:{md5}:",
        f"Repr-Digest: sha-256=:{sha256}:",
    )
    assert set(found.digests()) == algorithms


def test_a_digest_that_cannot_be_taken_here_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has asked for it: what a server tells unasked must not fail a download."""
    value = base64.b64encode(bytes(4)).decode()
    found = head("HTTP/1.1 200 OK", f"x-goog-hash: crc32c={value}")
    assert set(found.digests()) == {"crc32c"}

    def missing(algorithm: str) -> None:
        raise digests.UnsupportedAlgorithm(f"{algorithm} is not installed", "")

    monkeypatch.setattr(digests, "new", missing)
    assert found.digests() == {}


P, Q = "http://p:1", "http://q:2"


@pytest.mark.parametrize(
    ("environ", "scheme", "proxy"),
    [
        ({}, "http", ""),
        ({"http_proxy": P}, "http", P),
        ({"HTTP_PROXY": P}, "http", ""),  # could be a client's header
        ({"http_proxy": P}, "https", ""),
        ({"https_proxy": P}, "https", P),
        ({"HTTPS_PROXY": P}, "https", P),
        ({"all_proxy": P}, "https", P),
        ({"ALL_PROXY": P}, "http", P),
        ({"all_proxy": P, "http_proxy": Q}, "http", Q),
        ({"OSG_SQUID_LOCATION": P}, "http", P),
        ({"OSG_SQUID_LOCATION": P}, "https", ""),
        ({"OSG_SQUID_LOCATION": P, "http_proxy": Q}, "http", Q),
        ({"OSG_SQUID_LOCATION": "UNAVAILABLE", "all_proxy": Q}, "http", Q),
        ({"http_proxy": P, "no_proxy": "other.org,host.org"}, "http", ""),
        ({"http_proxy": P, "no_proxy": ".org"}, "http", ""),
        ({"http_proxy": P, "no_proxy": "*.org"}, "http", ""),
        ({"http_proxy": P, "no_proxy": "HOST.ORG:80"}, "http", ""),
        ({"http_proxy": P, "no_proxy": "host.org:81"}, "http", P),
        ({"http_proxy": P, "no_proxy": "ost.org"}, "http", P),
        ({"http_proxy": P, "no_proxy": "10.0.0.0/8"}, "http", P),
        ({"http_proxy": P, "no_proxy": " "}, "http", P),
    ],
)
def test_choice_of_a_proxy(environ: dict[str, str], scheme: str, proxy: str) -> None:
    assert Proxies(environ).of(scheme, "host.org:80") == proxy


@pytest.mark.parametrize("host", ["[::1]:80", "[::1]"])
def test_exception_of_an_address(host: str) -> None:
    assert Proxies({"http_proxy": P, "no_proxy": "::1/128"}).of("http", host) == ""


def test_authorities_that_are_named_come_first() -> None:
    assert authorities({"CURL_CA_BUNDLE": "/a", "SSL_CERT_FILE": "/b"}) == ("/a", "")
    assert authorities({"SSL_CERT_FILE": "/b", "X509_CERT_DIR": "/c"}) == ("/b", "/c")
    assert authorities({"SSL_CERT_FILE": "/b", "SSL_CERT_DIR": "/d:/e", "X509_CERT_DIR": "/c"}) == (
        "/b",
        "/d",
    )
