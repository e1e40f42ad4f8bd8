"""Where requests go: redirects and proxies, and what is shown to whom."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from pegasus_toolkit.transfer.errors import (
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    ServerFault,
    Unreachable,
    Unsupported,
)
from tests.http_world import World, batch, failure, get
from tests.material import settle
from tests.servers.common import free_port
from tests.servers.nginx import Nginx
from tests.servers.odd_http import Answer, Odd, Reply, Request

Start = Callable[[Answer], Odd]
SECRETS = {
    "header": "header.X-Token = s3cret-9",
    "bearer": "token = s3cret-9",
    "basic": "username = u\npassword = s3cret-9\nallow_plain_password = yes",
    "authorization": "header.Authorization = Custom s3cret-9",
}


def to(location: str, status: int = 302) -> Answer:
    return lambda _: Reply(b"moved", status, {"Location": location})


def abc(_: Request) -> Reply:
    return Reply(b"abc")


def seen(server: Odd) -> str:
    """All that a server was sent, with Basic credentials decoded."""
    text = "\n".join(f"{r.target} {r.headers}" for r in server.requests)
    for request in server.requests:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            text += base64.b64decode(value).decode()
    return text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/other", "other", "//{host}/other", "http://{host}/other"])
def test_redirects_are_followed(odd: Start, world: World, status: int, location: str) -> None:
    def answer(request: Request) -> Reply:
        if request.target == "/other":
            return Reply(b"abc")
        return to(location.format(host=request.headers["host"]), status)(request)

    server = odd(answer)
    assert get(world.open(server.authority)) == b"abc"
    assert [request.target for request in server.requests] == ["/file", "/other"]


@pytest.mark.parametrize("path", ["/a//b", "/a/../b/./c", "/a?b=../c&d=%2F", "/%7Ea"])
def test_path_is_sent_as_it_stands(odd: Start, world: World, path: str) -> None:
    server = odd(abc)
    get(world.open(server.authority), path)
    assert server.requests[0].target == path


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_sent_to_their_own_host_alone(odd: Start, world: World, kind: str) -> None:
    other = odd(abc)
    first = odd(to(f"http://{other.authority}/x"))
    backend = world.open(first.authority, section=SECRETS[kind])
    over = [settle(job) for job in batch(backend, [f"/{n}" for n in range(20)])]
    assert over == [b"abc"] * 20
    assert len(other.requests) == 20
    assert all("s3cret-9" in seen_one for seen_one in [seen(first)])
    assert "s3cret-9" not in seen(other)
    assert not {"authorization", "x-token"} & {name for r in other.requests for name in r.headers}
    backend.stat("/file")
    assert "s3cret-9" not in seen(other)


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_come_back_to_their_own_host(odd: Start, world: World, kind: str) -> None:
    """There and back again: what goes through another host still knows its own."""

    def answer(request: Request) -> Reply:
        if "s3cret-9" not in str(request.headers) and "authorization" not in request.headers:
            return Reply(b"who are you", 401)
        return Reply(b"abc") if request.target == "/back" else to(f"http://{other.authority}/x")(request)

    first = odd(answer)
    other = odd(to(f"http://{first.authority}/back"))
    assert get(world.open(first.authority, section=SECRETS[kind])) == b"abc"
    assert "s3cret-9" not in seen(other)


def test_denial_after_a_redirect_says_why(odd: Start, world: World) -> None:
    first = odd(to(f"http://{odd(lambda _: Reply(b'', 403)).authority}/x"))
    error = failure(world.open(first.authority, section=SECRETS["header"]))
    assert isinstance(error, Denied)
    assert "not sent along a redirect" in str(error)


def test_another_port_is_another_host(odd: Start, world: World) -> None:
    other = odd(abc)
    port = other.authority.rpartition(":")[2]
    first = odd(to(f"http://127.0.0.1:{port}/x"))
    get(world.open(first.authority, section=SECRETS["header"]))
    assert "s3cret-9" not in seen(other)


def test_user_of_a_redirect_is_dropped(odd: Start, world: World) -> None:
    other = odd(abc)
    first = odd(to(f"http://name:word@{other.authority}/x"))
    assert get(world.open(first.authority)) == b"abc"
    assert "authorization" not in other.requests[0].headers


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://x/",
        "javascript:1",
        "http://",
        "http://h:port/",
        "http://[/",
    ],
)
def test_redirect_to_what_is_no_http_is_refused(odd: Start, world: World, location: str) -> None:
    assert isinstance(failure(world.open(odd(to(location)).authority)), ServerFault)


def test_redirects_in_a_circle_end(odd: Start, world: World) -> None:
    server = odd(to("/file"))
    assert isinstance(failure(world.open(server.authority)), ServerFault)
    assert len(server.requests) == 11


def test_redirect_without_a_target_is_an_error(odd: Start, world: World) -> None:
    server = odd(lambda _: Reply(b"", 302))
    assert isinstance(failure(world.open(server.authority)), ServerFault)


def test_redirect_to_the_name_with_a_slash_is_a_directory(odd: Start, world: World) -> None:
    assert isinstance(failure(world.open(odd(to("/file/")).authority)), IsDirectory)


def test_signature_of_a_redirect_is_not_shown(odd: Start, world: World) -> None:
    other = odd(lambda _: Reply(b"", 404))
    first = odd(to(f"http://{other.authority}/x?Expires=1&anything=hidden-one"))
    error = failure(world.open(first.authority))
    assert isinstance(error, NotFound)
    assert "hidden-one" not in f"{error} {vars(error)}"
    assert "anything=hidden-one" in other.requests[0].target


def test_signature_in_the_url_is_not_shown(odd: Start, world: World) -> None:
    backend = world.open(odd(lambda _: Reply(b"", 404)).authority)
    error = failure(backend, "/file?X-Amz-Signature=0123456789abcdef&x=1")
    assert "0123456789abcdef" not in f"{error} {vars(error)}"


def test_target_that_is_not_there_is_named(odd: Start, world: World) -> None:
    gone = f"127.0.0.1:{free_port()}"
    error = failure(world.open(odd(to(f"http://{gone}/x")).authority))
    assert isinstance(error, ServerFault), "the endpoint itself can be reached"
    assert gone.partition(":")[0] in str(error)


class TestProxy:
    """A server that is asked for whole URLs stands in for the proxy."""

    def test_proxy_is_used(self, odd: Start, world: World) -> None:
        proxy = odd(lambda request: Reply(request.target.encode()))
        backend = world.open("no-such-host.invalid", environ={"http_proxy": f"http://{proxy.authority}"})
        assert get(backend) == b"http://no-such-host.invalid/file"

    @pytest.mark.parametrize("form", ["{}", "http://{}", "http://{}/"])
    def test_squid_of_the_site_is_used(self, odd: Start, world: World, form: str) -> None:
        proxy = odd(abc)
        environ = {"OSG_SQUID_LOCATION": form.format(proxy.authority)}
        assert get(world.open("no-such-host.invalid", environ=environ)) == b"abc"
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize(
        "environ",
        [
            {"no_proxy": "127.0.0.1"},
            {"NO_PROXY": "example.org, 127.0.0.0/8"},
            {"no_proxy": "*"},
            {"http_proxy": ""},
            {"http_proxy": "", "OSG_SQUID_LOCATION": "UNAVAILABLE"},
        ],
    )
    def test_excepted_host_is_asked_directly(self, odd: Start, world: World, environ: dict[str, str]) -> None:
        proxy, server = odd(lambda _: Reply(b"proxy")), odd(abc)
        environ = {"http_proxy": f"http://{proxy.authority}", **environ}
        assert get(world.open(server.authority, environ=environ)) == b"abc"
        assert proxy.requests == []

    def test_environment_of_the_process_is_not_read(
        self, odd: Start, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy, server = odd(lambda _: Reply(b"proxy")), odd(abc)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.authority}")
        assert get(world.open(server.authority)) == b"abc"
        monkeypatch.setenv("no_proxy", "*")
        backend = world.open(server.authority, environ={"http_proxy": f"http://{proxy.authority}"})
        assert get(backend) == b"proxy"

    def test_dead_proxy_is_gone_round(self, odd: Start, world: World) -> None:
        server = odd(abc)
        environ = {"http_proxy": f"http://127.0.0.1:{free_port()}"}
        backend = world.open(server.authority, environ=environ)
        assert [settle(job) for job in batch(backend, ["/a", "/b"] * 20)] == [b"abc"] * 40

    @pytest.mark.parametrize("status", [407, 500, 502, 503, 504])
    def test_failing_proxy_is_gone_round_from_then_on(self, odd: Start, world: World, status: int) -> None:
        proxy, server = odd(lambda _: Reply(b"no", status)), odd(abc)
        backend = world.open(server.authority, environ={"all_proxy": f"http://{proxy.authority}"})
        assert get(backend) == b"abc"
        assert get(backend) == b"abc"
        assert len(proxy.requests) == 1

    def test_fault_of_the_server_is_not_the_proxys(self, odd: Start, world: World) -> None:
        proxy, server = odd(lambda _: Reply(b"no", 500)), odd(lambda _: Reply(b"no", 500))
        backend = world.open(server.authority, environ={"http_proxy": f"http://{proxy.authority}"})
        for _ in range(2):
            assert isinstance(failure(backend), ServerFault)
        assert len(proxy.requests) == 2

    def test_proxy_that_breaks_off_is_not_asked_again(self, odd: Start, world: World) -> None:
        proxy, server = odd(lambda _: Reply(b"abc", cut=1)), odd(abc)
        backend = world.open(server.authority, environ={"http_proxy": f"http://{proxy.authority}"})
        assert isinstance(failure(backend), ServerFault)
        assert get(backend) == b"abc"
        assert len(proxy.requests) == 1

    def test_missing_file_is_missing_through_a_proxy(self, odd: Start, world: World) -> None:
        proxy = odd(lambda _: Reply(b"no", 404))
        backend = world.open("no-such-host.invalid", environ={"http_proxy": f"http://{proxy.authority}"})
        assert isinstance(failure(backend), NotFound)

    def test_tunnel_that_is_refused_is_gone_round(self, odd: Start, nginx: Nginx, world: World) -> None:
        (nginx.data / "by-tunnel").write_bytes(b"abc")
        proxy = odd(lambda _: Reply(b"no", 502))
        environ = {"https_proxy": f"http://{proxy.authority}", "SSL_CERT_FILE": str(nginx.pki.ca)}
        backend = world.open(nginx.tls_authority, scheme="https", environ=environ)
        assert get(backend, "/files/by-tunnel") == b"abc"
        assert [request.method for request in proxy.requests] == ["CONNECT"]

    def test_password_of_a_proxy_is_not_shown(self, odd: Start, world: World) -> None:
        environ = {"http_proxy": f"http://user:s3cret-9@127.0.0.1:{free_port()}"}
        error = failure(world.open(f"127.0.0.1:{free_port()}", environ=environ))
        assert isinstance(error, Unreachable)
        assert "s3cret-9" not in f"{error} {vars(error)}"
        proxy = odd(abc)
        environ = {"http_proxy": f"http://user:s3cret-9@{proxy.authority}"}
        assert get(world.open("no-such-host.invalid", environ=environ)) == b"abc"
        assert base64.b64encode(b"user:s3cret-9").decode() in proxy.requests[0].headers["proxy-authorization"]

    def test_secrets_of_the_host_go_through_its_proxy_only(self, odd: Start, world: World) -> None:
        """After a redirect the proxy is the same, the host is not."""
        target = "http://other-host.invalid/x"
        proxy = odd(lambda r: Reply(b"abc") if r.target == target else to(target)(r))
        backend = world.open(
            "no-such-host.invalid",
            section=SECRETS["header"],
            environ={"http_proxy": f"http://{proxy.authority}"},
        )
        assert get(backend) == b"abc"
        assert ["x-token" in request.headers for request in proxy.requests] == [True, False]


class TestStat:
    """HEAD, and what stands in for it."""

    @pytest.mark.parametrize("status", [403, 405, 501])
    @pytest.mark.parametrize("ranges", [True, False])
    def test_without_head(self, odd: Start, world: World, status: int, ranges: bool) -> None:
        def answer(request: Request) -> Reply:
            if request.method == "HEAD":
                return Reply(b"", status)
            if ranges:
                return Reply(b"a", 206, {"Content-Range": "bytes 0-0/12345"})
            return Reply(b"x" * 12345)

        assert world.open(odd(answer).authority).stat("/file").size == 12345

    def test_denied_stays_denied(self, odd: Start, world: World) -> None:
        with pytest.raises(Denied):
            world.open(odd(lambda _: Reply(b"", 403)).authority).stat("/file")

    def test_digest_is_told(self, odd: Start, world: World) -> None:
        md5 = base64.b64encode(bytes(range(16))).decode()
        server = odd(lambda _: Reply(b"abc", headers={"Digest": f"md5={md5}"}))
        entry = world.open(server.authority).stat("/file")
        assert entry.digest == ("md5", bytes(range(16)).hex())

    def test_size_that_is_not_told(self, odd: Start, world: World) -> None:
        assert world.open(odd(lambda _: Reply(b"abc", length="")).authority).stat("/file").size is None


class TestIndex:
    """Index pages of other servers than nginx."""

    def html(self, odd: Start, world: World, body: str, kind: str = "text/html; charset=utf-8") -> list[str]:
        pages = {"/d/": Reply(body.encode(), headers={"Content-Type": kind})}
        empty = Reply(b"<title>Index of it</title>", headers={"Content-Type": "text/html"})
        server = odd(lambda request: pages.get(request.target, empty))
        found = list(world.open(server.authority).list("/d"))
        assert all(request.target.startswith("/d/") for request in server.requests)
        return sorted(entry.path + "/" * entry.directory for entry in found)

    def test_apache(self, odd: Start, world: World) -> None:
        body = """<h1>Index of /d</h1><table><tr><th><a href="?C=N;O=D">Name</a></th></tr>
            <tr><td><a href="/">Parent Directory</a></td></tr>
            <tr><td><img src="/icons/unknown.gif"><a href="a%20b.txt">a b.txt</a></td></tr>
            <tr><td><a href="x&amp;y">x&amp;y</a></td></tr>
            <tr><td><a href="sub/">sub/</a></td></tr></table>"""
        assert self.html(odd, world, body) == ["/d/a%20b.txt", "/d/sub/", "/d/x&y"]

    def test_links_that_lead_elsewhere_are_passed_over(self, odd: Start, world: World) -> None:
        body = """<a href="../up"><a href="/xyz"><a href="/etc/passwd"><a href="http://example.org/d/x">
            <a href="//h/d/x"><a href="file:///d/x"><a href="./"><a href="%2e%2e/">
            <a href=".."><a href="a/b/c"><a href="http://[/"><a name="x"><a href><a href="https://127.0.0.1/d/x">
            <a href="#top"><a href="fine">"""
        assert self.html(odd, world, body) == ["/d/fine"]

    def test_name_that_would_lead_elsewhere_is_an_error(self, odd: Start, world: World) -> None:
        """Of that entry alone: the others are listed first."""
        page = Reply(b'<a href="..%2f..%2fx"><a href="fine">', headers={"Content-Type": "text/html"})
        listing = world.open(odd(lambda _: page).authority).list("/d")
        assert next(listing).path == "/d/fine"
        with pytest.raises(ServerFault, match="not in the directory"):
            next(listing)

    @pytest.mark.parametrize(
        "body",
        [
            b"<h1>Listing of /d</h1>",
            b'<title>Sign in</title><form action="/login"><input name="u"></form><a href="/lost">Lost?</a>',
            b'<a href="fine">fine</a><input type="password">',
            b'<a href="https://idp.example/">SSO</a>',
            b'<title>Sign in</title><INPUT TYPE="Password"><a href="fine">fine</a>',
            b'<form method="post" action="https://idp.example/"><input name="SAML"></form><a href="fine">',
        ],
    )
    def test_page_that_is_no_index_is_no_directory(self, odd: Start, world: World, body: bytes) -> None:
        page = Reply(body, headers={"Content-Type": "text/html"})
        with pytest.raises(Permanent):
            list(world.open(odd(lambda _: page).authority).list("/d"))

    def test_login_page_that_it_is_redirected_to(self, odd: Start, world: World) -> None:
        page = Reply(b'<a href="fine">fine</a>', headers={"Content-Type": "text/html"})
        away = Reply(b"", 302, {"Location": "/login"})
        server = odd(lambda request: page if request.target == "/login" else away)
        with pytest.raises(Unsupported):
            list(world.open(server.authority).list("/d"))
        server.answer = lambda request: page if request.target == "/login/" else elsewhere
        elsewhere = Reply(b"", 302, {"Location": "/login/"})
        with pytest.raises(Unsupported):
            list(world.open(server.authority).list("/d"))

    def test_index_without_its_end_is_no_listing(self, odd: Start, world: World) -> None:
        """Only the end of the connection tells where it ends; a length would."""
        body = b'<html><title>Index of /d</title><a href="fine">fine</a>'
        kind = {"Content-Type": "text/html"}
        server = odd(lambda _: Reply(body, headers=kind, length="", cut=len(body)))
        with pytest.raises(ServerFault, match="cut off"):
            list(world.open(server.authority).list("/d"))
        server.answer = lambda _: Reply(body, headers=kind)
        assert [entry.path for entry in world.open(server.authority).list("/d")] == ["/d/fine"]
        server.answer = lambda _: Reply(whole, headers=kind, length="", cut=len(whole))
        whole = body + b"</HTML>\n"
        assert [entry.path for entry in world.open(server.authority).list("/d")] == ["/d/fine"]

    def test_directory_that_links_to_itself_ends(self, odd: Start, world: World) -> None:
        page = Reply(b'<a href="again/">', headers={"Content-Type": "text/html"})
        with pytest.raises(ServerFault):
            list(world.open(odd(lambda _: page).authority).list("/d"))

    @pytest.mark.parametrize(("kind", "body"), [("text/plain", "x"), ("application/json", '{"a": 1}')])
    def test_what_is_no_index_is_refused(self, odd: Start, world: World, kind: str, body: str) -> None:
        with pytest.raises(Unsupported):
            self.html(odd, world, body, kind)
