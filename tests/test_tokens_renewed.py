"""Credentials that are renewed while a run goes on: each server takes only the newest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.s3.backend import S3
from pegasus_toolkit.transfer.errors import Denied, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Job, Settings, Source
from tests.faults import Unsized
from tests.material import CallingSource, content, fetch_job, given, settle, store_job
from tests.servers.nginx import Nginx
from tests.servers.pki import Pki
from tests.servers.seaweed import IDENTITIES, Seaweed
from tests.servers.webdav import Dav
from tests.test_credentials_tokens import jwt

MIB = 1 << 20


class Issuer:
    """A token file, and a server that takes the newest token only."""

    def __init__(self, accepted: Path, file: Path) -> None:
        self.accepted = accepted
        self.file = file
        self.now = ""
        accepted.mkdir(exist_ok=True)
        accepted.chmod(0o755)
        self.issue("first-token")

    def issue(self, token: str, unseen: bool = False) -> None:
        """``unseen``: the file looks as before, though its content is another."""
        before = self.file.stat() if unseen else None
        self.write(token)
        if before is not None:
            os.utime(self.file, ns=(before.st_atime_ns, before.st_mtime_ns))
        if self.now:
            (self.accepted / f"Bearer {self.now}").unlink()
        (self.accepted / f"Bearer {token}").touch()
        self.now = token

    def write(self, text: str) -> None:
        self.file.touch(mode=0o600)
        self.file.write_text(text)


@pytest.fixture
def opened() -> Iterator[Callable[..., Backend]]:
    backends = []

    def make(scheme: str, authority: str, **environ: str) -> Backend:
        settings = Settings(Credentials(environ, "", ""), environ, stall_timeout=20)
        backends.append(open_backend(Endpoint(scheme, authority, "site"), settings))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


@pytest.fixture
def issuer(apache_dav: Dav, tmp_path: Path) -> Iterator[Issuer]:
    made = Issuer(apache_dav.home / "accepted", tmp_path / "token")
    yield made
    (made.accepted / f"Bearer {made.now}").unlink()


@pytest.fixture
def dav(apache_dav: Dav, pki: Pki, issuer: Issuer, opened: Callable[..., Backend]) -> Backend:
    trust = {"SSL_CERT_FILE": str(pki.ca)}
    return opened("davs", apache_dav.tls_authority, BEARER_TOKEN_FILE=str(issuer.file), **trust)


def names(tmp_path: Path, count: int) -> list[str]:
    return [f"/living/{tmp_path.name}-{n}" for n in range(count)]


@pytest.mark.parametrize("unseen", [False, True])
def test_uploads_go_on_with_a_new_token(
    dav: Backend, issuer: Issuer, apache_dav: Dav, tmp_path: Path, unseen: bool
) -> None:
    """Whether the file is seen to have changed, or only the server's refusal tells."""
    made = {path: content(5000, n) for n, path in enumerate(names(tmp_path, 40))}
    jobs = [store_job(path, given(data)) for path, data in made.items()]
    jobs[20].end = CallingSource(jobs[20].end, lambda: issuer.issue("later-token", unseen))
    assert [job.error for job in dav.put(iter(jobs))] == [None] * 40
    assert {path: (apache_dav.data / path[8:]).read_bytes() for path in made} == made
    assert sum(line.startswith("401") and tmp_path.name in line for line in apache_dav.lines()) <= 20
    again = [settle(job) for job in dav.get(map(fetch_job, made))]
    assert sorted(again) == sorted(made.values())  # type: ignore[type-var]


def test_a_stream_that_cannot_be_sent_again_is_tried_again(
    dav: Backend, issuer: Issuer, tmp_path: Path
) -> None:
    """It is no fault of the credential any more."""
    (path,) = names(tmp_path, 1)
    data = content(3 * MIB)
    assert put(dav, path, given(data)) is None
    source = CallingSource(Unsized(given(data)), lambda: issuer.issue("later-token", unseen=True))
    error = put(dav, path, source)
    assert error is None or isinstance(error, ServerFault)
    assert put(dav, path, Unsized(given(data))) is None


def put(backend: Backend, path: str, source: Source) -> TransferError | None:
    (job,) = backend.put(iter([store_job(path, source)]))
    return job.error


def get(backend: Backend, path: str) -> Job[Any]:
    (job,) = backend.get(iter([fetch_job(path)]))
    return job


def test_a_token_that_is_refused_and_not_renewed(dav: Backend, issuer: Issuer, tmp_path: Path) -> None:
    (path,) = names(tmp_path, 1)
    assert put(dav, path, given(b"x")) is None
    issuer.issue("later-token")
    issuer.write("first-token")
    assert isinstance(get(dav, path).error, Denied)


def test_a_file_that_is_gone_or_empty_for_a_moment(dav: Backend, issuer: Issuer, tmp_path: Path) -> None:
    """What was in it before may still be good."""
    (path,) = names(tmp_path, 1)
    assert put(dav, path, given(b"x")) is None
    for disturb in (lambda: issuer.write(""), issuer.file.unlink):
        disturb()
        assert settle(get(dav, path)) == b"x"
    issuer.issue("later-token")
    assert settle(get(dav, path)) == b"x"


def test_a_token_that_is_over_is_named(dav: Backend, issuer: Issuer, tmp_path: Path) -> None:
    (path,) = names(tmp_path, 1)
    assert put(dav, path, given(b"x")) is None
    issuer.write(jwt(exp=1))
    error = get(dav, path).error
    assert isinstance(error, Denied) and "expired" in str(error) and str(issuer.file) in str(error)


@pytest.fixture
def web_issuer(nginx: Nginx, tmp_path: Path) -> Iterator[Issuer]:
    made = Issuer(nginx.log.parent / "accepted", tmp_path / "credentials.conf")
    yield made
    (made.accepted / f"Bearer {made.now}").unlink()


def test_downloads_by_the_credentials_file(
    nginx: Nginx, web_issuer: Issuer, opened: Callable[..., Backend], tmp_path: Path
) -> None:
    """The token stands in the file itself; a large file comes in the same batch."""
    section = "[https://{}]\nca_file = {}\ntoken = {}\n".format

    def issue(token: str) -> None:
        web_issuer.issue(token)
        web_issuer.write(section(nginx.tls_authority, nginx.pki.ca, token))

    issue("first-token")
    backend = opened("https", nginx.tls_authority, PEGASUS_CREDENTIALS=str(web_issuer.file))
    made = {f"/living/{tmp_path.name}-{n}": content(MIB * 3 if n == 9 else 3000, n) for n in range(30)}
    for path, data in made.items():
        (nginx.data / path[8:]).write_bytes(data)
    found = {}
    for job in backend.get(map(fetch_job, made)):
        assert job.error is None
        found[job.path] = settle(job)
        if len(found) == 5:
            issue("later-token")
    assert found == made


def test_keys_of_an_s3_session(seaweed: Seaweed, opened: Callable[..., Backend], tmp_path: Path) -> None:
    """Keys that are over are refused; the file holds new ones by then."""
    seaweed.client().make_bucket("living")
    file = tmp_path / "aws"

    def write(user: str) -> None:
        access, secret, _ = IDENTITIES[user]
        file.write_text(f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")

    write("reader")
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_ENDPOINT_URL": seaweed.endpoint}
    backend = opened("s3", "living", **environ)
    assert isinstance(backend, S3)
    assert isinstance(put(backend, "/key", given(b"x")), Denied)
    before = file.stat()
    write("admin")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert put(backend, "/key", given(b"x")) is None
    write("reader")
    assert isinstance(put(backend, "/key", given(b"y")), Denied)
