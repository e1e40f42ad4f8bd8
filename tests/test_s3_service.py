"""S3 on a real SeaweedFS: parts, proofs, copies."""

from __future__ import annotations

from typing import Any

import pytest

from pegasus_toolkit.transfer.backends.s3 import files as s3_files
from pegasus_toolkit.transfer.backends.s3.files import WHOLE, S3Files
from pegasus_toolkit.transfer.clients.s3 import S3Upload
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    NotFound,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Requirement
from tests.faults import Broken, Unsized
from tests.material import (
    Calling,
    CallingSource,
    content,
    given,
    in_thread,
    settle,
    sha256,
)
from tests.s3_world import BIG, MIB, REMOTE, Service, copy, get, put

# parts


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("sized", [True, False])
def test_large_object_goes_up_and_down_in_parts(service: Service, streams: int, sized: bool) -> None:
    backend = service.open()
    backend.files.streams = streams
    assert len(BIG) > WHOLE
    source = given(BIG)
    job = put(backend, "/test/big", source if sized else Unsized(source))
    assert job.error is None
    found = service.client.head("test", "big")
    assert (found.size, found.etag[-3:]) == (len(BIG), '-3"')
    assert settle(get(backend, "/test/big")) == BIG
    assert service.uploads() == []


@pytest.mark.parametrize("size", [0, 100, 2 * MIB, WHOLE, WHOLE + 1, len(BIG)])
def test_upload_is_proven_by_the_server(service: Service, size: int) -> None:
    job = put(service.open(), "/test/proven", given(BIG[:size]), REMOTE)
    assert (job.error, job.proven) == (None, True)
    assert service.read("proven") == BIG[:size]


def test_without_checksums_what_was_stored_is_read_back(service: Service) -> None:
    backend = service.open(checksums="false")
    for size in (100, len(BIG)):
        job = put(backend, "/test/unproven", given(BIG[:size]), REMOTE)
        assert (job.error, job.proven) == (None, True), "it was read back"
        assert service.read("unproven") == BIG[:size]
        assert backend.inspect("/test/unproven", "sha256").digest is None


@pytest.mark.parametrize("damaged", [0, 2 * MIB, len(BIG)])
def test_server_refuses_what_is_damaged_on_the_way(
    service: Service, monkeypatch: pytest.MonkeyPatch, damaged: int
) -> None:
    """The body is changed after its digest was taken, as a bad memory or network card would."""
    read = S3Upload.read

    def flip(upload: S3Upload, n: int) -> bytes:
        block = read(upload, n)
        large = (upload.size or 0) > 50_000 or block == b"small"
        return b"\x00" + block[1:] if large and block else block

    service.write("file", b"old")
    monkeypatch.setattr(S3Upload, "read", flip)
    job = put(service.open(), "/test/file", given(BIG[:damaged] or b"small"), REMOTE)
    assert isinstance(job.error, Corrupted)
    assert service.read("file") == b"old"
    assert service.uploads() == []


@pytest.mark.parametrize("sized", [True, False])
def test_failed_source_leaves_no_upload(service: Service, sized: bool) -> None:
    service.write("file", b"old")
    required = Requirement("sha256", sha256(b"other"))
    for source in (given(BIG, required), Broken(given(BIG), len(BIG) - 1), Broken(given(BIG), 9 * MIB)):
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
    with pytest.raises(Cancelled):
        put(backend, "/test/file", source)
    assert service.uploads() == []
    with pytest.raises(NotFound):
        service.client.head("test", "file")


def test_object_that_changes_under_a_download(service: Service) -> None:
    service.write("file", BIG)
    other = content(len(BIG), 1)
    sink = Calling(lambda: service.write("file", other))
    job = get(service.open(), "/test/file", sink)
    if job.error is None:
        sink.commit()
        assert sink.inner.content in (BIG, other), "not half of each"  # type: ignore[attr-defined]
    assert settle(get(service.open(), "/test/file")) == other


def test_without_ranges_and_parts(service: Service) -> None:
    backend = service.open(multipart_uploads="False", ranged_downloads="no")
    assert put(backend, "/test/whole", given(BIG)).error is None
    assert len(service.client.head("test", "whole").etag) == 34  # an MD5 in quotes: one piece
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
    assert backend.copies(service.open(), Requirement())
    assert not backend.copies(service.open(), Requirement("sha256", sha256(b"")))
    assert not backend.copies(service.open(), Requirement(also=(("md5", "0" * 32),)))
    assert not backend.copies(service.open(), REMOTE)
    assert not backend.copies(service.open("reader"), Requirement())


def test_copy_within_and_across_buckets(service: Service) -> None:
    backend = service.open()
    name = "odd name#1?+%2F"
    service.write(name, b"content")
    for target in ("/test/copy of it", "/test-new-bucket/d/x"):
        job = copy(backend, f"/test/{name}", target)
        assert (job.error, job.size, job.digest) == (None, 7, sha256(b"content"))
        assert settle(get(backend, target)) == b"content"
    assert isinstance(copy(backend, "/test/missing", "/test/x").error, NotFound)
    assert isinstance(copy(backend, f"/test/{name}", "/test/x", Requirement(size=8)).error, Corrupted)


@pytest.mark.parametrize("most", [MIB, 5 << 30])
def test_copy_of_an_object_that_is_replaced_meanwhile(
    service: Service, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(s3_files, "MOST_AT_ONCE", most)
    service.write("file", BIG[: 2 * MIB])
    backend = service.open()
    head = backend.runner().one(backend.files.head("/test/file"))
    service.write("file", BIG[: 3 * MIB])

    def told(*_: object) -> Any:
        yield from ()
        return head

    monkeypatch.setattr(S3Files, "head", told)
    assert isinstance(copy(service.open(), "/test/file", "/test/copy").error, Corrupted)
    with pytest.raises(NotFound):
        service.read("copy")


def test_copy_of_a_large_object_goes_in_parts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_files, "MOST_AT_ONCE", MIB)
    monkeypatch.setattr(s3_files, "COPY_PART", 8 * MIB)
    service.write("big", BIG)
    job = copy(service.open(), "/test/big", "/test/copy")
    assert (job.error, job.size) == (None, len(BIG))
    assert service.read("copy") == BIG
    assert service.client.head("test", "copy").etag[-3:] == '-3"'
