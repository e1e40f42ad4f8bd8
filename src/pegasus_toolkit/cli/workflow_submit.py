"""The part of ``pegasus-run`` that gives a workflow to HTCondor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pegasus_toolkit.cli import workflow_remake
from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.cli.workflow_progress import Progress
from pegasus_toolkit.cli.workflow_started import announce
from pegasus_toolkit.dag.dagman import last_words
from pegasus_toolkit.engines.htcondor import dagman
from pegasus_toolkit.engines.htcondor.schedd import NoPool, Schedd
from pegasus_toolkit.engines.local.lock import Running

if TYPE_CHECKING:
    from pegasus_toolkit.engines.htcondor.dagman import Given

_REFUSED = 2
_INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


def submit(schedd: Schedd, dag: str, progress: Progress, *, out: str, wait: bool) -> int:
    """Submits it, tells how to watch it, and with ``wait`` waits for its end. Gives the exit code.

    ``out``: what is told to standard output: text, json, nothing.
    """
    directory, console = progress.directory, progress.console
    if wait:  # it does what DAGMan's last script has to do where nobody waits
        os.environ[workflow_remake.ATTENDED] = "yes"
    given = _given(schedd, dag, console)
    if given is None:
        return _REFUSED
    announce(directory, out, console.quiet, {"engine": "htcondor", "cluster": given.cluster})
    code = _wait(schedd, dag, given, progress) if wait else 0
    while code == dagman.FAILED and workflow_remake.itself(dag, console):
        given = _given(schedd, dag, console)
        if given is None:
            return code
        code = _wait(schedd, dag, given, progress)
    return code


def _given(schedd: Schedd, dag: str, console: Console) -> Given | None:
    """DAGMan's job; ``None`` where it could not be submitted, which is told."""
    try:
        given = dagman.submit(schedd, dag, os.environ)
    except (Running, NoPool) as error:
        print(f"pegasus-run: {dag}: {error}", file=sys.stderr)
        return None
    if given.rescue:
        console.info(f"goes on from {given.rescue}")
    console.info(f"submitted as job {given.cluster}")
    return given


def _wait(schedd: Schedd, dag: str, given: Given, progress: Progress) -> int:
    directory, console = progress.directory, progress.console
    look = _looking(dag, progress)
    try:
        ended = dagman.wait(schedd, dag, given, look)
    except KeyboardInterrupt:
        console.warning(f"not waited for any longer; it goes on: pegasus-remove {directory} ends it")
        return _INTERRUPTED
    except NoPool as error:
        console.error(f"{error}; the run itself goes on, if HTCondor does")
        return 1
    look()
    why = ended.why or (last_words(dag) if ended.code and not progress.counts.get("failed") else "")
    if why:
        console.warning(why if ended.why else f"DAGMan gave up: {why}")
    progress.summary(ended.code, False)
    return ended.code


def _looking(dag: str, progress: Progress) -> Callable[[], str]:
    """What tells ``progress`` how far the run is, each time that it is called; gives what it is stuck at."""
    import sqlite3

    from pegasus_toolkit.dag.problems import DagError
    from pegasus_toolkit.monitor.locate import Run
    from pegasus_toolkit.monitor.status import jobs, status
    from pegasus_toolkit.monitor.tree import walk

    run = Run(str(Path(dag).parent), dag)

    def look() -> str:
        stuck = ""
        try:
            for branch, connection in walk(run, deep=False):
                now = status(connection, branch.run)
                progress.progress(now.counts._asdict())
                if now.state == "Held":
                    stuck = "; ".join(f"{one.node} is held: {one.reason}" for one in jobs(connection)[:3])
        except (OSError, DagError, sqlite3.Error) as error:
            progress.console.debug(f"how far it is cannot be told: {error}")
        return stuck

    return look
