"""One attempt of a node's job: in a sandbox or not, a DAG of its own, or nothing at all."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pegasus_toolkit.dag import dagman, events, submit
from pegasus_toolkit.dag.model import Dag, Variable
from pegasus_toolkit.dag.problems import DagError, Problem
from pegasus_toolkit.engines.local import commands, sandbox
from pegasus_toolkit.engines.local.nodes import Nodes, NodeState
from pegasus_toolkit.engines.local.records import Records

if TYPE_CHECKING:
    from pegasus_toolkit.engines.local.engine import Engine, Task

_EXEC = 6  # HTCondor's number for why a job is held


class Descriptions:
    """The submit files of a DAG, each read once."""

    def __init__(self, dag: Dag, base: str, append: bool, environ: Mapping[str, str]) -> None:
        self._dag = dag
        self._base = base
        self._append = append
        self._environ = environ
        self._read: dict[str, submit.Description] = {}

    def directory(self, one: NodeState) -> str:
        """Where a node is submitted: paths are meant from there."""
        return str(Path(self._base, one.node.directory))

    def file(self, one: NodeState) -> str:
        """A node's submit file, "" if its description stands in the DAG."""
        return str(Path(self.directory(one), one.node.submit)) if one.node.inline is None else ""

    def read(self, one: NodeState) -> submit.Description:
        """Raises :class:`DagError`."""
        node = one.node
        if node.inline is not None:
            return submit.parse(node.inline, f"{node.file}:{node.line}")
        file = self.file(one)
        if file not in self._read:
            self._read[file] = submit.read(file)
        return self._read[file]

    def expanded(self, one: NodeState, more: Mapping[str, str]) -> dict[str, str]:
        """A node's commands; ``more``: macros that DAGMan has for each job. Raises :class:`DagError`."""
        given = [Variable(key, value, False) for key, value in more.items()]
        own = [v if v.append is not None else v._replace(append=self._append) for v in one.node.variables]
        return self.read(one).expanded((*given, *own), self._environ)


def check(nodes: Nodes, descriptions: Descriptions) -> None:
    """Reads the submit files now, so that all that is wrong with them is told before anything runs.

    One that is not there yet may be made by what runs before it.
    """
    seen: set[str] = set()
    problems: list[Problem] = []
    for one in nodes:
        file = descriptions.file(one)
        if one.node.noop or one.node.done or one.node.subdag or (file and file in seen):
            continue
        seen.add(file)
        later = one.node.pre is not None or one.waits or one is nodes.final
        if file and later and not Path(file).exists():
            continue
        try:
            descriptions.read(one)
        except DagError as error:
            problems += error.problems
    if problems:
        raise DagError(problems)


class Owner(Protocol):
    """The DAG that a job belongs to."""

    def job_ended(self, one: NodeState, returned: int) -> None:
        """The job is over and its slot free; ``returned`` as DAGMan counts: signals are negative."""

    def subdag(self, one: NodeState, ended: Callable[[int], None]) -> Task | None:
        """Begins the DAG that a node is; None if it is done already. Raises :class:`DagError`."""


class Jobs:
    """Starts jobs of one DAG, and ends them."""

    def __init__(
        self, engine: Engine, owner: Owner, records: Records, descriptions: Descriptions, last: int
    ) -> None:
        self.engine = engine
        self.owner = owner
        self.records = records
        self.descriptions = descriptions
        self.removing = False
        self._last = last
        self._prepared: tuple[NodeState, int, commands.Job] | None = None
        self._taken = (0, 0)
        self._attempts: dict[str, _Attempt] = {}
        self._subdags: dict[str, Task] = {}
        self._warned: set[str] = set()

    def room(self, one: NodeState, more: Mapping[str, str]) -> bool:
        """Whether ``one`` can be started now; then a slot is its own. Raises :class:`DagError`."""
        if one.node.noop or one.node.subdag:
            return True
        if self._prepared is None or self._prepared[:2] != (one, self._last):
            self._prepared = one, self._last, self._job(one, more)
        job = self._prepared[2]
        taken = self.engine.slots.take(job.cpus, job.memory)
        self._taken = taken or (0, 0)
        return taken is not None

    def start(self, one: NodeState) -> None:
        """After :meth:`room` said so."""
        self._last += 1
        one.cluster = self._last
        self.records.submitted(one.cluster, one.node.name)
        if one.node.noop:
            self.records.event(events.terminated(one.cluster, time.time(), 0))
            self.owner.job_ended(one, 0)
        elif one.node.subdag:
            self._subdag(one)
        elif self._prepared is not None:
            attempt = self._attempts[one.node.name] = _Attempt(self, one, self._prepared[2], self._taken)
            self._prepared = None
            attempt.begin()

    def remove(self) -> None:
        """Ends all that runs: SIGTERM, after a while SIGKILL."""
        self.removing = True
        for attempt in self._attempts.values():
            attempt.signal(signal.SIGTERM)
        for task in self._subdags.values():
            task.stop()
        self.engine.later(self.engine.settings.grace, self._kill)

    def _kill(self) -> None:
        if self.removing:
            for attempt in self._attempts.values():
                attempt.signal(signal.SIGKILL)

    def lose(self) -> None:
        """All that runs has been killed."""
        self.removing = True
        for attempt in self._attempts.values():
            self.records.event(events.aborted(attempt.one.cluster, time.time(), "killed"))

    def over(self, one: NodeState, returned: int, user: float = 0.0, system: float = 0.0) -> None:
        """The job of ``one`` has come to an end by itself, or by being removed."""
        self._attempts.pop(one.node.name, None)
        self._subdags.pop(one.node.name, None)
        now = time.time()
        if self.removing:
            returned = dagman.JOB_ABORTED
            self.records.event(events.aborted(one.cluster, now, "the DAG is removed"))
        else:
            self.records.event(events.terminated(one.cluster, now, returned, user, system))
        self.owner.job_ended(one, returned)

    def held(self, one: NodeState, reason: str, code: int) -> None:
        """HTCondor would hold it; here, nobody waits for what nobody mends: it is removed."""
        self._attempts.pop(one.node.name, None)
        now = time.time()
        self.records.event(events.held(one.cluster, now, reason, code))
        self.records.event(events.aborted(one.cluster, now, "held"))
        self.records.say(f"Node {one.node.name}: {reason}")
        self.engine.observer.say("error", f"{one.node.name}: {reason}")
        self.owner.job_ended(one, dagman.JOB_ABORTED)

    def _job(self, one: NodeState, more: Mapping[str, str]) -> commands.Job:
        macros = {**more, "cluster": str(self._last + 1), "clusterid": str(self._last + 1)}
        macros |= dict.fromkeys(("process", "procid", "step", "row", "itemindex"), "0")
        found = self.descriptions.expanded(one, macros)
        settings = self.engine.settings
        place = commands.Place(
            base=self.descriptions.directory(one),
            sandbox=f"{self.engine.scratch}/{self.engine.number()}",
            environ=settings.environ,
            entry=settings.entry,
        )
        file = self.descriptions.file(one) or one.node.file
        job = commands.job(file, found, place)
        for key in job.warnings:
            if key not in self._warned:
                self._warned.add(key)
                self.engine.observer.say("warning", f"{file}: {key} is left out by the local engine")
        return job

    def _subdag(self, one: NodeState) -> None:
        def ended(code: int) -> None:
            self.over(one, code)

        try:
            task = self.owner.subdag(one, ended)
        except DagError as error:
            self.held(one, str(error), _EXEC)
            return
        self.records.executing(one.cluster)
        if task is None:
            ended(0)
        else:
            self._subdags[one.node.name] = task


class _Attempt:
    """A job that runs. Its files are carried in another thread."""

    def __init__(self, jobs: Jobs, one: NodeState, job: commands.Job, taken: tuple[int, int]) -> None:
        self.jobs = jobs
        self.one = one
        self.job = job
        self.taken = taken
        self.id = 0
        self.before: sandbox.Before = {}

    def begin(self) -> None:
        carried = self.job.carried
        if carried is None:
            self._spawn()
            return

        def fill() -> Callable[[], None]:
            try:
                self.before = sandbox.fill(self.job.program.cwd, carried)
            except sandbox.Held as held:
                return partial(self._held, held)
            return self._spawn

        self.jobs.engine.work(fill)

    def signal(self, number: int) -> None:
        """One whose files are on their way ends when they are there."""
        if self.id:
            self.jobs.engine.signal(self.id, number)

    def _spawn(self) -> None:
        if self.jobs.removing:
            self._end(lambda: self.jobs.over(self.one, 0))
            return
        self.jobs.records.executing(self.one.cluster)
        self.id = self.jobs.engine.spawn(self.job.program, self._ended, self._refused)

    def _refused(self, reason: str) -> None:
        self._end(lambda: self.jobs.held(self.one, f"cannot be started: {reason}", _EXEC))

    def _ended(self, status: int, user: float, system: float) -> None:
        carried = self.job.carried

        def told() -> None:
            self.jobs.over(self.one, status, user, system)

        ended = self.jobs.removing or status < 0
        if carried is None or (ended and not carried.also_removed) or (carried.only_success and status):
            self._end(told)
            return

        def collect() -> Callable[[], None]:
            directory = self.job.program.cwd
            try:
                sandbox.collect(directory, carried, self.before)
            except sandbox.Held as held:
                return partial(self._held, held)
            sandbox.remove(directory)
            return lambda: self._end(told)

        self.jobs.engine.work(collect)

    def _held(self, held: sandbox.Held) -> None:
        self._end(lambda: self.jobs.held(self.one, str(held), held.code))

    def _end(self, tell: Callable[[], None]) -> None:
        self.jobs.engine.slots.give(self.taken)
        if self.job.carried is not None:
            directory = self.job.program.cwd

            def remove() -> Callable[[], None]:
                sandbox.remove(directory)
                return lambda: None

            if Path(directory).exists():
                self.jobs.engine.work(remove)
        tell()
