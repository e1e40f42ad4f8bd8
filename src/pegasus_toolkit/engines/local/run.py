"""One DAG under way: what DAGMan does with it, done here."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pegasus_toolkit.dag import dagman, events, rescue
from pegasus_toolkit.dag.model import Dag
from pegasus_toolkit.dag.problems import DagError, Problem
from pegasus_toolkit.dag.read import read
from pegasus_toolkit.engines.local import scripts
from pegasus_toolkit.engines.local.engine import Engine, Observer, Settings, Task
from pegasus_toolkit.engines.local.jobs import Descriptions, Jobs, check
from pegasus_toolkit.engines.local.lock import Left, Lock, Running
from pegasus_toolkit.engines.local.nodes import Nodes, NodeState, Ready
from pegasus_toolkit.engines.local.records import Records, Recovered, finished, recover

_FAILED, _REMOVED = 1, 2  # exit codes, as DAGMan's
_SUBDAGS = 8  # at a time beyond one for each slot, as not all of them are busy


class Run:
    """Runs ``dag`` on ``engine`` and calls ``ended`` with its exit code.

    Raises :class:`DagError` or :class:`Running` before anything has begun.
    """

    def __init__(self, dag: Dag, engine: Engine, ended: Callable[[int], None]) -> None:
        self.dag = dag
        self.engine = engine
        self.ended = ended
        self.base = str(Path(dag.file).parent)
        self.status = dagman.OK
        self.code: int | None = None  # where the DAG ends before its time
        self.stopping = self.halted = False
        self.final_begun = False
        self.settings = dagman.settings(Path(self.base, dag.config)) if dag.config else {}
        self.nodes = Nodes(dag)
        self.ready = Ready(dag.limits, engine.settings.jobs + _SUBDAGS)
        self.environ = {**engine.settings.environ, **dag.environment}
        append = self.settings.get("DEFAULT_APPEND_VARS", "").lower() in ("true", "yes", "1")
        descriptions = Descriptions(dag, self.base, append, engine.settings.environ)
        check(self.nodes, descriptions)
        self.lock = Lock(dag.file)
        left = self.lock.take()
        self.halt = Path(f"{dag.file}.halt")
        self.halt.unlink(missing_ok=True)  # of the run before
        try:
            self.records = Records(dag.file)
            known, done = self._known(left)
        except BaseException:
            self.lock.release(keep=left is not None)
            raise
        self.jobs = Jobs(engine, self, self.records, descriptions, known.last)
        self.scripts = scripts.Scripts(self)
        hold = ("SCRIPT HOLD",) if any(one.node.hold for one in self.nodes) else ()
        for word in (*dag.ignored, *hold):
            engine.observer.say("warning", f"{dag.file}: {word} is left out by the local engine")
        self._begin(known, done)

    def _known(self, left: Left | None) -> tuple[Recovered, set[str]]:
        """What was done before; and the lock says so to whoever comes after."""
        begun = rescue.newest(self.dag.file) if left is None else left.rescue
        done = rescue.read(begun) if begun else set()
        unknown = sorted(done - set(self.nodes.of))
        if unknown:
            raise DagError(Problem(str(begun), 0, f"there is no node {name!r}") for name in unknown)
        if left is None:
            left = Left(self.records.offset, str(begun or ""))
        self.lock.tell(left)
        self.records.begin()
        if begun:
            self.records.say(f"Running rescue DAG {begun}")
        posts = frozenset(one.node.name for one in self.nodes if one.node.post is not None)
        known = recover(self.records.nodes_log, left.offset, posts)
        done |= {one.node.name for one in self.nodes if one.node.done}
        return known, done | (known.done & set(self.nodes.of))

    def _begin(self, known: Recovered, done: set[str]) -> None:
        self.lost = frozenset(known.lost.values())
        for cluster in known.lost:
            self.records.event(events.aborted(cluster, time.time(), "the engine that ran it was killed"))
        for name, returned in known.ended.items():
            if name in self.nodes.of and name not in done:
                self.nodes.of[name].job_returned = returned
        done.discard(self.dag.final)
        if done:
            self.records.say(f"Number of pre-completed nodes: {len(done)}")
        first = self.nodes.begin(done)
        self.records.progress(self.counts, self.engine.later)
        for one in first:
            self._start(one)
        self.engine.tasks.append(self)

    @property
    def counts(self) -> Mapping[str, int]:
        return self.nodes.counts

    # What the loop calls.

    def dispatch(self) -> None:
        if not self.halted and self.halt.exists():
            self._halt()
        while not self.jobs.removing and (one := self.ready.first()) is not None:
            if self._limited():
                return
            try:
                if not self.jobs.room(one, self._macros(one)):
                    return
            except DagError as error:
                self.ready.take()
                self._submit_failed(one, error)
                continue
            self.ready.take()
            self.records.say(f"Submitting HTCondor Node {one.node.name} job(s)...")
            self.nodes.set(one, "queued")
            self.jobs.start(one)

    def settle(self) -> Literal["wait", "again", "over"]:
        state: Literal["wait", "again", "over"] = "wait"
        if not self.nodes.busy and not self.counts["ready"]:
            if self.nodes.final is None or self.final_begun:
                self._finish()
                return "over"
            self._start_final()
            state = "again"
        self.records.progress(self.counts, self.engine.later)
        self.records.flush()
        return state

    def stop(self) -> None:
        self.records.say("Received SIGUSR1")
        self._abort(_REMOVED, dagman.REMOVED)

    def give_up(self) -> None:
        self.status, self.code = dagman.REMOVED, _REMOVED
        self.jobs.lose()
        self._finish()

    # What happens to nodes.

    def _start(self, one: NodeState) -> None:
        """All that ``one`` waited for is done."""
        if self.halted and one is not self.nodes.final:
            self.nodes.set(one, "unready")
            return
        if one.job_returned is not None:
            returned, one.job_returned = one.job_returned, None
            self.nodes.set(one, "queued")
            self._after_job(one, returned)
        elif one.node.pre is not None:
            self.nodes.set(one, "pre")
            self.scripts.run(one, "PRE", one.node.pre)
        else:
            self._queue(one)

    def _queue(self, one: NodeState) -> None:
        if self.halted and one is not self.nodes.final:
            self.nodes.set(one, "unready")
            return
        self.nodes.set(one, "ready")
        self.ready.add(one)

    def pre_ended(self, one: NodeState, status: int) -> None:
        name, one.before, one.returned = one.node.name, status, status
        if status == 0:
            self.records.say(f"PRE Script of node {name} completed successfully.")
            self._queue(one)
            return
        how = f"failed with status {status}" if status > 0 else f"died on signal {-status}"
        self.records.say(f"PRE Script of Node {name} {how}")
        if one.node.pre_skip == status:
            self.records.say(
                f"PRE_SKIP return value {status} indicates we are done (successfully) with node {name}"
            )
            self.records.event(events.pre_skip(0, time.time(), name))
            self._done(one)
        elif not self._aborts(one, "PRE script"):
            self._try_failed(one, f"PRE script {how}")

    def job_ended(self, one: NodeState, returned: int) -> None:
        self.ready.ended(one)
        name, id = one.node.name, f"({one.cluster}.0.0)"
        if self.jobs.removing:
            self.nodes.set(one, "unready")
            return
        if returned == 0:
            self.records.say(f"Node {name} job proc {id} completed successfully.")
        elif returned > 0:
            self.records.say(f"Node {name} job proc {id} failed with status {returned}.")
        elif returned > dagman.SUBMIT_FAILED:
            self.records.say(f"Node {name} job proc {id} failed with signal {-returned}.")
        self._after_job(one, returned)

    def _after_job(self, one: NodeState, returned: int) -> None:
        one.returned = returned
        if one.node.post is not None:
            self.nodes.set(one, "post")
            self.scripts.run(one, "POST", one.node.post)
        elif self._aborts(one, "job"):
            return
        elif returned:
            self._try_failed(one, _how(returned))
        else:
            self._done(one)

    def post_ended(self, one: NodeState, status: int) -> None:
        name, job, one.returned = one.node.name, one.returned, status
        self.records.event(events.post_script(one.cluster, time.time(), name, status))
        if status:
            how = f"failed with status {status}" if status > 0 else f"died on signal {-status}"
            self.records.say(f"POST Script of node {name} {how}")
            if not self._aborts(one, "POST script"):
                self._try_failed(one, f"{_how(job)}, POST script {how}" if job else f"POST script {how}")
            return
        self.records.say(f"POST Script of node {name} completed successfully.")
        if not self._aborts(one, "POST script"):
            self._done(one)

    def script_removed(self, one: NodeState, kind: str, status: int) -> None:
        if kind == "POST" and status == 0:
            self.records.event(events.post_script(one.cluster, time.time(), one.node.name, status))
            self.nodes.done(one)
        else:
            self.nodes.set(one, "unready")

    def _done(self, one: NodeState) -> None:
        self.engine.observer.say("debug", f"{one.node.name} is done")
        for child in self.nodes.done(one):
            self._start(child)

    def _try_failed(self, one: NodeState, how: str) -> None:
        """``one.returned`` tells why; it is tried again, or it has failed."""
        node, again = one.node, one.tries < one.node.retries
        tried = f" (after {one.tries} node retries)" if one.tries else ""
        if again and node.unless_exit == one.returned:
            again = False
            text = f"Aborting further retries of node {node.name} (last attempt returned {one.returned})"
            self.records.say(text)
        if not again:
            self.records.say(f"Node {node.name} failed: {how}{tried}")
            self.engine.observer.say("error", f"{node.name} failed: {how}{tried}")
            self._failed(one)
            return
        one.tries += 1
        self.records.say(f"Retrying node {node.name} (retry #{one.tries} of {node.retries})...")
        self.engine.observer.say("warning", f"{node.name}: {how}; try {one.tries + 1} of {node.retries + 1}")
        self._start(one)

    def _failed(self, one: NodeState) -> None:
        self.nodes.failed(one)
        if self.status == dagman.OK:
            self.status = dagman.NODE_FAILED

    def _submit_failed(self, one: NodeState, error: DagError) -> None:
        """DAGMan does not try again what it could not submit."""
        self.ready.ended(one)
        for problem in error.problems:
            self.records.say(f"Event: ULOG_SUBMIT_FAILURE for HTCondor Node {one.node.name} {problem}")
            self.engine.observer.say("error", f"{one.node.name} cannot be run: {problem}")
        one.tries = one.node.retries
        self._after_job(one, dagman.SUBMIT_FAILED)

    # The end of the DAG.

    def _aborts(self, one: NodeState, what: str) -> bool:
        """Whether the DAG ends because of what ``one`` returned."""
        on = one.node.abort_on
        if on is None or on[0] != one.returned or self.stopping:
            return False
        self.records.say(f"Aborting DAG because we got the ABORT exit value from a {what}")
        code = one.returned if on[1] is None else on[1]
        if one.returned:
            self.nodes.failed(one)
        else:
            self.nodes.done(one)
        self._abort(code, dagman.ABORTED if code else dagman.OK)
        return True

    def _abort(self, code: int, status: int) -> None:
        if self.stopping and not self.final_begun:
            return
        self.records.say("Aborting DAG...", "Removing submitted jobs...")
        self.stopping, self.code, self.status = True, code, status
        for one in self.ready.clear():
            self.nodes.set(one, "unready")
        self.jobs.remove()
        self.scripts.remove()

    def _halt(self) -> None:
        """``pegasus-halt`` was called: what runs comes to its end, and nothing else is begun."""
        self.records.say("DAG is halted because halt file exists", "Removing nodes from the ready queue")
        self.halted, self.status = True, dagman.HALTED if self.status == dagman.OK else self.status
        for one in self.ready.clear():
            self.nodes.set(one, "unready")

    def _start_final(self) -> None:
        """It runs whatever has happened."""
        final = self.nodes.final
        self.final_begun = True
        self.jobs.removing = self.scripts.removing = False
        if final is not None:
            self.records.say("Starting final node...")
            self._start(final)

    def _finish(self) -> None:
        final = self.nodes.final
        done = [one.node.name for one in self.nodes if one.state == "done" and one is not final]
        failed = [one.node.name for one in self.nodes if one.state == "failed"]
        whole = len(done) + (final is not None) == len(self.nodes.of) and not failed
        self.status = dagman.OK if whole and self.status == dagman.HALTED else self.status
        code = self.code if self.code is not None else 0 if whole else _FAILED
        if code:
            path = rescue.write(self.dag.file, done, failed, len(self.nodes.of))
            self.records.say(f"Writing Rescue DAG to {path}...")
        else:
            self.records.say("All jobs Completed!")
        subdags = [one for one in self.nodes if one.node.subdag]
        told = {state: sum(one.state == state for one in subdags) for state in ("done", "failed")}
        self.records.end(code, self.status, self.counts, {"all": len(subdags), **told})
        self.records.close()
        self.lock.release()
        self.ended(code)

    # What jobs and scripts need to know.

    def subdag(self, one: NodeState, ended: Callable[[int], None]) -> Task | None:
        dag = Path(self.base, one.node.directory, one.node.subdag)
        if one.node.name in self.lost and finished(str(dag)):
            return None  # only we did not live to note it
        try:
            return Run(read(dag), self.engine, ended)
        except Running as running:
            raise DagError([Problem(str(dag), 0, str(running))]) from None
        except OSError as error:
            raise DagError([Problem(str(error.filename or dag), 0, error.strerror or str(error))]) from None

    def told(self, one: NodeState, returned: int | None) -> scripts.Told:
        node = one.node
        return scripts.Told(
            node.name, one.tries, node.retries, self.status, self.counts, one.cluster, returned, one.before
        )

    def _macros(self, one: NodeState) -> dict[str, str]:
        return {
            "JOB": one.node.name,
            "RETRY": str(one.tries),
            "DAG_STATUS": str(self.status),
            "FAILED_COUNT": str(self.counts["failed"]),
        }

    def _limited(self) -> bool:
        most = self.settings.get("MAX_JOBS_SUBMITTED", "")
        return most.isdecimal() and 0 < int(most) <= self.counts["queued"]


def _how(returned: int) -> str:
    if returned in (dagman.SUBMIT_FAILED, dagman.JOB_ABORTED):
        return "job could not be run"
    return f"job failed with status {returned}" if returned >= 0 else f"job died on signal {-returned}"


def execute(
    file: str, settings: Settings, observer: Observer, begun: Callable[[], None] = lambda: None
) -> int:
    """Runs the DAG in ``file``; to be called in the main thread, as it handles signals.

    ``begun`` is called once nothing can be refused any more, and the run can be ended by a signal.
    Gives the exit code: 0 all is done, 1 something failed, 2 it was ended by a signal; or what
    ``ABORT-DAG-ON`` says.

    Raises :class:`DagError`, or :class:`Running` if another engine is at it; then nothing was begun.
    Raises :class:`Gone` if the process that starts jobs was killed: another call goes on then.
    """
    engine = Engine(settings, observer)
    codes: list[int] = []
    try:
        run = Run(read(file), engine, codes.append)
    except BaseException:
        engine.close()
        raise
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda n, _: engine.interrupt(n)) for number in numbers}
    try:
        begun()
        engine.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        observer.progress(run.counts)
    return codes[-1]
