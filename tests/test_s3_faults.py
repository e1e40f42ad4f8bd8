"""S3 services that break off, stall or refuse; and answers that are not what they seem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.http.get import Tuning
from pegasus_toolkit.transfer.backends.s3 import backend as s3_backend
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    Throttled,
    TimedOut,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Requirement, Settings
from tests.faults import SinkLayer
from tests.material import Calling, Kept, content, fetch_job, given, in_thread, kept, settle, store_job
from tests.servers.odd_http import Answer, Odd, Reply, Request, file

Start = Callable[[Answer], Odd]
MIB = 1 << 20
SMALL = content(100_000)
LARGE = content(3 * MIB + 5)


@contextmanager
def backend(server: Odd, stall: float = 0.3) -> Iterator[Backend]:
    environ = {
        "AWS_ENDPOINT_URL": f"http://{server.authority}",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
    }
    settings = Settings(Credentials.none(), environ, connect_timeout=5, stall_timeout=stall)
    with closing(open_backend(Endpoint("s3", "bucket", "local"), settings)) as opened:
        yield opened


def fetch(server: Odd, stall: float = 0.3) -> TransferError | None:
    with backend(server, stall) as opened:
        (job,) = opened.get(iter([fetch_job("/key")]))
    assert "hidden-secret" not in str(job.error)
    return job.error


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left of a large object goes in parts as soon as its first bytes came."""
    monkeypatch.setattr(s3_backend, "TUNING", Tuning(several=1, part=MIB, trial=0.0, rate=1e15))


@pytest.mark.parametrize("data", [b"", SMALL, LARGE])
def test_well_behaved(odd: Start, data: bytes) -> None:
    server = odd(file(data))
    with backend(server) as opened:
        (job,) = opened.get(iter([fetch_job("/key")]))
        assert job.error is None
        assert settle(job) == data
    assert {request.target for request in server.requests} == {"/bucket/key"}


def in_parts(request: Request) -> Reply:
    """Falls silent in the middle of the whole, so that the rest is asked for in parts."""
    reply = file(LARGE)(request)
    return reply if request.range else replace(reply, stall=MIB)


def test_a_slow_object_comes_in_parts_of_the_same_content(odd: Start) -> None:
    server = odd(in_parts)
    with backend(server, 20) as opened:
        (job,) = opened.get(iter([fetch_job("/key")]))
        assert settle(job) == LARGE
    assert {r.headers["if-match"] for r in server.requests if r.range} == {'"one"'}


@pytest.mark.parametrize("told", [len(SMALL), len(LARGE)])
def test_a_size_that_is_wrong_is_corrupted(odd: Start, told: int) -> None:
    real = SMALL if told == len(LARGE) else LARGE
    server = odd(file(real))
    with backend(server) as opened:
        (job,) = opened.get(iter([fetch_job("/key", required=Requirement(size=told))]))
        assert isinstance(job.error, Corrupted)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "RequestTimeout", TimedOut),
        (400, "ExpiredToken", Denied),
        (400, "KeyTooLongError", BadSpecification),
        (403, "RequestTimeTooSkewed", Denied),
        (403, "", Denied),
        (404, "NoSuchBucket", NotFound),
        (404, "", NotFound),
        (429, "", Throttled),
        (500, "InternalError", ServerFault),
        (502, "", ServerFault),
        (503, "SlowDown", Throttled),
        (507, "", NoSpace),
        (301, "PermanentRedirect", BadSpecification),
    ],
)
def test_refusals(odd: Start, status: int, code: str, kind: type[TransferError]) -> None:
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode() if code else b""
    server = odd(lambda _: Reply(body, status, {"Location": "http://127.0.0.1:1/"} if status == 301 else {}))
    error = fetch(server)
    assert type(error) is kind
    assert "/key" in str(error)


def keys(*names: str, more: str = "") -> bytes:
    """A page of a listing."""
    told = "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in names)
    return f"<ListBucketResult>{more}{told}</ListBucketResult>".encode()


TOKEN = "<NextContinuationToken>{}</NextContinuationToken>"


@pytest.mark.parametrize(
    "more",
    [
        "<IsTruncated>True</IsTruncated>" + TOKEN,
        "<IsTruncated>1</IsTruncated>" + TOKEN,
        TOKEN,
    ],
)
def test_a_listing_that_goes_on(odd: Start, more: str) -> None:
    def answer(request: Request) -> Reply:
        if "continuation-token=next" in request.target:
            return Reply(keys("d/b"))
        return Reply(keys("d/a", more=more.format("next")))

    with backend(odd(answer)) as opened:
        assert [entry.path for entry in opened.list("/d")] == ["/d/a", "/d/b"]


@pytest.mark.parametrize(
    "more", ["<IsTruncated>true</IsTruncated>", "<IsTruncated>perhaps</IsTruncated>" + TOKEN]
)
def test_a_listing_that_does_not_say_how_it_goes_on(odd: Start, more: str) -> None:
    with backend(odd(lambda _: Reply(keys("d/a", more=more)))) as opened, pytest.raises(ServerFault):
        list(opened.list("/d"))


@pytest.mark.parametrize("names", [("d/a",), ()])
def test_a_listing_without_end_ends(odd: Start, names: tuple[str, ...]) -> None:
    """Each page has a token of its own; also where all is to be removed."""

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return Reply(b"<DeleteResult/>")
        more = f"<IsTruncated>true</IsTruncated>{TOKEN}"
        return Reply(keys(*names, more=more.format(f"token-{request.number}")))

    with backend(odd(answer)) as opened:
        with pytest.raises(ServerFault, match="end"):
            list(opened.list("/d"))
        with pytest.raises(ServerFault, match="end"):
            list(opened.scan("/d"))
        ((_, error),) = opened.remove(["/d"], recursive=True)
        assert isinstance(error, ServerFault)


def test_keys_that_are_not_below_are_left_alone(odd: Start) -> None:
    """A service that does not heed the prefix: nothing else is removed, or told as if it were there."""

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return Reply(b"<DeleteResult/>")
        return Reply(keys("d/a", "other", "d2/b"))

    server = odd(answer)
    with backend(server) as opened:
        ((_, error),) = opened.remove(["/d"], recursive=True)
        assert isinstance(error, ServerFault) and "'other'" in str(error)
        asked = b"".join(request.body for request in server.requests)
        assert b"<Key>d/a<" in asked and b"other" not in asked and b"d2" not in asked
        listing = opened.list("/d")
        assert next(listing).path == "/d/a"
        with pytest.raises(ServerFault):
            next(listing)


PAGE = b"<html>Sign in</html>"


@pytest.mark.parametrize("reply", [Reply(PAGE), Reply(b"", 202, {"ETag": '"one"'}), Reply(b"", 204)])
def test_a_page_in_place_of_an_answer_is_no_success(odd: Start, reply: Reply) -> None:
    """As of a proxy that asks for a login, with "200 OK"."""
    missing = replace(reply, status=404) if reply.status != 200 else reply
    server = odd(lambda request: missing if request.method == "HEAD" else reply)
    with backend(server) as opened:
        (job,) = opened.put(iter([store_job("/key", given(b"small"))]))
        assert isinstance(job.error, (ServerFault, Corrupted))
        ((_, error),) = opened.remove(["/key"])
        assert error is not None


def test_an_error_of_an_unknown_key_fails_all(odd: Start) -> None:
    told = b"<DeleteResult><Error><Key>%s</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    for key in (b"", b"c", b"a%20"):
        with backend(odd(lambda _, key=key: Reply(told % key))) as opened:
            assert [type(error) for _, error in opened.remove(["/a", "/b"])] == [Denied, Denied]


def test_retry_after_is_told(odd: Start) -> None:
    error = fetch(odd(lambda _: Reply(b"", 503, {"Retry-After": "7"})))
    assert isinstance(error, Throttled)
    assert error.retry_after == 7


@pytest.mark.parametrize("at", [0, 1, 99_999, MIB, 2 * MIB + 1])
def test_connection_that_dies(odd: Start, at: int) -> None:
    data = SMALL if at < len(SMALL) else LARGE

    def answer(request: Request) -> Reply:
        reply = file(data)(request)
        first = request.range[0] if request.range else 0
        return replace(reply, cut=at - first) if first <= at < first + len(reply.body) else reply

    assert isinstance(fetch(odd(answer), stall=20), ServerFault)


@pytest.mark.parametrize("at", [0, 50_000, 2 * MIB])
def test_server_that_falls_silent(odd: Start, at: int) -> None:
    data = SMALL if at < len(SMALL) else LARGE

    def answer(request: Request) -> Reply:
        reply = file(data)(request)
        first = request.range[0] if request.range else 0
        return replace(reply, stall=at - first) if first <= at < first + len(reply.body) else reply

    assert isinstance(fetch(odd(answer)), TimedOut)


def test_server_that_never_answers(odd: Start) -> None:
    assert isinstance(fetch(odd(lambda _: Reply(silent=True))), TimedOut)


def test_close_ends_a_stalled_download(odd: Start) -> None:
    def answer(request: Request) -> Reply:
        reply = file(LARGE)(request)
        return replace(reply, stall=10) if request.range and request.range[0] else reply

    with backend(odd(answer), stall=100) as opened:
        job = fetch_job("/key", Calling(lambda: in_thread(opened.close)))
        with pytest.raises(Cancelled):
            list(opened.get(iter([job])))


def test_other_content_in_the_middle(odd: Start) -> None:
    """A service that does not honour If-Match is noticed by its ETag."""

    def answer(request: Request) -> Reply:
        reply = in_parts(request)
        changed = request.range is not None and request.range[0] >= 2 * MIB
        return replace(reply, headers={**reply.headers, "ETag": '"two"'}) if changed else reply

    assert isinstance(
        fetch(odd(answer), 20), ServerFault | TimedOut
    )  # the whole, which is all that is left, is silent


def test_ranges_are_ignored(odd: Start) -> None:
    server = odd(lambda _: Reply(LARGE, headers={"ETag": '"one"'}))
    with backend(server) as opened:
        (job,) = opened.get(iter([fetch_job("/key")]))
        assert settle(job) == LARGE


class Resuming(SinkLayer):
    """Has kept the beginning of an earlier attempt."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__(kept())
        self.beginning = beginning
        self.validators: list[str] = []

    def resume(self, validator: str) -> int:
        self.validators.append(validator)
        self.inner.write(self.beginning)
        return len(self.beginning)


@pytest.mark.parametrize("have", [1, MIB, 2 * MIB + 7, len(LARGE)])
def test_download_is_resumed(odd: Start, have: int) -> None:
    server = odd(file(LARGE))
    sink = Resuming(LARGE[:have])
    with backend(server) as opened:
        (job,) = opened.get(iter([fetch_job("/key", sink)]))
    assert job.error is None
    sink.commit()
    assert isinstance(sink.inner, Kept)
    assert sink.inner.content == LARGE
    assert len(sink.validators) == 1
    assert '/bucket/key "one"' in sink.validators[0]
    assert min((r.range[0] for r in server.requests if r.range and r.range[0]), default=have) == have


@pytest.mark.parametrize("coding", ["gzip", "aws-chunked"])
def test_a_coding_that_an_object_was_stored_with(odd: Start, coding: str) -> None:
    server = odd(lambda _: Reply(SMALL, headers={"Content-Encoding": coding}))
    with backend(server) as opened:
        (job,) = opened.get(iter([fetch_job("/key")]))
        assert settle(job) == SMALL
