"""What is S3's own: parts, checksums, copies, batches, buckets, credentials; on a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend, s3_keys, s3_parts
from pegasus_toolkit.transfer.backends.s3 import S3, WHOLE
from pegasus_toolkit.transfer.backends.s3_keys import Keys
from pegasus_toolkit.transfer.backends.s3_wire import Request, Wire
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    Denied,
    NotFound,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Settings, Want
from tests.faults import Broken, Unsized
from tests.material import (
    Calling,
    CallingSource,
    content,
    errors,
    fetch_job,
    given,
    in_thread,
    settle,
    sha256,
    store_job,
)
from tests.servers.common import free_port
from tests.servers.pki import Pki
from tests.servers.seaweed import IDENTITIES, Seaweed

MIB = 1 << 20
BIG = content(20 * MIB + 7)
REMOTE = Want("sha256", "", None, True)


class Service:
    """The server, a backend for it, and a look behind its back."""

    def __init__(self, server: Seaweed, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.wire: Wire = server.wire()
        self.keys = Keys(self.wire)
        self.backends: list[S3] = []
        self.keys.make_bucket("test")
        self.keys.delete("test", [one.key for one in self.keys.list("test", "")])

    def open(self, user: str = "admin", scheme: str = "s3", **options: str) -> S3:
        environ = {"PEGASUS_CREDENTIALS": str(self.server.credentials(self.directory, **options))}
        settings = Settings(Credentials.load(environ), environ, connect_timeout=5, stall_timeout=20)
        return self.keep(open_backend(Endpoint(scheme, f"{user}@weed", "weed"), settings))

    def plain(self, bucket: str = "test", **environ: str) -> S3:
        """``s3://bucket/key`` with that environment."""
        settings = Settings(Credentials.none(), environ)
        return self.keep(open_backend(Endpoint("s3", bucket, "local"), settings))

    def keep(self, backend: Any) -> S3:
        assert isinstance(backend, S3)
        self.backends.append(backend)
        return backend

    def uploads(self) -> list[str]:
        """Keys of uploads that were neither finished nor given up."""
        body = self.wire.call(Request("GET", "test", query=(("uploads", ""),)))
        return re.findall(r"<Upload>.*?<Key>(.*?)</Key>", body.decode())

    def read(self, key: str) -> bytes:
        return self.wire.send(Request("GET", "test", key)).read()

    def write(self, key: str, data: bytes) -> None:
        self.keys.put("test", key, memoryview(data), sha256(data))

    def close(self) -> None:
        for backend in self.backends:
            backend.close()
        self.wire.close()


@pytest.fixture
def service(seaweed: Seaweed, tmp_path: Path) -> Iterator[Service]:
    with closing(Service(seaweed, tmp_path)) as service:
        yield service


@pytest.fixture
def secure(seaweed_tls: Seaweed, tmp_path: Path) -> Iterator[Service]:
    with closing(Service(seaweed_tls, tmp_path)) as service:
        yield service


def put(backend: S3, path: str, end: Any, want: Want | None = None) -> Job[Any]:
    (job,) = backend.put(iter([store_job(path, end, want)]))
    return job


def get(backend: S3, path: str, end: Any = None) -> Job[Any]:
    (job,) = backend.get(iter([fetch_job(path, end)]))
    return job


def copy(backend: S3, source: str, target: str, want: Want | None = None) -> Job[None]:
    (job,) = backend.copy(iter([Job(source, target, want or Want(), None)]), backend, Control())
    return job


# parts


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("sized", [True, False])
def test_large_object_goes_up_and_down_in_parts(service: Service, streams: int, sized: bool) -> None:
    backend = service.open()
    backend._settings = Settings(backend._settings.credentials, streams=streams)
    assert len(BIG) > WHOLE
    source = given(BIG)
    job = put(backend, "/test/big", source if sized else Unsized(source))
    assert job.error is None
    found = service.keys.head("test", "big")
    assert (found.size, found.etag[-3:]) == (len(BIG), '-3"')
    assert settle(get(backend, "/test/big")) == BIG
    assert service.uploads() == []


@pytest.mark.parametrize("size", [0, 100, 2 * MIB, WHOLE, WHOLE + 1, len(BIG)])
def test_upload_is_proven_by_the_server(service: Service, size: int) -> None:
    job = put(service.open(), "/test/proven", given(BIG[:size]), REMOTE)
    assert (job.error, job.proven) == (None, True)
    assert service.read("proven") == BIG[:size]


def test_nothing_is_proven_without_checksums(service: Service) -> None:
    backend = service.open(checksums="false")
    for size in (100, len(BIG)):
        job = put(backend, "/test/unproven", given(BIG[:size]), REMOTE)
        assert (job.error, job.proven) == (None, False)
        assert service.read("unproven") == BIG[:size]
        assert backend.inspect("/test/unproven", "sha256").digest is None


@pytest.mark.parametrize("damaged", [0, 2 * MIB, len(BIG)])
def test_server_refuses_what_is_damaged_on_the_way(
    service: Service, monkeypatch: pytest.MonkeyPatch, damaged: int
) -> None:
    """The body is changed after its digest was taken, as a bad memory or network card would."""
    exchange = Wire._exchange

    def flip(wire: Wire, connection: Any, request: Request) -> Any:
        if len(request.body) > 50_000 or request.body == b"small":
            request = request._replace(body=b"\x00" + bytes(request.body)[1:])
        return exchange(wire, connection, request)

    service.write("file", b"old")
    monkeypatch.setattr(Wire, "_exchange", flip)
    job = put(service.open(), "/test/file", given(BIG[:damaged] or b"small"), REMOTE)
    assert isinstance(job.error, Corrupted)
    assert service.read("file") == b"old"
    assert service.uploads() == []


@pytest.mark.parametrize("sized", [True, False])
def test_failed_source_leaves_no_upload(service: Service, sized: bool) -> None:
    service.write("file", b"old")
    want = Want("sha256", sha256(b"other"))
    for source in (given(BIG, want), Broken(given(BIG), len(BIG) - 1), Broken(given(BIG), 9 * MIB)):
        job = put(service.open(), "/test/file", source if sized else Unsized(source))
        assert isinstance(job.error, TransferError)
        assert service.uploads() == []
        assert service.read("file") == b"old"


def test_closing_leaves_no_upload(service: Service) -> None:
    backend = service.open()
    source = CallingSource(Broken(given(BIG), len(BIG)), lambda: None)
    blocks = 0

    def close_late(view: memoryview) -> int:
        nonlocal blocks
        blocks += 1
        if blocks == 2:
            assert service.uploads() == ["file"]
            in_thread(backend.close)
        return CallingSource.readinto(source, view)

    source.readinto = close_late  # type: ignore[method-assign]
    job = put(backend, "/test/file", source)
    assert isinstance(job.error, Cancelled)
    assert service.uploads() == []
    with pytest.raises(NotFound):
        service.keys.head("test", "file")


def test_object_that_changes_under_a_download(service: Service) -> None:
    service.write("file", BIG)
    other = content(len(BIG), 1)
    job = get(service.open(), "/test/file", Calling(lambda: service.write("file", other)))
    assert isinstance(job.error, Corrupted)
    assert settle(get(service.open(), "/test/file")) == other


def test_without_ranges_and_parts(service: Service) -> None:
    backend = service.open(multipart_uploads="False", ranged_downloads="no")
    assert put(backend, "/test/whole", given(BIG)).error is None
    assert service.keys.head("test", "whole").md5
    assert settle(get(backend, "/test/whole")) == BIG


# the server's own account


def test_inspect_tells_size_and_digests(service: Service) -> None:
    backend = service.open()
    for data in (b"", b"abc", BIG[: 3 * MIB]):
        assert put(backend, "/test/file", given(data)).error is None
        found = backend.inspect("/test/file", "sha256")
        assert (found.size, found.digest) == (len(data), ("sha256", sha256(data)))
    import hashlib

    assert backend.inspect("/test/file", "md5").digest == ("md5", hashlib.md5(data).hexdigest())
    assert backend.inspect("/test/file", "blake3").digest is None
    with pytest.raises(NotFound):
        backend.inspect("/test/missing", "sha256")


# copies


def test_copies_only_what_need_not_be_verified_first(service: Service) -> None:
    backend = service.open()
    assert backend.copies(service.open(), Want())
    assert not backend.copies(service.open(), Want("sha256", sha256(b"")))
    assert not backend.copies(service.open(), Want(also=(("md5", "0" * 32),)))
    assert not backend.copies(service.open(), REMOTE)
    assert not backend.copies(service.open("reader"), Want())


def test_copy_within_and_across_buckets(service: Service) -> None:
    backend = service.open()
    name = "odd name#1?+%2F"
    service.write(name, b"content")
    for target in ("/test/copy of it", "/test-new-bucket/d/x"):
        job = copy(backend, f"/test/{name}", target)
        assert (job.error, job.size, job.digest) == (None, 7, sha256(b"content"))
        assert settle(get(backend, target)) == b"content"
    assert isinstance(copy(backend, "/test/missing", "/test/x").error, NotFound)
    assert isinstance(copy(backend, f"/test/{name}", "/test/x", Want(size=8)).error, Corrupted)


@pytest.mark.parametrize("most", [MIB, 5 << 30])
def test_copy_of_an_object_that_is_replaced_meanwhile(
    service: Service, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(s3_keys, "MOST_AT_ONCE", most)
    service.write("file", BIG[: 2 * MIB])
    head = service.keys.head("test", "file")
    service.write("file", BIG[: 3 * MIB])
    monkeypatch.setattr(Keys, "head", lambda *_: head)
    assert isinstance(copy(service.open(), "/test/file", "/test/copy").error, Corrupted)
    with pytest.raises(NotFound):
        service.read("copy")


def test_copy_of_a_large_object_goes_in_parts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_keys, "MOST_AT_ONCE", MIB)
    monkeypatch.setattr(s3_parts, "COPY_PART", 8 * MIB)
    service.write("big", BIG)
    job = copy(service.open(), "/test/big", "/test/copy")
    assert (job.error, job.size) == (None, len(BIG))
    assert service.read("copy") == BIG
    assert service.keys.head("test", "copy").etag[-3:] == '-3"'


# deletes


@pytest.mark.parametrize("batch", ["true", "false"])
def test_deletes_go_in_batches(service: Service, monkeypatch: pytest.MonkeyPatch, batch: str) -> None:
    count = 1500 if batch == "true" else 20
    names = [f"many/{n:04}" for n in range(count)]
    for name in names:
        service.write(name, b"")
    asked: list[str] = []
    send = Wire.send
    monkeypatch.setattr(Wire, "send", lambda w, r, last=False: (asked.append(r.method), send(w, r, last))[1])
    backend = service.open(batch_delete=batch)
    over = dict(backend.remove(f"/test/{name}" for name in names))
    assert over == {f"/test/{name}": None for name in names}
    assert asked == (["POST"] * 2 if batch == "true" else ["DELETE"] * 20)
    assert list(service.keys.list("test", "many/")) == []


def test_delete_that_is_refused_fails_each_key(service: Service) -> None:
    service.write("kept", b"x")
    over = dict(service.open("reader").remove(["/test/kept", "/test/kept2"]))
    assert [type(error) for error in over.values()] == [Denied, Denied]
    assert service.read("kept") == b"x"


def test_bucket_is_emptied_and_never_removed(service: Service) -> None:
    service.write("d/file", b"x")
    backend = service.open()
    ((_, error),) = backend.remove(["/test"])
    assert isinstance(error, BadSpecification)
    assert service.read("d/file") == b"x"
    assert list(backend.remove(["/test"], recursive=True)) == [("/test", None)]
    assert list(backend.list("/test")) == []
    assert list(backend.remove(["/no-such-bucket/x"], recursive=True)) == [("/no-such-bucket/x", None)]


# buckets and directories


def test_put_makes_the_bucket(service: Service) -> None:
    for size, bucket in ((10, "made-by-put"), (len(BIG), "made-by-parts")):
        job = put(service.open(), f"/{bucket}/file", given(BIG[:size]))
        assert job.error is None
        assert service.keys.has_bucket(bucket)


def test_missing_bucket_on_get(service: Service) -> None:
    job = get(service.open(), "/no-such-bucket/file")
    assert isinstance(job.error, NotFound)
    assert "bucket" in str(job.error)
    with pytest.raises(NotFound):
        list(service.open().list("/no-such-bucket"))


def test_mkdir_makes_the_bucket_only(service: Service) -> None:
    backend = service.open()
    with pytest.raises(NotFound):
        backend.stat("/made-by-mkdir")
    backend.mkdir("/made-by-mkdir/a/b")
    assert backend.stat("/made-by-mkdir").directory
    assert list(backend.list("/made-by-mkdir")) == []
    service.wire.send(Request("DELETE", "made-by-mkdir")).read()


def test_markers_of_directories(service: Service) -> None:
    service.write("top/file", b"x")
    service.wire.send(Request("PUT", "test", "top/empty/")).read()
    backend = service.open()
    found = {(entry.path, entry.directory) for entry in backend.list("/test/top")}
    assert found == {("/test/top/file", False), ("/test/top/empty", True)}
    assert backend.stat("/test/top").directory


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
    """obstore would take these."""
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
    assert backend._wire_ is None, "obstore failed, and our own client had to mend it"


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


def test_keys_that_obstore_cannot_hold(service: Service) -> None:
    """SeaweedFS folds slashes and refuses dots; what it is asked for is the key as it stands."""
    backend = service.open()
    asked: list[str] = []
    send = Wire.send

    def noted(wire: Wire, request: Request, last: bool = False) -> Any:
        asked.append(request.key)
        return send(wire, request, last)

    keys = ["a//b", "/lead", "x\ny", "a/../b", "a/./b"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wire, "send", noted)
        over = list(backend.put(store_job(f"/test/{key}", given(key.encode())) for key in keys))
    assert asked == keys
    assert [error is None for error in errors(over)] == [True, True, True, False, False]
    over = list(backend.get(fetch_job(f"/test/{key}") for key in keys[:3]))
    assert [settle(job) for job in over] == [key.encode() for key in keys[:3]]


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
from pegasus_toolkit.transfer.ends import MemorySink, MemorySource
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Settings, Want
environ = {"PEGASUS_CREDENTIALS": sys.argv[1]}
def work(n):
    backend = open_backend(Endpoint("s3", "admin@weed", "weed"), Settings(Credentials.load(environ), environ))
    for size in (100, 3 << 20, 17 << 20):
        path = f"/test/exit{n}-{size}"
        source = MemorySource(path, bytes(size), Want(), Control())
        (job,) = backend.put(iter([Job(path, "", Want(), source)]))
        assert job.error is None, job.error
        batch = backend.get(iter([Job(path, "", Want(), MemorySink(path, Want(), Control()))] * 2))
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
