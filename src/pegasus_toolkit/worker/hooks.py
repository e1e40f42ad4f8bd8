"""Hooks: shell commands of the user, run on the submit host when a node or the workflow begins or ends."""

# pathlib would cost start-up time
# ruff: noqa: PTH118, PTH120, PTH123

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence

_SHELL = "/bin/sh"


def run(file: str, node: str, event: str, status: int, environ: Mapping[str, str]) -> None:
    """Runs those for ``event`` (start, or end, with ``success`` or ``error`` by ``status``) of the node.

    ``file``: what stands in the submit directory's ``jobs``. ``node``: "-" for the workflow, whose start is
    told once. What they print, and that they failed, goes to ``logs/NODE.hooks.log``; it changes nothing
    else.
    """
    submit = os.path.dirname(os.path.dirname(file))
    events = ["start"] if event == "start" else ["end", "error" if status else "success"]
    key = "" if node == "-" else node
    with open(file, encoding="utf-8") as stream:
        commands = [command for on, command in json.load(stream).get(key, ()) if on in (*events, "all")]
    name = key or "workflow"
    if not commands or (node == "-" and event == "start" and not _first(f"{submit}/logs/{name}.started")):
        return
    environment = {**environ, **_environment(submit, name, events, status)}
    with open(f"{submit}/logs/{name}.hooks.log", "ab") as log:
        for command in commands:
            done = subprocess.run(
                (_SHELL, "-c", command),
                cwd=submit,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
            if done.returncode:
                log.write(f"exit code {done.returncode}: {command}\n".encode())
                log.flush()


def _first(marker: str) -> bool:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    return True


def _environment(submit: str, name: str, events: Sequence[str], status: int) -> dict[str, str]:
    """As Pegasus' own hooks have it."""
    now = time.time()
    known = {
        "PEGASUS_EVENT": events[-1],
        "PEGASUS_EVENT_TIMESTAMP": str(int(now)),
        "PEGASUS_EVENT_TIMESTAMP_ISO": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now)),
        "PEGASUS_SUBMIT_DIR": submit,
        "PEGASUS_JOBID": name,
        "PEGASUS_STDOUT": os.path.join(submit, "logs", f"{name}.out"),
        "PEGASUS_STDERR": os.path.join(submit, "logs", f"{name}.err"),
    }
    return known if events == ["start"] else {**known, "PEGASUS_STATUS": str(status)}
