"""Whether a lane gets one more worker: decided by what its workers do, without a clock or a thread."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pegasus_toolkit.transfer.engine import routes
from pegasus_toolkit.transfer.engine.lanes import SMALL, WORTH, Key, Lane
from pegasus_toolkit.transfer.interface import Control, Endpoint

FAR = Endpoint("sftp", "far", "x")
HERE = Endpoint("file", "", "local")


@dataclass
class AtWork:
    """A worker, as its lane sees it."""

    busy: int = 1
    silent: bool = False
    control: Control = field(default_factory=Control)


def lane(*workers: AtWork, in_flight: int = 4, threads: int = 0, pipelined: bool = False) -> Lane:
    made = Lane(Key("transfer", FAR, HERE), routes.DOWNLOAD, in_flight, threads, pipelined=pipelined)
    made.workers += workers
    return made


def moved(count: int, busy: int = 1) -> AtWork:
    worker = AtWork(busy)
    worker.control.bytes = count
    return worker


def test_the_first_one_is_always_wanted() -> None:
    assert lane(threads=1).wants_another_worker()


@pytest.mark.parametrize(("threads", "wanted"), [(0, True), (3, True), (2, False), (1, False)])
def test_no_more_than_the_backend_allows(threads: int, wanted: bool) -> None:
    assert lane(AtWork(), AtWork(), in_flight=1, threads=threads).wants_another_worker() is wanted


def test_a_host_that_hangs_gets_no_more_connections() -> None:
    assert lane(AtWork(), in_flight=1).wants_another_worker()
    assert not lane(AtWork(), AtWork(silent=True), in_flight=1).wants_another_worker()


@pytest.mark.parametrize(("pipelined", "worth"), [(False, SMALL), (True, WORTH)])
def test_many_small_files_are_left_to_one_thread(pipelined: bool, worth: int) -> None:
    """By the mean size of what began: files that are over, and those under way."""
    assert lane(moved(3 * worth, busy=3), pipelined=pipelined).wants_another_worker()
    assert not lane(moved(3 * worth - 1, busy=3), pipelined=pipelined).wants_another_worker()
    before = lane(moved(worth, busy=1), pipelined=pipelined)
    before.finished, before.bytes = 9, 9 * worth - 1
    assert not before.wants_another_worker()
    before.bytes += 1
    assert before.wants_another_worker()
    assert not lane(moved(worth - 1, busy=0), pipelined=pipelined).wants_another_worker()


def test_one_file_at_a_time_on_this_machine_is_no_reason() -> None:
    local = Lane(Key("transfer", HERE, HERE), routes.SERVER_SIDE, 1, 0)
    local.workers.append(AtWork())
    assert not local.wants_another_worker()


def test_what_one_file_takes_at_its_host() -> None:
    """Two connections where it is read from and written to the same host through this machine."""
    other = Endpoint("sftp", "other", "x")
    for route, source, destination, connections in (
        (routes.RELAY, FAR, FAR, 2),
        (routes.RELAY, FAR, other, 1),
        (routes.SERVER_SIDE, FAR, FAR, 1),
        (routes.DOWNLOAD, FAR, HERE, 1),
    ):
        made = Lane(Key("transfer", source, destination), route, 1, 0)
        assert made.connections == connections, route
