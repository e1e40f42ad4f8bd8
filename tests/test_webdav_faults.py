"""WebDAV when something is wrong: credentials, permissions, space, connections, senseless answers."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.webdav.backend import WebDav
from pegasus_toolkit.transfer.backends.webdav.files import LARGE
from pegasus_toolkit.transfer.errors import (
    Corrupted,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    ServerFault,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Requirement, Settings, Source
from tests.faults import Unsized
from tests.http_world import credentials
from tests.material import content, fetch_job, given, settle, store_job
from tests.servers.common import free_port
from tests.servers.nginx import PASSWORD, TOKEN, USER
from tests.servers.odd_http import Odd, Reply, Request
from tests.servers.pki import Pki
from tests.servers.webdav import Dav

MIB = 1 << 20
PAGE = b"<html><title>Sign in</title></html>"
OddServer = Callable[[Callable[[Request], Reply]], Odd]


@pytest.fixture
def open_dav(tmp_path: Path) -> Iterator[Callable[..., WebDav]]:
    """Opens backends whose section holds the given lines, and closes them at the end."""
    opened: list[WebDav] = []

    def make(
        scheme: str, authority: str, section: str = "", environ: Mapping[str, str] | None = None
    ) -> WebDav:
        text = f"[{scheme}://{authority.rpartition('@')[2]}]\n{section}\n" if section else ""
        if environ is None:
            settings = Settings(credentials(tmp_path, text), stall_timeout=20)
        else:
            settings = Settings(Credentials(environ, shared=""), environ, stall_timeout=20)
        backend = open_backend(Endpoint(scheme, authority, "here"), settings)
        assert isinstance(backend, WebDav)
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        backend.close()


def put(
    backend: WebDav, path: str, data: bytes | Source, required: Requirement | None = None
) -> TransferError | None:
    source = given(data) if isinstance(data, bytes) else data
    (job,) = backend.put(iter([store_job(path, source, required)]))
    return job.error


def area(server: Dav, tmp_path: Path) -> Path:
    """An empty directory that the server may write to."""
    made = server.data / tmp_path.name
    made.mkdir()
    made.chmod(0o777)
    return made


COLLECTION = "<D:resourcetype><D:collection/></D:resourcetype>"


def response(href: str, properties: str = "", status: int = 200) -> str:
    """One of a multistatus answer: its properties, or where it has none its status."""
    line = f"<D:status>HTTP/1.1 {status} Some Reason</D:status>"
    told = f"<D:propstat><D:prop>{properties}</D:prop>{line}</D:propstat>" if properties else line
    return f"<D:response><D:href>{href}</D:href>{told}</D:response>"


def multistatus(*responses: str) -> bytes:
    return f'<D:multistatus xmlns:D="DAV:">{"".join(responses)}</D:multistatus>'.encode()


def left(directory: Path) -> list[str]:
    """All files but Apache's own."""
    files = [file for file in directory.rglob("*") if file.is_file()]
    return [
        file.name for file in files if ".DAV" not in file.parts and not file.name.startswith(".davfs.tmp")
    ]


# -- who we are --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
@pytest.mark.parametrize("prefix", ["basic", "digest"])
def test_wrong_password(  # noqa: PLR0917
    apache_dav: Dav, pki: Pki, tmp_path: Path, open_dav: Callable[..., WebDav], prefix: str, size: int
) -> None:
    root = area(apache_dav, tmp_path)
    section = f"username = {USER}\npassword = wrong-but-secret\nca_file = {pki.ca}"
    backend = open_dav("davs", apache_dav.tls_authority, section)
    error = put(backend, f"/{prefix}/{tmp_path.name}/file", content(size))
    assert isinstance(error, Denied)
    assert "secret" not in str(error) and f"[davs://{apache_dav.tls_authority}]" in str(error)
    assert left(root) == []


def test_digest_is_found_out_where_basic_was_tried(
    apache_dav: Dav, pki: Pki, tmp_path: Path, open_dav: Callable[..., WebDav]
) -> None:
    root = area(apache_dav, tmp_path)
    section = f"username = {USER}\npassword = {PASSWORD}\nca_file = {pki.ca}"
    for n, size in enumerate((3 * MIB, 10)):
        backend = open_dav("davs", apache_dav.tls_authority, section)
        assert put(backend, f"/digest/{tmp_path.name}/{n}", content(size)) is None
        assert (root / str(n)).read_bytes() == content(size)


def test_password_is_not_sent_in_the_open(odd: OddServer, open_dav: Callable[..., WebDav]) -> None:
    server = odd(lambda _: Reply(b"", 401, {"WWW-Authenticate": 'Basic realm="x"'}))
    backend = open_dav("webdav", server.authority, "username = u\npassword = secret-word")
    error = put(backend, "/file", b"data")
    assert isinstance(error, Denied) and "allow_plain_password" in str(error)
    assert not any("authorization" in request.headers for request in server.requests)
    assert not any(request.body for request in server.requests)


def test_password_is_sent_in_the_open_where_the_site_says_so(
    apache_dav: Dav, tmp_path: Path, open_dav: Callable[..., WebDav]
) -> None:
    area(apache_dav, tmp_path)
    section = f"username = {USER}\npassword = {PASSWORD}"
    path = f"/basic/{tmp_path.name}/file"
    assert isinstance(put(open_dav("webdav", apache_dav.authority, section), path, b"x"), Denied)
    allowed = open_dav("webdav", apache_dav.authority, f"{section}\nallow_plain_password = yes")
    assert put(allowed, path, b"x") is None


def token(expires: float) -> str:
    parts = [json.dumps({"alg": "none"}), json.dumps({"exp": int(expires)}), "signature"]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


def test_tokens(apache_dav: Dav, pki: Pki, tmp_path: Path, open_dav: Callable[..., WebDav]) -> None:
    root = area(apache_dav, tmp_path)
    path = f"/token/{tmp_path.name}/file"
    trust = {"SSL_CERT_FILE": str(pki.ca)}
    good = open_dav("davs", apache_dav.tls_authority, environ={"BEARER_TOKEN": TOKEN, **trust})
    assert put(good, path, b"x") is None
    assert (root / "file").read_bytes() == b"x"
    assert good.identity() == Identity("bearer token", "BEARER_TOKEN", None)
    bad = open_dav("davs", apache_dav.tls_authority, environ={"BEARER_TOKEN": "no-" + TOKEN, **trust})
    error = put(bad, path, b"y")
    assert isinstance(error, Denied) and TOKEN not in str(error)
    with pytest.raises(Denied, match="expired"):
        open_dav("davs", apache_dav.tls_authority, environ={"BEARER_TOKEN": token(time.time() - 9), **trust})


def test_found_tokens_go_to_grid_schemes_only(open_dav: Callable[..., WebDav]) -> None:
    for scheme, kind in (("davs", "bearer token"), ("webdavs", "bearer token"), ("webdav", "anonymous")):
        assert open_dav(scheme, "localhost:1", environ={"BEARER_TOKEN": "t"}).identity().kind == kind


def test_client_certificate(
    apache_dav: Dav, pki: Pki, tmp_path: Path, open_dav: Callable[..., WebDav]
) -> None:
    area(apache_dav, tmp_path)
    path = f"/client/{tmp_path.name}/file"
    section = f"ca_file = {pki.ca}\nclient_certificate = {pki.client_cert}\nclient_key = {pki.client_key}"
    assert put(open_dav("webdavs", apache_dav.tls_authority, section), path, content(2 * MIB)) is None
    without = open_dav("webdavs", apache_dav.tls_authority, f"ca_file = {pki.ca}")
    assert isinstance(put(without, path, b"x"), Denied)


def test_section_of_https_serves_davs(apache_dav: Dav, pki: Pki, tmp_path: Path) -> None:
    text = f"[https://{apache_dav.tls_authority}]\nca_file = {pki.ca}\nusername = u\npassword = p\n"
    endpoint = Endpoint("davs", apache_dav.tls_authority, "here")
    backend = open_backend(endpoint, Settings(credentials(tmp_path, text)))
    assert isinstance(backend, WebDav)
    assert backend.identity() == Identity(
        "user and password", f"section [https://{apache_dav.tls_authority}]"
    )
    backend.close()


def test_untrusted_authority(apache_dav: Dav, pki: Pki, open_dav: Callable[..., WebDav]) -> None:
    error = put(open_dav("davs", apache_dav.tls_authority, f"ca_file = {pki.other_ca}"), "/dav/x", b"x")
    assert isinstance(error, Denied) and "ca_file" in str(error)


def test_nobody_there(open_dav: Callable[..., WebDav]) -> None:
    backend = open_dav("webdav", f"127.0.0.1:{free_port()}")
    assert isinstance(put(backend, "/x", b"x"), Unreachable)
    ((_, error),) = backend.remove(["/x"])
    assert isinstance(error, Unreachable)


def test_redirected_upload_shows_no_credentials(odd: OddServer, open_dav: Callable[..., WebDav]) -> None:
    """As grid storage sends an upload to another of its machines: the file goes there, nothing else."""
    other = odd(lambda _: Reply(b"", 201))
    server = odd(
        lambda request: (
            Reply(b"", 307, {"Location": f"http://{other.authority}{request.target}"})
            if request.method == "PUT"
            else Reply(b"", 201)
        )
    )
    server.hasty = True
    backend = open_dav("webdav", server.authority, "header.X-Key = secret-key")
    for size in (10, 3 * MIB):
        assert put(backend, "/file", content(size)) is None
        assert other.requests[-1].body == content(size)
    assert [request.method for request in other.requests] == ["PUT", "PUT"]
    assert not any("x-key" in request.headers for request in other.requests)
    assert all("x-key" in request.headers for request in server.requests)


# -- what may not be, or does not fit ------------------------------------------------------------------


def test_no_permission(apache_dav: Dav, tmp_path: Path, open_dav: Callable[..., WebDav]) -> None:
    root = area(apache_dav, tmp_path)
    (root / "file").write_bytes(b"old")
    backend = open_dav("webdav", apache_dav.authority)
    path = f"/readonly/{tmp_path.name}/file"
    for size in (10, 3 * MIB):
        assert isinstance(put(backend, path, content(size)), Denied)
    ((_, error),) = backend.remove([path])
    assert isinstance(error, Denied)
    with pytest.raises(Denied):
        backend.mkdir(f"/readonly/{tmp_path.name}/new")
    assert left(root) == ["file"] and (root / "file").read_bytes() == b"old"


def test_more_than_the_server_takes(apache_dav: Dav, tmp_path: Path, open_dav: Callable[..., WebDav]) -> None:
    root = area(apache_dav, tmp_path)
    backend = open_dav("webdav", apache_dav.authority)
    for size in (200_000, 3 * MIB):
        error = put(backend, f"/cap/{tmp_path.name}/file", content(size))
        assert error is not None and "413" in str(error)
    assert isinstance(
        put(backend, f"/cap/{tmp_path.name}/file", Unsized(given(content(3 * MIB)))), TransferError
    )
    assert left(root) == []


def test_no_space(odd: OddServer, open_dav: Callable[..., WebDav]) -> None:
    server = odd(lambda request: Reply(b"", 507 if request.method == "PUT" else 204))
    for size in (10, 3 * MIB):
        assert isinstance(put(open_dav("webdav", server.authority), "/file", content(size)), NoSpace)
    assert [request.method for request in server.requests].count("DELETE") == 2


def test_directory_in_the_way_stays(apache_dav: Dav, tmp_path: Path, open_dav: Callable[..., WebDav]) -> None:
    """MOVE would remove all that is in it."""
    root = area(apache_dav, tmp_path)
    (root / "d").mkdir()
    (root / "d" / "precious").write_bytes(b"x")
    backend = open_dav("webdav", apache_dav.authority)
    for size in (10, 3 * MIB):
        assert isinstance(put(backend, f"/dav/{tmp_path.name}/d", content(size)), IsDirectory)
    assert isinstance(put(backend, f"/dav/{tmp_path.name}/d/", b"x"), IsDirectory)
    assert left(root) == ["precious"]


def test_file_where_a_directory_is_to_be(
    apache_dav: Dav, tmp_path: Path, open_dav: Callable[..., WebDav]
) -> None:
    root = area(apache_dav, tmp_path)
    (root / "file").write_bytes(b"old")
    backend = open_dav("webdav", apache_dav.authority)
    with pytest.raises(TransferError):
        backend.mkdir(f"/dav/{tmp_path.name}/file")
    assert put(backend, f"/dav/{tmp_path.name}/file/below", b"x") is not None
    assert (root / "file").read_bytes() == b"old" and left(root) == ["file"]


@pytest.mark.parametrize("names", ["", "temporary_names = none"])
@pytest.mark.parametrize("size", [5, LARGE])
def test_what_is_stored_short_is_never_seen(
    odd: OddServer, open_dav: Callable[..., WebDav], size: int, names: str
) -> None:
    """The server says that it has it all."""

    def answer(request: Request) -> Reply:
        return Reply(b"x" * 3) if request.method == "HEAD" else Reply(b"", 201)

    server = odd(answer)
    error = put(open_dav("webdav", server.authority, names), "/file", content(size))
    assert isinstance(error, Corrupted) and "3 bytes were stored" in str(error)
    assert not [one for one in server.requests if one.headers.get("destination", "").endswith("/file")]


def test_who_stores_all_is_asked_once(odd: OddServer, open_dav: Callable[..., WebDav]) -> None:
    server = odd(lambda request: Reply(b"small") if request.method == "HEAD" else Reply(b"", 201))
    backend = open_dav("webdav", server.authority)
    for _ in range(3):
        assert put(backend, "/file", b"small") is None
    assert [one.method for one in server.requests].count("HEAD") == 1


@pytest.mark.parametrize("method", ["PUT", "MOVE"])
@pytest.mark.parametrize("status", [200, 202, 203, 302])
def test_page_in_place_of_an_answer_is_no_success(
    odd: OddServer, open_dav: Callable[..., WebDav], method: str, status: int
) -> None:
    """As of who asks for a login, with "200 OK"."""

    def answer(request: Request) -> Reply:
        if request.method == method and request.target != "/login":
            return Reply(PAGE, status, {"Location": "/login"})
        page = PAGE if method == "PUT" or request.target == "/login" else b"small"
        return Reply(page, 200 if request.method == "HEAD" or request.target == "/login" else 201)

    server = odd(answer)
    error = put(open_dav("webdav", server.authority), "/file", b"small")
    assert error is not None and error.exit_code in (1, 2)
    assert "DELETE" in [one.method for one in server.requests]


def test_locked_may_pass(odd: OddServer, open_dav: Callable[..., WebDav]) -> None:
    server = odd(lambda request: Reply(b"", 423 if request.method == "MOVE" else 201))
    error = put(open_dav("webdav", server.authority), "/file", b"x")
    assert isinstance(error, ServerFault) and error.retryable


def test_removal_that_half_works_is_an_error(odd: OddServer, open_dav: Callable[..., WebDav]) -> None:
    collection = multistatus(response("/d/", COLLECTION))
    partly = multistatus(response("/d/x", status=423))
    server = odd(lambda request: Reply(collection if request.method == "PROPFIND" else partly, 207))
    ((path, error),) = open_dav("webdav", server.authority).remove(["/d"], recursive=True)
    assert path == "/d" and isinstance(error, ServerFault) and "423" in str(error)
    assert server.requests[-1].target == "/d/"


# -- connections and answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_cut_in_the_middle(odd: OddServer, open_dav: Callable[..., WebDav], size: int) -> None:
    server = odd(lambda _: Reply(b"", 404))
    server.patience = size // 2
    error = put(open_dav("webdav", server.authority), "/file", content(size))
    assert isinstance(error, ServerFault)
    assert not any(request.method == "MOVE" and request.number for request in server.requests)
    assert server.requests[-1].method == "DELETE"


def test_small_files_expect_nothing_and_large_ones_learn(
    odd: OddServer, open_dav: Callable[..., WebDav]
) -> None:
    """A server that ignores "Expect: 100-continue" costs a second once, not for each file."""
    server = odd(lambda _: Reply(b"", 201))
    server.continues = False
    backend = open_dav("webdav", server.authority)
    for size in (1000, 2 * MIB, 2 * MIB, 2 * MIB):
        assert put(backend, "/file", content(size)) is None
    expected = [request.headers.get("expect") for request in server.requests if request.method == "PUT"]
    assert expected == [None, "100-continue", None, None]


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><D:multistatus xmlns:D="DAV:">&a;</D:multistatus>',
        b"<D:multistatus",
        b"\xff\xfe\x00",
        b"<a>" * 200,
        b"",
        b'<?xml version="1.0" encoding="no-such"?><a/>',
    ],
)
def test_xml_that_is_none(odd: OddServer, open_dav: Callable[..., WebDav], body: bytes) -> None:
    server = odd(lambda _: Reply(body, 207))
    backend = open_dav("webdav", server.authority)
    with pytest.raises(ServerFault):
        list(backend.list("/d"))
    with pytest.raises(ServerFault):
        backend.stat("/d")


@pytest.mark.parametrize("kind", [COLLECTION, ""])
def test_page_in_place_of_a_directory_is_no_file(
    odd: OddServer, open_dav: Callable[..., WebDav], kind: str
) -> None:
    """As XRootD shows one. A page that is a file is one."""

    def answer(request: Request) -> Reply:
        if request.method == "PROPFIND":
            return Reply(multistatus(response(request.target, kind)), 207)
        return Reply(b"<h1>Listing of /d</h1>", headers={"Content-Type": "text/html"})

    (job,) = open_dav("webdav", odd(answer).authority).get(iter([fetch_job("/d")]))
    assert isinstance(job.error, IsDirectory) if kind else settle(job) == b"<h1>Listing of /d</h1>"


def test_listing_in_a_circle_ends(odd: OddServer, open_dav: Callable[..., WebDav]) -> None:
    def answer(request: Request) -> Reply:
        paths = (request.target, request.target + "again/", "/elsewhere/x", request.target + "..")
        return Reply(multistatus(*(response(path, COLLECTION) for path in paths)), 207)

    server = odd(answer)
    with pytest.raises(ServerFault, match="deep"):
        list(open_dav("webdav", server.authority).list("/d"))
    assert len(server.requests) < 250


def test_stored_digest_that_is_wrong(odd: OddServer, open_dav: Callable[..., WebDav]) -> None:
    digest = {"Digest": "md5=" + base64.b64encode(b"0" * 16).decode()}
    server = odd(lambda request: Reply(b"data", 200, digest) if request.method == "HEAD" else Reply(b"", 201))
    error = put(
        open_dav("webdav", server.authority),
        "/file",
        given(b"data", required := Requirement("md5", remote=True)),
        required,
    )
    assert isinstance(error, Corrupted) and error.side == "destination"
    methods = [request.method for request in server.requests]
    assert "MOVE" not in methods and methods[-1] == "DELETE"


# -- what it costs, what is told -------------------------------------------------------------------------


def test_directories_are_made_once(apache_dav: Dav, tmp_path: Path, open_dav: Callable[..., WebDav]) -> None:
    area(apache_dav, tmp_path)
    root = f"/dav/{tmp_path.name}"
    backend = open_dav("webdav", apache_dav.authority)
    jobs = [store_job(f"{root}/a/b/c{n % 3}/{n}", given(b"x")) for n in range(60)]
    assert [job.error for job in backend.put(iter(jobs))] == [None] * 60
    made = [line.split()[2] for line in apache_dav.lines() if f" MKCOL {root}/" in line]
    counts = {path.removeprefix(root): made.count(path) for path in made}
    assert set(counts) == {"/a/", "/a/b/", "/a/b/c0/", "/a/b/c1/", "/a/b/c2/"}
    assert counts["/a/"] == 1 and max(counts.values()) <= 2
    before = len(apache_dav.lines())
    assert [job.error for job in backend.put(iter([store_job(f"{root}/a/b/c0/more", given(b"x"))]))] == [None]
    assert "MKCOL" not in [line.split()[1] for line in apache_dav.lines()[before:]]


def test_free_space(odd: OddServer, apache_dav: Dav, open_dav: Callable[..., WebDav]) -> None:
    def answer(request: Request) -> Reply:
        if request.target != "/there/":
            return Reply(b"", 404)
        room = "<D:quota-available-bytes>1234</D:quota-available-bytes>"
        return Reply(multistatus(response("/there/", room)), 207)

    assert open_dav("webdav", odd(answer).authority).free("/there/not/yet/file") == 1234
    assert open_dav("webdav", odd(lambda _: Reply(b"", 405)).authority).free("/a/b") is None
    assert open_dav("webdav", apache_dav.authority).free("/dav/x/y") is None


def test_stat_of_what_is_missing(wsgidav: Dav, open_dav: Callable[..., WebDav]) -> None:
    with pytest.raises(NotFound):
        open_dav("webdav", wsgidav.authority).stat("/dav/none/at/all")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", r"/d/\.f\..*\.part"),
        ("hidden", r"/d/\.f\..*\.part"),
        ("plain", r"/d/f\..*\.tmp"),
        ("none", "/d/f"),
    ],
)
def test_temporary_names_are_the_sites_choice(
    odd: OddServer, tmp_path: Path, said: str, expected: str
) -> None:
    server = odd(lambda request: Reply(b"", 201))
    section = f"[dav://{server.authority}]\ntemporary_names = {said}\n" if said else ""
    warned: list[str] = []
    settings = Settings(credentials(tmp_path, section), warn=warned.append)
    backend = open_backend(Endpoint("dav", server.authority, "here"), settings)
    (job,) = backend.put(iter([store_job("/d/f", given(b"abc"))]))
    assert job.error is None and not warned
    (sent,) = [request.target for request in server.requests if request.method == "PUT"]
    assert re.fullmatch(expected, sent)
    assert any(request.method == "MOVE" for request in server.requests) == (said != "none")
    backend.close()


def test_what_is_given_up_without_a_rename_is_told_once(odd: OddServer, tmp_path: Path) -> None:
    server = odd(lambda request: Reply(b"", 405 if request.method == "MOVE" else 201))
    warned: list[str] = []
    settings = Settings(credentials(tmp_path, ""), warn=warned.append)
    backend = open_backend(Endpoint("dav", server.authority, "here"), settings)
    jobs = list(backend.put(store_job(f"/d/{n}", given(b"abc")) for n in range(5)))
    assert [job.error for job in jobs] == [None] * 5
    assert len(warned) == 1 and "cannot rename" in warned[0]
    backend.close()
