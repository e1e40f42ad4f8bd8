"""Copies that servers make themselves: within one, and from one to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.webdav.backend import WebDav
from pegasus_toolkit.transfer.backends.webdav.copy import Copy, lent
from pegasus_toolkit.transfer.clients.curl.loop import fetch
from pegasus_toolkit.transfer.errors import CannotCopy, Corrupted, NotFound, ServerFault
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement, Settings
from tests.http_world import credentials
from tests.material import content
from tests.servers.grid_pki import Grid
from tests.servers.odd_http import Odd, Reply
from tests.servers.webdav import Dav
from tests.servers.xrootd_https import XrootdHttps


def bare(path: str, to: str, required: Requirement | None = None) -> Job[None]:
    return Job(path, to, required or Requirement(), None)


def names(directory: Path) -> set[str]:
    """Every file below, relative."""
    return {str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()}


class Pair(NamedTuple):
    """Two servers, and a backend at each."""

    servers: tuple[XrootdHttps, XrootdHttps]
    giver: WebDav
    taker: WebDav

    def copy(self, *jobs: Job[None]) -> list[Job[None]]:
        return list(self.giver.copy(iter(jobs), self.taker, Control()))

    def write(self, name: str, data: bytes) -> str:
        file = self.servers[0].data / name
        file.write_bytes(data)
        file.chmod(0o666)
        return f"/data/{name}"


def opened(server: XrootdHttps, grid: Grid, environ: Mapping[str, str], text: str, directory: Path) -> WebDav:
    trusted = {"X509_CERT_DIR": str(grid.certificates), **environ}
    if text:
        (directory / server.home.name).mkdir(exist_ok=True)
        found = credentials(directory / server.home.name, f"[davs://{server.authority}]\n{text}\n")
    else:
        found = Credentials(trusted, shared="")
    backend = open_backend(Endpoint("davs", server.authority, "here"), Settings(found, trusted))
    assert isinstance(backend, WebDav)
    return backend


@pytest.fixture
def pair(xrootd_https: tuple[XrootdHttps, XrootdHttps], grid: Grid) -> Iterator[Pair]:
    for server in xrootd_https:
        for name in names(server.data):
            (server.data / name).unlink()
    environ = {"X509_USER_PROXY": str(grid.proxy)}
    first, second = (opened(server, grid, environ, "", server.home) for server in xrootd_https)
    yield Pair(xrootd_https, first, second)
    first.close()
    second.close()


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_from_server_to_server(pair: Pair, size: int) -> None:
    path = pair.write("file", content(size))
    assert pair.giver.copies(pair.taker, Requirement())
    (job,) = pair.copy(bare(path, "/data/some/where/file"))
    assert job.error is None
    assert (pair.servers[1].data / "some/where/file").read_bytes() == content(size)
    assert names(pair.servers[1].data) == {"some/where/file"}
    assert job.size == size
    assert job.digest == "", "it went through here"


def test_many_and_one_that_is_missing(pair: Pair) -> None:
    # Few: xrootd 5.5 itself ends by a fault in its TLS, now and then, with many copies to make at once.
    made = {pair.write(f"file{n}", content(1000, n)): content(1000, n) for n in range(8)}
    jobs = [bare(path, path.replace("/data/", "/data/copies/")) for path in made]
    jobs.insert(7, bare("/data/missing", "/data/copies/missing"))
    over = pair.copy(*jobs)
    assert len(over) == 9
    bad = {job.path: repr(job.error) for job in over if job.error is not None}
    assert list(bad) == ["/data/missing"], bad
    (missing,) = [job.error for job in over if job.path == "/data/missing"]
    assert isinstance(missing, NotFound) and missing.side == "source"
    assert names(pair.servers[1].data) == {f"copies/file{n}" for n in range(8)}
    for path, data in made.items():
        assert (pair.servers[1].data / "copies" / path.rpartition("/")[2]).read_bytes() == data


def test_replaces_what_stands_there(pair: Pair) -> None:
    for content_ in (b"new", b"newer"):
        (job,) = pair.copy(bare(pair.write(content_.decode(), content_), "/data/target"))
        assert job.error is None
        assert (pair.servers[1].data / "target").read_bytes() == content_


def test_wrong_size_is_not_published(pair: Pair) -> None:
    path = pair.write("file", b"12345")
    (job,) = pair.copy(bare(path, "/data/target", Requirement(size=4)))
    assert isinstance(job.error, Corrupted)
    assert names(pair.servers[1].data) == set()


def test_what_needs_a_digest_is_not_left_to_the_servers(pair: Pair) -> None:
    assert not pair.giver.copies(pair.taker, Requirement(digest="0" * 64))
    assert not pair.giver.copies(pair.taker, Requirement(also=(("md5", "0" * 32),)))
    assert not pair.giver.copies(pair.taker, Requirement(remote=True))


def test_password_of_one_is_not_told_to_the_other(pair: Pair, grid: Grid, tmp_path: Path) -> None:
    """A source with a password is pushed by itself; two such make no copies."""
    secret = "username = u\npassword = secret-word"
    first = opened(pair.servers[0], grid, {}, secret, tmp_path)
    second = opened(pair.servers[1], grid, {}, secret, tmp_path)
    assert not first.copies(second, Requirement())
    assert first.copies(pair.taker, Requirement())
    path = pair.write("file", content(5000))
    (job,) = first.copy(iter([bare(path, "/data/pushed/file")]), pair.taker, Control())
    assert job.error is None and job.digest == ""
    assert (pair.servers[1].data / "pushed/file").read_bytes() == content(5000)
    first.close()
    second.close()


def test_token_goes_along_only_where_both_are_shown_it(pair: Pair, grid: Grid, tmp_path: Path) -> None:
    same = [opened(server, grid, {"BEARER_TOKEN": "tok-1"}, "", tmp_path) for server in pair.servers]
    assert lent(same[0].login, same[1].login) == ("TransferHeaderAuthorization: Bearer tok-1",)
    own = opened(pair.servers[0], grid, {}, "token = tok-2", tmp_path)
    assert lent(own.login, same[1].login) is None
    for backend in (*same, own):
        backend.close()


def test_servers_that_make_no_copies_say_so(apache_dav: Dav, pair: Pair, grid: Grid, tmp_path: Path) -> None:
    """Apache takes a COPY for one within itself."""
    path = pair.write("file", content(100_000))
    text = f"[davs://{apache_dav.tls_authority}]\nverify = no\n"
    backend = open_backend(
        Endpoint("davs", apache_dav.tls_authority, "here"), Settings(credentials(tmp_path, text))
    )
    assert isinstance(backend, WebDav)
    assert pair.giver.copies(backend, Requirement())
    over = list(pair.giver.copy(iter([bare(path, f"/dav/{tmp_path.name}/x")]), backend, Control()))
    assert [type(job.error) for job in over] == [CannotCopy]
    assert names(apache_dav.data / tmp_path.name) == set()
    backend.close()


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_within_one_server(apache_dav: Dav, tmp_path: Path, size: int) -> None:
    endpoint = Endpoint("webdav", apache_dav.authority, "here")
    one, other = (open_backend(endpoint, Settings(Credentials.none())) for _ in range(2))
    assert isinstance(one, WebDav) and isinstance(other, WebDav)
    area = apache_dav.data / tmp_path.name
    area.mkdir()
    area.chmod(0o777)
    (area / "file").write_bytes(content(size))
    assert one.copies(other, Requirement())
    root = f"/dav/{tmp_path.name}"
    jobs = [bare(f"{root}/file", f"{root}/new/{n}") for n in range(10)]
    over = list(one.copy(iter([*jobs, bare(f"{root}/none", f"{root}/new/none")]), other, Control()))
    assert [type(job.error) for job in over if job.error is not None] == [NotFound]
    assert all(job.digest == "" for job in over), "it went through here"
    assert names(area) == {"file", *(f"new/{n}" for n in range(10))}
    assert all((area / f"new/{n}").read_bytes() == content(size) for n in range(10))
    one.close()
    other.close()


MARKERS = "".join(
    f"Perf Marker\nTimestamp: 1\nStripe Index: 0\nStripe Bytes Transferred: {n}\nTotal Stripe Count: 1\nEnd\n"
    for n in (0, 500, 1500)
)


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        ("success: Created", ""),
        ("failure: no\x1b such file", "failure: no such file"),
        ("", "End"),
        ("Succ", "Succ"),
    ],
)
def test_last_line_of_a_copy_counts(odd: Callable[..., Odd], last: str, fault: str) -> None:
    """Its status is 201 whatever happens later."""
    server = odd(lambda _: Reply((MARKERS + last).encode(), 201, {"Content-Type": "text/plain"}))
    backend = open_backend(Endpoint("webdav", server.authority, "here"), Settings(Credentials.none()))
    assert isinstance(backend, WebDav)
    control = Control()
    step = Copy(backend.session, "/file", ("Destination: http://x/y",), control)
    fetch(backend.side, step)
    error = step.outcome()
    assert control.bytes == 1500
    assert (error is None) == (not fault)
    assert error is None or (isinstance(error, ServerFault) and fault in str(error))
    backend.close()
