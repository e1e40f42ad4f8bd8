"""Globus against a stand-in for its Transfer service: the suite that every backend runs, and copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import Corrupted, IsDirectory, NotFound
from pegasus_toolkit.transfer.interface import Backend, Control, Copies, Endpoint, Job, Requirement, Settings
from pegasus_toolkit.transfer.notes import Notes
from tests.conformance import ListingSuite, WritableSuite
from tests.material import sha256
from tests.servers.globus import Globus


class TestGlobus(WritableSuite, ListingSuite):
    @pytest.fixture(autouse=True)
    def area(self, globus: Globus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in globus.environ.items():
            monkeypatch.setenv(name, value)
        self.root = tmp_path / "there"
        self.collection = globus.collection(self.root)
        self.local = tmp_path / "local"
        conf = globus.conf(tmp_path / "globus.conf", self.local)
        self.settings = Settings(Credentials.load({"GLOBUS_CONF": str(conf)}))

    def open(self) -> Backend:
        return open_backend(Endpoint("go", self.collection, "local"), self.settings)

    def path(self, name: str) -> str:
        return f"/area/{name}" if name else "/area"

    def read(self, path: str) -> bytes | None:
        file = self.root / path[1:]
        return file.read_bytes() if file.exists() else None

    def write(self, path: str, content: bytes) -> None:
        (self.root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path[1:]).write_bytes(content)

    def stored(self) -> set[str]:
        assert not list(self.local.iterdir())
        return {f"/{path.relative_to(self.root)}" for path in self.root.rglob("*") if not path.is_dir()}


class World:
    """Two collections and a login, for copies between them."""

    def __init__(self, globus: Globus, directory: Path, environ: dict[str, str] | None = None) -> None:
        self.globus = globus
        self.left, self.right = directory / "left", directory / "right"
        self.one, self.other = globus.collection(self.left), globus.collection(self.right)
        self.conf = globus.conf(directory / "globus.conf")
        self.settings = Settings(Credentials.load({"GLOBUS_CONF": str(self.conf), **(environ or {})}))

    def make(self, n: int) -> dict[str, bytes]:
        made = {f"/d{i % 3}/f{i}": b"%d" % i * 50 for i in range(n)}
        for path, data in made.items():
            (self.left / path[1:]).parent.mkdir(exist_ok=True)
            (self.left / path[1:]).write_bytes(data)
        return made

    def open(self, collection: str) -> Backend:
        return open_backend(Endpoint("go", collection, "local"), self.settings)

    def copy(self, jobs: list[Job[None]], notes: Notes | None = None) -> list[Job[None]]:
        reader, writer = self.open(self.one), self.open(self.other)
        assert isinstance(reader, Copies)
        assert reader.copies(writer, Requirement())
        over = list(reader.copy(iter(jobs), writer, Control(notes=notes)))
        reader.close()
        writer.close()
        return over

    def held(self) -> dict[str, bytes]:
        files = [path for path in self.right.rglob("*") if path.is_file()]
        return {f"/{path.relative_to(self.right)}": path.read_bytes() for path in files}


def copies(made: Iterable[str], required: Requirement | None = None) -> list[Job[None]]:
    return [Job(path, path, required or Requirement(), None) for path in made]


@pytest.fixture
def world(globus: Globus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in globus.environ.items():
        monkeypatch.setenv(name, value)
    globus.service.reset()
    yield World(globus, tmp_path)
    globus.service.reset()


def submitted(world: World) -> int:
    return sum(one.endswith("/transfer") for one in world.globus.service.requests)


def test_many_files_are_one_task(world: World) -> None:
    made = world.make(60)
    over = world.copy(copies(made))
    assert [job.error for job in over] == [None] * 60
    assert world.held() == made
    assert submitted(world) == 1
    assert {job.stored for job in over} == {("digest", "size")}
    (document,) = world.globus.service.documents.values()
    assert document["verify_checksum"] is True


def test_what_is_missing_fails_alone(world: World) -> None:
    made = world.make(5)
    over = world.copy(copies([*made, "/d0/none", "/no/such"]))
    wrong = {job.path: job.error for job in over if job.error is not None}
    assert sorted(wrong) == ["/d0/none", "/no/such"]
    assert all(isinstance(error, NotFound) and error.side == "source" for error in wrong.values())
    assert world.held() == made
    assert submitted(world) == 1


def test_a_directory_is_told_as_one(world: World) -> None:
    made = world.make(9)
    over = world.copy(copies([*made, "/d1"]))
    assert {job.path: type(job.error) for job in over if job.error} == {"/d1": IsDirectory}
    assert world.held() == made


def test_a_known_digest_is_compared_by_globus(world: World) -> None:
    made = world.make(4)
    jobs = [Job(p, p, Requirement("sha256", sha256(d), len(d), True), None) for p, d in made.items()]
    jobs[2].required = jobs[2].required._replace(digest=sha256(b"other"))
    over = world.copy(jobs)
    assert [type(job.error) for job in over if job.error] == [Corrupted]
    assert {job.digest for job in over if not job.error} == {
        sha256(made[p]) for p in made if p != jobs[2].path
    }
    assert all(job.proven for job in over if not job.error)
    assert world.held() == {p: d for p, d in made.items() if p != jobs[2].path}


def test_an_old_file_is_replaced(world: World) -> None:
    made = world.make(3)
    (world.right / "d0").mkdir()
    (world.right / "d0/f0").write_bytes(b"old")
    assert [job.error for job in world.copy(copies(made))] == [None] * 3
    assert world.held() == made
