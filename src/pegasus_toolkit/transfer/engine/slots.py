"""How much may be in flight: overall, and at each host."""

from __future__ import annotations

from collections import Counter

from pegasus_toolkit.transfer.engine.lanes import Lane

LENT = 4  # so many times the limit, at most, when slots of silent workers are lent to others


class Slots:
    """``overall`` files in flight, ``per_host`` of them at one host (0: no limit of its own).

    A worker that has not moved a byte for a while keeps its connection but lends its slots, so that
    hosts that hang do not starve the others. Call under the scheduler's lock.
    """

    def __init__(self, overall: int, per_host: int = 0) -> None:
        self.overall = overall
        self.per_host = per_host or overall
        self.used = 0
        self.lent = 0
        self.hosts: Counter[str] = Counter()

    def grant(self, lane: Lane, lanes: int) -> int:
        """Slots for one more worker of a lane, of so many lanes that wait; 0: none now."""
        if lane.exempt_from_limits:
            return 0 if lane.workers else 1
        free = self.overall - self.used + min(self.lent, (LENT - 1) * self.overall)
        for host in lane.hosts:
            free = min(free, self.per_host - self.hosts[host])
        fair = max(1, self.overall // max(1, lanes))
        slots = min(free, fair, lane.slots)
        if slots <= 0:
            return 0
        self.used += slots
        self.hosts.update(dict.fromkeys(lane.hosts, slots))
        return slots

    def release(self, lane: Lane, slots: int, silent: bool) -> None:
        """What ``grant`` gave comes back."""
        if lane.exempt_from_limits:
            return
        self.used -= slots
        self.hosts.subtract(dict.fromkeys(lane.hosts, slots))
        if silent:
            self.lent -= slots

    def lend(self, lane: Lane, slots: int, silent: bool) -> None:
        """A worker fell silent, or moves again."""
        if not lane.exempt_from_limits:
            self.lent += slots if silent else -slots
