"""Globus against a stand-in for its Transfer service: the suite that every backend runs, and copies."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Backend, Control, Copies, Endpoint, Job, Requirement, Settings
from pegasus_toolkit.transfer.notes import Notes
from tests.command import run, start
from tests.conformance import ListingSuite, WritableSuite
from tests.material import given, sha256, store_job
from tests.servers.globus import Globus, Refused


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
    assert f"sha256 {sha256(b'other')} expected" in str(jobs[2].error)
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


# -- what goes wrong -------------------------------------------------------------------------------


def one_error(world: World) -> TransferError:
    made = world.make(3)
    errors = [job.error for job in world.copy(copies(made))]
    assert errors[0] is not None
    assert {type(error) for error in errors} == {type(errors[0])}
    assert world.held() == {}
    return errors[0]


def cancelled(world: World) -> bool:
    return any(task["nice_status"] == "CANCELED" for task in world.globus.service.tasks.values())


def test_a_paused_collection_fails_at_once_with_globus_words(world: World) -> None:
    world.globus.service.faults.paused = "Maintenance until Monday"
    error = one_error(world)
    assert isinstance(error, Denied)
    assert "Maintenance until Monday" in str(error)
    assert "administrator" in error.hint
    assert cancelled(world)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("PERMISSION_DENIED", Denied), ("QUOTA_EXCEEDED", NoSpace), ("ENDPOINT_DELETED", BadSpecification)],
)
def test_a_task_that_cannot_succeed_is_cancelled(world: World, code: str, kind: type[TransferError]) -> None:
    """The real service goes on trying for a day."""
    world.globus.service.faults.event = (code, "what Globus says of it")
    error = one_error(world)
    assert type(error) is kind
    assert "what Globus says of it" in str(error)
    assert cancelled(world)


def test_an_event_that_may_pass_is_waited_for(world: World) -> None:
    made = world.make(3)
    service = world.globus.service
    service.faults.event = ("CONNECTION_BROKEN", "try again")
    over: list[Job[None]] = []
    thread = threading.Thread(target=lambda: over.extend(world.copy(copies(made))))
    thread.start()
    assert service.began.wait(20)
    while not any(one.endswith("/event_list") for one in service.requests):
        thread.join(0.01)
    assert thread.is_alive()
    service.faults.event = None
    service.resume()
    thread.join(20)
    assert [job.error for job in over] == [None] * 3
    assert world.held() == made


def test_consent_is_told_with_the_command(world: World) -> None:
    access = f"https://auth.globus.org/scopes/{world.one}/data_access"
    scope = f"urn:globus:auth:scope:transfer.api.globus.org:all[*{access}]"
    refused = Refused(403, "ConsentRequired", "Missing required data_access consent", required_scopes=[scope])
    world.globus.service.faults.refuse["transfer"] = [refused] * 9
    error = one_error(world)
    assert isinstance(error, Denied)
    assert f"pegasus-globus-online-init --permanent --collections {world.one}" in error.hint


def test_a_session_of_a_domain_is_told_with_the_command(world: World) -> None:
    needed = {"session_message": "Log in with your lab", "session_required_single_domain": ["lab.example"]}
    refused = Refused(403, "AuthorizationRequired", "Session needed", authorization_parameters=needed)
    world.globus.service.faults.refuse["transfer"] = [refused] * 9
    error = one_error(world)
    assert isinstance(error, Denied)
    assert "pegasus-globus-online-init --permanent --domains lab.example" in error.hint


def test_a_revoked_login_is_told(world: World) -> None:
    world.globus.conf(world.conf, login="transfer_rt = revoked")
    world.settings = Settings(Credentials.load({"GLOBUS_CONF": str(world.conf)}))
    error = one_error(world)
    assert isinstance(error, Denied)
    assert "pegasus-globus-online-init" in error.hint
    assert "revoked" not in error.message


def test_a_token_that_is_over_is_told_before_anything_is_asked(world: World) -> None:
    world.globus.conf(world.conf, login="transfer_at = abcdef\ntransfer_at_exp = 1000000000")
    world.settings = Settings(Credentials.load({"GLOBUS_CONF": str(world.conf)}))
    error = one_error(world)
    assert isinstance(error, Denied)
    assert "is over" in str(error)
    assert world.globus.service.requests == []


@pytest.mark.parametrize(
    "login", ["client_secret = much", "transfer_at = abcdef", "transfer_rt = x\ntransfer_at = y"]
)
def test_each_login_works(world: World, login: str) -> None:
    world.globus.conf(world.conf, login=login)
    world.settings = Settings(Credentials.load({"GLOBUS_CONF": str(world.conf)}))
    made = world.make(2)
    assert [job.error for job in world.copy(copies(made))] == [None] * 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_request_that_may_pass_is_made_again(world: World, status: int) -> None:
    made = world.make(2)
    world.globus.service.faults.refuse["transfer"] = [Refused(status, "ServiceUnavailable", "busy")]
    assert [job.error for job in world.copy(copies(made))] == [None] * 2
    assert submitted(world) == 2
    assert world.held() == made


def test_good_directories_do_not_suffer_from_a_bad_one(world: World) -> None:
    made = world.make(6)
    (world.right / "d1").mkdir()
    world.globus.service.faults.closed = str(world.right / "d1")
    over = world.copy(copies(made))
    assert {job.path[:3] for job in over if job.error} == {"/d1"}
    assert world.held() == {path: data for path, data in made.items() if not path.startswith("/d1")}


def test_a_collection_that_is_not_there(world: World) -> None:
    backend = world.open("11111111-2222-3333-4444-555555555555")
    with pytest.raises(BadSpecification, match="No such endpoint"):
        backend.stat("/x")
    ((_, error),) = backend.remove(["/x"])
    assert isinstance(error, BadSpecification), "what is not there is no reason for success here"
    backend.close()


def test_closing_cancels_the_task(world: World) -> None:
    made = world.make(3)
    service = world.globus.service
    service.faults.hold = threading.Event()
    reader, writer = world.open(world.one), world.open(world.other)
    assert isinstance(reader, Copies)
    over: list[Job[None]] = []

    def copy() -> None:
        with suppress(TransferError):
            over.extend(reader.copy(iter(copies(made)), writer, Control()))

    thread = threading.Thread(target=copy)
    thread.start()
    assert service.began.wait(20)
    reader.close()
    thread.join(20)
    assert service.cancelled.wait(20)
    service.faults.hold.set()
    assert world.held() == {}


def test_stopping_cancels_the_task(world: World) -> None:
    made = world.make(3)
    service = world.globus.service
    service.faults.hold = threading.Event()
    reader, writer = world.open(world.one), world.open(world.other)
    assert isinstance(reader, Copies)
    control = Control()
    over: list[Job[None]] = []
    thread = threading.Thread(target=lambda: over.extend(reader.copy(iter(copies(made)), writer, control)))
    thread.start()
    assert service.began.wait(20)
    control.stop = Cancelled("told to stop")
    assert service.cancelled.wait(20)
    thread.join(20)
    assert [type(job.error) for job in over] == [Cancelled] * 3
    service.faults.hold.set()
    reader.close()


def test_a_killed_run_finds_its_task_again(world: World, tmp_path: Path) -> None:
    """The process is killed while Globus is at work; the task goes on, and the next run takes it up."""
    made = world.make(5)
    service = world.globus.service
    service.faults.hold = threading.Event()
    spec = tmp_path / "spec.json"
    spec.write_text(
        json.dumps(
            [
                {"type": "transfer", "linkage": "input", "lfn": path, "id": n,
                 "src_urls": [{"site_label": "a", "url": f"go://{world.one}{path}"}],
                 "dest_urls": [{"site_label": "b", "url": f"go://{world.other}{path}"}]}
                for n, path in enumerate(made)
            ]
        )
    )  # fmt: skip
    environ = {**world.globus.environ, "GLOBUS_CONF": str(world.conf)}
    words = ("-f", spec, "--journal", tmp_path / "journal")
    first = start(*words, cwd=tmp_path, env=environ)
    assert service.began.wait(30)
    first.kill()
    first.communicate()
    (task,) = service.tasks
    service.faults.hold.set()
    again = run(*words, "--report", tmp_path / "report", cwd=tmp_path, env=environ)
    assert again.returncode == 0, again.stderr
    assert list(service.tasks) == [task]
    assert world.held() == made
    told = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert {line["route"] for line in told if line["type"] == "transfer"} == {"server-side"}


def test_without_a_local_collection_it_is_told(world: World) -> None:
    backend = world.open(world.one)
    (job,) = backend.put(iter([store_job("/x", given(b"data"))]))
    assert isinstance(job.error, Unsupported)
    assert "[local]" in job.error.hint
    backend.close()


def test_a_source_in_the_local_collection_is_read_there(world: World, tmp_path: Path) -> None:
    local = tmp_path / "seen"
    world.globus.conf(world.conf, local)
    (local / "deep").mkdir()
    (local / "deep/file").write_bytes(b"content")
    done = run(
        local / "deep/file", f"go://{world.other}/there", cwd=tmp_path,
        env={**world.globus.environ, "GLOBUS_CONF": str(world.conf)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert world.held() == {"/there": b"content"}
    sources = [item["source_path"] for one in world.globus.service.documents.values() for item in one["DATA"]]
    assert sources == ["/deep/file"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[other]\nx = 1\n", "no section"),
        ("[oauth]\nclient_id = x\n", "none of transfer_rt"),
        ("[oauth]\ntransfer_rt = x\n", "no client_id"),
        ("[oauth]\nclient_id = x\ntransfer_rt = x\ntransfer_at_exp = soon\n", "transfer_at_exp"),
        ("[oauth]\nclient_id = x\ntransfer_rt = x\n[local]\ncollection = y\n", "belong together"),
    ],
)
def test_a_bad_login_file_is_told(world: World, text: str, says: str) -> None:
    world.conf.write_text(text)
    with pytest.raises(Denied, match=says):
        world.open(world.one)


def test_others_must_not_read_the_login(world: World) -> None:
    world.conf.chmod(0o644)
    with pytest.raises(Denied, match="can be accessed by others"):
        world.open(world.one)
