"""Google Storage when something is wrong, and who we are there: an emulator behind a stand-in of ours."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.gs import upload
from pegasus_toolkit.transfer.backends.gs.backend import Gs
from pegasus_toolkit.transfer.backends.http.get import Tuning
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    NotFound,
    ServerFault,
    Throttled,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement, Settings, Source
from tests import command
from tests.conformance import WritableSuite
from tests.faults import Broken, Unsized
from tests.material import content, fetch_job, given, kept, settle, sha256, store_job
from tests.servers.common import free_port
from tests.servers.gcs import Gcs
from tests.servers.gcs_front import EMAIL, KEY, Front, Reply, pem, refusal, serve

MIB = 1 << 20
BIG = content(3 * MIB + 77)


class World:
    """A bucket, and backends for it."""

    def __init__(self, front: Front, directory: Path) -> None:
        self.front = front
        self.directory = directory
        self.bucket = f"bucket-{uuid.uuid4().hex}"
        self.opened: list[Gs] = []
        front.behind.make_bucket(self.bucket)

    def file(self, name: str, text: str | bytes) -> str:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def environ(self, **environ: str) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.front.url, **environ}

    def open(self, bucket: str = "", **environ: str) -> Gs:
        """As the service account, where nothing else is told."""
        if not environ:
            environ = {"GOOGLE_APPLICATION_CREDENTIALS": self.file("key.json", self.front.key())}
        told = self.environ(**environ)
        settings = Settings(Credentials(told, "", ""), told, connect_timeout=5, stall_timeout=10)
        backend = open_backend(Endpoint("gs", bucket or self.bucket, "my-site"), settings)
        assert isinstance(backend, Gs)
        self.opened.append(backend)
        return backend

    def read(self, key: str) -> bytes | None:
        return self.front.behind.read(self.bucket, key)


@pytest.fixture
def world(gcs: Gcs, tmp_path: Path) -> Iterator[World]:
    with serve(gcs) as front:
        world = World(front, tmp_path)
        yield world
        for backend in world.opened:
            backend.close()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of three or four chunks, and no waiting."""
    monkeypatch.setattr(upload, "WHOLE", 512 << 10)
    monkeypatch.setattr(upload, "CHUNK", MIB)
    monkeypatch.setattr(upload, "PAUSES", (0.0,) * 5)


def put(backend: Gs, key: str, end: Source | bytes, required: Requirement | None = None) -> Job[Any]:
    source = given(end) if isinstance(end, bytes) else end
    (job,) = backend.put(iter([store_job(f"/{key}", source, required)]))
    return job


def get(backend: Gs, key: str, required: Requirement | None = None) -> Job[Any]:
    (job,) = backend.get(iter([fetch_job(f"/{key}", required=required)]))
    return job


# -- who we are ----------------------------------------------------------------------------------------------


def p12(password: bytes = b"notasecret", key: rsa.RSAPrivateKey = KEY) -> bytes:
    kept = serialization.BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(b"key", key, None, None, kept)


def identities(world: World) -> dict[str, dict[str, str]]:
    """Environments that open the same bucket."""
    uri = f"[OAuth2]\nprovider_token_uri = {world.front.url}/token\n"
    boto = f"[Credentials]\ngs_service_client_id = {EMAIL}\n"
    named = f"{boto}gs_service_key_file = {{}}\n{uri}".format
    refresh = "[Credentials]\ngs_oauth2_refresh_token = refresh-me\n"
    client = f"{uri}client_id = me\nclient_secret = hush\n"
    user = {
        "type": "authorized_user",
        "refresh_token": "refresh-me",
        "client_id": "me",
        "client_secret": "hush",
    }
    section = f"[gs://{world.bucket}]\nkey_file = {{}}\nproject = test\n".format
    key = world.file("a.json", world.front.key())
    world.front.tokens.add("told")
    return {
        "key": {"GOOGLE_APPLICATION_CREDENTIALS": key},
        "key of the site": {
            "GOOGLE_APPLICATION_CREDENTIALS_my_site": key,
            "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere",
        },
        "section": {"PEGASUS_CREDENTIALS": world.file("credentials.conf", section(key))},
        "boto, JSON": {"BOTO_CONFIG": world.file("b1", named(key))},
        "boto, PKCS12": {"BOTO_CONFIG": world.file("b2", named(world.file("k.p12", p12())))},
        "boto of the site before a key for all": {
            "BOTO_CONFIG_my_site": world.file("b3", named(key)),
            "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere",
        },
        "PKCS12 of the site": {
            "BOTO_CONFIG": world.file("b4", f"{boto}{uri}"),
            "GOOGLE_PKCS12_my_site": world.file("k2.p12", p12()),
        },
        "PKCS12 with a password": {
            "BOTO_CONFIG": world.file("b5", f"{boto}gs_service_key_file_password = pass%word\n{uri}"),
            "GOOGLE_PKCS12": world.file("k3.p12", p12(b"pass%word")),
        },
        "refresh token": {"BOTO_CONFIG": world.file("b6", refresh + client)},
        "gcloud's": {
            "GOOGLE_APPLICATION_CREDENTIALS": world.file(
                "user.json", json.dumps({**user, "token_uri": f"{world.front.url}/token"})
            )
        },
        "token": {
            "PEGASUS_CREDENTIALS": world.file("c2", f"[gs://{world.bucket}]\ntoken = told\n"),
        },
    }


NAMES = [
    "key", "key of the site", "section", "boto, JSON", "boto, PKCS12",
    "boto of the site before a key for all",
    "PKCS12 of the site", "PKCS12 with a password", "refresh token", "gcloud's", "token",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_who_may_write(world: World, name: str) -> None:
    """And no key is left anywhere."""
    environ = identities(world)[name]
    before = {path: path.read_bytes() for path in world.directory.iterdir()}
    backend = world.open(**environ)
    assert put(backend, "key", b"content").error is None
    assert settle(get(backend, "key")) == b"content"
    assert backend.identity().kind in ("service account", "authorized user", "bearer token")
    assert {path: path.read_bytes() for path in world.directory.iterdir()} == before
    assert world.front.grants <= 1, "a token serves until it ends"


def test_public_data_needs_nobody(world: World) -> None:
    world.front.behind.write(world.bucket, "key", b"content")
    nobody = world.open(HOME="/nowhere")
    error = get(nobody, "key").error
    assert isinstance(error, Denied) and "GOOGLE_APPLICATION_CREDENTIALS" in str(error)
    world.front.open = True
    assert settle(get(nobody, "key")) == b"content"
    assert nobody.identity().kind == "anonymous" and world.front.grants == 0


def bad_keys(world: World) -> dict[str, tuple[dict[str, str], str]]:
    """Environments, and what is said of them."""
    key = world.file("good.json", world.front.key())
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    shared = world.file("shared.json", world.front.key())
    Path(shared).chmod(0o644)
    boto = f"[Credentials]\ngs_service_client_id = {EMAIL}\n"
    gac = "GOOGLE_APPLICATION_CREDENTIALS"
    return {
        "missing": ({gac: "/no/such"}, "does not exist"),
        "read by others": ({gac: shared}, "chmod 600"),
        "no JSON": ({gac: world.file("x", "hello")}, "no key file of Google's"),
        "no key in it": ({gac: world.file("y", world.front.key(private_key="x"))}, "no key that can be used"),
        "another's": (
            {gac: world.file("z", world.front.key(private_key=pem(other)))},
            "Invalid JWT Signature",
        ),
        "boto without account": (
            {"BOTO_CONFIG": world.file("b", "[Boto]\n"), "GOOGLE_PKCS12": world.file("p", p12())},
            "gs_service_client_id",
        ),
        "wrong password": (
            {"BOTO_CONFIG": world.file("b2", boto), "GOOGLE_PKCS12": world.file("p2", p12(b"other"))},
            "no key that can be used",
        ),
        "HMAC": ({"BOTO_CONFIG": world.file("b3", "[Credentials]\ngs_access_key_id = a\n")}, "HMAC"),
        "no client": (
            {"BOTO_CONFIG": world.file("b4", "[Credentials]\ngs_oauth2_refresh_token = a\n")},
            "client_id",
        ),
        "misspelt": (
            {"PEGASUS_CREDENTIALS": world.file("c", f"[gs://{world.bucket}]\nkeyfile = {key}\n")},
            "not known",
        ),
        "a token without encryption": (
            {gac: key, "STORAGE_EMULATOR_HOST": "http://storage.example.org"},
            "without encryption",
        ),
    }


@pytest.mark.parametrize(
    "name",
    [
        "missing", "read by others", "no JSON", "no key in it", "another's", "boto without account",
        "wrong password", "HMAC", "no client", "misspelt", "a token without encryption",
    ],
)  # fmt: skip
def test_key_of_no_use_is_one_clear_line(world: World, name: str) -> None:
    environ, text = bad_keys(world)[name]
    with pytest.raises(Denied) as caught:
        error = put(world.open(**environ), "key", b"x").error
        if error is not None:
            raise error
    assert text in str(caught.value) and "PRIVATE KEY" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_token_service_that_is_down_is_tried_again(world: World) -> None:
    uri = f"http://127.0.0.1:{free_port()}/token"
    backend = world.open(GOOGLE_APPLICATION_CREDENTIALS=world.file("k", world.front.key(token_uri=uri)))
    assert isinstance(put(backend, "key", b"x").error, Unreachable)


def test_token_that_is_revoked_is_asked_for_again(world: World) -> None:
    backend = world.open()
    assert put(backend, "key", b"x").error is None
    world.front.tokens.clear()
    assert settle(get(backend, "key")) == b"x"
    assert world.front.grants == 2
    world.front.rule = lambda method, path: refusal(401, "authError")
    assert isinstance(get(backend, "key").error, Denied)
    assert world.front.grants == 3


def test_secrets_stay_secret(world: World) -> None:
    """What Google says of a session's address, or of a token, is in no error."""
    backend = world.open()
    world.front.rule = lambda method, path: refusal(403, "forbidden") if "upload_id" in path else None
    error = put(backend, "key", BIG).error
    assert isinstance(error, Denied) and "upload_id" not in str(error) and "key.json" in str(error)


@pytest.mark.parametrize(
    ("granted", "lacking"),
    [
        (["storage.objects.get", "storage.objects.create", "storage.objects.delete"], ""),
        (["storage.objects.get"], "storage.objects.create, storage.objects.delete"),
    ],
)
def test_what_the_account_may_do_is_asked_before_anything_moves(
    world: World, granted: list[str], lacking: str
) -> None:
    told = Reply(200, json.dumps({"permissions": granted}).encode())
    world.front.rule = lambda method, path: told if "/iam/testPermissions" in path else None
    assert world.open().lacks(True, True) == lacking
    environ = world.environ(GOOGLE_APPLICATION_CREDENTIALS=world.file("key.json", world.front.key()))
    (world.directory / "in").write_bytes(b"x")
    spec = command.write(
        world.directory / "up", [command.entry(world.directory / "in", f"gs://{world.bucket}/key")]
    )
    done = command.run("-f", spec, "--check", cwd=world.directory, env=environ)
    assert done.returncode == (2 if lacking else 0), done.stderr
    assert lacking in done.stdout and "service account" in done.stdout


# -- uploads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["told", "not told"])
def test_upload_goes_on_where_it_was_cut(world: World, size: str) -> None:
    """In a chunk's middle, before its first byte, and again in what was sent once more."""
    backend = world.open()
    world.front.cut = [700_000, 0, 300_000, 100_000, 900_000]
    source = given(BIG) if size == "told" else Unsized(given(BIG))
    job = put(backend, "key", source)
    assert job.error is None
    assert world.read("key") == BIG and job.end.digest == sha256(BIG)
    assert world.front.received < len(BIG) + 2_000_000, "it began again"
    posts = [path for method, path, _ in world.front.requests if method == "POST" and "resumable" in path]
    assert len(posts) == 1


def test_upload_that_is_always_cut_fails_and_leaves_nothing(world: World) -> None:
    backend = world.open()
    world.front.cut = [0] * 100
    error = put(backend, "key", BIG).error
    assert error is not None and error.retryable
    assert world.read("key") is None and world.front.sessions == {}
    assert len(world.front.cut) > 90


@pytest.mark.parametrize(
    "answer", [refusal(503), refusal(500, "backendError"), refusal(429, Retry_After="0")]
)
def test_upload_outlasts_what_may_pass(world: World, answer: Reply) -> None:
    backend, failures = world.open(), [answer] * 3

    def rule(method: str, path: str) -> Reply | None:
        return failures.pop() if "upload_id" in path and failures else None

    world.front.rule = rule
    assert put(backend, "key", BIG).error is None
    assert world.read("key") == BIG and failures == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(403, "forbidden"), Denied),
        (refusal(403, "rateLimitExceeded"), Throttled),
        (refusal(404), NotFound),
        (refusal(400, "invalid"), BadSpecification),
        (refusal(503, Retry_After="3"), Throttled),
        (Reply(200, b"<html>"), ServerFault),
        (Reply(200, b"{}"), ServerFault),
    ],
)
def test_failed_upload_is_a_failure(world: World, answer: Reply, kind: type[TransferError]) -> None:
    backend = world.open()
    world.front.rule = lambda method, path: answer if "upload" in path else None
    for data in (b"small", BIG):
        assert isinstance(put(backend, "key", data).error, kind)
    assert world.read("key") is None


def test_session_that_is_forgotten_is_begun_anew_by_the_next_attempt(world: World) -> None:
    backend = world.open()
    world.front.rule = lambda method, path: refusal(404) if method == "PUT" else None
    assert isinstance(put(backend, "key", BIG).error, ServerFault)


def test_session_at_another_server_gets_no_token(world: World) -> None:
    backend = world.open()

    def elsewhere(method: str, path: str, reply: Reply) -> Reply:
        return reply._replace(headers=(("Location", "http://127.0.0.1:1/x"),))

    world.front.change = elsewhere
    error = put(backend, "key", BIG).error
    assert isinstance(error, ServerFault) and "another server" in str(error)


def test_source_that_breaks_is_not_waited_for(world: World) -> None:
    """Google has nothing to do with it."""
    error = put(world.open(), "key", Broken(given(BIG), 2 * MIB)).error
    assert isinstance(error, ServerFault)
    queries = [span for _, _, span in world.front.requests if span.startswith("bytes */")]
    assert queries == [] and world.front.sessions == {} and world.read("key") is None


@pytest.mark.parametrize("data", [b"small", BIG])
def test_what_google_stored_otherwise_is_removed(world: World, data: bytes) -> None:
    backend = world.open()

    def other(method: str, path: str, reply: Reply) -> Reply:
        if b'"crc32c"' not in reply.body:
            return reply
        return reply._replace(body=json.dumps({**json.loads(reply.body), "crc32c": "AAAAAQ=="}).encode())

    world.front.change = other
    error = put(backend, "key", data).error
    assert isinstance(error, Corrupted) and "crc32c" in str(error)
    assert world.read("key") is None


def test_google_refuses_what_was_changed_on_its_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload.GsSending, "digests", lambda self: {"crc32c": "00000001"})
    error = put(world.open(), "key", b"small").error
    assert isinstance(error, BadSpecification) and "CRC32C" in str(error)
    assert world.read("key") is None


@pytest.mark.parametrize("data", [b"small", BIG])
def test_proof_by_md5(world: World, data: bytes) -> None:
    required = Requirement("sha256", sha256(data), len(data), True)
    job = put(world.open(), "key", given(data, required), required)
    assert job.error is None and job.proven
    assert not any("alt=media" in path for _, path, _ in world.front.requests), "nothing was read back"


def test_bad_source_publishes_nothing(world: World) -> None:
    """In a session, whose last bytes would publish it."""
    backend, bad = world.open(), WritableSuite().bad_sources(len(BIG))
    over = list(backend.put(store_job(f"/{name}", end) for name, end in bad.items()))
    assert [job.path for job in over if job.error is None] == []
    assert world.front.behind.list(world.bucket) == set() and world.front.sessions == {}


# -- downloads -----------------------------------------------------------------------------------------------


def test_download_is_compared_with_googles_crc32c(world: World) -> None:
    world.front.behind.write(world.bucket, "key", BIG)

    def flip(method: str, path: str, reply: Reply) -> Reply:
        return reply._replace(body=reply.body[:-1] + b"?") if "alt=media" in path else reply

    backend = world.open()
    world.front.change = flip
    job = get(backend, "key")
    assert job.error is None
    with pytest.raises(Corrupted, match="crc32c"):
        job.end.commit()


def test_slow_download_goes_on_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning(resumable=1, several=1, part=256 << 10, trial=0.0, rate=1e18)
    monkeypatch.setattr("pegasus_toolkit.transfer.backends.gs.backend.TUNING", tuning)
    data = content(12 * MIB)
    world.front.behind.write(world.bucket, "key", data)
    backend = world.open()
    assert settle(get(backend, "key")) == data
    assert any(span.startswith("bytes=") for _, _, span in world.front.requests)


class Partial(type(kept())):  # type: ignore[misc]
    """Has the beginning of it from an earlier attempt."""

    validator = ""

    def resume(self, validator: str) -> int:
        self.validator = validator
        self.write(BIG[:MIB])
        return MIB


def test_download_is_resumed_for_the_same_generation_only(world: World) -> None:
    world.front.behind.write(world.bucket, "key", BIG)
    backend, sink = world.open(), Partial("end", Requirement(), Control())
    (job,) = backend.get(iter([fetch_job("/key", sink)]))
    assert job.error is None and settle(job) == BIG
    assert ("GET", f"bytes={MIB}-") in [(method, span) for method, _, span in world.front.requests]
    generation = backend.files.object(
        json.loads(world.front.behind.ask("GET", f"/storage/v1/b/{world.bucket}/o/key")), "/key"
    ).generation
    assert f'"{generation}"' in sink.validator

    def replaced(method: str, path: str, reply: Reply) -> Reply:
        fields = tuple((k, "1" if k.lower() == "x-goog-generation" else v) for k, v in reply.headers)
        return reply._replace(headers=fields) if reply.status == 206 else reply

    world.front.change = replaced
    (job,) = backend.get(iter([fetch_job("/key", Partial("end", Requirement(), Control()))]))
    assert isinstance(job.error, ServerFault) and "changed" in str(job.error)


# -- removals, copies, buckets -------------------------------------------------------------------------------


def test_removals_go_a_hundred_at_a_time_each_with_its_own_outcome(world: World) -> None:
    keys = [f"key{n}" for n in range(250)]
    for key in keys[:240]:
        world.front.behind.write(world.bucket, key, b"")
    backend = world.open()

    def refuse_one(method: str, path: str, reply: Reply) -> Reply:
        if "/batch/" not in path:
            return reply
        return reply._replace(body=reply.body.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 403 Forbidden", 1))

    world.front.change = refuse_one
    over = dict(backend.remove(f"/{key}" for key in keys))
    assert len(over) == 250
    assert [type(error) for error in over.values() if error is not None] == [Denied] * 3
    assert world.front.methods()["POST"] <= 4


def test_removal_of_which_nothing_is_told_is_a_failure(world: World) -> None:
    for key in ("a", "b"):
        world.front.behind.write(world.bucket, key, b"")
    backend = world.open()

    def first_only(method: str, path: str, reply: Reply) -> Reply:
        if "/batch/" not in path:
            return reply
        mark = reply.body.split(b"\r\n")[0]
        return reply._replace(body=mark.join(reply.body.split(mark)[:2]) + mark + b"--\r\n")

    world.front.change = first_only
    over = dict(backend.remove(["/a", "/b"]))
    assert over["/a"] is None and isinstance(over["/b"], ServerFault)
    world.front.change = lambda method, path, reply: Reply(200, b"hello")
    assert all(isinstance(error, ServerFault) for _, error in backend.remove(["/a", "/b"]))
    world.front.change = lambda method, path, reply: reply
    world.front.rule = lambda method, path: refusal(403, "forbidden")
    assert all(isinstance(error, Denied) for _, error in backend.remove(["/a", "/b"]))
    ((_, error),) = backend.remove(["/a"], recursive=True)
    assert isinstance(error, Denied)


def copied(backend: Gs, other: Gs, key: str, target: str, required: Requirement | None = None) -> Job[None]:
    (job,) = backend.copy(
        iter([Job(f"/{key}", f"/{target}", required or Requirement(), None)]), other, Control()
    )
    return job


def test_copy_by_google_in_several_steps(world: World) -> None:
    world.front.behind.write(world.bucket, "key", BIG)
    there = World(world.front, world.directory)
    backend, other, steps = world.open(), there.open(), []

    def rule(method: str, path: str) -> Reply | None:
        if "/rewriteTo/" not in path or len(steps) == 2:
            return None
        steps.append(path)
        told = {"done": False, "rewriteToken": f"t{len(steps)}", "totalBytesRewritten": "1"}
        return Reply(200, json.dumps(told).encode())

    world.front.rule = rule
    assert backend.copies(other, Requirement())
    job = copied(backend, other, "key", "d/copy %2F?#")
    assert job.error is None and job.size == len(BIG)
    assert there.read("d/copy %2F?#") == BIG
    last = [path for _, path, _ in world.front.requests if "/rewriteTo/" in path][-1]
    assert "rewriteToken=t2" in last and "ifSourceGenerationMatch=" in last
    assert not backend.copies(other, Requirement("sha256", "0" * 64))
    there.opened[0].close()


@pytest.mark.parametrize(
    "answer",
    [refusal(403, "forbidden"), refusal(412), Reply(200, b"{}"), Reply(200, b'{"done": true}'), Reply(200)],
)
def test_failed_copy_is_a_failure(world: World, answer: Reply) -> None:
    world.front.behind.write(world.bucket, "key", b"x")
    backend = world.open()
    world.front.rule = lambda method, path: answer if "/rewriteTo/" in path else None
    assert copied(backend, backend, "key", "copy").error is not None
    assert isinstance(copied(backend, backend, "missing", "copy").error, NotFound)
    error = copied(backend, backend, "key", "copy", Requirement(size=7)).error
    assert isinstance(error, Corrupted)


def test_buckets(world: World) -> None:
    name = f"new-{uuid.uuid4().hex}"
    backend = world.open(name)
    error = put(backend, "key", b"x").error
    assert isinstance(error, NotFound) and name in str(error)
    backend.mkdir("/some/where")
    backend.mkdir("/")
    assert put(backend, "key", b"x").error is None
    assert any("project=test" in path for _, path, _ in world.front.requests)
    key = json.loads(world.front.key())
    del key["project_id"]
    alone = world.open(
        f"other-{uuid.uuid4().hex}",
        GOOGLE_APPLICATION_CREDENTIALS=world.file("alone.json", json.dumps(key)),
    )
    with pytest.raises(BadSpecification, match="project"):
        alone.mkdir("/")


@pytest.mark.parametrize("listing", [{"items": [{"name": "x"}]}, {"items": [3]}, {"items": "x"}, []])
def test_listing_that_is_not_understood_is_an_error(world: World, listing: object) -> None:
    backend = world.open()
    world.front.change = lambda method, path, reply: Reply(200, json.dumps(listing).encode())
    with pytest.raises(ServerFault):
        list(backend.list("/d"))


@pytest.mark.parametrize("bucket", ["", "user@bucket", "bucket:80"])
def test_urls_that_are_none(bucket: str) -> None:
    with pytest.raises(BadSpecification, match="gs://bucket/key"):
        open_backend(Endpoint("gs", bucket, ""), Settings(Credentials.none()))


def test_the_command(world: World) -> None:
    """Up, down, removed; nothing of a URL reaches a shell, and a failure is exit code 2."""
    key = "a $(touch pwned) `id` ; 'b'"
    (world.directory / "in").write_bytes(BIG)
    environ = world.environ(GOOGLE_APPLICATION_CREDENTIALS=world.file("key.json", world.front.key()))
    url = f"gs://{world.bucket}/{key}"
    up = command.write(world.directory / "up", [command.entry(world.directory / "in", url)])
    done = command.run("-f", up, cwd=world.directory, env=environ)
    assert done.returncode == 0, done.stderr
    assert world.read(key) == BIG
    down = command.write(world.directory / "down", [command.entry(url, world.directory / "out")])
    assert command.run("-f", down, cwd=world.directory, env=environ).returncode == 0
    assert (world.directory / "out").read_bytes() == BIG
    world.front.rule = lambda method, path: refusal(403, "forbidden") if "upload" in path else None
    done = command.run("-f", up, cwd=world.directory, env=environ)
    assert done.returncode == 2 and "key.json" in done.stderr + done.stdout
    assert not list(world.directory.glob("*pwned*"))
