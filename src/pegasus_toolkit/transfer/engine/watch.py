"""Who watches the workers: who has fallen silent, who stalls, and what becomes of them at the end."""

from __future__ import annotations

from collections.abc import Callable

from pegasus_toolkit.transfer import units
from pegasus_toolkit.transfer.engine.lanes import SILENT
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.scheduler import Scheduler
from pegasus_toolkit.transfer.engine.worker import Worker
from pegasus_toolkit.transfer.errors import Cancelled, TimedOut, TransferError

CUT_AFTER = 1.0  # seconds that a cancelled batch gets before its connections are closed ...
GIVE_UP_AFTER = 3.5  # ... and before its thread is left behind
# Uploads read ahead of what they send, so that a slow network looks silent; their backends have
# time-outs of their own, and the engine's is only the last resort.
BUFFERED = frozenset({"put", "relay", "pipe", "staged"})
UNWATCHED = frozenset({"copy", "link", "move", "mkdir", "remove", "remove-tree", "list"})


class Watch:
    """``stall``: seconds without a byte, or below ``min_rate`` bytes a second (0: any rate will do), after
    which a batch is ended; ``abandoned``: threads left behind."""

    def __init__(self, scheduler: Scheduler, stall: float, runtime: Runtime, min_rate: int = 0) -> None:
        self.abandoned = 0
        self._scheduler = scheduler
        self._stall = stall
        self._patience = stall + 2  # backends have the same time-out, and can say more of it
        self._min_rate = min_rate
        self._runtime = runtime

    def look(self) -> None:
        """Lends the slots of those who are silent, and ends those who stall."""
        now = self._runtime.monotonic()
        for worker in self._scheduler.workers():
            idle = worker.idle(now)
            if worker.silent != (idle > SILENT):
                self._scheduler.lend(worker, idle > SILENT)
            verb = worker.lane.route.verb
            patience = self._patience * 10 if verb in BUFFERED else self._patience
            watched = verb not in UNWATCHED and not worker.lane.waits
            if self._min_rate and watched:
                self._look_at_rate(worker, now)
            if idle > patience and watched:
                stall = TimedOut(f"not a byte moved for {idle:.0f} s", host=", ".join(worker.lane.host_names))
                worker.stop(stall)
                worker.cut()
                if idle > patience + GIVE_UP_AFTER:
                    self._abandon(worker, stall)

    def _look_at_rate(self, worker: Worker, now: float) -> None:
        """A batch that finishes files may be as slow as it likes: small ones wait more than they move."""
        rate = worker.rate(now, self._stall)
        if rate is not None and rate < self._min_rate:
            text = f"{units.size(rate)}/s for {self._stall:.0f} s, less than --min-rate"
            worker.stop(TimedOut(text, host=", ".join(worker.lane.host_names)))
            worker.cut()

    def stop(self, error: Cancelled, tell: Callable[[], None]) -> None:
        """Ends all: by asking, by closing their connections, by leaving them behind."""
        began = self._runtime.monotonic()
        scheduler = self._scheduler
        scheduler.cancel(error)
        cut = False
        while (workers := scheduler.workers()) and self._runtime.monotonic() - began < GIVE_UP_AFTER:
            if not cut and self._runtime.monotonic() - began > CUT_AFTER:
                cut = True
                for worker in workers:
                    worker.cut()
            scheduler.intake.wake.wait(0.02)
            scheduler.intake.wake.clear()
            tell()
        for worker in scheduler.workers():
            self._abandon(worker, error)
        scheduler.drop(error)
        while not scheduler.intake.exhausted:
            scheduler.intake.cancel_rest(error)
            tell()
        tell()

    def _abandon(self, worker: Worker, error: TransferError) -> None:
        worker.abandon(error)
        self.abandoned += 1
