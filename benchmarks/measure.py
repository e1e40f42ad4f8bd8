"""Runs programs and tells what they took."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """What a run took. ``peak``: of its largest process, MiB (not below our own, some 20)."""

    seconds: float
    cpu: float  # seconds, user and system, all processes
    peak: float
    code: int  # negative: ended by that signal
    output: str  # the end of what it printed


def run(commands: Sequence[Sequence[str]], env: Mapping[str, str] | None = None) -> Usage:
    """Runs commands one after the other; stops at the first that fails."""
    total = Usage(0.0, 0.0, 0.0, 0, "")
    for argv in commands:
        one = _one(argv, {**os.environ, **(env or {})})
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


def _one(argv: Sequence[str], env: Mapping[str, str]) -> Usage:
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(max(0, output.tell() - 2000))
        text = output.read().decode(errors="replace")
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode, text)


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
    """The first line with a digit that a program prints about its version."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return "not installed"
    lines = (done.stdout + done.stderr).splitlines()
    return next((line.strip() for line in lines if any(c.isdigit() for c in line)), "?")
