"""A manager with two data servers: what it answers for one of them is not taken for all."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pegasus_toolkit.transfer.errors import IsDirectory, NotFound, TransferError
from pegasus_toolkit.transfer.interface import Backend, Requirement
from tests.material import content, errors, fetch_job, given, settle, store_job
from tests.servers.common import public_directory
from tests.servers.xrootd import Xrootd, cluster
from tests.test_xrootd_faults import connect

Cluster = dict[str, Xrootd]


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    """Each has a file that only it has, one that both have, and a part of a tree."""
    with public_directory("xrootd-cluster-") as home, cluster(home) as made:
        backend = connect(made["manager"].authority)
        for name in ("one", "two"):
            made[name].write("/data/known/" + name, b"x")
        end = time.monotonic() + 60
        while time.monotonic() < end and not knows_all(backend):
            time.sleep(0.2)
        yield made


def knows_all(backend: Backend) -> bool:
    """Whether the manager has heard of its servers."""
    try:
        return len(list(backend.list("//data/known"))) == 2
    except TransferError:
        return False


def fill(servers: Cluster, top: str) -> None:
    for name in ("one", "two"):
        for path in (f"only-{name}", "both", f"tree/{name}/deep", f"tree/file-{name}", "tree/same"):
            servers[name].write(f"/data/{top}/{path}", b"old")


def contents(servers: Cluster, path: str) -> list[bytes]:
    files = [servers[name].data / path for name in ("one", "two")]
    return [file.read_bytes() for file in files if file.exists()]


@pytest.mark.parametrize("remote", [False, True])
def test_what_is_replaced_is_replaced_everywhere(servers: Cluster, remote: bool) -> None:
    top = f"replace-{remote}"
    fill(servers, top)
    backend = connect(servers["manager"].authority)
    names = ["only-one", "only-two", "both", "new"]
    required = Requirement(remote=remote)
    jobs = [store_job(f"//data/{top}/{name}", given(content(3000, 1)), required) for name in names]
    assert errors(backend.put(iter(jobs))) == [None] * 4
    assert all(job.proven == remote for job in jobs)
    for name in names:
        assert contents(servers, f"{top}/{name}") == [content(3000, 1)]
    over = list(backend.get(fetch_job(f"//data/{top}/{name}") for name in names))
    assert {job.path: str(job.error) for job in over if job.error is not None} == {}
    assert [settle(job) for job in over] == [content(3000, 1)] * 4
    left = [file.name for name in ("one", "two") for file in (servers[name].data / top).glob(".*")]
    assert left == []


def test_a_listing_is_that_of_all(servers: Cluster) -> None:
    fill(servers, "list")
    backend = connect(servers["manager"].authority)
    found = sorted(entry.path.removeprefix("//data/list/") for entry in backend.list("//data/list"))
    assert found == [
        "both",
        "only-one",
        "only-two",
        "tree/file-one",
        "tree/file-two",
        "tree/one/deep",
        "tree/same",
        "tree/two/deep",
    ]
    with pytest.raises(NotFound):
        list(backend.list("//data/missing"))


def test_what_is_removed_is_removed_everywhere(servers: Cluster) -> None:
    fill(servers, "remove")
    backend = connect(servers["manager"].authority)
    paths = [f"//data/remove/{name}" for name in ("both", "only-two", "missing")]
    assert dict(backend.remove(paths)) == dict.fromkeys(paths)
    assert contents(servers, "remove/both") == contents(servers, "remove/only-two") == []
    assert contents(servers, "remove/only-one") == [b"old"]
    ((_, error),) = backend.remove(["//data/remove/tree"])
    assert isinstance(error, IsDirectory)
    assert list(backend.remove(["//data/remove/tree"], recursive=True)) == [("//data/remove/tree", None)]
    assert not any((servers[name].data / "remove" / "tree").exists() for name in ("one", "two"))


def test_a_part_that_cannot_be_removed_is_told(servers: Cluster) -> None:
    fill(servers, "locked")
    (servers["two"].data / "locked").chmod(0o555)
    backend = connect(servers["manager"].authority)
    ((_, error),) = backend.remove(["//data/locked/both"])
    assert isinstance(error, TransferError)
    assert contents(servers, "locked/both") == [b"old"]
