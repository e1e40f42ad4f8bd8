"""How much may be in flight: overall, and at each host."""

from __future__ import annotations

from pegasus_toolkit.transfer.engine.hosts import Host
from pegasus_toolkit.transfer.engine.lanes import Lane


class Slots:
    """Files in flight: as many as this machine, and each lane's hosts, allow.

    A worker that has not moved a byte for a while keeps its connection but lends its slots, so that
    hosts that hang do not starve the others. Call under the scheduler's lock.
    """

    def __init__(self, machine: Host) -> None:
        self._machine = machine

    def grant(self, lane: Lane, lanes: int) -> int:
        """Slots for one more worker of a lane, of so many lanes that wait; 0: none now."""
        if lane.exempt_from_limits:
            return 0 if lane.workers else 1
        machine = self._machine
        free = machine.free
        for host in lane.hosts:  # where a file needs two connections, but only one is allowed, it gets two
            free = min(free, host.free // lane.connections or (not host.used and host.limit > 0))
        fair = max(1, machine.limit // max(1, lanes))
        slots = min(free, fair, lane.slots)
        if slots <= 0:
            return 0
        machine.used += slots
        for host in lane.hosts:
            host.used += slots * lane.connections
        return slots

    def release(self, lane: Lane, slots: int, silent: bool) -> None:
        """What ``grant`` gave comes back."""
        if lane.exempt_from_limits:
            return
        self._machine.used -= slots
        for host in lane.hosts:
            host.used -= slots * lane.connections
        if silent:
            self.lend(lane, slots, False)

    def lend(self, lane: Lane, slots: int, silent: bool) -> None:
        """A worker fell silent, or moves again."""
        if lane.exempt_from_limits:
            return
        sign = 1 if silent else -1
        self._machine.lent += sign * slots
        for host in lane.hosts:
            host.lent += sign * slots * lane.connections
