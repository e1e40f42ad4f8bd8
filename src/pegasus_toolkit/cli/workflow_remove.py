"""``pegasus-remove``: ends a run, on HTCondor or on this machine."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pegasus_toolkit.cli import watching
from pegasus_toolkit.cli.console import Console

if TYPE_CHECKING:
    from pegasus_toolkit.engines.htcondor.schedd import Schedd

DESCRIPTION = """\
Ends the run of the workflow in SUBMITDIR with all its jobs, and waits until they are gone. What is done
stays done: pegasus-run SUBMITDIR goes on from there."""

EPILOG = """\
exit codes: 0 it has ended; 1 nothing runs there, or it has not ended (yet); 2 there is no run there, or
HTCondor does not answer."""

_NAME = "pegasus-remove"
_LOOK = 0.2  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = watching.parsed(_parser(), None if argv is None else list(argv))
    if isinstance(options, int):
        return options
    return watching.ended(_NAME, lambda: _remove(options))


def _parser() -> argparse.ArgumentParser:
    made = watching.parser(_NAME, DESCRIPTION, EPILOG)
    add = made.add_argument
    add("--json", action="store_true", help="tell of it as JSON")
    add("-d", "--dagid", type=int, metavar="N", help="the number of DAGMan's job, in place of SUBMITDIR")
    add(
        "--patience", type=float, default=300.0, metavar="SEC", help="wait so long (default: %(default).0f s)"
    )
    return made


def _remove(options: argparse.Namespace) -> int:
    from pegasus_toolkit.engines.htcondor import dagman
    from pegasus_toolkit.engines.htcondor.schedd import NoPool, find
    from pegasus_toolkit.engines.local.lock import holder
    from pegasus_toolkit.monitor import locate

    console = Console(sys.stderr, debug=bool(options.verbose))
    patience = _Patience(console, options.patience, options.json)
    try:
        if options.dagid is not None:
            schedd = find(os.environ)
            dag = dagman.dag_of(schedd, options.dagid)
            if not dag:
                return _not_running(f"{options.dagid} is no job of DAGMan's in the queue")
        else:
            dag = locate.find(options.submitdir).dag
            if pid := holder(dag):
                return _local(dag, pid, patience)
            schedd = find(os.environ)
        return _from_queue(schedd, dag, patience)
    except NoPool as error:
        return _not_running(f"nothing runs there on this machine; if it runs on HTCondor: {error}")
    finally:
        console.close()


def _not_running(text: str) -> int:
    print(f"{_NAME}: {text}", file=sys.stderr)
    return 1


class _Patience:
    """Waits, and tells now and then that it does."""

    def __init__(self, console: Console, seconds: float, as_json: bool) -> None:
        self.console, self.as_json = console, as_json
        self._end = time.monotonic() + seconds

    def more(self, text: str) -> bool:
        """Whether to wait any longer for ``text``."""
        if self.console.stream is not None and self.console.stream.isatty():
            self.console.status(f"waiting for {text}")
        return time.monotonic() < self._end


def _local(dag: str, pid: int, patience: _Patience) -> int:
    """The engine ends its jobs within seconds, writes a rescue file and lets its lock go."""
    from pegasus_toolkit.engines.local.lock import holder

    os.kill(pid, signal.SIGTERM)
    patience.console.info(f"process {pid} was told to end")
    while holder(dag) == pid:
        if not patience.more(f"process {pid}"):
            return _not_running(f"process {pid} is still there; once more, and it kills its jobs")
        time.sleep(_LOOK)
    return _ended(dag, patience)


def _from_queue(schedd: Schedd, dag: str, patience: _Patience) -> int:
    from pegasus_toolkit.engines.htcondor import dagman

    jobs = dagman.running(schedd, dag)
    if not jobs:
        return _not_running(f"{Path(dag).parent}: nothing of it is in HTCondor's queue or runs here")
    patience.console.info(f"job {jobs[0].cluster} and all that it has submitted are being removed")
    if not dagman.remove(schedd, dag, lambda left: patience.more(f"{left} jobs to leave the queue")):
        return _not_running("not all of its jobs have left the queue yet: condor_q shows them")
    return _ended(dag, patience)


def _ended(dag: str, patience: _Patience) -> int:
    from pegasus_toolkit.dag import rescue

    patience.console.status("")
    left = rescue.newest(dag)
    directory = Path(dag).parent
    if patience.as_json:
        import json

        print(json.dumps({"submit_dir": str(directory), "rescue": str(left or "")}))
        return 0
    kept = f"what is done is noted in {left}" if left is not None else "nothing was done yet"
    print(f"{directory} has ended; {kept}\nto go on:  pegasus-run {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
