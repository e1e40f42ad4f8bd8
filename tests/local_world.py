"""A directory with a DAG of small shell programs, and the local engine that runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pegasus_toolkit.dag import events, rescue
from pegasus_toolkit.engines.local.engine import Settings
from pegasus_toolkit.engines.local.run import execute

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "pegasus-run")
SUBMIT = """\
universe = local
executable = /bin/sh
arguments = "$(script) $(JOB) $(RETRY)"
output = $(JOB).out
error = $(JOB).err
queue
"""


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.counts: Mapping[str, int] = {}

    def say(self, level: str, text: str) -> None:
        if level != "debug":
            self.lines.append(f"{level}: {text}")

    def progress(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)


class World:
    """``directory`` holds ``x.dag``; jobs described by ``job.sub`` run the script that their variable
    ``script`` names, with the node's name and its retry as arguments, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.told = Told()
        self.write("job.sub", SUBMIT)
        self.script("ok.sh", "echo $1 >> order")

    @property
    def dag(self) -> Path:
        return self.directory / "x.dag"

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(textwrap.dedent(text))
        return path

    def script(self, name: str, text: str) -> Path:
        path = self.write(name, f"#!/bin/sh\n{textwrap.dedent(text)}")
        path.chmod(0o755)
        return path

    def jobs(self, text: str, script: str = "ok.sh") -> None:
        """The DAG; every node runs ``script`` unless it has a variable that says otherwise."""
        self.write("x.dag", f'VARS ALL_NODES script="{script}"\n' + textwrap.dedent(text))

    def run(self, jobs: int = 1, environ: Mapping[str, str] | None = None, **settings: Any) -> int:
        """Runs it in this process; its exit code."""
        known = Settings(jobs, 4096, dict(os.environ) if environ is None else environ)
        return execute(str(self.dag), known._replace(**settings), self.told)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Runs it by the command, in a session of its own."""
        argv = [sys.executable, PROGRAM, "--engine", "local", str(self.directory), *arguments]
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def read(self, name: str) -> str:
        return (self.directory / name).read_text()

    @property
    def order(self) -> list[str]:
        """Nodes in the order that ``ok.sh`` ran for them."""
        path = self.directory / "order"
        return path.read_text().split() if path.exists() else []

    @property
    def events(self) -> list[events.Event]:
        return list(events.EventLog(f"{self.dag}.nodes.log"))

    def ended(self) -> list[tuple[str, int]]:
        """Of each job that ended: its node, and what it returned; signals are negative."""
        node: dict[int, str] = {}
        found = []
        for event in self.events:
            if event.kind == events.SUBMIT:
                node[event.cluster] = event.node
            elif event.kind == events.TERMINATED:
                status = event.returned if event.returned is not None else -(event.signal or 0)
                found.append((node[event.cluster], status))
        return found

    @property
    def log(self) -> list[str]:
        """DAGMan's log without its times."""
        return [line[18:] for line in self.read("x.dag.dagman.out").splitlines()]

    def done(self) -> set[str]:
        """What the newest rescue file says."""
        newest = rescue.newest(self.dag)
        assert newest is not None
        return rescue.read(newest)

    def fifo(self, name: str) -> Path:
        path = self.directory / name
        os.mkfifo(path)
        return path
