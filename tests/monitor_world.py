"""What the tests of status, analyzer, statistics and graph have in common: runs, commands as programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pegasus_toolkit.monitor.database import opened
from pegasus_toolkit.monitor.locate import find
from pegasus_toolkit.monitor.status import Counts, Status, status
from tests.worker_world import Submitted

DATA = Path(__file__).parent / "data" / "monitor"


def command(name: str, *words: str | Path, cwd: Path | None = None, **environ: str) -> Any:
    """``pegasus-NAME`` run to its end: ``returncode``, ``stdout``, ``stderr``."""
    return subprocess.run(
        [sys.executable, "-m", f"pegasus_toolkit.cli.{name}", *map(str, words)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(name: str, *words: str | Path) -> Any:
    """What it says as JSON."""
    done = command(name, *words, "--json")
    assert done.stderr == ""
    return json.loads(done.stdout)


def seen(path: Path) -> Status:
    """The status of the run there."""
    run = find(str(path))
    with opened(run) as connection:
        return status(connection, run)


def counted(path: Path) -> Counts:
    """Its nodes by what they are at."""
    return seen(path).counts


def asked(path: Path, query: str, records: bool = False) -> list[tuple[Any, ...]]:
    """What the database answers when it is up to date."""
    with opened(find(str(path)), records) as connection:
        return connection.execute(query).fetchall()


def recorded(stage: str, target: Path) -> Path:
    """A run of DAGMan's, as it was at one moment: ``held``, ``failed`` or ``rescued``. Later stages
    may be put over earlier ones, as time would."""
    target.mkdir(exist_ok=True)
    if not (target / "w.dag").exists():
        shutil.copy(DATA / "w.dag", target)
    if stage == "rescued":
        shutil.copy(DATA / "w.dag.rescue001", target)
    for file in (DATA / stage).iterdir():
        shutil.copy(file, target)
    return target


def alive(target: Path) -> None:
    """As if this process were the DAGMan that runs it."""
    runs_it(target, os.getpid())


def runs_it(target: Path, pid: int) -> None:
    """As if that process were the DAGMan that runs it."""
    log = target / "w.dag.dagman.out"
    log.write_text(log.read_text().replace("PID = 30879 ", f"PID = {pid} "))


def run(submitted: Submitted) -> int:
    """A planned workflow, by the local engine; its exit code."""
    words = [sys.executable, "-m", "pegasus_toolkit.cli.workflow_run", "-q", submitted.path]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode
