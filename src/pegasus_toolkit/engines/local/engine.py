"""The loop of the local engine: it waits for programs, files and time, and tells those who asked."""

from __future__ import annotations

import heapq
import os
import select
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from pegasus_toolkit.engines.messages import Ended
from pegasus_toolkit.engines.spawner import Gone, Program, Spawner

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_LOOK = 1.0  # seconds that the engine waits at most, for whatever comes next
_NOTICE = 0.1  # seconds between two looks at how far it is


class Settings(NamedTuple):
    """``jobs``: how many run at a time; ``memory``: MiB for those that ask for some; ``environ``: of the
    engine; ``entry``: the function of ours (``module:name``) that the program with this path is, "" for
    others; ``preload``: modules that these use; ``grace``: seconds between SIGTERM and SIGKILL."""

    jobs: int
    memory: int
    environ: Mapping[str, str]
    entry: Callable[[str], str] = lambda path: ""
    preload: tuple[str, ...] = ()
    grace: float = 5.0


class Observer(Protocol):
    """Who is told how it goes; calls come from the thread that runs the engine."""

    def say(self, level: str, text: str) -> None:
        """``level``: debug, info, warning or error."""

    def progress(self, counts: Mapping[str, int]) -> None:
        """Nodes by state; often."""


class Slots:
    """Cores and memory. Who asks for more than there is gets all of it."""

    def __init__(self, cpus: int, memory: int) -> None:
        self.cpus = self._all_cpus = cpus
        self.memory = self._all_memory = memory

    def take(self, cpus: int, memory: int) -> tuple[int, int] | None:
        """What to :meth:`give` back; None if there is no room now."""
        wanted = min(cpus, self._all_cpus), min(memory, self._all_memory)
        if wanted[0] > self.cpus or wanted[1] > self.memory:
            return None
        self.cpus -= wanted[0]
        self.memory -= wanted[1]
        return wanted

    def give(self, taken: tuple[int, int]) -> None:
        self.cpus += taken[0]
        self.memory += taken[1]


class Task(Protocol):
    """A DAG under way, as the loop sees it."""

    def dispatch(self) -> None:
        """Starts what can be started."""

    def settle(self) -> Literal["wait", "again", "over"]:
        """Writes what is to be remembered. ``again``: there is more to start; ``over``: it has ended."""

    def stop(self) -> None:
        """Ends what runs, in order."""

    def give_up(self) -> None:
        """What runs is killed already: writes what is to be remembered and is over."""


OnEnd = Callable[[int, float, float], None]
OnRefused = Callable[[str], None]


class Engine:
    """Runs programs for its tasks until all of these are over. To be used once, in one thread."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self.settings = settings
        self.observer = observer
        self.slots = Slots(settings.jobs, settings.memory)
        self.tasks: list[Task] = []
        self.scratch = tempfile.mkdtemp(prefix="pegasus-run-")
        self._spawner = Spawner(settings.preload, self.scratch)
        self._waiting: dict[int, tuple[OnEnd, OnRefused]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._finished: deque[Callable[[], None]] = deque()
        self._signals: deque[int] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._count = 0
        self._working = 0
        self._stopping = False
        self._closed = False
        self._wakeup, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def number(self) -> int:
        """One that was not given before."""
        self._count += 1
        return self._count

    def spawn(self, program: Program, ended: OnEnd, refused: OnRefused) -> int:
        """Starts ``program``; one of the two is called later. Gives a number for :meth:`signal`."""
        id = self.number()
        self._waiting[id] = ended, refused
        self._spawner.start(id, program)
        return id

    def signal(self, id: int, number: int) -> None:
        if id in self._waiting:
            self._spawner.signal(id, number)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Calls it after so many seconds, if the engine still runs."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, self.number(), call))

    def work(self, function: Callable[[], Callable[[], None]]) -> None:
        """Runs ``function`` in another thread, and what it gives in this one."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self.settings.jobs)

        def run() -> None:
            self._finished.append(function())
            os.write(self._woken, b"\0")

        self._working += 1
        self._pool.submit(run)

    def interrupt(self, number: int) -> None:
        """For signal handlers: the first time all tasks are stopped, the second time killed."""
        if not self._closed:  # else the run is over, and the number may be another file's
            self._signals.append(number)
            os.write(self._woken, b"\0")

    def run(self) -> None:
        """Until no task is left. Raises :class:`Gone` if the process that starts programs was killed."""
        noticed = 0.0
        try:
            while self.tasks:
                if self._turn():
                    continue
                now = time.monotonic()
                if now - noticed >= _NOTICE:
                    noticed = now
                    self._notice()
                self._wait()
        except Gone:
            for task in reversed(self.tasks):
                task.give_up()
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Kills what still runs; nothing is left behind."""
        self._closed = True
        self._spawner.close()
        if self._pool is not None:
            # A large file may still be on its way; who waits for it here waits for nothing.
            self._pool.shutdown(wait=False, cancel_futures=True)
        if not self._working:  # else a thread may yet write there
            os.close(self._wakeup)
            os.close(self._woken)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _turn(self) -> bool:
        """Lets each task go on; true if there is to be another turn at once."""
        known = tuple(self.tasks)
        for task in known:
            task.dispatch()
        again = len(self.tasks) > len(known)  # a sub-DAG has begun
        for task in tuple(self.tasks):
            state = task.settle()
            again = again or state != "wait"
            if state == "over":
                self.tasks.remove(task)
        return again

    def _notice(self) -> None:
        counts: dict[str, int] = {}
        for task in self.tasks:
            for key, value in getattr(task, "counts", {}).items():
                counts[key] = counts.get(key, 0) + value
        self.observer.progress(counts)

    def _wait(self) -> None:
        # Jobs may be silent for hours: how far they are is looked at all the while.
        timeout = min(max(self._timers[0][0] - time.monotonic(), 0.0), _LOOK) if self._timers else _LOOK
        ready, _, _ = select.select([self._spawner.fileno(), self._wakeup], [], [], timeout)
        if self._spawner.fileno() in ready:
            for reply in self._spawner.replies():
                ended, refused = self._waiting.pop(reply.id)
                if isinstance(reply, Ended):
                    ended(reply.status, reply.user, reply.system)
                else:
                    refused(reply.reason)
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        while self._finished:
            self._working -= 1
            self._finished.popleft()()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
        while self._signals:
            self._interrupted(self._signals.popleft())

    def _interrupted(self, number: int) -> None:
        name = signal.Signals(number).name
        if not self._stopping:
            self._stopping = True
            self.observer.say("warning", f"{name}: ending what runs; once more, and it is killed")
            for task in tuple(self.tasks):
                task.stop()
            return
        self.observer.say("warning", f"{name}: killed")
        self._spawner.close()
        for task in reversed(self.tasks):
            task.give_up()
        self.tasks = []
