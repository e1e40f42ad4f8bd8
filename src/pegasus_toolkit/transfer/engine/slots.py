"""How much may be in flight: overall, and at each host."""

from __future__ import annotations

from pegasus_toolkit.transfer.engine.hosts import Host
from pegasus_toolkit.transfer.engine.lanes import Lane

LENT = 4  # so many times the limit, at most, when slots of silent workers are lent to others


class Slots:
    """Files in flight: as many as this machine, and each lane's hosts, allow.

    A worker that has not moved a byte for a while keeps its connection but lends its slots, so that
    hosts that hang do not starve the others. Call under the scheduler's lock.
    """

    def __init__(self, machine: Host) -> None:
        self._machine = machine
        self._lent = 0

    def grant(self, lane: Lane, lanes: int) -> int:
        """Slots for one more worker of a lane, of so many lanes that wait; 0: none now."""
        if lane.exempt_from_limits:
            return 0 if lane.workers else 1
        machine = self._machine
        free = machine.free + min(self._lent, (LENT - 1) * machine.limit)
        for host in lane.hosts:
            free = min(free, host.free)
        fair = max(1, machine.limit // max(1, lanes))
        slots = min(free, fair, lane.slots)
        if slots <= 0:
            return 0
        machine.used += slots
        for host in lane.hosts:
            host.used += slots
        return slots

    def release(self, lane: Lane, slots: int, silent: bool) -> None:
        """What ``grant`` gave comes back."""
        if lane.exempt_from_limits:
            return
        self._machine.used -= slots
        for host in lane.hosts:
            host.used -= slots
        if silent:
            self._lent -= slots

    def lend(self, lane: Lane, slots: int, silent: bool) -> None:
        """A worker fell silent, or moves again."""
        if not lane.exempt_from_limits:
            self._lent += slots if silent else -slots
