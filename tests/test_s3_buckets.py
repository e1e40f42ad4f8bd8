"""S3 on a real SeaweedFS: deletes, buckets, directories."""

from __future__ import annotations

from typing import Any

import pytest

from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    NotFound,
)
from tests.material import (
    given,
)
from tests.s3_world import BIG, Service, get, put

# deletes


@pytest.mark.parametrize("batch", ["true", "false"])
def test_deletes_go_in_batches(service: Service, monkeypatch: pytest.MonkeyPatch, batch: str) -> None:
    count = 1500 if batch == "true" else 20
    names = [f"many/{n:04}" for n in range(count)]
    for name in names:
        service.write(name, b"")
    asked: list[str] = []
    start = Loop.start

    def noted(loop: Loop, exchange: Any, task: Any) -> None:
        asked.append(exchange.method)
        start(loop, exchange, task)

    monkeypatch.setattr(Loop, "start", noted)
    backend = service.open(batch_delete=batch)
    over = dict(backend.remove(f"/test/{name}" for name in names))
    assert over == {f"/test/{name}": None for name in names}
    assert asked == (["POST"] * 2 if batch == "true" else ["DELETE"] * 20)
    assert service.client.list("test", "many/") == []


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
        assert service.client.has_bucket(bucket)


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
    service.client.drop_bucket("made-by-mkdir")


def test_markers_of_directories(service: Service) -> None:
    service.write("top/file", b"x")
    service.write("top/empty/", b"")
    backend = service.open()
    found = {(entry.path, entry.directory) for entry in backend.list("/test/top")}
    assert found == {("/test/top/file", False), ("/test/top/empty", True)}
    assert backend.stat("/test/top").directory
