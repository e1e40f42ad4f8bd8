"""Google Storage when something is wrong: an emulator behind a stand-in of ours."""

from __future__ import annotations

import gc
import json
import uuid
from itertools import count

import pytest

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
)
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement, Settings
from tests import command
from tests.conformance import WritableSuite
from tests.faults import Broken, Unsized
from tests.gs_world import BIG, MIB, World, get, put
from tests.material import content, fetch_job, given, kept, settle, sha256, store_job
from tests.servers.gcs_front import Reply, refusal

pytestmark = pytest.mark.usefixtures("small")

# -- uploads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["told", "not told"])
def test_upload_goes_on_where_it_was_cut(cloud: World, size: str) -> None:
    """In a chunk's middle, before its first byte, and again in what was sent once more."""
    backend = cloud.open()
    cloud.front.cut = [700_000, 0, 300_000, 100_000, 900_000]
    source = given(BIG) if size == "told" else Unsized(given(BIG))
    job = put(backend, "key", source)
    assert job.error is None
    assert cloud.read("key") == BIG and job.end.digest == sha256(BIG)
    assert cloud.front.received < len(BIG) + 2_000_000, "it began again"
    posts = [path for method, path, _ in cloud.front.requests if method == "POST" and "resumable" in path]
    assert len(posts) == 1


def test_upload_that_is_always_cut_fails_and_leaves_nothing(cloud: World) -> None:
    backend = cloud.open()
    cloud.front.cut = [0] * 100
    error = put(backend, "key", BIG).error
    assert error is not None and error.retryable
    assert cloud.read("key") is None and cloud.front.sessions == {}
    assert len(cloud.front.cut) > 90


@pytest.mark.parametrize(
    "answer", [refusal(503), refusal(500, "backendError"), refusal(429, Retry_After="0")]
)
def test_upload_outlasts_what_may_pass(cloud: World, answer: Reply) -> None:
    backend, failures = cloud.open(), [answer] * 3

    def rule(method: str, path: str) -> Reply | None:
        return failures.pop() if "upload_id" in path and failures else None

    cloud.front.rule = rule
    assert put(backend, "key", BIG).error is None
    assert cloud.read("key") == BIG and failures == []


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
def test_failed_upload_is_a_failure(cloud: World, answer: Reply, kind: type[TransferError]) -> None:
    backend = cloud.open()
    cloud.front.rule = lambda method, path: answer if "upload" in path else None
    for data in (b"small", BIG):
        assert isinstance(put(backend, "key", data).error, kind)
    assert cloud.read("key") is None


def test_session_that_is_forgotten_is_begun_anew_by_the_next_attempt(cloud: World) -> None:
    backend = cloud.open()
    cloud.front.rule = lambda method, path: refusal(404) if method == "PUT" else None
    assert isinstance(put(backend, "key", BIG).error, ServerFault)


def test_session_at_another_server_gets_no_token(cloud: World) -> None:
    backend = cloud.open()

    def elsewhere(method: str, path: str, reply: Reply) -> Reply:
        return reply._replace(headers=(("Location", "http://127.0.0.1:1/x"),))

    cloud.front.change = elsewhere
    error = put(backend, "key", BIG).error
    assert isinstance(error, ServerFault) and "another server" in str(error)


def test_source_that_breaks_is_not_waited_for(cloud: World) -> None:
    """Google has nothing to do with it."""
    error = put(cloud.open(), "key", Broken(given(BIG), 2 * MIB)).error
    assert isinstance(error, ServerFault)
    queries = [span for _, _, span in cloud.front.requests if span.startswith("bytes */")]
    assert queries == [] and cloud.front.sessions == {} and cloud.read("key") is None


@pytest.mark.parametrize("data", [b"small", BIG])
def test_what_google_stored_otherwise_is_removed(cloud: World, data: bytes) -> None:
    backend = cloud.open()

    def other(method: str, path: str, reply: Reply) -> Reply:
        if b'"crc32c"' not in reply.body:
            return reply
        return reply._replace(body=json.dumps({**json.loads(reply.body), "crc32c": "AAAAAQ=="}).encode())

    cloud.front.change = other
    error = put(backend, "key", data).error
    assert isinstance(error, Corrupted) and "crc32c" in str(error)
    assert cloud.read("key") is None


def test_google_refuses_what_was_changed_on_its_way(cloud: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload.GsSending, "digests", lambda self: {"crc32c": "00000001"})
    error = put(cloud.open(), "key", b"small").error
    assert isinstance(error, BadSpecification) and "CRC32C" in str(error)
    assert cloud.read("key") is None


@pytest.mark.parametrize("data", [b"small", BIG])
def test_proof_by_md5(cloud: World, data: bytes) -> None:
    required = Requirement("sha256", sha256(data), len(data), True)
    job = put(cloud.open(), "key", given(data, required), required)
    assert job.error is None and job.proven
    assert not any("alt=media" in path for _, path, _ in cloud.front.requests), "nothing was read back"


def test_bad_source_publishes_nothing(cloud: World) -> None:
    """In a session, whose last bytes would publish it."""
    backend, bad = cloud.open(), WritableSuite().bad_sources(len(BIG))
    over = list(backend.put(store_job(f"/{name}", end) for name, end in bad.items()))
    assert [job.path for job in over if job.error is None] == []
    assert cloud.front.behind.list(cloud.bucket) == set() and cloud.front.sessions == {}


# -- downloads -----------------------------------------------------------------------------------------------


def test_download_is_compared_with_googles_crc32c(cloud: World) -> None:
    cloud.front.behind.write(cloud.bucket, "key", BIG)

    def flip(method: str, path: str, reply: Reply) -> Reply:
        return reply._replace(body=reply.body[:-1] + b"?") if "alt=media" in path else reply

    backend = cloud.open()
    cloud.front.change = flip
    job = get(backend, "key")
    assert job.error is None
    with pytest.raises(Corrupted, match="crc32c"):
        job.end.commit()


def test_slow_download_goes_on_in_parts(cloud: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning(resumable=1, several=1, part=256 << 10, trial=0.0, rate=1e18)
    monkeypatch.setattr("pegasus_toolkit.transfer.backends.gs.backend.TUNING", tuning)
    data = content(12 * MIB)
    cloud.front.behind.write(cloud.bucket, "key", data)
    backend = cloud.open()
    assert settle(get(backend, "key")) == data
    assert any(span.startswith("bytes=") for _, _, span in cloud.front.requests)


class Partial(type(kept())):  # type: ignore[misc]
    """Has the beginning of it from an earlier attempt."""

    validator = ""

    def resume(self, validator: str) -> int:
        self.validator = validator
        self.write(BIG[:MIB])
        return MIB


def test_download_is_resumed_for_the_same_generation_only(cloud: World) -> None:
    cloud.front.behind.write(cloud.bucket, "key", BIG)
    backend, sink = cloud.open(), Partial("end", Requirement(), Control())
    (job,) = backend.get(iter([fetch_job("/key", sink)]))
    assert job.error is None and settle(job) == BIG
    assert ("GET", f"bytes={MIB}-") in [(method, span) for method, _, span in cloud.front.requests]
    generation = backend.files.object(
        json.loads(cloud.front.behind.ask("GET", f"/storage/v1/b/{cloud.bucket}/o/key")), "/key"
    ).generation
    assert f'"{generation}"' in sink.validator

    def replaced(method: str, path: str, reply: Reply) -> Reply:
        fields = tuple((k, "1" if k.lower() == "x-goog-generation" else v) for k, v in reply.headers)
        return reply._replace(headers=fields) if reply.status == 206 else reply

    cloud.front.change = replaced
    (job,) = backend.get(iter([fetch_job("/key", Partial("end", Requirement(), Control()))]))
    assert isinstance(job.error, ServerFault) and "changed" in str(job.error)


# -- removals, copies, buckets -------------------------------------------------------------------------------


def test_removals_go_a_hundred_at_a_time_each_with_its_own_outcome(cloud: World) -> None:
    keys = [f"key{n}" for n in range(250)]
    for key in keys[:240]:
        cloud.front.behind.write(cloud.bucket, key, b"")
    backend = cloud.open()

    def refuse_one(method: str, path: str, reply: Reply) -> Reply:
        if "/batch/" not in path:
            return reply
        return reply._replace(body=reply.body.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 403 Forbidden", 1))

    cloud.front.change = refuse_one
    over = dict(backend.remove(f"/{key}" for key in keys))
    assert len(over) == 250
    assert [type(error) for error in over.values() if error is not None] == [Denied] * 3
    assert cloud.front.methods()["POST"] <= 4


def test_removal_of_which_nothing_is_told_is_a_failure(cloud: World) -> None:
    for key in ("a", "b"):
        cloud.front.behind.write(cloud.bucket, key, b"")
    backend = cloud.open()

    def first_only(method: str, path: str, reply: Reply) -> Reply:
        if "/batch/" not in path:
            return reply
        mark = reply.body.split(b"\r\n")[0]
        return reply._replace(body=mark.join(reply.body.split(mark)[:2]) + mark + b"--\r\n")

    cloud.front.change = first_only
    over = dict(backend.remove(["/a", "/b"]))
    assert over["/a"] is None and isinstance(over["/b"], ServerFault)
    cloud.front.change = lambda method, path, reply: Reply(200, b"hello")
    assert all(isinstance(error, ServerFault) for _, error in backend.remove(["/a", "/b"]))
    cloud.front.change = lambda method, path, reply: reply
    cloud.front.rule = lambda method, path: refusal(403, "forbidden")
    assert all(isinstance(error, Denied) for _, error in backend.remove(["/a", "/b"]))
    ((_, error),) = backend.remove(["/a"], recursive=True)
    assert isinstance(error, Denied)


def copied(backend: Gs, other: Gs, key: str, target: str, required: Requirement | None = None) -> Job[None]:
    (job,) = backend.copy(
        iter([Job(f"/{key}", f"/{target}", required or Requirement(), None)]), other, Control()
    )
    return job


def test_copy_by_google_in_several_steps(cloud: World) -> None:
    cloud.front.behind.write(cloud.bucket, "key", BIG)
    there = World(cloud.front, cloud.directory)
    backend, other, steps = cloud.open(), there.open(), []

    def rule(method: str, path: str) -> Reply | None:
        if "/rewriteTo/" not in path or len(steps) == 2:
            return None
        steps.append(path)
        told = {"done": False, "rewriteToken": f"t{len(steps)}", "totalBytesRewritten": "1"}
        return Reply(200, json.dumps(told).encode())

    cloud.front.rule = rule
    assert backend.copies(other, Requirement())
    job = copied(backend, other, "key", "d/copy %2F?#")
    assert job.error is None and job.size == len(BIG)
    assert there.read("d/copy %2F?#") == BIG
    last = [path for _, path, _ in cloud.front.requests if "/rewriteTo/" in path][-1]
    assert "rewriteToken=t2" in last and "ifSourceGenerationMatch=" in last
    assert not backend.copies(other, Requirement("sha256", "0" * 64))
    there.opened[0].close()


@pytest.mark.parametrize(
    "answer",
    [refusal(403, "forbidden"), refusal(412), Reply(200, b"{}"), Reply(200, b'{"done": true}'), Reply(200)],
)
def test_failed_copy_is_a_failure(cloud: World, answer: Reply) -> None:
    cloud.front.behind.write(cloud.bucket, "key", b"x")
    backend = cloud.open()
    cloud.front.rule = lambda method, path: answer if "/rewriteTo/" in path else None
    assert copied(backend, backend, "key", "copy").error is not None
    assert isinstance(copied(backend, backend, "missing", "copy").error, NotFound)
    error = copied(backend, backend, "key", "copy", Requirement(size=7)).error
    assert isinstance(error, Corrupted)


def test_buckets(cloud: World) -> None:
    name = f"new-{uuid.uuid4().hex}"
    backend = cloud.open(name)
    error = put(backend, "key", b"x").error
    assert isinstance(error, NotFound) and name in str(error)
    backend.mkdir("/some/where")
    backend.mkdir("/")
    assert put(backend, "key", b"x").error is None
    assert any("project=test" in path for _, path, _ in cloud.front.requests)
    key = json.loads(cloud.front.key())
    del key["project_id"]
    alone = cloud.open(
        f"other-{uuid.uuid4().hex}",
        GOOGLE_APPLICATION_CREDENTIALS=cloud.file("alone.json", json.dumps(key)),
    )
    with pytest.raises(BadSpecification, match="project"):
        alone.mkdir("/")


@pytest.mark.parametrize("listing", [{"items": [{"name": "x"}]}, {"items": [3]}, {"items": "x"}, []])
def test_listing_that_is_not_understood_is_an_error(cloud: World, listing: object) -> None:
    backend = cloud.open()
    cloud.front.change = lambda method, path, reply: Reply(200, json.dumps(listing).encode())
    with pytest.raises(ServerFault):
        list(backend.list("/d"))


def test_listing_without_end_ends(cloud: World) -> None:
    """Each page has a token of its own."""
    backend, tokens = cloud.open(), count()
    for items in ([{"name": "d/x", "size": "1"}], []):
        page = {"items": items}
        cloud.front.change = lambda method, path, reply, page=page: Reply(
            200, json.dumps({**page, "nextPageToken": f"token-{next(tokens)}"}).encode()
        )
        with pytest.raises(ServerFault, match="end"):
            list(backend.list("/d"))


@pytest.mark.parametrize("bucket", ["", "user@bucket", "bucket:80"])
def test_urls_that_are_none(bucket: str) -> None:
    with pytest.raises(BadSpecification, match="gs://bucket/key"):
        open_backend(Endpoint("gs", bucket, ""), Settings(Credentials.none()))


def test_the_command(cloud: World) -> None:
    """Up, down, removed; nothing of a URL reaches a shell, and a failure is exit code 2."""
    key = "a $(touch pwned) `id` ; 'b'"
    (cloud.directory / "in").write_bytes(BIG)
    environ = cloud.environ(GOOGLE_APPLICATION_CREDENTIALS=cloud.file("key.json", cloud.front.key()))
    url = f"gs://{cloud.bucket}/{key}"
    up = command.write(cloud.directory / "up", [command.entry(cloud.directory / "in", url)])
    done = command.run("-f", up, cwd=cloud.directory, env=environ)
    assert done.returncode == 0, done.stderr
    assert cloud.read(key) == BIG
    down = command.write(cloud.directory / "down", [command.entry(url, cloud.directory / "out")])
    assert command.run("-f", down, cwd=cloud.directory, env=environ).returncode == 0
    assert (cloud.directory / "out").read_bytes() == BIG
    cloud.front.rule = lambda method, path: refusal(403, "forbidden") if "upload" in path else None
    done = command.run("-f", up, cwd=cloud.directory, env=environ)
    assert done.returncode == 2 and "key.json" in done.stderr + done.stdout
    assert not list(cloud.directory.glob("*pwned*"))


def test_chunks_that_google_has_are_let_go(cloud: World) -> None:
    """At once, not when Python next looks for circles."""
    backend = cloud.open()
    gc.collect()
    gc.disable()
    try:
        assert put(backend, "key", given(BIG)).error is None
        kept = [one for one in gc.get_objects() if isinstance(one, upload.Chunk) and one.blocks]
    finally:
        gc.enable()
    assert kept == []
