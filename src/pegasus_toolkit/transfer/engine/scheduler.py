"""Who moves what when: lanes, workers, failover and back-off.

Workers call what ``worker.Dispatcher`` names; the engine's main thread calls ``begin``, ``advance``,
``workers`` and ``cancel``. ``_lock`` guards lanes, slots, heap and parents. A lane's queue is a deque,
whose single operations are atomic, so the hot path takes no lock.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from msgspec.structs import replace

from pegasus_toolkit.transfer.engine.hosts import Host, Hosts, Verdict
from pegasus_toolkit.transfer.engine.intake import PORTION, Intake
from pegasus_toolkit.transfer.engine.lanes import Key, Lane
from pegasus_toolkit.transfer.engine.planning import Planner
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.retry import Retry
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.slots import Slots
from pegasus_toolkit.transfer.engine.tasks import Parent, Task, blame
from pegasus_toolkit.transfer.engine.worker import Dispatcher, Worker
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Denied,
    IsDirectory,
    ResourceLimit,
    Throttled,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
    translate,
)
from pegasus_toolkit.transfer.interface import Control
from pegasus_toolkit.transfer.model import Operation, Outcome, Transfer

AHEAD = 24  # portions of operations planned before anything asks for them
BORNE = 50  # failures of one file that use up no attempt, at most
HOSTS_AFFAIR = (Throttled, Unreachable, TimedOut, ResourceLimit)


class Found:
    """Members of directories that were listed so far: how many, their bytes, and of how many these are not
    known. ``listing``: directories that are still listed; ``directories``: those that are not over."""

    __slots__ = ("bytes", "directories", "files", "listing", "unsized")

    def __init__(self) -> None:
        self.files = self.bytes = self.unsized = self.listing = self.directories = 0


class Scheduler:
    """Everything between the stream of operations and the settled outcomes.

    ``contended``: a lane waits for slots; ``paused``: this machine needs a rest; ``strained``: it
    has limits below its own.
    """

    def __init__(
        self,
        *,
        planner: Planner,
        pool: Pool,
        hosts: Hosts,
        retry: Retry,
        move: Callable[[Worker], None],
        control: Callable[[], Control],
        runtime: Runtime,
    ) -> None:
        self.pool = pool
        self.runtime = runtime
        self.intake = Intake(planner, runtime, self._lane_or_fail)
        self.contended = False
        self.paused = False
        self.strained = False
        self._planner = planner
        self._hosts = hosts
        self._slots = Slots(hosts.machine)
        self._retry = retry
        self._move = move
        self._control = control
        self._lock = runtime.lock()
        self._lanes: dict[Key, Lane] = {}
        self._at_work: list[Worker] = []
        self._later: list[tuple[float, int, Task]] = []
        self._sequence = count()
        self.found = Found()
        self._cancelled: TransferError | None = None

    # -- for the main thread -----------------------------------------------------------------------

    def begin(self, operations: Sequence[Operation], indices: Iterator[int]) -> None:
        """Starts on one phase."""
        self.intake.begin(operations, indices)
        self.intake.feed()

    def advance(self, stopped: Callable[[], bool]) -> float | None:
        """Plans ahead and starts what can be started; seconds until something more is due."""
        due = self._due()
        self.dispatch()
        for _ in range(AHEAD):  # plans while connections are being made
            if self.intake.open >= AHEAD * PORTION or stopped() or self.intake.exhausted:
                break
            self.intake.feed()
            self.dispatch()
        return due

    def _due(self) -> float | None:
        """Moves what may run again to its lane; seconds until the next may."""
        while self._later and self._cancelled is None:
            with self._lock:
                if not self._later or self._later[0][0] > self.runtime.monotonic():
                    break
                task = heapq.heappop(self._later)[2]
            self.place(task)
        return self._later[0][0] - self.runtime.monotonic() if self._later else None

    def workers(self) -> list[Worker]:
        """All that are at work."""
        with self._lock:
            return list(self._at_work)

    @property
    def moved(self) -> int:
        """Payload bytes so far."""
        with self._lock:
            lanes = self._lanes.values()
            return sum(lane.bytes + sum(w.control.bytes for w in lane.workers) for lane in lanes)

    @property
    def waiting(self) -> int:
        """Operations in back-off, or held back by the pause of a host."""
        now = self.runtime.monotonic()
        with self._lock:
            held = sum(len(lane.queue) for lane in self._lanes.values() if lane.hosts and lane.paused(now))
            return len(self._later) + held

    def lend(self, worker: Worker, silent: bool) -> None:
        """A worker fell silent, and lends its slots to others; or it moves again."""
        with self._lock:
            if worker in self._at_work and worker.silent != silent:
                worker.silent = silent
                self._slots.lend(worker.lane, worker.slots, silent)

    def cancel(self, error: Cancelled) -> None:
        """Nothing new begins; what is under way stops at its next byte."""
        self._cancelled = error
        self.intake.stopped = True
        for worker in self.workers():
            worker.stop(error)

    def drop(self, error: Cancelled) -> None:
        """After ``cancel``: what waits, in lanes and in back-off, is over."""
        for task in self._dropped():
            task.tried("none", 0, error)
            self.settle(task, task.failed())

    def _dropped(self) -> Iterator[Task]:
        with self._lock:
            for lane in self._lanes.values():
                while lane.queue:
                    yield self.intake.task(lane.queue.popleft())
            while self._later:
                yield heapq.heappop(self._later)[2]

    # -- lanes ---------------------------------------------------------------------------------------

    def next(self, lane: Lane) -> Task | None:
        """The next task of a lane; ``None`` when nothing is ready now."""
        while True:
            try:
                return self.intake.task(lane.queue.popleft())
            except IndexError:
                if self._cancelled is not None or not self.intake.feed(lane):
                    return None

    def _lane_or_fail(self, task: Task) -> Lane | None:
        try:
            key = self._planner.key(task)
            lane = self._lanes.get(key) or self._add_lane(self._planner.lane(key, task))
        except Exception as raised:  # noqa: BLE001  whatever it was, this one fails, not the run
            error = translate(raised)
            task.tried("none", 0, error)
            self.failed(None, task, error)
            return None
        refused = self._refused(lane, task)
        if refused is None:
            return lane
        known, verdict = refused
        task.tried(lane.route.kind, 0, known)
        self._again(task, known, verdict)
        return None

    def _add_lane(self, lane: Lane) -> Lane:
        with self._lock:
            lane.hosts = self._hosts.of(lane.host_names)
            return self._lanes.setdefault(lane.key, lane)

    def _refused(self, lane: Lane, task: Task) -> tuple[TransferError, Verdict] | None:
        """Why a task need not wait in this lane: what is known of it says that it will fail, or it can go
        elsewhere and need not wait for a host that is not there."""
        strained = lane.down is not None
        for host in lane.hosts:
            strained = strained or host.strained
        if not strained:
            return None
        now = self.runtime.monotonic()
        if lane.down is not None and now < lane.down_until:
            return lane.down, "counts"
        for host in lane.hosts:
            if host.error is not None and host.away(now):
                return host.error, "away"
            if host.error is not None and host.shunned(now) and task.has_next:
                return host.error, "borne"
        return None

    def place(self, task: Task, first: bool = False) -> None:
        """Puts a task into its lane, before all others where it was there already."""
        lane = self._lane_or_fail(task)
        if lane is not None and first:
            lane.queue.appendleft(task)
        elif lane is not None:
            lane.queue.append(task)

    def reroute(self, task: Task) -> None:
        """A host asked for a pause when one half of it was done: it begins anew."""
        task.began = 0.0
        self.place(task, first=True)

    def reroute_large(self, task: Task) -> None:
        """The file was too large for a spool in memory."""
        task.large = True
        self.place(task)
        self.dispatch()

    def reroute_copy(self, task: Task) -> None:
        """The storage will not copy this one by itself."""
        task.cannot_copy()
        self.place(task)
        self.dispatch()

    # -- workers -------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Starts workers where something waits and slots are free."""
        with self._lock:
            now = self.runtime.monotonic()
            self.paused = self._hosts.machine.paused(now)
            if self._cancelled is not None or self.paused:
                return
            waiting = [lane for lane in self._lanes.values() if lane.queue and not lane.paused(now)]
            hungry = sorted(waiting, key=lambda lane: len(lane.workers))
            starved = False
            while hungry:  # one worker each in turn, so that none takes all slots
                served = [lane for lane in hungry if self._staff(lane, len(waiting))]
                starved = starved or any(not lane.workers for lane in hungry)
                hungry = served
            self.contended = starved

    def _staff(self, lane: Lane, lanes: int) -> bool:
        """One more worker for a lane, if that helps and slots are free."""
        slots = self._slots.grant(lane, lanes) if lane.queue and lane.wants_another_worker() else 0
        if not slots:
            return False
        worker = Worker(self, lane, slots, control=self._control(), move=self._move)
        lane.workers.append(worker)
        self._at_work.append(worker)
        try:
            worker.start()
        except (RuntimeError, MemoryError):  # this machine has no thread left
            self._dismiss(worker)
            self._troubled(self._hosts.machine, ResourceLimit("cannot start a thread"), 0.0)
            return False
        return True

    def _dismiss(self, worker: Worker) -> bool:
        with self._lock:
            if worker not in self._at_work:
                return False
            self._at_work.remove(worker)
            lane = worker.lane
            lane.workers.remove(worker)
            lane.bytes += worker.control.bytes
            self._slots.release(lane, worker.slots, worker.silent)
            return True

    def ended(self, worker: Worker) -> None:
        """A worker's thread is over, or left behind."""
        self._dismiss(worker)
        self.dispatch()
        self.intake.wake.set()

    # -- what became of a task -----------------------------------------------------------------------

    def settle(self, task: Task, outcome: Outcome) -> None:
        """The task is over."""
        if task.parent is not None:
            self.settle_member(outcome, task.parent)
        else:
            self.intake.settle(outcome)

    def failed(self, lane: Lane | None, task: Task, error: TransferError, began: float = 0.0) -> None:
        """An attempt failed: a directory to list, another pair, later again, or the end."""
        verb = lane.route.verb if lane is not None else ""
        error = blame(error, verb)
        if isinstance(error, IsDirectory) and error.side == "source" and self._planner.expandable(task, verb):
            task.attempts = task.attempts[:-1]
            self._add_lane(self._planner.tree(task)).queue.append(task)
            self.dispatch()
            return
        verdict = self.trouble(lane, error, began)
        verdict = "counts" if verdict == "borne" and task.borne >= BORNE else verdict
        self._again(task, error, verdict)

    def _again(self, task: Task, error: TransferError, verdict: Verdict = "counts") -> None:
        step = task.advance(error, self._retry.rounds, verdict)
        if step != "never" and self._cancelled is not None:  # there were other ways to go
            self.settle(task, task.failed(self._cancelled))
        elif step in {"next", "wait"}:
            self.place(task, first=step == "wait")
            self.intake.wake.set()
        elif step == "later":
            moved = task.attempts[-1].bytes
            due = self.runtime.monotonic() + self._retry.delay(task.round - 1, error, moved)
            with self._lock:
                heapq.heappush(self._later, (due, next(self._sequence), task))
        else:
            self._planner.note_failure(task)
            self.settle(task, task.failed())

    def fail_waiting(self, lane: Lane, error: TransferError) -> None:
        """The endpoint can't be reached or opened: an attempt of all that wait for it."""
        error = blame(error, lane.route.verb)
        if isinstance(error, HOSTS_AFFAIR) and (lane.hosts or isinstance(error, ResourceLimit)):
            self.trouble(lane, error, self.runtime.monotonic())
            return
        if isinstance(error, (Denied, Unsupported)):
            with self._lock:
                lane.down, lane.down_until = error, self.runtime.monotonic() + self._retry.first / 2
        self._fail_queue(lane, error, "counts")

    def _fail_queue(self, lane: Lane, error: TransferError, verdict: Verdict) -> None:
        """All that wait in a lane fail with ``error``; what is "borne" only where it can go elsewhere."""
        with self._lock:
            queue, lane.queue = lane.queue, deque()
        stay: list[Task | int] = []
        for item in queue:
            if verdict == "borne" and not self._can_go_on(item):
                stay.append(item)
                continue
            task = self.intake.task(item)
            task.tried(lane.route.kind, 0, error)
            self._again(task, error, verdict)
        lane.queue.extendleft(reversed(stay))

    def _can_go_on(self, item: Task | int) -> bool:
        if isinstance(item, Task):
            return item.has_next
        operation = self.intake.operation(item)
        return isinstance(operation, Transfer) and len(operation.sources) + len(operation.destinations) > 2

    # -- hosts ---------------------------------------------------------------------------------------

    def trouble(self, lane: Lane | None, error: TransferError, began: float) -> Verdict:
        """Whether a host of the lane throttles or is not there, or this machine is at its limits: what that
        means for the file."""
        if not isinstance(error, HOSTS_AFFAIR):
            return "counts"
        if isinstance(error, ResourceLimit):
            return self._troubled(self._hosts.machine, error, began)
        host = lane.host_of(error) if lane is not None else None
        return self._troubled(host, error, began) if host is not None else "counts"

    def _troubled(self, host: Host, error: TransferError, began: float) -> Verdict:
        """A pause for all that goes there."""
        now = self.runtime.monotonic()
        here = host is self._hosts.machine
        with self._lock:
            crowd = (w for w in self._at_work if w.busy and not w.silent and not w.lane.exempt_from_limits)
            crowded = any(here or host in w.lane.hosts for w in crowd)
            if isinstance(error, TimedOut):
                verdict = host.stalled(error, now, crowded)
            else:
                verdict = host.troubled(error, began or now, now, crowded)
            lanes = [lane for lane in self._lanes.values() if here or host in lane.hosts]
            shunned = verdict == "borne" and not here and host.shunned(now)
            if here:
                self.strained = self.paused = True
        self.pool.close(None if here else host.name)  # what is idle there uses up connections, too
        if verdict == "away" or shunned:
            for lane in lanes:
                self._fail_queue(lane, error, verdict)
        return verdict

    def succeeded(self, lane: Lane) -> None:
        """A job of the lane went well: its hosts are there, and may be given more again."""
        now = self.runtime.monotonic()
        for host in (*lane.hosts, self._hosts.machine) if self.strained else lane.hosts:
            if host.succeeded(now):
                with self._lock:
                    for worker in self._at_work:  # one with few slots makes room for one with more
                        if host in worker.lane.hosts:
                            worker.make_room(host.free)
        if self.strained and self._hosts.machine.limit == self._hosts.machine.most:
            self.strained = False

    # -- members of directories ----------------------------------------------------------------------

    def add_member(self, operation: Operation, parent: Parent, control: Control) -> None:
        """Takes one member of a directory; waits while too many are waiting."""
        while self.intake.full and control.stop is None:
            self.intake.wake.set()
            self.runtime.sleep(0.02)
        with self._lock:
            self._found(operation, parent)
        task = self.intake.admit(operation)
        if isinstance(task, Outcome):
            self.settle_member(replace(task, member=True), parent)
            return
        task.parent = parent
        self.place(task)
        self.dispatch()

    def add_failure(self, operation: Operation, parent: Parent, error: TransferError) -> None:
        """One entry of a directory cannot be moved; the others are."""
        with self._lock:
            self._found(operation, parent)
        self.settle_member(self.intake.refuse(operation, error), parent)

    def _found(self, operation: Operation, parent: Parent) -> None:
        found, first = self.found, not parent.begun
        parent.open += 1
        found.listing += first
        found.directories += first
        found.files += 1
        size = operation.size if isinstance(operation, Transfer) else 0
        if size is None:
            found.unsized += 1
        else:
            found.bytes += size

    def settle_member(self, outcome: Outcome, parent: Parent) -> None:
        """One file of a directory is over, and so perhaps the directory."""
        self.intake.settle(outcome)
        with self._lock:
            parent.settle(outcome)
            if parent.over:
                self._whole(parent)

    def _whole(self, parent: Parent) -> None:
        self.found.directories -= parent.begun
        self.settle(parent.task, parent.outcome())

    def listed(self, parent: Parent, error: TransferError | None) -> None:
        """The directory was listed to its end, or failed to be."""
        with self._lock:
            parent.listed = True
            self.found.listing -= parent.begun
            if error is not None and not parent.begun:
                parent.task.tried("directory", 0, error)
                self.failed(self._add_lane(self._planner.tree(parent.task)), parent.task, error)
                return
            if error is not None:
                parent.failures += 1
                parent.errors.append(error)
            if parent.over:
                self._whole(parent)


_: type[Dispatcher] = Scheduler
