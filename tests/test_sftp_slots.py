"""Many files on one connection: what that costs of the limits, and when another connection is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from pegasus_toolkit.transfer.engine.hosts import Host
from pegasus_toolkit.transfer.engine.lanes import SMALL, WORTH, Key, Lane
from pegasus_toolkit.transfer.engine.retry import Retry
from pegasus_toolkit.transfer.engine.routes import UPLOAD
from pegasus_toolkit.transfer.engine.slots import Slots
from pegasus_toolkit.transfer.interface import Abilities, Backend, Control, Endpoint, Settings
from tests.worlds import Remote, World, move

KEY = Key("transfer", Endpoint("file", "", "local"), Endpoint("scp", "host", "there"))


class Pipelined(World):
    """Its remote stores keep 64 files in flight on one connection."""

    def open(self, endpoint: Endpoint, settings: Settings) -> Backend:
        backend = super().open(endpoint, settings)
        if isinstance(backend, Remote):
            assert settings.connections == 1
            backend.abilities = Abilities(in_flight=64, directories=False, pipelined=True)
        return backend


def test_files_in_flight_on_one_connection_take_one_slot() -> None:
    slots = Slots(Host("here", 3, Retry()))
    shared = Lane(KEY, UPLOAD, 64, 0, pipelined=True)
    assert [slots.grant(shared, 1) for _ in range(4)] == [1, 1, 1, 0]
    assert Slots(Host("here", 3, Retry())).grant(Lane(KEY, UPLOAD, 64, 0), 1) == 3


@dataclass
class AtWork:
    """One that has taken so many jobs and moved so many bytes."""

    busy: int
    control: Control = field(default_factory=Control)
    silent: bool = False


def worker(taken: int, bytes_: int) -> AtWork:
    one = AtWork(taken)
    one.control.bytes = bytes_
    return one


def test_another_connection_is_made_for_bytes_and_not_for_many_small_files() -> None:
    for pipelined, small in ((True, WORTH), (False, SMALL)):
        lane = Lane(KEY, UPLOAD, 64, 0, pipelined=pipelined)
        assert lane.wants_another_worker()
        lane.workers = [worker(64, 64 * small - 1)]
        assert not lane.wants_another_worker(), "what is in flight counts as files, too"
        lane.workers = [worker(64, 64 * small)]
        assert lane.wants_another_worker()


def test_what_shares_a_connection_arrives() -> None:
    world = Pipelined()
    world.store("a").update({f"/f{i}": b"%d" % i for i in range(300)})
    summary, _ = world.run(*[move(i, f"remote://a/f{i}", f"remote://b/g{i}") for i in range(300)])
    assert (summary.done, summary.exit_code) == (300, 0)
    assert world.store("b") == {f"/g{i}": b"%d" % i for i in range(300)}
    assert world.opened <= 2, "one for each end"
