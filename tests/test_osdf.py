"""The OSDF: objects from caches, written at a real origin, found by a director of our own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.osdf import server
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    NotFound,
    ServerFault,
    TransferError,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Settings
from tests.command import entry, lines, run, write
from tests.conformance import ListingSuite, WritableSuite
from tests.material import AWKWARD, content, errors, fetch_job, given, settle, store_job
from tests.servers.common import free_port
from tests.servers.odd_http import Reply, Request
from tests.servers.osdf import Federation

OddServer = Callable[..., Any]
TOKEN = "t0ken-of-a-test"


def environ(osdf: Federation, **more: str) -> dict[str, str]:
    trusted = str(osdf.grid.certificates)
    return {"X509_CERT_DIR": trusted, "SSL_CERT_DIR": trusted, "PATH": os.environ["PATH"], **more}


def opened(osdf: Federation, **more: str) -> Backend:
    known = environ(osdf, **more)
    settings = Settings(Credentials(known, shared=""), known, stall_timeout=20, connect_timeout=5)
    return open_backend(Endpoint("pelican", osdf.host, "here"), settings)


class TestOsdf(WritableSuite, ListingSuite):
    """As far as an XRootD origin goes (see ``TestXrootd`` of the tests for WebDAV)."""

    cannot_name = frozenset(
        name for name in AWKWARD if set("?;#%\t\n") & set(name) or name[0] == " " or not name.isascii()
    )

    @pytest.fixture(autouse=True)
    def area(self, osdf: Federation, tmp_path: Path) -> Iterator[None]:
        self.osdf = osdf
        self.root = osdf.origin.data / tmp_path.name
        self.root.mkdir()
        self.root.chmod(0o777)
        yield
        shutil.rmtree(self.root)

    def open(self) -> Backend:
        return opened(self.osdf, BEARER_TOKEN=TOKEN)

    def path(self, name: str) -> str:
        return f"/data/{self.root.name}/{quote(name)}"

    def file(self, path: str) -> Path:
        return self.osdf.origin.data / unquote(path).removeprefix("/data/")

    def read(self, path: str) -> bytes | None:
        file = self.file(path)
        return file.read_bytes() if file.exists() else None

    def write(self, path: str, content: bytes) -> None:
        file = self.file(path)
        for parent in reversed(file.parents):
            if not parent.exists():
                parent.mkdir()
                parent.chmod(0o777)
        file.write_bytes(content)
        file.chmod(0o666)

    def stored(self) -> set[str]:
        files = (file for file in self.root.rglob("*") if file.is_file())
        return {self.path(str(file.relative_to(self.root))) for file in files}


@pytest.fixture
def names(osdf: Federation, tmp_path: Path) -> Iterator[Callable[..., list[str]]]:
    """Makes objects at the origin; their paths."""
    root = osdf.origin.data / f"n-{tmp_path.name}"
    root.mkdir()
    root.chmod(0o777)

    def make(count: int, size: int = 100) -> list[str]:
        for n in range(count):
            (root / f"f{n}").write_bytes(content(size, n))
        return [f"/data/{root.name}/f{n}" for n in range(count)]

    yield make
    shutil.rmtree(root)


def got(backend: Backend, paths: list[str]) -> dict[str, bytes | TransferError | None]:
    found: dict[str, bytes | TransferError | None] = {}
    for job in backend.get(map(fetch_job, paths)):
        data = settle(job)
        found[job.path] = job.error or data
    backend.close()
    return found


def test_a_thousand_objects_cost_the_director_one_question(
    osdf: Federation, names: Callable[..., list[str]]
) -> None:
    paths = names(30)
    assert got(opened(osdf), paths) == {path: content(100, n) for n, path in enumerate(paths)}
    assert osdf.asked == [f"GET {paths[0]}"]


def dead() -> str:
    return f"https://localhost:{free_port()}"


def test_a_dead_cache_is_passed_over_and_remembered(
    osdf: Federation, names: Callable[..., list[str]]
) -> None:
    paths = names(20)
    osdf.sources = (dead(), *(f"https://localhost:{port}" for port in osdf.caches))
    backend = opened(osdf)
    wanted = {path: content(100, n) for n, path in enumerate(paths)}
    assert got(backend, paths) == wanted
    marked = backend.site.settings.notes.marked  # type: ignore[attr-defined]
    assert [marked("osdf", "bad", base) for base in osdf.sources] == [True, False, False]


@pytest.mark.parametrize(
    "reply", [Reply(b"", 503), Reply(b"", 500), Reply(b"", 502), Reply(b"x" * 10, cut=0)]
)
def test_a_cache_that_fails_is_passed_over(
    reply: Reply, osdf: Federation, odd_tls: OddServer, names: Callable[..., list[str]]
) -> None:
    other = odd_tls(lambda request: reply)
    osdf.sources = (f"https://{other.authority}", f"https://localhost:{osdf.caches[0]}")
    paths = names(3)
    assert got(opened(osdf), paths) == {path: content(100, n) for n, path in enumerate(paths)}


def test_what_a_broken_cache_gave_is_not_mixed_with_another_copy(
    osdf: Federation, odd_tls: OddServer, names: Callable[..., list[str]], tmp_path: Path
) -> None:
    """The attempt fails; the next one goes to the other cache."""
    (path,) = names(1, 4_000_000)
    other = odd_tls(lambda request: Reply(b"z" * 4_000_000, cut=2_000_000))
    osdf.sources = (f"https://{other.authority}", f"https://localhost:{osdf.caches[0]}")
    spec = write(tmp_path / "spec.json", [entry(f"pelican://{osdf.host}{path}", tmp_path / "out")])
    done = run("-f", spec, "--report", tmp_path / "report", cwd=tmp_path, env=environ(osdf))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == content(4_000_000, 0)
    assert len(lines(tmp_path / "report")[0]["attempts"]) == 2


def test_all_caches_dead(osdf: Federation, names: Callable[..., list[str]]) -> None:
    osdf.sources = (dead(), dead())
    found = got(opened(osdf), names(2))
    assert {type(error) for error in found.values()} == {Unreachable}


def test_what_no_cache_has_is_not_asked_of_the_next(
    osdf: Federation, odd_tls: OddServer, names: Callable[..., list[str]]
) -> None:
    second = odd_tls(lambda request: Reply(b"other"))
    osdf.sources = (f"https://localhost:{osdf.caches[0]}", f"https://{second.authority}")
    found = got(opened(osdf), ["/data/missing"])
    assert isinstance(found["/data/missing"], NotFound) and not second.requests


def test_another_digest(osdf: Federation, odd_tls: OddServer, names: Callable[..., list[str]]) -> None:
    from pegasus_toolkit.transfer.interface import Requirement
    from tests.material import sha256

    (path,) = names(1)
    backend = opened(osdf)
    job = fetch_job(path, required=Requirement("sha256", sha256(b"other")))
    assert list(backend.get(iter([job]))) == [job]
    with pytest.raises(Corrupted):
        job.end.commit()
    backend.close()


# --- tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("needed", "seen"), [(True, f"Bearer {TOKEN}"), (False, None)])
def test_caches_see_a_token_only_where_a_namespace_needs_one(
    needed: bool, seen: str | None, osdf: Federation, odd_tls: OddServer
) -> None:
    other = odd_tls(lambda request: Reply(b"data"))
    osdf.sources, osdf.token = (f"https://{other.authority}",), needed
    assert got(opened(osdf, BEARER_TOKEN=TOKEN), ["/data/x"]) == {"/data/x": b"data"}
    assert {request.headers.get("authorization") for request in other.requests} == {seen}


def test_a_server_that_does_not_encrypt_is_not_asked(osdf: Federation, odd: OddServer) -> None:
    other = odd(lambda request: Reply(b"data"))
    osdf.sources = (f"http://{other.authority}",)
    error = got(opened(osdf), ["/data/x"])["/data/x"]
    assert isinstance(error, Denied) and "not encrypt" in str(error) and not other.requests


def test_a_namespace_within_another_is_found(osdf: Federation, odd_tls: OddServer) -> None:
    def answer(request: Request) -> Reply:
        inner, shown = "/inner/" in request.target, "authorization" in request.headers
        return Reply(b"data" if inner == shown else b"", 200 if inner == shown else 403)

    other = odd_tls(answer)
    osdf.sources, osdf.within = (f"https://{other.authority}",), "/data/inner"
    paths = ["/data/x", "/data/inner/y", "/data/inner/z", "/data/w"]
    assert got(opened(osdf, BEARER_TOKEN=TOKEN), paths) == dict.fromkeys(paths, b"data")


def test_which_token_is_missing_is_told(osdf: Federation, odd_tls: OddServer) -> None:
    other = odd_tls(lambda request: Reply(b"", 403))
    osdf.sources, osdf.token, osdf.issuer = (f"https://{other.authority}",), True, "https://issuer.org/x"
    error = got(opened(osdf), ["/data/x"])["/data/x"]
    assert isinstance(error, Denied)
    assert "a token of https://issuer.org/x with storage.read for /data" in str(error)


def test_writing_takes_a_token(osdf: Federation) -> None:
    backend = opened(osdf)
    assert isinstance(*errors(backend.put(iter([store_job("/data/x", given(b"x"))]))), Denied)
    assert [type(error) for _, error in backend.remove(["/data/x"])] == [Denied]
    with pytest.raises(Denied, match=r"storage\.modify in BEARER_TOKEN_FILE"):
        backend.mkdir("/data/d")
    assert osdf.asked == []
    backend.close()


def test_an_origin_that_lets_nothing_be_made_is_told(osdf: Federation, odd_tls: OddServer) -> None:
    """pelicanfs answers success to mkdir without doing it."""
    other = odd_tls(lambda request: Reply(b"", 405 if request.method in ("MKCOL", "DELETE") else 404))
    osdf.writer = f"https://{other.authority}"
    backend = opened(osdf, BEARER_TOKEN=TOKEN)
    with pytest.raises(TransferError):
        backend.mkdir("/data/d")
    backend.close()


# --- the director --------------------------------------------------------------------------------------


def test_a_path_in_no_namespace(osdf: Federation) -> None:
    error = got(opened(osdf), ["/nowhere/x"])["/nowhere/x"]
    assert isinstance(error, NotFound)
    assert "no namespace for that path" in str(error) and f"the director of {osdf.host}" in str(error)


def test_collections_that_are_not_listed(osdf: Federation) -> None:
    osdf.listed = False
    backend = opened(osdf)
    with pytest.raises(Unsupported, match="cannot be listed"):
        list(backend.list("/data/d"))
    backend.close()


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1:1"])
def test_a_federation_that_is_not_there(host: str, osdf: Federation) -> None:
    settings = Settings(Credentials({}, shared=""), environ(osdf))
    backend = open_backend(Endpoint("pelican", host, "here"), settings)
    error = got(backend, ["/data/x"])["/data/x"]
    assert isinstance(error, Unreachable) and "cannot be discovered" in str(error)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b"", 404), "no federation is there"),
        (Reply(b"<html>"), "not understood"),
        (Reply(b"{}"), "tells no director"),
        (Reply(b'{"director_endpoint": "http://h"}'), "tells no director"),
    ],
)
def test_a_host_that_is_no_federation(reply: Reply, said: str, osdf: Federation, odd_tls: OddServer) -> None:
    other = odd_tls(lambda request: reply)
    known = environ(osdf)
    backend = open_backend(
        Endpoint("pelican", other.authority, "here"), Settings(Credentials(known, shared=""), known)
    )
    error = got(backend, ["/data/x"])["/data/x"]
    assert isinstance(error, ServerFault) and said in str(error)


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("osdf:///ospool/x", "osg-htc.org", "/ospool/x"),
        ("osdf://ospool//x", "osg-htc.org", "/ospool/x"),
        ("stash:///osgconnect/x", "osg-htc.org", "/osgconnect/x"),
        ("pelican://h:8444/ns/x", "h:8444", "/ns/x"),
    ],
)
def test_urls(text: str, host: str, path: str) -> None:
    place = urls.parse(text, "local", {})
    assert (place.endpoint.host, place.path) == (host, path)


# --- programs (stand-ins of the same command line: no package has the real ones) --------------------------


@pytest.mark.parametrize(("tool", "words"), [("pelican", "object copy"), ("stashcp", "")])
def test_a_program_where_a_section_says_so(tool: str, words: str, osdf: Federation, tmp_path: Path) -> None:
    program = tmp_path / "bin" / tool
    program.parent.mkdir()
    store = tmp_path / "store"
    shift = f'[ "$1 $2" = "{words}" ] || exit 9; shift 2\n' if words else ""
    program.write_text(
        f'#!/bin/sh\n{shift}case "$1" in\n'
        f'pelican:*) [ -e {store} ] || {{ echo no object >&2; exit 1; }}; cp {store} "$2";;\n'
        f'*) cp "$1" {store};; esac\n'
    )
    program.chmod(0o755)
    conf = tmp_path / "credentials.conf"
    conf.write_text(f"[pelican://{osdf.host}]\ntool = {tool}\n")
    conf.chmod(0o600)
    more = environ(osdf, PATH=f"{program.parent}:{os.environ['PATH']}", PEGASUS_CREDENTIALS=str(conf))
    (tmp_path / "in").write_bytes(b"data")
    remote = f"pelican://{osdf.host}/data/x y"

    def move(source: Any, target: Any) -> Any:
        spec = write(tmp_path / "spec.json", [entry(source, target)])
        return run("-f", spec, "-m", "1", cwd=tmp_path, env=more)

    missing = move(remote, tmp_path / "out")
    assert missing.returncode == 1 and f"{tool}: no object" in missing.stderr
    assert move(tmp_path / "in", remote).returncode == 0
    assert move(remote, tmp_path / "out").returncode == 0
    assert (tmp_path / "out").read_bytes() == b"data"


def test_a_program_that_is_none(osdf: Federation, tmp_path: Path) -> None:
    conf = tmp_path / "credentials.conf"
    for tool, kind in (("scp", BadSpecification), ("stashcp", Unsupported)):
        conf.write_text(f"[pelican://{osdf.host}]\ntool = {tool}\n")
        conf.chmod(0o600)
        with pytest.raises(kind):
            opened(osdf, PEGASUS_CREDENTIALS=str(conf), PATH="/nowhere")


def test_a_cache_that_falls_silent_is_passed_over(
    osdf: Federation, odd_tls: OddServer, names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HURRY", 1.0)
    silent = odd_tls(lambda request: Reply(silent=True))
    osdf.sources = (f"https://{silent.authority}", f"https://localhost:{osdf.caches[0]}")
    paths = names(3)
    assert got(opened(osdf), paths) == {path: content(100, n) for n, path in enumerate(paths)}
