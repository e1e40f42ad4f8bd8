"""The local engine in the background, as DAGMan is: started in a session of its own, and left to itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pegasus_toolkit.cli.workflow_started import announce

if TYPE_CHECKING:
    from pegasus_toolkit.cli.workflow_run import Wanted

_BEGUN = b"begun"
_CODE = "import sys; sys.path[:] = {path!r}; from {module} import main; sys.exit(main({arguments!r}))"


def start(wanted: Wanted) -> int:
    """Starts the engine and returns once it has begun: 0. Where it refuses, what it says and its exit code.

    What it has to say later goes to ``NAME.dag.lib.err``, as with DAGMan.
    """
    said = Path(f"{wanted.dag}.lib.err")
    before = said.stat().st_size if said.exists() else 0
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as told:
        try:
            with said.open("ab") as stream:
                engine = _engine(wanted, writing, stream.fileno())
        finally:
            os.close(writing)
        if told.read() != _BEGUN:
            code = engine.wait()
            with said.open("rb") as stream:
                stream.seek(before)
                sys.stderr.write(stream.read().decode("utf-8", "replace"))
            return code or 1
    engine.returncode = 0  # nobody waits for it
    wanted.console.info(f"started as process {engine.pid}; what it says: {said}")
    announce(wanted.directory, wanted.out, wanted.console.quiet, {"engine": "local", "pid": engine.pid})
    return 0


def _engine(wanted: Wanted, told: int, said: int) -> subprocess.Popen[bytes]:
    code = _CODE.format(
        path=[os.path.abspath(one) for one in sys.path],  # noqa: PTH100  "" is the directory here
        module=__name__,
        arguments=(wanted.directory, wanted.dag, wanted.jobs, wanted.console.wants_debug, told),
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        pass_fds=[told],
        start_new_session=True,
    )


def main(arguments: tuple[str, str, int, bool, int]) -> int:
    """The engine's side: directory, DAG, jobs at a time, whether details are wanted, and the descriptor that
    is told that the run has begun. Gives the exit code."""
    from pegasus_toolkit.cli import workflow_run
    from pegasus_toolkit.cli.console import Console

    directory, dag, jobs, debug, told = arguments

    def begun() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(told, "wb") as stream:
            stream.write(_BEGUN)

    console = Console(sys.stderr, debug=debug)
    try:
        return workflow_run.local(workflow_run.Wanted(directory, dag, console, jobs=jobs), begun)
    finally:
        console.close()
