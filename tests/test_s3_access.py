"""S3 on a real SeaweedFS: who may, names, the end of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from tests.material import (
    fetch_job,
    given,
    settle,
    store_job,
)
from tests.s3_world import BIG, MIB, Service, get, put
from tests.servers.common import free_port
from tests.servers.pki import Pki
from tests.servers.seaweed import IDENTITIES, Seaweed

# who may


@pytest.mark.parametrize("key", ["access_key", "secret_key"])
def test_wrong_key_is_denied_and_named(service: Service, key: str) -> None:
    file = service.server.credentials(service.directory)
    secret = dict(zip(("access_key", "secret_key"), IDENTITIES["admin"], strict=False))[key]
    backend = service.open()
    file.write_text(file.read_text().replace(secret, "wrong"))
    settings = Settings(Credentials.load({"PEGASUS_CREDENTIALS": str(file)}))
    backend = service.keep(open_backend(Endpoint("s3", "admin@weed", "weed"), settings))
    over = [put(backend, f"/test/{size}", given(BIG[:size])) for size in (10, 2 * MIB, len(BIG))]
    over.append(get(backend, "/test/x"))
    for job in over:
        assert isinstance(job.error, Denied)
        assert "[admin@weed]" in str(job.error)
        assert "wrong" not in str(job.error)
    with pytest.raises(Denied):
        backend.mkdir("/denied")


def test_reader_may_read_and_not_write(service: Service) -> None:
    service.write("file", b"old")
    backend = service.open("reader")
    assert settle(get(backend, "/test/file")) == b"old"
    for size in (10, 2 * MIB, len(BIG)):
        assert isinstance(put(backend, "/test/file", given(BIG[:size])).error, Denied)
    assert service.read("file") == b"old"


def test_plain_urls_take_the_usual_environment(service: Service, tmp_path: Path) -> None:
    access, secret, _ = IDENTITIES["admin"]
    service.write("file", b"content")
    url = {"AWS_ENDPOINT_URL": service.server.endpoint}
    keys = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    (tmp_path / "profiles").write_text(
        f"[default]\naws_access_key_id = x\naws_secret_access_key = y\n"
        f"[mine]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    )
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "profiles")}
    for environ in ({**url, **keys}, {**url, **files, "AWS_PROFILE": "mine"}):
        backend = service.plain(**environ)
        assert settle(get(backend, "/file")) == b"content"
        assert {entry.path for entry in backend.list("/")} == {"/file"}
    for environ in (url, {**url, **files}, {**url, **keys, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}):
        assert isinstance(get(service.plain(**environ), "/file").error, (Denied, Unreachable))


def test_environment_of_the_process_is_not_read(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what the settings hold counts."""
    dead = f"http://127.0.0.1:{free_port()}"
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, dead)
    for name in ("AWS_SKIP_SIGNATURE", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_S3_EXPRESS"):
        monkeypatch.setenv(name, "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.setenv(name, "wrong")
    backend = service.open()
    assert put(backend, "/test/file", given(b"content")).error is None
    assert settle(get(backend, "/test/file")) == b"content"


def test_s3s_needs_https(service: Service) -> None:
    with pytest.raises(BadSpecification, match="https://"):
        service.open(scheme="s3s")


def test_certificate_that_is_not_trusted(secure: Service, pki: Pki) -> None:
    trusted, secure.server = secure.server, secure.server._replace(ca_file=str(pki.other_ca))
    backend = secure.open(scheme="s3s")
    for size in (10, len(BIG)):
        error = put(backend, "/test/file", given(BIG[:size])).error
        assert isinstance(error, Denied)
        assert "certificate" in str(error)
    secure.server = trusted._replace(ca_file="")
    assert put(secure.open(scheme="s3s", verify="no"), "/test/file", given(b"x")).error is None


def test_nobody_listens(service: Service) -> None:
    service.server = Seaweed(f"http://127.0.0.1:{free_port()}")
    backend = service.open()
    jobs = [put(backend, f"/test/{size}", given(BIG[:size])) for size in (10, len(BIG))]
    jobs.append(get(backend, "/test/x"))
    assert {type(job.error) for job in jobs} == {Unreachable}


@pytest.mark.parametrize(
    ("option", "value"),
    [("batch_delete", "maybe"), ("batch_delete_size", "1001"), ("part_size", "1MiB"), ("part_size", "x")],
)
def test_wrong_option_is_named(service: Service, option: str, value: str) -> None:
    with pytest.raises(BadSpecification, match=option):
        service.open(**{option: value})


# names


def test_odd_keys_are_sent_as_they_are(service: Service) -> None:
    """SeaweedFS folds slashes and refuses dots; what it is asked for is the key as it stands."""
    backend = service.open()
    asked: list[str] = []
    start = Loop.start

    def noted(loop: Loop, exchange: Any, task: Any) -> None:
        asked.append(unquote(exchange.url.partition("/test/")[2]))
        start(loop, exchange, task)

    keys = ["a//b", "/lead", "x\ny", "a/../b", "a/./b"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "start", noted)
        over = list(backend.put(store_job(f"/test/{key}", given(key.encode())) for key in keys))
    assert sorted(asked) == sorted(keys)
    good = {job.path for job in over if job.error is None}
    assert good == {f"/test/{key}" for key in keys[:3]}
    over = list(backend.get(fetch_job(f"/test/{key}") for key in keys[:3]))
    assert {job.path: settle(job) for job in over} == {f"/test/{key}": key.encode() for key in keys[:3]}


@pytest.mark.parametrize("path", ["/", "", "/test", "/test/"])
def test_path_without_a_key(service: Service, path: str) -> None:
    backend = service.open()
    assert isinstance(get(backend, path).error, BadSpecification)
    assert isinstance(put(backend, path, given(b"x")).error, BadSpecification)


# the end of the process

SCRIPT = """
import sys, threading
from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.streams.checked import MemorySink, MemorySource
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Settings, Requirement
environ = {"PEGASUS_CREDENTIALS": sys.argv[1]}
def work(n):
    backend = open_backend(Endpoint("s3", "admin@weed", "weed"), Settings(Credentials.load(environ), environ))
    for size in (100, 3 << 20, 17 << 20):
        path = f"/test/exit{n}-{size}"
        source = MemorySource(path, bytes(size), Requirement(), Control())
        (job,) = backend.put(iter([Job(path, "", Requirement(), source)]))
        assert job.error is None, job.error
        sinks = [MemorySink(path, Requirement(), Control()) for _ in range(2)]
        batch = backend.get(iter([Job(path, "", Requirement(), sink) for sink in sinks]))
        assert next(batch).error is None
        if ABORT:
            batch.close()
    if not ABORT:
        backend.close()
threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


@pytest.mark.parametrize("abort", [True, False])
def test_process_ends_cleanly(service: Service, abort: bool) -> None:
    file = service.server.credentials(service.directory)
    for _ in range(3):
        argv = [sys.executable, "-c", f"ABORT = {abort}\n{SCRIPT}", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
