"""HTTP servers that break off, stall, lie or change their mind."""

from __future__ import annotations

import base64
import gzip
import hashlib
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest

from pegasus_toolkit.transfer.clients.curl.write_behind import BLOCK
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    Denied,
    NotFound,
    ServerFault,
    Throttled,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Job, Sink
from tests.faults import SinkLayer
from tests.http_world import World, batch, failure, get
from tests.material import Calling, content, fetch_job, settle
from tests.servers.common import free_port
from tests.servers.odd_http import Answer, Odd, Reply, Request, file

Start = Callable[[Answer], Odd]
MIB = 1 << 20
DATA = content(3 * MIB)
HALF = {"Accept-Ranges": "bytes", "ETag": '"one"'}


def then(*answers: Answer | Reply) -> Answer:
    """One answer for each request; the last for all that follow."""

    def answer(request: Request) -> Reply:
        chosen = answers[min(request.number, len(answers) - 1)]
        return chosen if isinstance(chosen, Reply) else chosen(request)

    return answer


def always(reply: Reply) -> Answer:
    return lambda _: reply


class Counting(SinkLayer):
    """Counts how often it was asked to resume, and what was announced."""

    resumed = 0
    announced: tuple[int, ...] = ()

    def announce(self, size: int) -> None:
        self.announced += (size,)
        super().announce(size)

    def resume(self, validator: str) -> int:
        self.resumed += 1
        return super().resume(validator)


def ranges(server: Odd) -> list[str]:
    return [request.headers.get("range", "") for request in server.requests]


@pytest.mark.parametrize("cut", [0, 1, 2 * MIB, len(DATA) - 1])
def test_connection_that_dies_is_a_server_fault(odd: Start, world: World, cut: int) -> None:
    server = odd(always(Reply(DATA, headers=HALF, cut=cut)))
    assert isinstance(failure(world.open(server.authority)), ServerFault)


def test_no_answer_at_all_is_a_server_fault(odd: Start, world: World) -> None:
    def hang_up(_: Request) -> Reply:
        raise ConnectionResetError

    assert isinstance(failure(world.open(odd(hang_up).authority)), ServerFault)


def test_kept_connections_that_all_are_dead_cost_no_file(odd: Start, world: World) -> None:
    """A server ends them while the next request is on its way: libcurl tries five of them and gives up."""
    server = odd(lambda request: Reply(b"ab", hold=1, requests=8 if request.number < 8 else 0))
    server.lasting = 1
    backend = world.open(server.authority)
    assert [settle(job) for job in batch(backend, [f"/{n}" for n in range(8)])] == [b"ab"] * 8
    assert get(backend) == b"ab"


def test_next_attempt_fetches_only_the_rest(odd: Start, world: World) -> None:
    server = odd(then(Reply(DATA, headers=HALF, cut=2 * MIB), file(DATA)))
    backend = world.open(server.authority)
    assert isinstance(failure(backend, end=world.sink()), ServerFault)
    assert world.file is None
    get(backend, end=world.sink())
    assert world.file == DATA
    begun = server.requests[-1].range
    assert begun is not None and 0 < begun[0] <= 2 * MIB
    assert server.requests[-1].headers["if-range"] == '"one"'


@pytest.mark.parametrize(
    ("status", "kind"),
    [(n, ServerFault) for n in (202, 203, 206)] + [(n, NotFound) for n in (204, 205)],
)
def test_success_that_holds_no_file(odd: Start, world: World, status: int, kind: type[TransferError]) -> None:
    backend = world.open(odd(lambda _: Reply(b"", status)).authority)
    assert type(failure(backend, end=world.sink())) is kind
    assert world.file is None


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 20])
def test_length_that_is_none(odd: Start, world: World, length: str) -> None:
    backend = world.open(odd(lambda _: Reply(b"some", length=length)).authority)
    assert isinstance(failure(backend, end=world.sink()), ServerFault)
    assert world.file is None


@pytest.mark.parametrize(
    "date", ["Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 99 Foo 2026 00:00:00 GMT", "9" * 5000]
)
def test_date_that_is_none_is_passed_over(odd: Start, world: World, date: str) -> None:
    told = {"Last-Modified": date, "Retry-After": date, "Date": date}
    assert get(world.open(odd(lambda _: Reply(b"some", headers=told)).authority)) == b"some"
    error = failure(world.open(odd(lambda _: Reply(b"", 503, told)).authority))
    assert isinstance(error, Throttled) and error.retry_after is None


@pytest.mark.parametrize("part", [f"bytes {2 * MIB}-{'9' * 5000}/{3 * MIB}", f"bytes 0-1/{'9' * 5000}"])
def test_part_whose_place_is_no_number(odd: Start, world: World, part: str) -> None:
    headers = {**HALF, "Content-Range": part}
    server = odd(then(Reply(DATA, headers=HALF, cut=2 * MIB), Reply(b"xx", 206, headers)))
    backend = world.open(server.authority)
    failure(backend, end=world.sink())
    assert isinstance(failure(backend, end=world.sink()), ServerFault)
    assert world.file is None


def test_words_of_a_refusal_are_told(odd: Start, world: World) -> None:
    page = (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    )
    error = failure(world.open(odd(lambda _: Reply(page, 403)).authority))
    assert isinstance(error, Denied) and "Request has expired" in str(error)


def test_compression_that_was_not_asked_for(odd: Start, world: World) -> None:
    """Those bytes are not the file, unless its name says so."""
    backend = world.open(odd(lambda _: Reply(b"zipped", headers={"Content-Encoding": "gzip"})).authority)
    assert isinstance(failure(backend, "/data.txt", world.sink()), Unsupported)
    assert get(backend, "/data.tar.gz?version=1") == b"zipped"


def test_changed_content_is_fetched_from_the_start(odd: Start, world: World) -> None:
    other = content(3 * MIB, 1)
    server = odd(then(Reply(DATA, headers=HALF, cut=2 * MIB), file(other, '"two"')))
    backend = world.open(server.authority)
    failure(backend, end=world.sink())
    get(backend, end=world.sink())
    assert world.file == other
    assert ranges(server) == ["", ""]


def test_content_that_changes_between_question_and_rest_fails(odd: Start, world: World) -> None:
    """The server still says "one" when asked first, and gives the whole of "two" instead of a part."""
    other = content(3 * MIB, 1)
    server = odd(then(Reply(DATA, headers=HALF, cut=2 * MIB), file(DATA), file(other, '"two"')))
    backend = world.open(server.authority)
    failure(backend, end=world.sink())
    assert isinstance(failure(backend, end=world.sink()), ServerFault)
    assert world.file is None
    get(backend, end=world.sink())
    assert world.file == other


def test_server_that_ignores_ranges_sends_all_again(odd: Start, world: World) -> None:
    server = odd(then(Reply(DATA, headers=HALF, cut=2 * MIB), Reply(DATA, headers=HALF)))
    backend = world.open(server.authority)
    failure(backend, end=world.sink())
    get(backend, end=world.sink())
    assert world.file == DATA
    assert ranges(server)[-1] != ""


def test_server_that_refuses_the_range_is_asked_for_all(odd: Start, world: World) -> None:
    refusal = Reply(b"", 416)
    server = odd(then(Reply(DATA, headers=HALF, cut=2 * MIB), file(DATA), refusal, file(DATA)))
    backend = world.open(server.authority)
    failure(backend, end=world.sink())
    sink = Counting(world.sink())
    get(backend, end=sink)
    assert world.file == DATA
    assert ranges(server)[-1] == ""
    assert sink.resumed == 1
    assert sink.announced == (len(DATA),)


@pytest.mark.parametrize("headers", [{}, {"Content-Range": "bytes 5-9/10"}, {"Content-Range": "nonsense"}])
def test_part_that_was_not_asked_for_is_refused(odd: Start, world: World, headers: dict[str, str]) -> None:
    server = odd(then(Reply(DATA, headers=HALF, cut=2 * MIB), file(DATA), Reply(DATA[5:10], 206, headers)))
    backend = world.open(server.authority)
    failure(backend, end=world.sink())
    assert isinstance(failure(backend, end=world.sink()), ServerFault)
    assert world.file is None
    plain = odd(always(Reply(b"abc", 206, headers)))
    assert isinstance(failure(world.open(plain.authority)), ServerFault)


def test_weak_validators_are_not_resumed(odd: Start, world: World) -> None:
    weak = {"Accept-Ranges": "bytes", "ETag": 'W/"one"'}
    server = odd(then(Reply(DATA, headers=weak, cut=2 * MIB), Reply(DATA, headers=weak)))
    backend = world.open(server.authority)
    failure(backend, end=world.sink())
    get(backend, end=world.sink())
    assert world.file == DATA
    assert ranges(server) == ["", ""]


@pytest.mark.parametrize("stall", [0, 100_000])
def test_silence_is_timed_out(odd: Start, world: World, stall: int) -> None:
    server = odd(always(Reply(DATA, stall=stall)))
    assert isinstance(failure(world.open(server.authority, stall=1)), TimedOut)


def test_silent_server_is_timed_out(odd: Start, world: World) -> None:
    server = odd(always(Reply(silent=True)))
    assert isinstance(failure(world.open(server.authority, stall=1)), TimedOut)


@pytest.mark.parametrize("end", ["get", "stat"])
def test_close_from_another_thread_ends_the_wait(odd: Start, world: World, end: str) -> None:
    reached = threading.Event()

    def silent(_: Request) -> Reply:
        reached.set()
        return Reply(silent=True)

    backend = world.open(odd(silent).authority, stall=100)
    closer = threading.Thread(target=lambda: (reached.wait(), backend.close()))
    closer.start()
    with pytest.raises(Cancelled):
        if end == "get":
            list(backend.get(iter([fetch_job("/file")])))
        else:
            backend.stat("/file")
    closer.join()


def test_closed_batch_writes_no_more(odd: Start, world: World) -> None:
    """Closing a batch waits for the write that is under way; the engine then aborts the sink."""
    writing, gate = threading.Event(), threading.Event()

    def block() -> None:
        writing.set()
        gate.wait()

    server = odd(lambda request: Reply(DATA if request.target == "/large" else b"small"))
    sink = Calling(block)

    def jobs() -> Iterator[Job[Sink]]:
        yield fetch_job("/large", sink)
        for n in range(1000):
            yield fetch_job(f"/{n}")

    batch = world.open(server.authority).get(jobs())
    while not writing.is_set():
        assert settle(next(batch)) == b"small"
    closer = threading.Thread(target=batch.close)  # type: ignore[attr-defined]
    closer.start()
    closer.join(0.3)
    assert closer.is_alive()
    gate.set()
    closer.join()
    assert sink.size <= BLOCK, "what was queued was still written"


def test_closed_backend_is_of_no_use(odd: Start, world: World) -> None:
    backend = world.open(odd(file(DATA)).authority)
    get(backend)
    backend.close()
    with pytest.raises(Cancelled):
        get(backend)
    with pytest.raises(Cancelled):
        backend.stat("/file")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadSpecification),
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (408, TimedOut),
        (410, NotFound),
        (418, Unsupported),
        (500, ServerFault),
        (502, ServerFault),
        (504, ServerFault),
        (304, ServerFault),
        (300, ServerFault),
    ],
)
def test_status_tells_the_error(odd: Start, world: World, status: int, kind: type[TransferError]) -> None:
    server = odd(always(Reply(b"" if status == 304 else b"<html>a page</html>", status)))
    error = failure(world.open(server.authority))
    assert type(error) is kind
    assert f"HTTP {status}" in str(error)
    assert f"http://{server.authority}/file" in str(error)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", ["7", "0", "", "Sun, 06 Nov 1994 08:49:37 GMT", "soon", "-1"])
def test_pause_is_told(odd: Start, world: World, status: int, after: str) -> None:
    server = odd(always(Reply(b"", status, {"Retry-After": after} if after else {})))
    error = failure(world.open(server.authority))
    assert isinstance(error, Throttled)
    assert error.retry_after == {"7": 7, "0": 0, "Sun, 06 Nov 1994 08:49:37 GMT": 0}.get(after)


def test_nobody_waits_for_years(odd: Start, world: World) -> None:
    for years in ("2147483647", formatdate(time.time() + 1e9, usegmt=True)):
        error = failure(
            world.open(odd(lambda _, told={"Retry-After": years}: Reply(b"", 503, told)).authority)
        )
        assert isinstance(error, Throttled) and error.retry_after == 3600


def test_pause_until_a_date(odd: Start, world: World) -> None:
    import time

    server = odd(lambda _: Reply(b"", 503, {"Retry-After": formatdate(time.time() + 3600, usegmt=True)}))
    error = failure(world.open(server.authority))
    assert isinstance(error, Throttled) and error.retry_after is not None
    assert 3000 < error.retry_after <= 3600


def test_endless_error_page_is_cut_off(odd: Start, world: World) -> None:
    server = odd(always(Reply(b"x" * MIB, 404, stall=MIB, length=str(10 * MIB))))
    assert isinstance(failure(world.open(server.authority)), NotFound)


def base(name: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(name, data).digest()).decode()


def digests(data: bytes) -> dict[str, tuple[str, str]]:
    return {
        "sha-256": ("Digest", f"sha-256={base('sha256', data)}"),
        "upper case": ("Digest", f"SHA-256={base('sha256', data)}"),
        "sha-512": ("Digest", f"sha-512={base('sha512', data)}"),
        "md5": ("Digest", f"md5={base('md5', data)}"),
        "adler32": ("Digest", f"adler32={zlib.adler32(data):08x}"),
        "unknown first": ("Digest", f"unixsum=1234, sha-256={base('sha256', data)}"),
        "repr": ("Repr-Digest", f"sha-256=:{base('sha256', data)}:"),
        "content": ("Content-Digest", f"sha-512=:{base('sha512', data)}:"),
        "content-md5": ("Content-MD5", base("md5", data)),
    }


@pytest.mark.parametrize("size", [10, MIB])
@pytest.mark.parametrize("name", digests(b""))
def test_digest_of_the_server_must_hold(odd: Start, world: World, name: str, size: int) -> None:
    data = content(size)
    header, value = digests(data)[name]
    assert get(world.open(odd(always(Reply(data, headers={header: value}))).authority)) == data
    header, value = digests(b"other")[name]
    wrong = world.open(odd(always(Reply(data, headers={header: value}))).authority)
    with pytest.raises(Corrupted):
        get(wrong)


@pytest.mark.parametrize("value", ["", "sha-256", "sha-256=", "sha-256=?", "sha-256=YWJj", "x=1", ",,;="])
def test_digest_that_is_none_is_passed_over(odd: Start, world: World, value: str) -> None:
    server = odd(always(Reply(b"abc", headers={"Digest": value, "Content-MD5": value})))
    assert get(world.open(server.authority)) == b"abc"


def test_digest_of_a_part_is_not_taken_for_the_whole(odd: Start, world: World) -> None:
    def answer(request: Request) -> Reply:
        reply = file(DATA)(request)
        reply.headers["Content-MD5"] = base("md5", reply.body)
        return reply

    server = odd(then(Reply(DATA, headers=HALF, cut=2 * MIB), answer))
    backend = world.open(server.authority)
    failure(backend, end=world.sink())
    get(backend, end=world.sink())
    assert world.file == DATA


def test_encoded_content_of_an_encoded_file_is_kept_as_sent(odd: Start, world: World) -> None:
    data = gzip.compress(DATA)
    server = odd(always(Reply(data, headers={"Content-Encoding": "gzip"})))
    assert get(world.open(server.authority), "/file.gz") == data
    assert "accept-encoding" not in server.requests[0].headers


def test_body_without_length(odd: Start, world: World) -> None:
    server = odd(always(Reply(DATA, length="", cut=len(DATA))))
    assert get(world.open(server.authority)) == DATA


def test_host_that_is_not_there_is_unreachable(world: World) -> None:
    error = failure(world.open(f"127.0.0.1:{free_port()}"))
    assert isinstance(error, Unreachable)
    assert "127.0.0.1" in str(error)
    assert isinstance(failure(world.open("no-such-host.invalid")), Unreachable)


@pytest.mark.parametrize("authority", ["127.0.0.1:port", "127.0.0.1:99999"])
def test_host_that_is_none_is_a_bad_specification(world: World, authority: str) -> None:
    with pytest.raises(BadSpecification):
        world.open(authority)


def test_defect_in_a_sink_is_not_hidden(odd: Start, world: World) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    for size in (10, 2 * MIB):
        server = odd(always(Reply(content(size))))
        with pytest.raises(ZeroDivisionError):
            list(world.open(server.authority).get(iter([fetch_job("/file", Calling(broken))])))


def test_kept_whole_file_is_not_fetched_again(odd: Start, world: World) -> None:
    """Killed between the last byte and the rename."""
    server = odd(file(DATA))
    backend = world.open(server.authority)
    (job,) = backend.get(iter([fetch_job("/file", world.sink())]))
    assert job.error is None
    job.end.abort()
    get(backend, end=world.sink())
    assert world.file == DATA
    assert ranges(server) == ["", ""]


def test_no_open_file_left_is_no_fault_of_the_server(odd: Start) -> None:
    """libcurl says "out of memory", or that the host cannot be reached."""
    server = odd(file(b"x"))
    script = f"""
import os, resource
from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import translate
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from tests.material import fetch_job
endpoint = Endpoint("http", {server.authority!r}, "")
def fetch():
    backend = open_backend(endpoint, Settings(Credentials.none()))
    (job,) = backend.get(iter([fetch_job("/file")]))
    assert job.error is None
    return backend
fetch()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
while len(held) < 200:
    try:
        held.append(os.dup(0))
    except OSError:
        break
kinds = set()
while held:
    os.close(held.pop())
    try:
        fetch()
        break
    except Exception as error:
        kinds.add(translate(error).kind)
print(sorted(kinds))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['resource limit']\n", "")
