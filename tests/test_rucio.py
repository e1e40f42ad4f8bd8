"""Rucio: the real server with PostgreSQL; files at a real WebDAV server, and at others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import Corrupted, Denied, Unreachable
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests.conformance import ListingSuite, WritableSuite
from tests.faults import Unsized
from tests.material import AWKWARD, content, errors, given, store_job
from tests.rucio_world import NUMBERS, DavElement, Element, command, fetched, opened
from tests.servers.common import free_port
from tests.servers.pki import Pki
from tests.servers.rucio import SCOPE, Rucio, place
from tests.servers.webdav import Dav

pytestmark = pytest.mark.timeout(300)  # the first test starts the server
NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_")


@pytest.fixture(scope="module")
def element(rucio: Rucio, apache_dav: Dav, pki: Pki) -> Element:
    return DavElement(rucio, apache_dav, pki)


class TestRucio(WritableSuite, ListingSuite):
    # Rucio's usual schema takes few letters, and 250 of them in all.
    cannot_name = frozenset(name for name in AWKWARD if not set(name) <= NAME or len(name) > 100)

    @pytest.fixture(autouse=True)
    def area(self, element: Element, tmp_path: Path) -> None:
        self.element = element
        self.directory = tmp_path
        self.top = f"/{SCOPE}:n{os.getpid()}-{next(NUMBERS)}"

    def open(self) -> Backend:
        return opened(self.directory, self.element, self.element.name)

    def path(self, name: str) -> str:
        return f"{self.top}/{name}" if name else self.top

    def read(self, path: str) -> bytes | None:
        file = self.element.file(path[1:])
        return file.read_bytes() if file.is_file() else None

    def write(self, path: str, content: bytes) -> None:
        self.element.write({path[1:]: content})

    def stored(self) -> set[str]:
        """What the catalog has; and what is at the storage and in no catalog."""
        prefix = self.top.partition(":")[2]
        known = self.element.rucio.known(prefix)
        files = self.element.root.glob(f"*/*/*/*/{prefix}/**/*")
        there = {
            f"{SCOPE}:{prefix}/{str(file).partition(f'/{prefix}/')[2]}" for file in files if file.is_file()
        }
        assert {did for did in known.living if did not in there} == set()
        return {f"/{did}" for did in known.living | (there - known.erased)}

    def make(self, count: int, size: int = 100) -> dict[str, bytes]:
        """No more than is needed: Rucio takes 10 ms a file, and more."""
        made = {self.path(f"file{n}"): content(size, n) for n in range(min(count, 50))}
        self.element.write({path[1:]: data for path, data in made.items()})
        return made

    def bad_sources(self, size: int) -> dict[str, Source]:
        return {
            name.replace(" ", "-").replace(",", ""): end for name, end in super().bad_sources(size).items()
        }

    def test_put_replaces(self, backend: Backend) -> None:
        """Never in Rucio: the same content is written again, another one is refused."""
        self.write(self.path("file"), content(3 * BLOCK))
        self.store(backend, "file", content(3 * BLOCK))
        for data in (content(BLOCK), b"", content(3 * BLOCK, 1)):
            with pytest.raises(Denied, match="never replaced"):
                self.store(backend, "file", data)
        end = Unsized(given(content(3 * BLOCK, 1)))
        (job,) = backend.put(iter([store_job(self.path("file"), end)]))
        assert isinstance(job.error, Denied)
        assert self.read(self.path("file")) == content(3 * BLOCK)
        assert self.stored() == {self.path("file")}

    def test_put_of_many_in_one_batch(self, backend: Backend) -> None:
        made = {self.path(f"d{n % 7}/file{n}"): content(100, n) for n in range(50)}
        over = list(backend.put(store_job(path, given(data)) for path, data in made.items()))
        assert errors(over) == [None] * 50
        assert {path: self.read(path) for path in made} == made
        assert self.stored() == set(made)

    def test_put_closed_in_mid_batch(self, backend: Backend) -> None:
        made = {self.path(f"file{n}"): content(2 * BLOCK, n) for n in range(20)}
        batch = backend.put(store_job(path, given(data)) for path, data in made.items())
        first = next(batch)
        assert first.error is None
        batch.close()  # type: ignore[attr-defined]
        assert {path: self.read(path) for path in self.stored()} == {
            path: made[path] for path in self.stored()
        }
        assert first.path in self.stored()
        self.store(backend, "file20", b"still works")

    def test_list_finds_all_at_any_depth(self, backend: Backend) -> None:
        made = {
            self.path(f"d/{name}"): content(size)
            for size, name in enumerate(["a", "b/c", "b/d/e", "b/d/f--g", "z"])
        }
        for path, data in (made | {self.path("d2/not-below"): b"x"}).items():
            self.write(path, data)
        assert {entry.path: entry.size for entry in backend.list(self.path("d"))} == {
            path: len(data) for path, data in made.items()
        }

    def test_list_of_many(self, backend: Backend) -> None:
        made = {self.path(f"d/file{n:04}") for n in range(300)}
        self.element.write({path[1:]: b"" for path in made})
        assert {entry.path for entry in backend.list(self.path("d"))} == made


# --- replicas -----------------------------------------------------------------------------------------


@pytest.fixture
def did(tmp_path: Path) -> str:
    return f"{SCOPE}:r{os.getpid()}-{next(NUMBERS)}"


@pytest.fixture(scope="module")
def second(rucio: Rucio, tmp_path_factory: pytest.TempPathFactory) -> Element:
    return Element(rucio, tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="module")
def dead(rucio: Rucio) -> str:
    """An RSE that cannot be reached, and which Rucio names before all others."""
    return rucio.rse(f"A{os.getpid()}_SCRATCHDISK", ("davs", "localhost", free_port(), "/d/"))


def test_what_cannot_be_reached_is_passed_over_and_remembered(
    element: Element, dead: str, did: str, tmp_path: Path
) -> None:
    files = {f"{did}.{n}": content(1000, n) for n in range(6)}
    element.write(files)
    element.rucio.register(dead, files)
    backend = opened(tmp_path, element)
    assert fetched(backend, *(f"/{one}" for one in files)) == {f"/{one}": data for one, data in files.items()}
    again = open_backend(Endpoint("rucio", "rucio", "here"), backend.storages.settings)  # type: ignore[attr-defined]
    (found,) = again._locate([f"/{did}.0"]).values()  # type: ignore[attr-defined]
    assert [replica.rse for replica in found.replicas] == [element.name, dead]


def test_no_replica_can_be_reached(element: Element, dead: str, did: str, tmp_path: Path) -> None:
    element.rucio.register(dead, {did: b"x"})
    (error,) = fetched(opened(tmp_path, element), f"/{did}").values()
    assert isinstance(error, Unreachable), error


def test_each_replica_is_told_where_none_is_good(
    element: Element, second: Element, dead: str, did: str, tmp_path: Path
) -> None:
    for one in (element, second):
        one.write({did: b"x"})
    element.rucio.register(dead, {did: b"x"})
    element.file(did).unlink()
    second.file(did).unlink()
    (error,) = fetched(opened(tmp_path, element), f"/{did}").values()
    assert isinstance(error, Unreachable)
    assert "none of 3 replicas" in str(error)
    assert all(name in str(error) for name in (element.name, second.name, dead))


@pytest.mark.parametrize("damage", ["content", "length", "gone"])
def test_a_damaged_replica_is_never_published(
    damage: str, element: Element, second: Element, did: str, tmp_path: Path
) -> None:
    """By the command, whichever replica Rucio names first."""
    data = content(300_000)
    bad, good = element, second
    for one in (bad, good):
        one.write({did: data})
    spoilt = {"content": data[:-1] + bytes([data[-1] ^ 1]), "length": data[:-1]}
    if damage == "gone":
        bad.file(did).unlink()
    else:
        bad.file(did).write_bytes(spoilt[damage])
    done, report = command(tmp_path, element, f"rucio://{did}", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == data
    assert len(report[0]["attempts"]) <= (2 if damage == "content" else 1)
    good.file(did).write_bytes(spoilt.get(damage, b""))
    (tmp_path / "out").unlink()
    done, report = command(tmp_path, element, f"rucio://{did}", tmp_path / "out", "-m", "1")
    assert done.returncode != 0 and not (tmp_path / "out").exists()


def test_a_disputed_replica_is_told(element: Element, did: str, tmp_path: Path) -> None:
    element.write({did: b"content"})
    element.file(did).write_bytes(b"CONTENT")
    (error,) = fetched(opened(tmp_path, element), f"/{did}").values()
    assert isinstance(error, Corrupted)
    assert "by Rucio's catalog" in str(error) and element.name in str(error)
    assert place(did) in str(error)
