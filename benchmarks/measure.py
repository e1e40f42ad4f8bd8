"""Runs programs and tells what they took."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LAUNCH = Path(__file__).with_name("launch.py")


class Usage(NamedTuple):
    """What a run took. ``peak``: of its largest process, MiB (10 where it is less)."""

    seconds: float
    cpu: float  # seconds, user and system, all processes
    peak: float
    code: int  # negative: ended by that signal
    output: str  # the end of what it printed


def run(commands: Sequence[Sequence[str]], env: Mapping[str, str] | None = None) -> Usage:
    """Runs commands one after the other; stops at the first that fails."""
    total = Usage(0.0, 0.0, 0.0, 0, "")
    for argv in commands:
        one = _one(argv, {**plain_environment(), **(env or {})})
        total = Usage(
            total.seconds + one.seconds,
            total.cpu + one.cpu,
            max(total.peak, one.peak),
            one.code,
            one.output,
        )
        if one.code != 0:
            break
    return total


def plain_environment() -> dict[str, str]:
    """Ours, without what makes Python run otherwise than it does for users (no bytecode, say)."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def _one(argv: Sequence[str], env: Mapping[str, str]) -> Usage:
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as result:
        launch = [sys.executable, "-I", "-S", str(LAUNCH), result.name, *argv]
        subprocess.run(launch, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, check=False)
        output.seek(max(0, output.seek(0, os.SEEK_END) - 2000))
        text = output.read().decode(errors="replace")
        figures = result.read()
    if not figures:  # it could not be started
        return Usage(0.0, 0.0, 0.0, 127, text)
    seconds, cpu, peak, code = json.loads(figures)
    return Usage(seconds, cpu, peak / 1024, code, text)


def machine() -> dict[str, str]:
    """What the figures depend on: processor, cores, memory, kernel, load before the first run."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        os.uname().machine,
    )
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "processor": cpu,
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**20:.0f} GiB",
        "kernel": os.uname().release,
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def version(argv: Sequence[str]) -> str:
    """The first word of the form 1.2, v1.2.3 or name/1.2.3 that a program prints about its version."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return "not installed"
    found = re.search(r"(?:^|[\s/])(v?[0-9]+\.[0-9][^\s,]*)", done.stdout + done.stderr)
    return found[1] if found else "?"
