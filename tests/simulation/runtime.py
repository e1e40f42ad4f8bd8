"""A ``Runtime`` whose threads are greenlets and whose time passes only when all of them wait.

One runs at a time, which one is drawn by the seed, and it gives way only where the engine waits, takes a
lock or asks the storage: so a seed replays, and different seeds try different orders.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

STEPS = 400_000  # after so many the run is taken to go round in circles
DAYS = 2 * 86_400.0  # virtual seconds that no run may take
PREEMPTED = 0.1  # how often a greenlet gives way although it need not


class Stuck(AssertionError):
    """The run cannot end any more."""


class Simulation:
    """Time begins at 1000 s, so that nobody takes the beginning for "never"."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.over = False
        self.steps = 0
        self._hub: greenlet | None = None
        self._ready: list[greenlet] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._living: set[greenlet] = set()

    # -- what the engine uses --------------------------------------------------------------------

    def monotonic(self) -> float:
        return self.now

    def chance(self) -> float:
        return self.random.random()

    def since_epoch(self, at: float) -> float:
        return at

    def sleep(self, seconds: float) -> None:
        me = self._me()
        self.at(self.now + max(0.0, seconds), lambda: self.wake(me))
        self.give_way()

    def lock(self) -> Any:
        return Lock(self)

    def event(self) -> Any:
        return Event(self)

    def condition(self) -> Any:
        return Condition(self)

    def thread(self, work: Callable[[], None], name: str) -> Any:
        return Thread(self, work, name)

    # -- how it runs -----------------------------------------------------------------------------

    def run(self, main: Callable[[], Any]) -> Any:
        """Runs ``main`` to its end; what it left behind is thrown away."""
        self._hub = getcurrent()
        result: list[Any] = []
        thread = self.thread(lambda: result.append(main()), "main")
        thread.start()
        try:
            while not thread.ended.flag:
                self._step()
        finally:
            self.over = True
            for left in list(self._living):
                if left is not getcurrent():
                    left.throw(GreenletExit)
        if thread.error is not None:
            raise thread.error
        return result[0]

    def _step(self) -> None:
        self.steps += 1
        if self.steps > STEPS or self.now > DAYS:
            raise Stuck(f"no end after {self.steps} steps, at {self.now:.0f} s")
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()
        if self._ready:
            at = self.random.randrange(len(self._ready))
            self._ready[at], self._ready[-1] = self._ready[-1], self._ready[at]
            self._ready.pop().switch()
        elif self._timers:
            self.now = self._timers[0][0]
        else:
            raise Stuck("all threads wait, for nothing that will come")

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Does something then."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, action))

    def start(self, one: greenlet) -> None:
        self._living.add(one)
        self._ready.append(one)

    def ended(self, one: greenlet) -> None:
        self._living.discard(one)

    def wake(self, one: greenlet) -> None:
        if not one.dead:
            self._ready.append(one)

    def give_way(self) -> None:
        """Lets others run until somebody wakes this one."""
        if self.over:
            raise GreenletExit
        assert self._hub is not None
        self._hub.switch()
        if self.over:
            raise GreenletExit

    def perhaps_give_way(self) -> None:
        if self.over:
            raise GreenletExit
        if self._hub is not None and self.random.random() < PREEMPTED:
            self.wake(self._me())
            self.give_way()

    @staticmethod
    def _me() -> greenlet:
        return getcurrent()


class Event:
    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.flag = False
        self.waiting: list[tuple[list[bool], greenlet]] = []

    def is_set(self) -> bool:
        return self.flag

    def set(self) -> None:
        self.flag = True
        waiting, self.waiting = self.waiting, []
        for done, one in waiting:
            if not done:
                done.append(True)
                self.sim.wake(one)

    def clear(self) -> None:
        self.flag = False

    def wait(self, timeout: float | None = None) -> bool:
        if self.flag:
            self.sim.perhaps_give_way()
            return True
        done: list[bool] = []
        me = getcurrent()
        self.waiting.append((done, me))

        def late() -> None:
            if not done:
                done.append(False)
                self.sim.wake(me)

        if timeout is not None:
            self.sim.at(self.sim.now + timeout, late)
        self.sim.give_way()
        return done[0]


class Lock:
    """May be taken again by its holder."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.holder: greenlet | None = None
        self.depth = 0
        self.waiting: deque[greenlet] = deque()

    def __enter__(self) -> bool:
        me = getcurrent()
        if self.holder is not me:
            self.sim.perhaps_give_way()
            while self.holder is not None:
                self.waiting.append(me)
                self.sim.give_way()
            self.holder = me
        self.depth += 1
        return True

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if not self.depth:
            self.holder = None
            if self.waiting:
                self.sim.wake(self.waiting.popleft())


class Condition(Lock):
    def __init__(self, sim: Simulation) -> None:
        super().__init__(sim)
        self.changes: list[Event] = []

    def wait(self, timeout: float | None = None) -> bool:
        depth, self.depth = self.depth, 1
        change = Event(self.sim)
        self.changes.append(change)
        self.__exit__()
        told = change.wait(timeout)
        if change in self.changes:
            self.changes.remove(change)
        self.__enter__()
        self.depth = depth
        return told

    def notify(self, n: int = 1) -> None:
        for change in self.changes[:n]:
            self.changes.remove(change)
            change.set()

    def notify_all(self) -> None:
        self.notify(len(self.changes))


class Thread:
    def __init__(self, sim: Simulation, work: Callable[[], None], name: str) -> None:
        self.sim = sim
        self.name = name
        self.work = work
        self.ended = Event(sim)
        self.error: BaseException | None = None

    def start(self) -> None:
        self.sim.start(greenlet(self._run, self.sim._hub))

    def _run(self) -> None:
        try:
            self.work()
        except GreenletExit:
            pass
        except BaseException as error:
            self.error = error
            if self.name != "main":
                self.sim.over = True
                raise
        finally:
            self.sim.ended(getcurrent())
            self.ended.set()

    def join(self, timeout: float | None = None) -> None:
        self.ended.wait(timeout)
