"""A large file over several HTTP connections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pegasus_toolkit.transfer.backends.http.get import Tuning
from pegasus_toolkit.transfer.errors import NotFound, ServerFault
from pegasus_toolkit.transfer.interface import Job, Sink
from tests.http_world import World, failure, get
from tests.material import Calling, content, fetch_job
from tests.servers.odd_http import Answer, Odd, Reply, Request, file, slowly

Start = Callable[[Answer], Odd]
MIB = 1 << 20
HALF = {"Accept-Ranges": "bytes", "ETag": '"one"'}


def ranges(server: Odd) -> list[str]:
    return [request.headers.get("range", "") for request in server.requests]


class TestParts:
    """A large file over several connections."""

    slow = Tuning(several=0, part=MIB // 2, trial=0, rate=1e18)
    data = content(24 * MIB + 17)  # more than libcurl takes at one go, however slow this machine is

    def test_parts_make_the_whole(self, odd: Start, world: World) -> None:
        server = odd(slowly(file(self.data), 6))
        assert get(world.open(server.authority, tuning=self.slow)) == self.data
        asked = [request for request in server.requests if request.range is not None]
        assert len(asked) > 4
        assert {request.headers["if-match"] for request in asked} == {'"one"'}

    def test_last_modified_will_do(self, odd: Start, world: World) -> None:
        when = "Sun, 06 Nov 1994 08:49:37 GMT"

        def answer(request: Request) -> Reply:
            reply = file(self.data)(request)
            del reply.headers["ETag"]
            reply.headers["Last-Modified"] = when
            return reply

        server = odd(slowly(answer, 3))
        assert get(world.open(server.authority, tuning=self.slow)) == self.data
        assert server.requests[-1].headers["if-unmodified-since"] == when

    def test_fast_file_comes_over_one_connection(self, odd: Start, world: World) -> None:
        server = odd(file(self.data))
        tuning = self.slow._replace(rate=0)
        assert get(world.open(server.authority, tuning=tuning)) == self.data
        assert ranges(server) == [""]

    def test_one_stream_is_one_connection(self, odd: Start, world: World) -> None:
        server = odd(file(self.data))
        assert get(world.open(server.authority, tuning=self.slow, streams=1)) == self.data
        assert ranges(server) == [""]

    @pytest.mark.parametrize(
        "bad",
        [
            Reply(b"changed", 412),
            Reply(b"gone", 404),
            Reply(content(24 * MIB + 17), 200, HALF),
            Reply(b"abc", 206, {"Content-Range": "bytes 0-2/3", "ETag": '"one"'}),
        ],
    )
    def test_part_that_goes_wrong_fails_the_file(self, odd: Start, world: World, bad: Reply) -> None:
        good = file(self.data)
        server = odd(slowly(lambda request: bad if request.number == 4 else good(request), 5))
        backend = world.open(server.authority, tuning=self.slow)
        error = failure(backend, end=world.sink())
        assert isinstance(error, ServerFault | NotFound)
        assert world.file is None

    def test_parts_of_another_content_are_refused(self, odd: Start, world: World) -> None:
        """By a server that knows neither If-Match nor If-Range, but tells the truth."""
        before, after = file(self.data), file(content(len(self.data), 1), '"two"')

        def answer(request: Request) -> Reply:
            headers = {name: value for name, value in request.headers.items() if not name.startswith("if-")}
            return (after if request.number > 4 else before)(replace(request, headers=headers))

        error = failure(world.open(odd(slowly(answer, 6)).authority, tuning=self.slow), end=world.sink())
        assert isinstance(error, ServerFault) and "changed" in str(error)
        assert world.file is None

    @pytest.mark.parametrize("status", [403, 429, 503])
    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_connections_that_are_refused_cost_only_speed(
        self, odd: Start, world: World, status: int, most: int
    ) -> None:
        """A server that allows one client so many at once; the file comes in one attempt."""
        good, busy = file(self.data), [0]
        lock = threading.Lock()

        class Counted(bytes):
            """A body that tells when it was sent."""

            def __getitem__(self, at: Any) -> bytes:
                if at.start and at.stop is None:
                    with lock:
                        busy[0] -= 1
                return super().__getitem__(at)

        def answer(request: Request) -> Reply:
            with lock:
                if busy[0] >= most:
                    return Reply(b"too many", status)
                busy[0] += 1
            reply = slowly(good, 2 if most == 1 else most + 2)(request)
            return replace(reply, body=Counted(reply.body), hold=max(1, reply.hold))

        server = odd(answer)
        backend = world.open(server.authority, tuning=self.slow)
        assert get(backend) == self.data
        if most == 1:  # it was told once, and is not asked again
            assert len(server.requests) == 2
            assert get(backend) == self.data
            assert len(server.requests) == 3

    @pytest.mark.parametrize(
        "refused",
        [
            Reply(b"changed", 412),
            Reply(b"no such range", 416),
            Reply(content(24 * MIB + 17), 200, HALF),
            Reply(b"abc", 206, {"Content-Range": "bytes 0-2/3", "ETag": '"one"'}),
            Reply(b"", 206, {"Content-Range": "bytes 0-0/1", "ETag": '"of another backend"'}),
        ],
    )
    def test_ranges_that_are_refused_cost_only_speed(self, odd: Start, world: World, refused: Reply) -> None:
        good = file(self.data)
        server = odd(slowly(lambda request: good(request) if request.range is None else refused, 2))
        backend = world.open(server.authority, tuning=self.slow)
        assert get(backend) == self.data
        assert len(server.requests) == 2

    def test_part_that_breaks_off_is_resumed_by_the_next_attempt(self, odd: Start, world: World) -> None:
        good = file(self.data)
        late = 16 * MIB  # nobody asks for it before the first megabytes were handed on
        cut: list[int] = []

        def answer(request: Request) -> Reply:
            reply = good(request)
            if cut or request.range is None or request.range[0] < late:
                return reply
            cut.append(request.number)
            return Reply(reply.body, reply.status, reply.headers, cut=1000)

        server = odd(slowly(answer, 4))
        backend = world.open(server.authority, tuning=self.slow)
        assert isinstance(failure(backend, end=world.sink()), ServerFault)
        before = len(server.requests)
        get(backend, end=world.sink())
        assert world.file == self.data
        resumed = server.requests[before + 1].range
        assert resumed is not None and resumed[0] > 0

    def test_other_files_go_on_beside_it(self, odd: Start, world: World) -> None:
        large = file(self.data)
        server = odd(lambda request: large(request) if request.target == "/large" else Reply(b"small"))
        backend = world.open(server.authority, tuning=self.slow)
        jobs: list[Job[Sink]] = [fetch_job("/large"), *(fetch_job(f"/{n}") for n in range(100))]
        for job in backend.get(iter(jobs)):
            assert job.error is None
            job.end.commit()
        contents = [getattr(job.end, "content", None) for job in jobs]
        assert contents == [self.data] + [b"small"] * 100

    def test_sink_that_fails_ends_all_parts(self, odd: Start, world: World) -> None:
        def refuse() -> None:
            raise ServerFault("no more")

        backend = world.open(odd(file(self.data)).authority, tuning=self.slow)
        (job,) = backend.get(iter([fetch_job("/file", Calling(refuse))]))
        assert str(job.error) == "no more"
        assert get(backend) == self.data
