"""PRE and POST scripts: what their macros stand for, and how they are started."""

from __future__ import annotations

import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from pegasus_toolkit.dag.model import Script
from pegasus_toolkit.engines.local.engine import Engine
from pegasus_toolkit.engines.local.nodes import Nodes, NodeState
from pegasus_toolkit.engines.local.records import Records
from pegasus_toolkit.engines.spawner import Program

_SCRIPTS = 20  # at a time, as DAGMan's default


class Told(NamedTuple):
    """What a script can be told. ``returned``: of the job, None before it; ``before``: of the PRE script."""

    node: str
    retry: int
    retries: int
    status: int
    counts: Mapping[str, int]
    cluster: int
    returned: int | None
    before: int


def program(
    script: Script, told: Told, directory: str, environ: Mapping[str, str], entry: Callable[[str], str]
) -> Program:
    """The script with its macros in; one without a slash is looked for in ``directory``, then in PATH."""
    values = _macros(told)
    argv = [values.get(word.upper(), word) if word.startswith("$") else word for word in script.command]
    path = os.path.join(directory, argv[0])  # noqa: PTH118  argv[0] may be absolute
    if "/" not in argv[0] and not os.path.exists(path):  # noqa: PTH110
        path = shutil.which(argv[0], path=environ.get("PATH")) or path
    output = {"stdout": "", "stderr": ""}
    if script.debug is not None:
        file = os.path.join(directory, script.debug[0])  # noqa: PTH118
        output = {key: file for key in output if script.debug[1] in (key.upper(), "ALL")} or output
    return Program(
        argv=(path, *argv[1:]),
        environ=environ,
        cwd=directory,
        append=True,
        entry=entry(path),
        **output,
    )


def _macros(told: Told) -> dict[str, str]:
    counts = told.counts
    found = {
        "$JOB": told.node,
        "$NODE": told.node,
        "$RETRY": str(told.retry),
        "$MAX_RETRIES": str(told.retries),
        "$DAG_STATUS": str(told.status),
        "$FAILED_COUNT": str(counts["failed"]),
        "$FUTILE_COUNT": str(counts["futile"]),
        "$DONE_COUNT": str(counts["done"]),
        "$QUEUED_COUNT": str(counts["queued"]),
        "$NODE_COUNT": str(sum(counts.values())),
        "$DAGID": str(os.getpid()),
    }
    if told.returned is None:
        return found
    ended = told.returned >= 0
    return found | {
        "$JOBID": f"{told.cluster}.0",
        "$CLUSTERID": str(told.cluster),
        "$JOB_COUNT": str(int(told.cluster > 0)),
        "$RETURN": str(told.returned),
        "$SUCCESS": str(told.returned == 0),
        "$PRE_SCRIPT_RETURN": str(told.before),
        "$EXIT_CODES": str(told.returned) if ended else "",
        "$EXIT_CODE_LIST": str(told.returned) if ended else "",
        "$EXIT_CODE_COUNTS": f"{told.returned}:1" if ended else "",
        "$JOB_ABORT_COUNT": str(int(told.returned == -1002)),
    }


class Owner(Protocol):
    """The DAG whose scripts these are."""

    base: str
    engine: Engine
    environ: dict[str, str]
    nodes: Nodes
    records: Records
    settings: dict[str, str]

    def told(self, one: NodeState, returned: int | None) -> Told:
        """What a script of ``one`` can be told."""

    def pre_ended(self, one: NodeState, status: int) -> None:
        """``status``: exit code, or the negative signal."""

    def post_ended(self, one: NodeState, status: int) -> None:
        """The same."""

    def script_removed(self, one: NodeState, kind: str, status: int) -> None:
        """It ended while the DAG is being removed."""


class Scripts:
    """PRE and POST scripts, so many at a time."""

    def __init__(self, run: Owner) -> None:
        self.of = run
        self.removing = False
        self._running: dict[int, str] = {}
        self._deferred: dict[str, NodeState] = {}
        self._waiting: dict[str, deque[tuple[NodeState, Script]]] = {"PRE": deque(), "POST": deque()}
        self._busy = {"PRE": 0, "POST": 0}
        own = run.settings
        most = {kind: own.get(f"MAX_{kind}_SCRIPTS", "") for kind in self._busy}
        jobs = run.engine.settings.jobs
        self._most = {kind: int(v) if v.isdecimal() and int(v) else _SCRIPTS for kind, v in most.items()}
        self._most = {kind: min(value, max(jobs, 2)) for kind, value in self._most.items()}

    def run(self, one: NodeState, kind: str, script: Script) -> None:
        self._waiting[kind].append((one, script))
        self._next(kind)

    def _next(self, kind: str) -> None:
        while self._waiting[kind] and self._busy[kind] < self._most[kind]:
            self._busy[kind] += 1
            self._start(*self._waiting[kind].popleft(), kind)

    def _start(self, one: NodeState, script: Script, kind: str) -> None:
        run = self.of
        run.records.say(f"Running {kind} script of Node {one.node.name}...")
        told = run.told(one, one.returned if kind == "POST" else None)
        directory = os.path.join(run.base, one.node.directory)  # noqa: PTH118
        what = program(script, told, directory, run.environ, run.engine.settings.entry)
        id = 0

        def ended(status: int, user: float, system: float) -> None:
            self._running.pop(id, None)
            self._over(one, script, kind, status)

        def refused(reason: str) -> None:
            run.engine.observer.say("error", f"{one.node.name}: {kind} script cannot be started: {reason}")
            run.records.say(f"Error: Failed to execute {kind} script for Node {one.node.name}: {reason}")
            ended(1, 0.0, 0.0)

        id = run.engine.spawn(what, ended, refused)
        self._running[id] = kind

    def _over(self, one: NodeState, script: Script, kind: str, status: int) -> None:
        self._busy[kind] -= 1
        if self.removing:
            self.of.script_removed(one, kind, status)
        elif script.defer is not None and status == script.defer[0]:
            self.of.records.say(
                f"Deferring {kind} script of node {one.node.name} for {script.defer[1]} seconds"
            )
            self._deferred[one.node.name] = one
            self.of.engine.later(script.defer[1], lambda: self._again(one, kind, script))
        elif kind == "PRE":
            self.of.pre_ended(one, status)
        else:
            self.of.post_ended(one, status)
        self._next(kind)

    def remove(self) -> None:
        """Forgets those that wait and ends those that run; POST scripts may come to their end, as the work
        that they look at is done."""
        self.removing = True
        for one in self._deferred.values():
            self.of.nodes.set(one, "unready")
        self._deferred = {}
        for kind, waiting in self._waiting.items():
            for one, _ in waiting:
                self.of.nodes.set(one, "unready")
            self._waiting[kind].clear()
        self._signal(signal.SIGTERM, "PRE")
        self.of.engine.later(
            self.of.engine.settings.grace, lambda: self._signal(signal.SIGKILL, "PRE", "POST")
        )

    def _signal(self, number: int, *kinds: str) -> None:
        if self.removing:
            for id, kind in self._running.items():
                if kind in kinds:
                    self.of.engine.signal(id, number)

    def _again(self, one: NodeState, kind: str, script: Script) -> None:
        if self._deferred.pop(one.node.name, None) is not None:
            self.run(one, kind, script)
