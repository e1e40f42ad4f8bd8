"""How much may be in flight: overall, and at each host."""

from __future__ import annotations

from collections.abc import Iterable

from pegasus_toolkit.transfer.engine.hosts import Host
from pegasus_toolkit.transfer.engine.lanes import Lane
from pegasus_toolkit.transfer.engine.retry import Retry

LENT = 4  # so many times the limit, at most, when slots of silent workers are lent to others


class Slots:
    """``overall`` files in flight, ``per_host`` of them at one host (0: no limit of its own).

    A worker that has not moved a byte for a while keeps its connection but lends its slots, so that
    hosts that hang do not starve the others. Call under the scheduler's lock.
    """

    def __init__(self, overall: int, per_host: int = 0, retry: Retry | None = None) -> None:
        self.overall = overall
        self.per_host = per_host or overall
        self.retry = retry or Retry()
        self.used = 0
        self.lent = 0
        self._hosts: dict[str, Host] = {}

    def hosts(self, names: Iterable[str]) -> tuple[Host, ...]:
        """What is known of them, by name."""
        known = self._hosts
        for name in names:
            if name not in known:
                known[name] = Host(name, self.per_host, self.retry)
        return tuple(known[name] for name in names)

    def grant(self, lane: Lane, lanes: int) -> int:
        """Slots for one more worker of a lane, of so many lanes that wait; 0: none now."""
        if lane.exempt_from_limits:
            return 0 if lane.workers else 1
        free = self.overall - self.used + min(self.lent, (LENT - 1) * self.overall)
        for host in lane.hosts:
            free = min(free, host.limit - host.used)
        fair = max(1, self.overall // max(1, lanes))
        slots = min(free, fair, lane.slots)
        if slots <= 0:
            return 0
        self.used += slots
        for host in lane.hosts:
            host.used += slots
        return slots

    def release(self, lane: Lane, slots: int, silent: bool) -> None:
        """What ``grant`` gave comes back."""
        if lane.exempt_from_limits:
            return
        self.used -= slots
        for host in lane.hosts:
            host.used -= slots
        if silent:
            self.lent -= slots

    def lend(self, lane: Lane, slots: int, silent: bool) -> None:
        """A worker fell silent, or moves again."""
        if not lane.exempt_from_limits:
            self.lent += slots if silent else -slots
